"""Carries out plans, each change between two records of the journal, so that a crash at any moment can be undone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from autovpn.core.diff import Amend, Change, Do, Plan, Undo
from autovpn.core.records import Amended, Amending, Begin, Done, Entry, EntryState, Note, Undoing, Undone
from autovpn.core.steps import Step, StepKey, StepKind
from autovpn.errors import AutovpnError, JournalError
from autovpn.system.journal import Journal

T = TypeVar("T")

_HOOKS = frozenset({StepKind.PREUP, StepKind.POSTUP})
_SHARED = frozenset({StepKind.GUARD, StepKind.PIN, StepKind.ROUTES, StepKind.DNS})
"""The kinds whose steps depend on those of other activations: tables, priorities and the resolver are the machine's."""


@dataclass(frozen=True, slots=True)
class UndoContext:
    """Why a step is undone, and whether its activation's tunnel passes packets: what down hooks are told."""

    reason: str = ""
    alive: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """One step in the journal and the other entries beside it. `note` records a newer receipt."""

    entry: Entry
    others: tuple[Entry, ...]
    note: Callable[[object], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a change: the receipt for the journal, and what went wrong without making it a failure."""

    receipt: object = None
    complaints: tuple[str, ...] = ()


class Executor(Protocol):
    """Carries out one kind of step. A change that fails raises an AutovpnError or an OSError."""

    async def prepare(self, step: Step, others: tuple[Entry, ...]) -> object:
        """Look at the machine and return what undoing must know; nothing is changed yet."""
        ...

    async def do(self, work: Work) -> Outcome:
        """Carry the step out. What is left of a failed attempt is undone by `undo`."""
        ...

    async def amend(self, work: Work, new: Step) -> Outcome:
        """Change the step in place to the new value."""
        ...

    async def undo(self, work: Work, why: UndoContext) -> tuple[str, ...]:
        """Take back whatever is there of a step, however far it came, once more if need be; return complaints.

        `work.entry` is as it was before: its state tells how far the step had come. Raises where something of ours
        stays and another try may remove it.
        """
        ...


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a plan.

    `failed` is the step at which it ended, with the reason in words; `teardown` are the complaints about undoing;
    `stopped` says that a newer decision ended it.
    """

    done: tuple[Change, ...] = ()
    failed: tuple[Step, str] | None = None
    complaints: tuple[str, ...] = ()
    teardown: tuple[str, ...] = ()
    stopped: bool = False


class Runner:
    """Carries out plans with one executor per kind of step.

    Plans of different activations may run at the same time, as long as no two of them name the same step.
    """

    def __init__(self, journal: Journal, executors: Mapping[StepKind, Executor]) -> None:
        """Take the journal, opened."""
        self._journal = journal
        self._executors = executors
        self._machine = asyncio.Lock()

    @property
    def applied(self) -> tuple[Entry, ...]:
        """Return what is, or may be, on the machine because of us."""
        return self._journal.entries

    async def run(
        self, plan: Plan, stop: asyncio.Event, why: Callable[[str], UndoContext] = lambda _: UndoContext()
    ) -> RunResult:
        """Carry out a plan until its end, its first failure, or `stop`; `why` is asked by activation at each undo.

        `stop` holds between changes, and ends a bracket of up hooks in the middle; what is then half-done is undone.
        Undoing goes on past failures. A cancelled caller waits until what is being changed is whole or undone.
        """
        return await _whole(_Run(self._journal, self._executors, self._machine, stop, why).carry_out(plan), stop)

    async def note(self, key: StepKey, receipt: object) -> None:
        """Record what has become known of a step since it was done; nothing to do when it is being undone."""
        entry = self._journal.entry(key)
        if entry is not None and entry.state is not EntryState.UNDOING:
            await self._journal.record(Note(key, receipt))


class _Run:
    """One plan on its way."""

    def __init__(
        self,
        journal: Journal,
        executors: Mapping[StepKind, Executor],
        machine: asyncio.Lock,
        stop: asyncio.Event,
        why: Callable[[str], UndoContext],
    ) -> None:
        self._journal = journal
        self._executors = executors
        self._machine = machine
        self._stop = stop
        self._why = why
        self._done: list[Change] = []
        self._complaints: list[str] = []
        self._teardown: list[str] = []

    async def carry_out(self, plan: Plan) -> RunResult:
        for change in plan.changes:
            if self._stop.is_set():
                return self._result(stopped=True)
            step = change.new if isinstance(change, Amend) else change.step
            async with self._machine if step.kind in _SHARED else nullcontext():
                words = await self._change(change)
            if words is None:
                self._done.append(change)
            elif isinstance(change, Undo):
                self._complain_of_undoing(step, (words,))
            else:
                return self._result(failed=(step, words), stopped=self._stop.is_set())
        return self._result()

    async def _change(self, change: Change) -> str | None:
        """Make one change; return in words why it is not made, or None."""
        match change:
            case Undo(step):
                return await self._undo(step)
            case Do(step):
                return await self._do(step)
            case Amend(_, step):
                return await self._amend(step)

    async def _do(self, step: Step) -> str | None:
        """Carry a step out, or undo what came of the attempt."""
        if self._journal.entry(step.key) is not None:
            return "what was there before could not be undone"
        executor = self._executors[step.kind]
        try:
            before = await executor.prepare(step, self._journal.entries)
            await self._journal.record(Begin(step, before, self._journal.origin))
        except (AutovpnError, OSError) as error:
            return str(error)
        try:
            outcome = await self._interruptible(step, executor.do(self._work(self._entry(step))))
            self._complain(step, outcome.complaints)
            await self._journal.record(Done(step.key, outcome.receipt))
        except (AutovpnError, OSError) as error:
            remains = await self._undo(step)
            self._complain(step, (remains,) if remains else ())
            return str(error)
        return None

    async def _amend(self, step: Step) -> str | None:
        """Change a step in place. What fails stays marked, for the next plan to undo with what stands on it."""
        try:
            work = self._work(self._entry(step))
            await self._journal.record(Amending(step))
            outcome = await self._executors[step.kind].amend(work, step)
            self._complain(step, outcome.complaints)
            await self._journal.record(Amended(step.key, outcome.receipt))
        except (AutovpnError, OSError) as error:
            return str(error)
        return None

    async def _undo(self, step: Step) -> str | None:
        """Take a step back; return in words why something of it is left, or None."""
        entry = self._journal.entry(step.key)
        if entry is None:
            return None
        try:
            if entry.state is not EntryState.UNDOING:
                await self._journal.record(Undoing(step.key))
        except JournalError as error:
            # On a full disk the network must be given back all the same.
            self._complain_of_undoing(step, (str(error),))
        try:
            complaints = await self._executors[step.kind].undo(self._work(entry), self._why(step.activation))
            self._complain_of_undoing(step, complaints)
            await self._journal.record(Undone(step.key))
        except (AutovpnError, OSError) as error:
            return str(error)
        return None

    async def _interruptible(self, step: Step, doing: Coroutine[Any, Any, Outcome]) -> Outcome:
        """Let `stop` end a bracket of hooks, which may take long; every other step is short and done whole."""
        if step.kind not in _HOOKS:
            return await doing
        task = asyncio.ensure_future(doing)
        stopped = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not task.done():
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            raise AutovpnError("ended early, by a newer decision") from None

    def _entry(self, step: Step) -> Entry:
        entry = self._journal.entry(step.key)
        if entry is None:
            raise JournalError(f"{step}: is not in the journal, so it cannot be amended")
        return entry

    def _work(self, entry: Entry) -> Work:
        others = tuple(other for other in self._journal.entries if other.key != entry.key)
        return Work(entry, others, lambda receipt: self._journal.record(Note(entry.key, receipt)))

    def _complain(self, step: Step, words: tuple[str, ...]) -> None:
        self._complaints += [f"{step}: {one}" for one in words]

    def _complain_of_undoing(self, step: Step, words: tuple[str, ...]) -> None:
        self._complain(step, words)
        self._teardown += [f"{step}: {one}" for one in words]

    def _result(self, failed: tuple[Step, str] | None = None, *, stopped: bool = False) -> RunResult:
        return RunResult(tuple(self._done), failed, tuple(self._complaints), tuple(self._teardown), stopped)


async def _whole(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T:
    """Await `work`; a cancellation sets `stop` and is handed on when the work has come to its end."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen here, and overruled by the cancellation
        raise
