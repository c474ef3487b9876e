"""The brackets of hooks: `preup` to `postdown`, `postup` to `predown`.

A bracket that was begun counts as run, however little of it ran, and its down hooks are owed. Each down hook is
recorded before it starts, so none ever runs twice, in whatever moment the daemon dies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from autovpn.core.profile import Event, Hook, OnFail
from autovpn.core.receipts import HookProgress
from autovpn.core.records import Entry, EntryState
from autovpn.core.steps import HookMoment, Step
from autovpn.daemon.executors.nonce import new_nonce
from autovpn.daemon.ports import Hooks
from autovpn.errors import StepFailed
from autovpn.system.hooks import HookResult
from autovpn.system.runner import Outcome, UndoContext, Work


class HooksExecutor:
    """Runs the up hooks to do a step, and its down hooks to undo it."""

    def __init__(self, hooks: Hooks, nonce: Callable[[], str] = new_nonce) -> None:
        """Take the port, and where marks come from."""
        self._hooks = hooks
        self._nonce = nonce

    async def prepare(self, step: Step, others: tuple[Entry, ...]) -> HookProgress:  # noqa: ARG002 (the protocol's)
        """Choose the mark by which a hook that outlives us will be found."""
        return HookProgress(self._nonce())

    async def do(self, work: Work) -> Outcome:
        """Run the up hooks, in order, until one fails whose failure counts."""
        moment = _moment(work.entry.step)
        progress = _progress(work.entry)
        complaints: list[str] = []
        for hook in moment.up:
            result = await self._hooks.run(hook, moment.context, progress.nonce)
            if result.succeeded:
                continue
            words = f"hook {hook.run[0]}: {result.words}"
            if _is_fatal(hook):
                raise StepFailed(hook.event.value, _with_output(words, result))
            complaints.append(_with_output(words, result))
        return Outcome(progress, tuple(complaints))

    async def amend(self, work: Work, new: Step) -> Outcome:
        """Refuse: a bracket is closed and opened again, never changed."""
        raise StepFailed(str(new), f"hooks cannot be amended: {work.entry.step.value}")

    async def undo(self, work: Work, why: UndoContext) -> tuple[str, ...]:
        """Run the down hooks that were not started yet, of the list whose up hooks ran; failures hold nothing up."""
        moment = _moment(work.entry.step)
        progress = _progress(work.entry)
        if work.entry.receipt is None or work.entry.state is not EntryState.DONE:
            await self._hooks.end(progress.nonce)
        complaints: list[str] = []
        for started, hook in enumerate(moment.down[progress.down :], start=progress.down + 1):
            await work.note(replace(progress, down=started))
            context = replace(moment.context, event=hook.event.value, reason=why.reason, alive=why.alive)
            result = await self._hooks.run(hook, context, progress.nonce)
            if not result.succeeded:
                complaints.append(_with_output(f"hook {hook.run[0]}: {result.words}", result))
        return tuple(complaints)


def _moment(step: Step) -> HookMoment:
    if not isinstance(step.context, HookMoment):
        raise StepFailed(str(step), "the journal does not say which hooks it has")
    return step.context


def _progress(entry: Entry) -> HookProgress:
    known = entry.receipt or entry.before
    if not isinstance(known, HookProgress):
        raise StepFailed(str(entry.step), "the journal does not say how far its hooks came")
    return known


def _is_fatal(hook: Hook) -> bool:
    """Report whether the failure of an up hook fails the step: a preup's does, unless the user says otherwise."""
    return hook.on_fail is OnFail.ABORT or (hook.event is Event.PREUP and hook.on_fail is OnFail.DEFAULT)


def _with_output(words: str, result: HookResult) -> str:
    last = result.output.rpartition("\n")[2]
    return f"{words} ({last})" if last else words
