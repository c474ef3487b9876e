"""Watching: links by rtnetlink, wireless associations by nl80211, and the clock; each only says "look again"."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from autovpn.core.network import UplinkDns
from autovpn.core.profile import Policy
from autovpn.core.snapshot import Link
from autovpn.system.observe import Associations, observe_links
from autovpn.system.rtnl import Rtnl
from autovpn.system.rtnl_rows import Changes, Tables
from autovpn.system.sleep import ClockWatch
from autovpn.system.wireless import WirelessWatch

_RELEVANT = Changes.LINKS | Changes.ADDRESSES | Changes.ROUTES | Changes.NEIGHBOURS


class Watch:
    """A live view of one network namespace."""

    def __init__(self, rtnl: Rtnl, wireless: WirelessWatch, clock: ClockWatch) -> None:
        """Take over the open sockets."""
        self._rtnl = rtnl
        self._wireless = wireless
        self._clock = clock
        self._tables = Tables()
        self._tasks: list[asyncio.Task[None]] = []
        self._resumed = False

    def start(self, wake: Callable[[], None]) -> None:
        """Call `wake` in the event loop whenever something may have changed."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._rtnl.fileno(), self._heard, wake)
        loop.add_reader(self._clock.fileno(), self._jumped, wake)
        self._tasks.append(loop.create_task(self._follow_wireless(wake)))

    def stop(self) -> None:
        """Watch no more."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._rtnl.fileno())
        loop.remove_reader(self._clock.fileno())
        for task in self._tasks:
            task.cancel()
        self._rtnl.close()
        self._clock.close()

    def links(self, policy: Policy, dns: UplinkDns | None) -> tuple[Link, ...]:
        """Take in all that the kernel has said, and return every link that is no device of ours."""
        self._tables = self.tables()
        associations = Associations(self._wireless.associations, self._wireless.pending, self._wireless.complete)
        return observe_links(self._tables, associations, include=policy.include, exclude=policy.exclude, dns=dns)

    def indexes(self) -> Mapping[str, int]:
        """Return the index of every link by its name as of the last look, those of ours too."""
        return {row.name: row.index for row in self._tables.links.values()}

    def tables(self) -> Tables:
        """Take in what the kernel has said, and return its tables as they are now."""
        while self._rtnl.drain() & Changes.MORE:
            pass
        return self._rtnl.tables()

    def has_resumed(self) -> bool:
        """Report, once, that the machine slept or its clock was set since the last call."""
        resumed, self._resumed = self._resumed, False
        return resumed

    def counters(self) -> Mapping[str, int]:
        """Return what was lost and read again since the start."""
        return {
            "netlink_resyncs": self._rtnl.resyncs,
            "netlink_malformed": self._rtnl.malformed,
            "wireless_resyncs": self._wireless.resyncs,
        }

    def _heard(self, wake: Callable[[], None]) -> None:
        changes = self._rtnl.drain()
        if changes & (Changes.LINKS | Changes.WIRELESS):
            self._wireless.look_again()
        if changes & (_RELEVANT | Changes.MORE):
            wake()

    def _jumped(self, wake: Callable[[], None]) -> None:
        if self._clock.consume():
            self._resumed = True
            wake()

    async def _follow_wireless(self, wake: Callable[[], None]) -> None:
        while True:
            await self._wireless.changed.wait()
            self._wireless.changed.clear()
            wake()
