"""When another program's text is believed; no test waits, time is an argument."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autovpn.dns.file_patience import PATIENCE, QUIET, Budget, Settling


def test_two_equal_looks_at_a_file_with_a_server_settle_it() -> None:
    settling = Settling.begin(0.0)
    assert settling.next_look == QUIET

    once = settling.looked("a", 0.3, plausible=True)
    twice = once.looked("a", 0.6, plausible=True)

    assert (once.settled, twice.settled) == (False, True)
    assert once.next_look == 0.3 + QUIET


def test_a_file_that_changed_between_the_looks_is_looked_at_again() -> None:
    settling = Settling.begin(0.0).looked("a", 0.3, plausible=True).looked("b", 0.6, plausible=True)
    assert not settling.settled

    assert settling.looked("b", 0.9, plausible=True).settled


def test_an_event_begins_the_quiet_anew() -> None:
    assert Settling.begin(0.0).disturbed(0.2).next_look == 0.2 + QUIET


def test_an_empty_file_is_believed_after_five_seconds_only() -> None:
    settling, now = Settling.begin(0.0), 0.0
    while not settling.settled:
        now = settling.next_look
        settling = settling.looked("", now, plausible=False)

    assert PATIENCE <= now < PATIENCE + 2 * QUIET


def test_a_missing_file_is_no_different_from_one_never_read() -> None:
    assert not Settling.begin(0.0).looked(None, 0.3, plausible=True).settled


@given(st.lists(st.floats(0.0, QUIET, exclude_max=True), min_size=100))
def test_a_file_that_never_rests_is_settled_in_the_end(pauses: list[float]) -> None:
    settling, now, number = Settling.begin(0.0), 0.0, 0
    for pause in [*pauses, *[0.2] * 100]:
        now += pause
        if now >= settling.next_look:
            number += 1
            settling = settling.looked(number, now, plausible=True)
            if settling.settled:
                break
        settling = settling.disturbed(now)

    assert settling.settled
    assert now <= PATIENCE + 2 * QUIET


@given(st.lists(st.floats(0.1, 100.0), max_size=100))
def test_no_more_than_the_budget_is_ever_answered_in_one_window(pauses: list[float]) -> None:
    budget, now, answered = Budget(most=3, window=60.0), 0.0, []
    for number, pause in enumerate(pauses):
        now += pause
        if budget.allows(number, now):
            answered.append(now)

    assert all(later - first >= 60.0 for first, later in zip(answered, answered[3:], strict=False))


@given(st.integers(1, 10), st.integers(1, 5))
def test_asking_again_about_the_same_change_costs_nothing(asked: int, most: int) -> None:
    budget = Budget(most=most)
    for change in range(most):
        assert all(budget.allows(change, 0.0) for _ in range(asked))

    assert not any(budget.allows("one more", 0.0) for _ in range(asked))
    assert budget.spent == most + 1


def test_quiet_for_a_whole_window_makes_the_budget_new() -> None:
    budget = Budget()
    for change in range(9):
        budget.allows(change, 0.0)

    assert not budget.allows("same", 59.9)
    assert budget.allows("same", 59.9 + 60.0)
