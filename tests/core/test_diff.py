"""The plan from what is applied to what is wanted: its end, its order, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.diff import Amend, Do, Plan, Undo, diff
from autovpn.core.steps import Step, StepKey, StepKind, can_amend
from tests.daemon import steps

SETS = st.lists(
    st.builds(
        lambda kind, version, owner: replace(steps.one(kind, version), activation=owner),
        st.sampled_from(StepKind),
        st.integers(0, 1),
        st.sampled_from(["campus", "cafe"]),
    ),
    unique_by=lambda step: step.key,
)


def carried_out(plan: Plan, applied: list[Step]) -> dict[StepKey, Step]:
    have = {step.key: step for step in applied}
    for change in plan.changes:
        match change:
            case Undo(step):
                del have[step.key]
            case Do(step):
                assert step.key not in have, "done twice"
                have[step.key] = step
            case Amend(old, new):
                assert have[old.key] == old
                have[new.key] = new
    return have


@given(SETS, SETS)
def test_a_plan_that_is_carried_out_leads_to_what_is_wanted(applied: list[Step], wanted: list[Step]) -> None:
    assert carried_out(diff(applied, wanted), applied) == {step.key: step for step in wanted}


@given(SETS)
def test_nothing_is_done_for_what_is_there_and_all_is_undone_for_nothing(applied: list[Step]) -> None:
    assert not diff(applied, reversed(applied))
    assert carried_out(diff(applied, ()), applied) == {}


@given(SETS, SETS)
def test_undoing_comes_first_and_falls_in_rank_then_doing_rises(applied: list[Step], wanted: list[Step]) -> None:
    changes = diff(applied, wanted).changes
    undos = [change.step.rank for change in changes if isinstance(change, Undo)]
    rest = [
        change.step.rank if isinstance(change, Do) else change.new.rank
        for change in changes[len(undos) :]
        if not isinstance(change, Undo)
    ]

    assert len(undos) + len(rest) == len(changes)
    assert undos == sorted(undos, reverse=True)
    assert rest == sorted(rest)


@given(SETS, SETS)
def test_nothing_of_an_activation_stands_on_a_tunnel_that_is_undone(applied: list[Step], wanted: list[Step]) -> None:
    undone = {change.step.key for change in diff(applied, wanted).changes if isinstance(change, Undo)}
    for kind, activation, _ in undone:
        if kind is StepKind.TUNNEL:
            above = {step.key for step in applied if step.activation == activation and step.rank > kind.rank}
            assert above <= undone


@pytest.mark.parametrize("kind", StepKind)
def test_another_value_is_amended_where_the_kind_can_and_made_anew_where_it_cannot(kind: StepKind) -> None:
    old, new = steps.one(kind), steps.one(kind, 1)

    changes = diff([old], [new]).changes

    cannot = kind in (StepKind.PREUP, StepKind.POSTUP)
    assert changes == ((Undo(old), Do(new)) if cannot else (Amend(old, new),))


def test_amending_a_step_touches_no_other() -> None:
    assert diff(steps.activation(), (*steps.activation()[:6], steps.dns(1), steps.activation()[7])).changes == (
        Amend(steps.dns(), steps.dns(1)),
    )


def test_another_attempt_is_another_tunnel_and_another_device_another_address() -> None:
    assert not can_amend(steps.tunnel(), steps.tunnel(attempt=2))
    assert not can_amend(steps.address(), steps.address(owner="cafe"))


def test_ranks_are_those_of_the_design() -> None:
    assert [kind.rank for kind in StepKind] == [10, 20, 30, 40, 50, 60, 70, 80]
    assert str(steps.guard()) == "guard of campus"
    assert str(steps.tunnel()) == "tunnel office of campus"
