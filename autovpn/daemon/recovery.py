"""Undoing all that the journal knows: what `autovpn recover` does, and a daemon that stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autovpn.core.diff import Plan, Undo
from autovpn.core.recover import in_undoing_order
from autovpn.core.steps import StepKind
from autovpn.system.journal import Journal
from autovpn.system.runner import Executor, Runner, UndoContext


@dataclass(frozen=True, slots=True)
class Recovered:
    """A sentence on each step that was undone, on whatever went wrong, and on each step that is left."""

    undone: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


async def recover_all(
    journal: Journal,
    executors: Mapping[StepKind, Executor],
    why: Callable[[str], UndoContext] = lambda _: UndoContext(reason="recover"),
) -> Recovered:
    """Undo every entry of an opened journal, in order; what could not be undone stays in it for another try."""
    plan = Plan(tuple(Undo(entry.step) for entry in in_undoing_order(journal.entries)))
    result = await Runner(journal, executors).run(plan, asyncio.Event(), why)
    return Recovered(
        undone=tuple(f"{change.step}: undone" for change in result.done if isinstance(change, Undo)),
        complaints=result.complaints,
        left=tuple(f"{entry.step}: is still there; run 'autovpn recover' again" for entry in journal.entries),
    )
