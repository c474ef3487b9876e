"""What becomes of the journal's entries: which are kept, which are undone, in which order, and what is done besides.

The same holds for a daemon that has just started on what a dead one left, and for one whose last plan was cut short:
only what is whole and still wanted is kept; whatever was begun, amended or undone half-way is undone.

A hook that was begun counts as run, so its counterpart is owed: undoing what was begun is all that this takes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from autovpn.core.diff import Plan, Undo, diff
from autovpn.core.records import Entry, EntryState, Origin
from autovpn.core.steps import Step, StepKey, StepKind, can_amend


@dataclass(frozen=True, slots=True)
class Recovery:
    """What is kept, and what is undone, the first to be undone first."""

    kept: tuple[Entry, ...] = ()
    undone: tuple[Entry, ...] = ()


def recover(
    entries: Iterable[Entry], wanted: Iterable[Step], origin: Origin, lost: Collection[StepKey] = ()
) -> Recovery:
    """Tell what is kept from what is undone; what is `lost` (a tunnel whose process died) is not there to be kept.

    Entries of another boot or network namespace are never kept. Where an activation's tunnel is not kept, nothing that
    stands on it is: its addresses and routes went with its device, and whoever was told of it must be told again.
    """
    have = tuple(entries)
    want = {step.key: step for step in wanted}
    kept = {
        entry.key
        for entry in have
        if entry.state is EntryState.DONE
        and entry.origin == origin
        and entry.key not in lost
        and entry.key in want
        and (entry.step == want[entry.key] or can_amend(entry.step, want[entry.key]))
    }
    tunnels = {key for key in (*want, *(entry.key for entry in have)) if key[0] is StepKind.TUNNEL}
    fallen = {activation for _, activation, _ in tunnels - kept}
    kept = {key for key in kept if key[1] not in fallen or key[0].rank <= StepKind.TUNNEL.rank}
    return Recovery(
        kept=tuple(entry for entry in have if entry.key in kept),
        undone=in_undoing_order(entry for entry in have if entry.key not in kept),
    )


def in_undoing_order(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the entries in falling rank."""
    return tuple(sorted(entries, key=lambda entry: (-entry.step.rank, entry.step.activation, entry.step.object)))


def plan_from(entries: Iterable[Entry], wanted: Iterable[Step], origin: Origin, lost: Collection[StepKey] = ()) -> Plan:
    """Return the plan that leads from the journal's entries, whole or not, to what is wanted."""
    want = tuple(wanted)
    recovery = recover(entries, want, origin, lost)
    forward = diff((entry.step for entry in recovery.kept), want)
    return Plan((*(Undo(entry.step) for entry in recovery.undone), *forward.changes))
