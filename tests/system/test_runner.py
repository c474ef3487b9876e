"""The runner records before it acts, goes on undoing past failures, and stops where it is told to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from autovpn.core.diff import Amend, Do, Plan, Undo, diff
from autovpn.core.records import Entry, EntryState
from autovpn.core.recover import plan_from
from autovpn.core.steps import Step, StepKind
from autovpn.errors import StepFailed, SystemFault
from autovpn.system.journal import Journal
from autovpn.system.runner import Outcome, Runner, UndoContext, Work
from tests.daemon import steps
from tests.daemon.fake_machine import Machine


@dataclass
class Recorder:
    """An executor that writes down what it is asked, with the state in the journal at that moment."""

    calls: list[str] = field(default_factory=list)
    failing: dict[str, Exception] = field(default_factory=dict)
    at: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event | None = None

    async def prepare(self, step: Step, others: tuple[Entry, ...]) -> str:
        await self._called("prepare", step, len(others))
        return "before"

    async def do(self, work: Work) -> Outcome:
        await self._called("do", work.entry.step, work.entry.state.value)
        return Outcome("receipt", ("half as good",) if "complain" in self.failing else ())

    async def amend(self, work: Work, new: Step) -> Outcome:
        await self._called("amend", new, work.entry.state.value)
        return Outcome("amended")

    async def undo(self, work: Work, why: UndoContext) -> tuple[str, ...]:
        await self._called("undo", work.entry.step, work.entry.state.value, why.reason)
        return ()

    async def _called(self, verb: str, step: Step, *facts: object) -> None:
        self.calls.append(" ".join(map(str, (verb, step.kind.value, *facts))))
        self.at.set()
        if self.go_on is not None:
            await self.go_on.wait()
        if error := self.failing.get(f"{verb} {step.kind.value}"):
            raise error


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
async def journal(machine: Machine) -> Journal:
    return await machine.journal()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def runner(journal: Journal, recorder: Recorder) -> Runner:
    return Runner(journal, dict.fromkeys(StepKind, recorder))


def why(activation: str) -> UndoContext:
    return UndoContext(f"end of {activation}")


def up(*wanted: Step) -> Plan:
    return diff((), wanted)


def states(runner: Runner) -> dict[str, EntryState]:
    return {entry.step.kind.value: entry.state for entry in runner.applied}


async def test_a_step_is_prepared_recorded_and_done(runner: Runner, recorder: Recorder) -> None:
    result = await runner.run(up(steps.guard(), steps.pin()), asyncio.Event())

    assert result.done == (Do(steps.guard()), Do(steps.pin()))
    assert recorder.calls == ["prepare guard 0", "do guard begun", "prepare pin 1", "do pin begun"]
    assert [(entry.before, entry.receipt) for entry in runner.applied] == [("before", "receipt")] * 2


async def test_a_failed_step_is_undone_at_once_and_ends_the_plan(runner: Runner, recorder: Recorder) -> None:
    recorder.failing["do pin"] = StepFailed("pin", "no such thing")

    result = await runner.run(up(steps.guard(), steps.pin(), steps.tunnel()), asyncio.Event())

    assert result.failed == (steps.pin(), "pin: no such thing")
    assert recorder.calls[-2:] == ["do pin begun", "undo pin begun "]
    assert states(runner) == {"guard": EntryState.DONE}


async def test_a_step_that_cannot_be_prepared_is_not_recorded(runner: Runner, recorder: Recorder) -> None:
    recorder.failing["prepare guard"] = OSError(5, "Input/output error")

    result = await runner.run(up(steps.guard()), asyncio.Event())

    assert result.failed == (steps.guard(), "[Errno 5] Input/output error")
    assert runner.applied == ()


async def test_undoing_goes_on_past_a_failure_which_is_tried_again_by_the_next_plan(
    runner: Runner, recorder: Recorder, journal: Journal
) -> None:
    await runner.run(up(steps.guard(), steps.pin()), asyncio.Event())
    recorder.failing["undo pin"] = SystemFault("the kernel is not in the mood")

    result = await runner.run(diff((steps.guard(), steps.pin()), ()), asyncio.Event(), why)

    assert result.done == (Undo(steps.guard()),)
    assert result.complaints == ("pin office of campus: the kernel is not in the mood",)
    assert states(runner) == {"pin": EntryState.UNDOING}
    recorder.failing.clear()
    await runner.run(plan_from(runner.applied, (steps.pin(),), journal.origin), asyncio.Event(), why)
    assert recorder.calls[-3:] == ["undo pin undoing end of campus", "prepare pin 0", "do pin begun"]


async def test_what_could_not_be_undone_is_not_done_over(runner: Runner, recorder: Recorder) -> None:
    await runner.run(up(steps.pin()), asyncio.Event())
    recorder.failing["undo pin"] = SystemFault("no")

    result = await runner.run(Plan((Undo(steps.pin()), Do(steps.pin(1)))), asyncio.Event())

    assert result.failed == (steps.pin(1), "what was there before could not be undone")


async def test_an_amendment_that_fails_stays_marked_for_the_next_plan(
    runner: Runner, recorder: Recorder, journal: Journal
) -> None:
    await runner.run(up(steps.tunnel(), steps.address()), asyncio.Event())
    recorder.failing["amend tunnel"] = SystemFault("gone")

    result = await runner.run(Plan((Amend(steps.tunnel(), steps.tunnel(1)),)), asyncio.Event())

    assert result.failed == (steps.tunnel(1), "gone")
    assert states(runner) == {"tunnel": EntryState.AMENDING, "address": EntryState.DONE}
    plan = plan_from(runner.applied, (steps.tunnel(1), steps.address()), journal.origin)
    assert [type(change).__name__ for change in plan.changes] == ["Undo", "Undo", "Do", "Do"]


async def test_an_amendment_is_recorded_with_its_receipt(runner: Runner, recorder: Recorder) -> None:
    await runner.run(up(steps.pin()), asyncio.Event())

    await runner.run(Plan((Amend(steps.pin(), steps.pin(1)),)), asyncio.Event())

    (entry,) = runner.applied
    assert (entry.step, entry.before, entry.receipt) == (steps.pin(1), "before", "amended")


async def test_amending_or_undoing_what_is_not_there_does_no_harm(runner: Runner, recorder: Recorder) -> None:
    undone = await runner.run(Plan((Undo(steps.pin()),)), asyncio.Event())
    amended = await runner.run(Plan((Amend(steps.pin(), steps.pin(1)),)), asyncio.Event())

    assert (undone.failed, amended.failed) == (
        None,
        (steps.pin(1), "pin office of campus: is not in the journal, so it cannot be amended"),
    )
    assert recorder.calls == []


async def test_a_complaint_names_its_step(runner: Runner, recorder: Recorder) -> None:
    recorder.failing["complain"] = ValueError()

    result = await runner.run(up(steps.dns()), asyncio.Event())

    assert result.complaints == ("dns of campus: half as good",)


async def test_a_newer_decision_stops_between_two_steps(runner: Runner, recorder: Recorder) -> None:
    stop = asyncio.Event()
    recorder.go_on = asyncio.Event()
    running = asyncio.ensure_future(runner.run(up(steps.guard(), steps.pin()), stop))
    await recorder.at.wait()

    stop.set()
    recorder.go_on.set()
    result = await running

    assert result.stopped
    assert states(runner) == {"guard": EntryState.DONE}


async def test_a_cancelled_caller_waits_for_the_step_in_hand_and_no_longer(runner: Runner, recorder: Recorder) -> None:
    recorder.go_on = asyncio.Event()
    running = asyncio.ensure_future(runner.run(up(steps.guard(), steps.pin()), asyncio.Event()))
    await recorder.at.wait()

    running.cancel()
    asyncio.get_running_loop().call_soon(recorder.go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await running

    assert states(runner) == {"guard": EntryState.DONE}


async def test_steps_that_share_the_machines_tables_are_never_made_at_the_same_time(
    runner: Runner, recorder: Recorder
) -> None:
    recorder.go_on = asyncio.Event()
    plans = [runner.run(up(steps.guard(owner=owner)), asyncio.Event()) for owner in ("campus", "office")]
    running = asyncio.gather(*plans)
    await recorder.at.wait()
    assert recorder.calls == ["prepare guard 0"]

    recorder.go_on.set()
    await running

    assert recorder.calls == ["prepare guard 0", "do guard begun", "prepare guard 1", "do guard begun"]


async def test_hooks_and_tunnels_of_two_activations_run_side_by_side(runner: Runner, recorder: Recorder) -> None:
    recorder.go_on = asyncio.Event()
    owners = ("campus", "office")
    plans = [runner.run(up(steps.bracket(StepKind.PREUP, 0, owner)), asyncio.Event()) for owner in owners]
    running = asyncio.gather(*plans)
    await recorder.at.wait()
    await asyncio.sleep(0)

    assert len(recorder.calls) == 2
    recorder.go_on.set()
    await running


async def test_a_note_is_for_what_is_there_and_stays(runner: Runner, recorder: Recorder, machine: Machine) -> None:
    await runner.run(up(steps.tunnel()), asyncio.Event())

    await runner.note(steps.tunnel().key, {"pid": 7})
    await runner.note(steps.pin().key, {"pid": 8})

    assert [entry.receipt for entry in (await machine.journal()).entries] == [{"pid": 7}]


async def test_on_a_full_disk_the_network_is_given_back_and_the_step_stays_owed(
    runner: Runner, recorder: Recorder, machine: Machine
) -> None:
    await runner.run(up(steps.guard(), steps.pin()), asyncio.Event())
    machine.boot_log.room = 0

    result = await runner.run(diff((steps.guard(), steps.pin()), ()), asyncio.Event(), why)

    assert [call for call in recorder.calls if call.startswith("undo")] == [
        "undo pin done end of campus",
        "undo guard done end of campus",
    ]
    assert len(result.complaints) == 4
    assert set(states(runner)) == {"guard", "pin"}
