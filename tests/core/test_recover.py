"""What a crash left is kept when it is whole and still wanted, and undone otherwise, the highest first."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.diff import Amend, Do, Undo
from autovpn.core.records import Entry, EntryState, Origin
from autovpn.core.recover import plan_from, recover
from autovpn.core.steps import Step, StepKind
from tests.daemon import steps

HERE = Origin("boot-1", 1)
ELSEWHERE = (Origin("boot-2", 1), Origin("boot-1", 2))


def done(*wanted: Step) -> list[Entry]:
    return [Entry(step, None, HERE, state=EntryState.DONE) for step in wanted]


ENTRIES = st.lists(
    st.builds(
        lambda kind, version, owner, state, origin: Entry(
            replace(steps.one(kind, version), activation=owner), None, origin, state=state
        ),
        st.sampled_from(StepKind),
        st.integers(0, 1),
        st.sampled_from(["campus", "cafe"]),
        st.sampled_from(EntryState),
        st.sampled_from((HERE, HERE, *ELSEWHERE)),
    ),
    unique_by=lambda entry: entry.key,
)
WANTED = st.lists(
    st.builds(
        lambda kind, version, owner: replace(steps.one(kind, version), activation=owner),
        st.sampled_from(StepKind),
        st.integers(0, 1),
        st.sampled_from(["campus", "cafe"]),
    ),
    unique_by=lambda step: step.key,
)


def test_what_is_whole_and_still_wanted_is_kept() -> None:
    everything = steps.activation()

    assert recover(done(*everything), everything, HERE).undone == ()
    assert not plan_from(done(*everything), everything, HERE)


@pytest.mark.parametrize("state", [state for state in EntryState if state is not EntryState.DONE])
@pytest.mark.parametrize("kind", StepKind)
def test_what_is_half_done_is_undone_and_made_anew(kind: StepKind, state: EntryState) -> None:
    step = steps.one(kind)

    plan = plan_from([Entry(step, None, HERE, state=state)], [step], HERE)

    assert plan.changes == (Undo(step), Do(step))


@pytest.mark.parametrize("origin", ELSEWHERE)
def test_what_is_from_another_boot_or_namespace_is_never_taken_for_ours(origin: Origin) -> None:
    step = steps.bracket(StepKind.PREUP)

    assert recover([Entry(step, None, origin, state=EntryState.DONE)], [step], HERE).kept == ()


@pytest.mark.parametrize("loss", ["its process died", "its entry is lost", "it is half-made", "it is another one"])
def test_nothing_stands_on_a_tunnel_that_is_not_kept(loss: str) -> None:
    everything = steps.activation()
    entries = done(*everything)
    tunnel = next(entry for entry in entries if entry.step.kind is StepKind.TUNNEL)
    lost = {tunnel.key} if loss == "its process died" else set()
    entries.remove(tunnel)
    if loss == "it is half-made":
        entries.append(replace(tunnel, state=EntryState.BEGUN))
    elif loss == "it is another one":
        entries += done(steps.tunnel(attempt=2))
    elif lost:
        entries.append(tunnel)

    recovery = recover(entries, everything, HERE, lost)

    assert {entry.step.kind for entry in recovery.kept} == {StepKind.PREUP, StepKind.GUARD, StepKind.PIN}


def test_an_activation_without_a_tunnel_keeps_what_it_has() -> None:
    wanted = (steps.bracket(StepKind.PREUP), steps.dns(), steps.bracket(StepKind.POSTUP))

    assert len(recover(done(*wanted), wanted, HERE).kept) == 3


def test_a_tunnel_on_another_uplink_is_amended_and_keeps_what_stands_on_it() -> None:
    before, after = steps.activation(), (*steps.activation()[:3], steps.tunnel(1), *steps.activation()[4:])

    assert plan_from(done(*before), after, HERE).changes == (Amend(steps.tunnel(), steps.tunnel(1)),)


@given(ENTRIES, WANTED)
def test_every_entry_is_kept_or_undone_once_and_the_highest_is_undone_first(
    entries: list[Entry], wanted: list[Step]
) -> None:
    recovery = recover(entries, wanted, HERE)

    assert sorted(map(id, (*recovery.kept, *recovery.undone))) == sorted(map(id, entries))
    ranks = [entry.step.rank for entry in recovery.undone]
    assert ranks == sorted(ranks, reverse=True)
    assert all(entry.state is EntryState.DONE and entry.origin == HERE for entry in recovery.kept)


@given(ENTRIES, WANTED)
def test_the_plan_leads_from_any_journal_to_what_is_wanted(entries: list[Entry], wanted: list[Step]) -> None:
    have = {entry.key: entry.step for entry in entries}
    for change in plan_from(entries, wanted, HERE).changes:
        match change:
            case Undo(step):
                del have[step.key]
            case Do(step):
                assert step.key not in have
                have[step.key] = step
            case Amend(old, new):
                assert have[old.key] == old
                have[new.key] = new

    assert have == {step.key: step for step in wanted}
