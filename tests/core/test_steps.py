"""Steps: their order, their names, and which can become which in place."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.steps import AddressValue, Step, StepKind, TunnelValue, can_amend
from tests.daemon.steps import one, tunnel

STEPS = st.builds(one, st.sampled_from(StepKind), st.integers(0, 1))


def test_the_ranks_rise_in_tens_in_the_order_of_doing() -> None:
    ranks = {kind.value: kind.rank for kind in StepKind}

    assert ranks == {
        "preup": 10, "guard": 20, "pin": 30, "tunnel": 40, "address": 50, "routes": 60, "dns": 70, "postup": 80,
    }  # fmt: skip


@given(STEPS, STEPS)
def test_only_a_step_of_the_same_kind_can_be_amended(before: Step, after: Step) -> None:
    if can_amend(before, after):
        assert before.kind is after.kind
        assert before.kind not in (StepKind.PREUP, StepKind.POSTUP)


@pytest.mark.parametrize("kind", [kind for kind in StepKind if kind not in (StepKind.PREUP, StepKind.POSTUP)])
def test_every_change_but_a_hook_can_be_amended(kind: StepKind) -> None:
    assert can_amend(one(kind, 0), one(kind, 1))


@pytest.mark.parametrize("kind", [StepKind.PREUP, StepKind.POSTUP])
def test_hooks_that_have_run_stay_run(kind: StepKind) -> None:
    assert not can_amend(one(kind, 0), one(kind, 0))


def test_another_attempt_or_instance_is_another_tunnel() -> None:
    first = tunnel(attempt=1)
    assert isinstance(first.value, TunnelValue)

    assert not can_amend(first, tunnel(attempt=2))
    assert not can_amend(first, replace(first, value=replace(first.value, instance="2-abc")))
    assert can_amend(first, tunnel(version=1)), "the uplink and the endpoints are told to the one that runs"


def test_addresses_move_to_no_other_device() -> None:
    here = one(StepKind.ADDRESS)
    assert isinstance(here.value, AddressValue)

    assert not can_amend(here, replace(here, value=replace(here.value, device="tun9")))


@given(STEPS)
def test_what_goes_along_is_no_part_of_the_change(step: Step) -> None:
    assert replace(step, context=None) == step
    assert step.key == (step.kind, step.activation, step.object)
    assert step.rank == step.kind.rank


def test_a_step_has_a_name_for_people() -> None:
    assert str(one(StepKind.TUNNEL)) == "tunnel office of campus"
    assert str(one(StepKind.PREUP)) == "preup of campus"
