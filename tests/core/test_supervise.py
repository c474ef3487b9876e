"""The life cycle of a tunnel: the table is total, attempts are counted, and everything comes to rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.supervise import (
    ATTEMPTS,
    COOLDOWN,
    COOLDOWN_CAP,
    STEADY,
    TABLE,
    Adopted,
    BecameReady,
    Broke,
    Due,
    Ended,
    Launched,
    Resolved,
    Retry,
    TunnelEvent,
    Unwanted,
    Wanted,
    supervise,
)
from autovpn.core.tunnel import Facts, Failure, FailureClass, TunnelPhase, TunnelState

FACTS = Facts(device="tun0")
EVENTS = st.one_of(
    st.builds(Wanted, st.sampled_from(["one", "two"])),
    st.just(Resolved(())),
    st.just(Launched()),
    st.just(Adopted("one", 1, (), FACTS)),
    st.just(BecameReady(FACTS)),
    st.builds(Broke, st.builds(Failure, st.sampled_from(FailureClass), st.just("no")), st.just(1.0)),
    st.just(Unwanted()),
    st.just(Ended()),
    st.just(Due()),
    st.just(Retry()),
)


def folded(*events: TunnelEvent, now: float = 100.0, state: TunnelState | None = None) -> TunnelState:
    result = state or TunnelState()
    for event in events:
        result = supervise(result, event, now)
    return result


def broke(kind: FailureClass = FailureClass.UNREACHABLE) -> Broke:
    return Broke(Failure(kind, "its words"))


def test_a_tunnel_resolves_connects_and_is_up() -> None:
    phases = []
    state = TunnelState()
    for event in (Wanted("one"), Resolved(()), BecameReady(FACTS)):
        state = supervise(state, event, 1.0)
        phases.append(state.phase)

    assert phases == [TunnelPhase.RESOLVING, TunnelPhase.CONNECTING, TunnelPhase.UP]
    assert state.counts_as_up


def test_an_adopted_tunnel_counts_as_up_while_it_is_verified() -> None:
    state = folded(Adopted("one", 2, (), FACTS))

    assert state.phase is TunnelPhase.VERIFYING
    assert state.counts_as_up
    assert folded(BecameReady(FACTS), state=state).phase is TunnelPhase.UP


def test_times_at_which_nothing_came_through_are_counted_until_the_tunnel_is_another_one() -> None:
    silent = Broke(Failure(FailureClass.LOST, "no answer", passed_nothing=True))
    once = folded(Wanted("one"), Resolved(()), BecameReady(FACTS), silent)

    twice = folded(Due(), Wanted("one"), Resolved(()), BecameReady(FACTS), broke(), Due(), Wanted("one"), state=once)
    twice = folded(Resolved(()), BecameReady(FACTS), silent, state=twice)

    assert (once.fruitless, twice.fruitless) == (1, 2)
    assert folded(Wanted("two"), state=twice).fruitless == 0
    assert folded(Adopted("one", 1, (), FACTS, 2)).fruitless == 2


@pytest.mark.parametrize(("failures", "pause"), [(1, 1.0), (2, 2.0)])
def test_the_pause_grows_with_every_failed_attempt(failures: int, pause: float) -> None:
    state = TunnelState()
    for _ in range(failures):
        state = folded(Due(), Wanted("one"), Resolved(()), broke(), state=state)

    assert state.phase is TunnelPhase.BACKOFF
    assert state.not_before == 100.0 + pause


def test_after_the_last_attempt_it_has_failed_and_tries_again_much_later() -> None:
    state = TunnelState()
    for _ in range(ATTEMPTS):
        state = folded(Due(), Wanted("one"), Resolved(()), broke(), state=state)

    assert state.phase is TunnelPhase.FAILED
    assert state.not_before == 100.0 + COOLDOWN


def test_the_long_pause_doubles_to_an_hour() -> None:
    state = TunnelState()
    pauses = []
    for _ in range(6):
        for _ in range(ATTEMPTS):
            state = folded(Due(), Wanted("one"), broke(), state=state)
        assert state.not_before is not None
        pauses.append(state.not_before - 100.0)

    assert pauses == [300.0, 600.0, 1200.0, 2400.0, COOLDOWN_CAP, COOLDOWN_CAP]


@pytest.mark.parametrize("kind", [FailureClass.AUTH, FailureClass.TRUST])
def test_a_wrong_password_is_never_tried_twice(kind: FailureClass) -> None:
    state = folded(Wanted("one"), Resolved(()), broke(kind))

    assert state.phase is TunnelPhase.FAILED
    assert state.not_before is None


def test_a_local_fault_does_not_come_back_by_itself() -> None:
    state = TunnelState()
    for _ in range(ATTEMPTS):
        state = folded(Due(), Wanted("one"), broke(FailureClass.LOCAL), state=state)

    assert (state.phase, state.not_before) == (TunnelPhase.FAILED, None)


def test_a_tunnel_that_held_for_long_counts_its_attempts_anew() -> None:
    up = replace(folded(Wanted("one"), Resolved(()), BecameReady(FACTS)), attempt=ATTEMPTS)
    lost = supervise(up, broke(FailureClass.LOST), 100.0 + STEADY)

    assert (lost.phase, lost.attempt) == (TunnelPhase.BACKOFF, 1)


def test_another_instance_ends_what_runs_before_it_begins() -> None:
    up = folded(Wanted("one"), Resolved(()), BecameReady(FACTS))
    stopping = folded(Wanted("two"), state=up)
    begun = folded(Ended(), Wanted("two"), state=stopping)

    assert stopping.phase is TunnelPhase.STOPPING
    assert (begun.phase, begun.instance, begun.attempt) == (TunnelPhase.RESOLVING, "two", 1)


def test_a_new_network_leaves_failed() -> None:
    failed = folded(Wanted("one"), broke(FailureClass.AUTH))

    assert folded(Wanted("one"), state=failed).phase is TunnelPhase.FAILED
    assert folded(Wanted("two"), state=failed).phase is TunnelPhase.RESOLVING


def test_readiness_again_keeps_the_time_since_when_it_is_up() -> None:
    up = supervise(folded(Wanted("one"), Resolved(())), BecameReady(FACTS), 5.0)

    assert supervise(up, BecameReady(Facts(device="tun1")), 9.0).since == 5.0


@given(st.lists(EVENTS, max_size=30))
def test_after_unwanted_and_ended_every_state_is_at_rest(events: list[TunnelEvent]) -> None:
    state = folded(*events, Unwanted(), Ended())

    assert state.phase is TunnelPhase.REST
    assert state.facts is None


@given(st.lists(EVENTS, max_size=30))
def test_every_transition_stands_in_the_table(events: list[TunnelEvent]) -> None:
    state = TunnelState()
    for event in events:
        allowed = TABLE[state.phase].get(type(event), ())
        after = supervise(state, event, 1.0)
        renewed = isinstance(event, Wanted) and event.instance != state.instance
        if not renewed:
            assert after.phase in (allowed or (state.phase,))
        state = after


@given(st.lists(EVENTS, max_size=30))
def test_only_a_ready_tunnel_has_facts(events: list[TunnelEvent]) -> None:
    state = folded(*events)

    assert state.facts is None or state.phase in (TunnelPhase.UP, TunnelPhase.VERIFYING)


def test_the_time_to_connect_begins_when_the_program_is_started() -> None:
    """A hook before it may take as long as its own time limit allows."""
    connecting = supervise(folded(Wanted("one"), Resolved(())), Launched(), 140.0)

    assert connecting.launched
    assert connecting.since == 140.0
    assert not folded(broke(), Due(), Wanted("one"), Resolved(()), state=connecting).launched
