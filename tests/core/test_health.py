"""A tunnel that passes packets is left alone, one that does not is found out, and idleness is no fault."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.health import (
    EAGER,
    FIRST_LOOK,
    STALE,
    HealthState,
    Traffic,
    begin,
    checked,
    death,
    has_stood_trial,
    looked,
    stale_handshake,
    trial_of,
)
from autovpn.core.tunnel import Facts, Failure, FailureClass, Health, HealthCheck

PING = Health(HealthCheck.PING, ip_address("10.20.0.2"))
SHAKE = Health(HealthCheck.HANDSHAKE)
FAULT = "no answer from 10.20.0.2 through vpn-office"
HEALTHS = st.builds(
    Health,
    st.sampled_from(HealthCheck),
    interval=st.floats(1.0, 3600.0),
    fail_after=st.integers(1, 10),
)
START = 100.0


def through(state: HealthState, health: Health, *faults: str | None, received: int = 0) -> HealthState:
    """Look at each next time: None means that bytes have come in, else a check that finds this."""
    for fault in faults:
        now, received = state.next_look, received + (fault is None)
        state, probe = looked(state, health, Traffic(received, int(now)), now)
        assert probe is (fault is not None)
        if fault is not None:
            state = checked(state, health, fault, Traffic(received, int(now)), now)
    return state


def test_a_new_tunnel_is_looked_at_soon_and_often_until_its_first_sign_of_life() -> None:
    state = begin(PING, Traffic(0, 0), START)
    assert state.next_look == START + FIRST_LOOK

    failing = through(state, PING, FAULT)
    assert failing.next_look == START + FIRST_LOOK + EAGER

    well = through(failing, PING, "")
    assert well.next_look == START + FIRST_LOOK + EAGER + PING.interval
    assert through(well, PING, FAULT).next_look == well.next_look + PING.interval


def test_traffic_makes_a_check_needless_and_forgives_what_failed() -> None:
    state = through(begin(PING, Traffic(0, 0), START), PING, FAULT, FAULT, None)
    assert (state.failed, state.fault) == (0, "")
    assert state.last_good == state.next_look - PING.interval


def test_the_bytes_of_a_check_are_no_traffic() -> None:
    state = begin(PING, Traffic(0, 0), START)
    state, probe = looked(state, PING, Traffic(0, 0), state.next_look)
    assert probe
    state = checked(state, PING, "", Traffic(84, 84), state.next_look)
    _, probe = looked(state, PING, Traffic(84, 84), state.next_look)
    assert probe


def test_it_is_dead_after_as_many_failures_in_a_row_as_the_user_says_and_says_for_how_long() -> None:
    state = through(begin(PING, Traffic(0, 0), START), PING, "")
    good = state.last_good or 0.0
    state = through(state, PING, FAULT, FAULT)
    assert death(state, PING, good + 60) is None

    state = through(state, PING, FAULT)
    assert death(state, PING, good + 90) == Failure(FailureClass.LOST, f"{FAULT} for 90 s (3 checks)")


def test_one_failure_is_said_in_the_singular_and_counted_from_the_beginning_where_nothing_was_ever_well() -> None:
    once = replace(PING, fail_after=1)
    state = through(begin(once, Traffic(0, 0), START), once, FAULT)
    assert death(state, once, START + 7) == Failure(
        FailureClass.LOST, f"{FAULT} for 7 s (1 check)", passed_nothing=True
    )


@pytest.mark.parametrize(
    ("traffic", "passed_nothing"), [(Traffic(0, 500), True), (None, True), (Traffic(84, 500), False)]
)
def test_a_tunnel_through_which_nothing_ever_came_is_told_from_one_that_was_lost(
    traffic: Traffic | None, passed_nothing: bool
) -> None:
    once = replace(PING, fail_after=1)
    state, _ = looked(begin(once, traffic, START), once, traffic, START + 2)
    failure = death(checked(state, once, FAULT, traffic, START + 7), once, START + 7)
    assert failure is not None
    assert failure.passed_nothing is passed_nothing


def test_a_tunnel_without_counters_is_always_checked() -> None:
    state, probe = looked(begin(PING, None, START), PING, None, START + 2)
    assert probe
    assert checked(state, PING, "", None, START + 2).last_good == START + 2


def test_wireguard_that_has_nothing_to_send_is_neither_well_nor_ill() -> None:
    state = begin(SHAKE, Traffic(92, 148), START)
    after, probe = looked(state, SHAKE, Traffic(92, 148), state.next_look)
    assert not probe
    assert (after.failed, after.last_good) == (0, None)
    assert after.next_look > state.next_look

    _, probe = looked(after, SHAKE, Traffic(92, 296), after.next_look)
    assert probe


@pytest.mark.parametrize(
    ("age", "fault"),
    [
        (0.0, ""),
        (STALE, ""),
        (STALE + 20, "no handshake through wg0 since 200 s"),
        (None, "no handshake through wg0"),
    ],
)
def test_a_handshake_is_stale_once_its_keys_are_void(age: float | None, fault: str) -> None:
    assert stale_handshake(age, "wg0") == fault


@pytest.mark.parametrize(
    ("facts", "address"),
    [
        (Facts(dns=("10.20.0.53", "10.20.0.54"), on_trial=True), "10.20.0.53"),
        (Facts(dns=("10.20.0.53",)), None),
        (Facts(on_trial=True), None),
    ],
)
def test_a_form_is_tried_on_the_dns_server_that_was_pushed(facts: Facts, address: str | None) -> None:
    trial = trial_of(facts)
    assert (trial and trial.address) == (address and ip_address(address))


@pytest.mark.parametrize(("traffic", "is_over"), [(Traffic(0, 500), False), (Traffic(1, 0), True), (None, True)])
def test_a_trial_is_over_once_anything_came_through_or_where_nobody_counts(
    traffic: Traffic | None, is_over: bool
) -> None:
    state = begin(PING, traffic, START)
    assert has_stood_trial(state) is is_over
    assert has_stood_trial(replace(state, last_good=START))


@given(HEALTHS, st.integers(1, 50))
def test_a_tunnel_out_of_which_bytes_come_is_never_checked_and_never_dead(health: Health, looks: int) -> None:
    state = through(begin(health, Traffic(0, 0), START), health, *[None] * looks)
    assert death(state, health, state.next_look) is None


@given(HEALTHS, st.lists(st.sampled_from([None, "", FAULT]), max_size=40))
def test_it_is_dead_exactly_when_enough_checks_in_a_row_have_failed(health: Health, outcomes: list[str | None]) -> None:
    state, received, streak = begin(health, Traffic(0, 0), START), 0, 0
    for outcome in outcomes:
        before = state.next_look
        state = through(state, health, outcome, received=received)
        received += outcome is None
        streak = streak + 1 if outcome == FAULT else 0
        assert (death(state, health, before) is not None) == (streak >= health.fail_after)
        assert before < state.next_look <= before + health.interval
