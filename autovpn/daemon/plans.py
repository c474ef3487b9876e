"""The plans that are being carried out: one at a time for each activation, given up for a newer one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from autovpn.core.diff import Amend, Do, Plan, Undo
from autovpn.core.records import EntryState, Origin
from autovpn.core.recover import plan_from
from autovpn.core.steps import Step, StepKey
from autovpn.system.runner import Runner, RunResult, UndoContext

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Running:
    plan: Plan
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[RunResult] | None = None


class Plans:
    """Steers each activation to its target.

    `why` is asked at each undo; `finished` is called in the loop when a plan has come to its end.
    """

    def __init__(
        self,
        runner: Runner,
        origin: Origin,
        why: Callable[[str], UndoContext],
        finished: Callable[[str, Plan, RunResult], None],
    ) -> None:
        """Begin with no plan running."""
        self._runner = runner
        self._origin = origin
        self._why = why
        self._finished = finished
        self._running: dict[str, _Running] = {}
        self._stuck: dict[str, Plan] = {}
        self.count = 0
        """How many plans were begun."""

    def applied(self, activation: str | None = None) -> tuple[Step, ...]:
        """Return the steps that are, or may be, on the machine."""
        steps = (entry.step for entry in self._runner.applied)
        return tuple(step for step in steps if activation in (None, step.activation))

    def destined(self) -> tuple[Step, ...]:
        """Return the steps that will be on the machine once the plans that are being carried out have ended."""
        steps = {step.key: step for step in self.applied()}
        for running in self._running.values():
            if not running.stop.is_set():
                for change in running.plan.changes:
                    if isinstance(change, Undo):
                        steps.pop(change.step.key, None)
                    else:
                        steps[_result(change).key] = _result(change)
        return tuple(steps.values())

    def unfinished(self) -> frozenset[StepKey]:
        """Return the keys of the steps that are being done, amended or undone."""
        return frozenset(entry.key for entry in self._runner.applied if entry.state is not EntryState.DONE)

    def activations(self) -> frozenset[str]:
        """Return the activations that have steps or a running plan."""
        return frozenset(step.activation for step in self.applied()) | frozenset(self._running)

    def is_running(self, activation: str) -> bool:
        """Report whether a plan of the activation is being carried out."""
        return activation in self._running

    @property
    def is_idle(self) -> bool:
        """Report whether no plan is being carried out."""
        return not self._running

    def is_stuck(self, activation: str) -> bool:
        """Report whether the activation's last plan failed and waits for something to change."""
        return activation in self._stuck

    def steer(self, activation: str, target: tuple[Step, ...], lost: Collection[StepKey] = ()) -> None:
        """See to it that the activation reaches its target; a running plan that leads elsewhere is ended first.

        A plan that failed is not tried again as it is: something has to change, or `forget_failures` to be called.
        """
        running = self._running.get(activation)
        if running is not None:
            if not still_right(running.plan, target, self._whole()):
                running.stop.set()
            return
        plan = self.next_plan(activation, target, lost)
        if not plan:
            self._stuck.pop(activation, None)
        elif self._stuck.get(activation) != plan:
            self._start(activation, plan)

    def next_plan(self, activation: str, target: tuple[Step, ...], lost: Collection[StepKey] = ()) -> Plan:
        """Return what would be done now."""
        entries = [entry for entry in self._runner.applied if entry.step.activation == activation]
        return plan_from(entries, target, self._origin, lost)

    def forget_failures(self) -> None:
        """Let plans that failed be tried again."""
        self._stuck.clear()

    async def quiesce(self) -> None:
        """End every plan, and return when each has come to a safe end."""
        for running in self._running.values():
            running.stop.set()
        tasks = [running.task for running in self._running.values() if running.task]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _whole(self) -> frozenset[Step]:
        return frozenset(entry.step for entry in self._runner.applied if entry.state is EntryState.DONE)

    def _start(self, activation: str, plan: Plan) -> None:
        self._stuck.pop(activation, None)
        self.count += 1
        running = _Running(plan)
        self._running[activation] = running
        running.task = asyncio.get_running_loop().create_task(self._runner.run(plan, running.stop, self._why))
        running.task.add_done_callback(lambda task: self._ended(activation, plan, task))

    def _ended(self, activation: str, plan: Plan, task: asyncio.Task[RunResult]) -> None:
        del self._running[activation]
        result = _result_of(task)
        if (result.failed or result.complaints) and not result.stopped:
            self._stuck[activation] = plan
        self._finished(activation, plan, result)


def _result_of(task: asyncio.Task[RunResult]) -> RunResult:
    """Return what came of a plan; a fault of our own is a complaint, since the daemon has to go on."""
    if task.cancelled():
        return RunResult(stopped=True)
    error = task.exception()
    if error is None:
        return task.result()
    log.error("plan.fault", exc_info=error)
    return RunResult(complaints=(f"autovpn's own fault: {type(error).__name__}: {error}",))


def still_right(plan: Plan, target: Collection[Step], whole: Collection[Step]) -> bool:
    """Report whether a plan still leads towards the target: what that wants besides can follow.

    A plan that takes away what is wanted is wrong while that is `whole`; what it has taken, ending it saves no more.
    """
    wanted = set(target)
    made = {_result(change) for change in plan.changes if not isinstance(change, Undo)}
    undone = {change.step for change in plan.changes if isinstance(change, Undo)}
    return made <= wanted and not (undone - made) & wanted & set(whole)


def _result(change: Do | Amend) -> Step:
    return change.step if isinstance(change, Do) else change.new
