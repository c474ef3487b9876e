"""The difference between what is there and what is wanted: a plan of undoing, doing and amending, in order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autovpn.core.steps import Step, StepKey, StepKind, can_amend


@dataclass(frozen=True, slots=True)
class Undo:
    """Take a step back."""

    step: Step


@dataclass(frozen=True, slots=True)
class Do:
    """Carry a step out."""

    step: Step


@dataclass(frozen=True, slots=True)
class Amend:
    """Change a step in place; what was there before the first value stays what is restored."""

    old: Step
    new: Step


Change = Undo | Do | Amend


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes in the order in which they are carried out."""

    changes: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        """Report whether there is anything to do."""
        return bool(self.changes)


def diff(applied: Iterable[Step], wanted: Iterable[Step]) -> Plan:
    """Return the plan that leads from what is applied to what is wanted.

    Undoing comes first, in falling rank; then doing and amending in rising rank. An activation's tunnel is never
    undone or replaced below what stands on it: everything of that activation with a higher rank goes first.
    """
    have = {step.key: step for step in applied}
    want = {step.key: step for step in wanted}
    undone = _to_undo(have, want)
    undos = sorted((have[key] for key in undone), key=lambda step: (-step.rank, step.activation, step.object))
    forward = sorted(want.values(), key=lambda step: (step.rank, step.activation, step.object))
    changes: list[Change] = [Undo(step) for step in undos]
    for step in forward:
        before = have.get(step.key)
        if before is None or step.key in undone:
            changes.append(Do(step))
        elif before != step:
            changes.append(Amend(before, step))
    return Plan(tuple(changes))


def _to_undo(have: dict[StepKey, Step], want: dict[StepKey, Step]) -> set[StepKey]:
    undone = {key for key, step in have.items() if key not in want or not _stays(step, want[key])}
    for kind, activation, _ in tuple(undone):
        if kind is StepKind.TUNNEL:
            undone |= {key for key, step in have.items() if step.activation == activation and step.rank > kind.rank}
    return undone


def _stays(step: Step, wanted: Step) -> bool:
    return step == wanted or can_amend(step, wanted)
