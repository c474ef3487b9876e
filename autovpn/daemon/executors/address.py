"""The addresses and the MTU of a tunnel's device."""

from __future__ import annotations

from autovpn.core.network import IPAddress, IPInterface
from autovpn.core.receipts import Dressed
from autovpn.core.records import Entry
from autovpn.core.steps import AddressValue, Step
from autovpn.daemon.ports import Links
from autovpn.errors import StepFailed
from autovpn.system.runner import Outcome, UndoContext, Work

Addresses = dict[IPInterface, IPAddress | None]


class AddressExecutor:
    """Sets a device up with its addresses to do a step, takes the addresses away to undo it."""

    def __init__(self, links: Links) -> None:
        """Take the port."""
        self._links = links

    async def prepare(self, step: Step, others: tuple[Entry, ...]) -> Dressed:  # noqa: ARG002 (the protocol's)
        """Find the device; its index is what counts from now on."""
        value = _value(step)
        index = await self._links.index_of(value.device)
        if index is None:
            raise StepFailed(str(step), f"the device {value.device} is not there any more")
        return Dressed(index)

    async def do(self, work: Work) -> Outcome:
        """Set the device up, and give it its addresses."""
        value = _value(work.entry.step)
        index = _index(work.entry)
        await self._links.set_up(index, value.mtu)
        await self._add(index, _pairs(value))
        return Outcome()

    async def amend(self, work: Work, new: Step) -> Outcome:
        """Add what is new before what is old goes, so that connections that can go on do.

        An address with another far end is another one, which the kernel refuses beside the first.
        """
        old, wanted = _pairs(_value(work.entry.step)), _pairs(_value(new))
        index = _index(work.entry)
        await self._links.set_up(index, _value(new).mtu)
        gone = {address: peer for address, peer in old.items() if wanted.get(address, peer) != peer}
        await self._remove(index, gone)
        await self._add(index, {address: peer for address, peer in wanted.items() if old.get(address, self) != peer})
        await self._remove(index, {address: peer for address, peer in old.items() if address not in wanted})
        return Outcome()

    async def undo(self, work: Work, why: UndoContext) -> tuple[str, ...]:  # noqa: ARG002 (the protocol's)
        """Take the addresses away; the device itself goes with the tunnel."""
        for step in filter(None, (work.entry.amending, work.entry.step)):
            await self._remove(_index(work.entry), _pairs(_value(step)))
        return ()

    async def _add(self, index: int, addresses: Addresses) -> None:
        for address, peer in addresses.items():
            await self._links.add_address(index, address, peer)

    async def _remove(self, index: int, addresses: Addresses) -> None:
        for address, peer in addresses.items():
            await self._links.remove_address(index, address, peer)


def _pairs(value: AddressValue) -> Addresses:
    """Return each address with the far end of its family."""
    peer = value.peer
    return {one: peer if peer is not None and peer.version == one.version else None for one in value.addresses}


def _value(step: Step) -> AddressValue:
    if not isinstance(step.value, AddressValue):
        raise StepFailed(str(step), "has no addresses")
    return step.value


def _index(entry: Entry) -> int:
    if not isinstance(entry.before, Dressed):
        raise StepFailed(str(entry.step), "the journal does not say which device it is")
    return entry.before.index
