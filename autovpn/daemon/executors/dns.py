"""DNS: one application for the machine, the merge of the wishes of all activations in force."""

from __future__ import annotations

from autovpn.core.dnschoice import DnsWish, merge
from autovpn.core.records import Entry, EntryState
from autovpn.core.steps import DnsValue, Step
from autovpn.daemon.ports import Resolver
from autovpn.errors import Refused, StepFailed
from autovpn.system.runner import Outcome, UndoContext, Work


class DnsExecutor:
    """Applies the merge of all wishes whenever one comes, changes or goes; the last one that goes reverts it.

    A machine that refuses to have its DNS changed keeps it, and the tunnel without its DNS: that is a complaint.
    """

    def __init__(self, resolver: Resolver) -> None:
        """Take the port."""
        self._resolver = resolver

    async def prepare(self, step: Step, others: tuple[Entry, ...]) -> None:
        """Find nothing to remember: the truth about what was there before is kept by the back end."""

    async def do(self, work: Work) -> Outcome:
        """Apply the wishes with this one."""
        return await self._apply((*_in_force(work.others), _wish(work.entry.step)))

    async def amend(self, work: Work, new: Step) -> Outcome:
        """Apply the wishes with the newer one in its place."""
        return await self._apply((*_in_force(work.others), _wish(new)))

    async def undo(self, work: Work, why: UndoContext) -> tuple[str, ...]:  # noqa: ARG002 (the protocol's)
        """Apply the wishes without this one; without any, give the machine its own DNS back."""
        rest = _in_force(work.others)
        if rest:
            return (await self._apply(rest)).complaints
        return (await self._resolver.revert()).why

    async def _apply(self, wishes: tuple[DnsWish, ...]) -> Outcome:
        try:
            receipt = await self._resolver.apply(merge(wishes))
        except Refused as refusal:
            return Outcome(None, (str(refusal),))
        return Outcome(receipt.backend, tuple(filter(None, (receipt.degraded, *receipt.notes))))


def _in_force(entries: tuple[Entry, ...]) -> tuple[DnsWish, ...]:
    """Return the wishes that stay, in the order in which they came."""
    return tuple(
        entry.step.value.wish
        for entry in entries
        if isinstance(entry.step.value, DnsValue) and entry.state is EntryState.DONE
    )


def _wish(step: Step) -> DnsWish:
    if not isinstance(step.value, DnsValue):
        raise StepFailed(str(step), "wishes no DNS")
    return step.value.wish
