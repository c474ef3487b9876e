"""The tunnel itself: a process and a device, both marked by a nonce that is in the journal before they exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autovpn.core.records import Entry
from autovpn.core.steps import Step
from autovpn.daemon.executors.nonce import new_nonce
from autovpn.daemon.ports import Links, Tunnels
from autovpn.errors import StepFailed
from autovpn.system.runner import Outcome, UndoContext, Work


class TunnelExecutor:
    """Starts a tunnel to do a step; ends its processes and deletes its device to undo it."""

    def __init__(self, tunnels: Tunnels, links: Links, nonce: Callable[[], str] = new_nonce) -> None:
        """Take the ports, and where marks come from."""
        self._tunnels = tunnels
        self._links = links
        self._nonce = nonce

    async def prepare(self, step: Step, others: tuple[Entry, ...]) -> str:  # noqa: ARG002 (the protocol's)
        """Choose the mark, by which the process is found even when we die right after its birth."""
        return self._nonce()

    async def do(self, work: Work) -> Outcome:
        """Start the tunnel. Whether it ever gets anywhere is told by its events."""
        return Outcome(await self._tunnels.start(work.entry.step, nonce_of(work.entry)))

    async def amend(self, work: Work, new: Step) -> Outcome:
        """Tell the tunnel of its new uplink or endpoints."""
        await self._tunnels.amend(new)
        return Outcome(work.entry.receipt)

    async def undo(self, work: Work, why: UndoContext) -> tuple[str, ...]:  # noqa: ARG002 (the protocol's)
        """End the processes, then delete the device, which is known by its mark even when we died making it."""
        nonce, receipt = nonce_of(work.entry), receipt_of(work.entry)
        await self._tunnels.stop(work.entry.step, nonce, receipt)
        alias = f"autovpn:{nonce}"
        index = await self._links.with_alias(alias)
        if index is not None:
            await self._links.delete(index, alias)
        return ()


def nonce_of(entry: Entry) -> str:
    """Return the mark of a tunnel's process and device."""
    if not isinstance(entry.before, str):
        raise StepFailed(str(entry.step), "the journal does not say how its process is marked")
    return entry.before


def receipt_of(entry: Entry) -> Mapping[str, Any] | None:
    """Return what finds a tunnel again, None where it was not written."""
    return entry.receipt if isinstance(entry.receipt, Mapping) else None
