"""Watching: links by rtnetlink, wireless associations by nl80211, and the clock; each only says "look again"."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

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
        self._wake: Callable[[], None] = lambda: None

    def start(self, wake: Callable[[], None]) -> None:
        """Call `wake` in the event loop whenever something may have changed."""
        self._wake = wake
        loop = asyncio.get_running_loop()
        loop.add_reader(self._rtnl.fileno(), self._heard)
        loop.add_reader(self._clock.fileno(), self._jumped)
        self._tasks.append(loop.create_task(self._follow_wireless()))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave what the kernel says in its socket: in a storm every message would wake us for nothing."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._rtnl.fileno())
        try:
            yield
        finally:
            loop.add_reader(self._rtnl.fileno(), self._heard)

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
        self._read_all()
        self._tables = self._rtnl.tables()
        associations = Associations(self._wireless.associations, self._wireless.pending, self._wireless.complete)
        return observe_links(self._tables, associations, include=policy.include, exclude=policy.exclude, dns=dns)

    def indexes(self) -> Mapping[str, int]:
        """Return the index of every link by its name as of the last look, those of ours too."""
        return {row.name: row.index for row in self._tables.links.values()}

    def has_link(self, name: str) -> bool:
        """Report whether there is a link of this name now."""
        return any(row.name == name for row in self.tables().links.values())

    def tables(self) -> Tables:
        """Return the kernel's tables as they are now; what is news in them will be looked at."""
        if self._read_all() & _RELEVANT:
            self._wake()
        return self._rtnl.tables()

    def has_resumed(self) -> bool:
        """Report, once, that the machine slept since the last call."""
        resumed, self._resumed = self._resumed, False
        return resumed

    def counters(self) -> Mapping[str, int]:
        """Return what was lost and read again since the start."""
        return {
            "netlink_resyncs": self._rtnl.resyncs,
            "netlink_malformed": self._rtnl.malformed,
            "wireless_resyncs": self._wireless.resyncs,
        }

    def _heard(self) -> None:
        if self._read() & (_RELEVANT | Changes.MORE):
            self._wake()

    def _read_all(self) -> Changes:
        """Read until nothing is left in the socket."""
        changes = latest = self._read()
        while latest & Changes.MORE:
            latest = self._read()
            changes |= latest
        return changes

    def _read(self) -> Changes:
        """Take in a batch of what the kernel has said; whoever reads it also tells those who follow the stations."""
        changes = self._rtnl.drain()
        if changes & (Changes.LINKS | Changes.WIRELESS):
            self._wireless.look_again()
        return changes

    def _jumped(self) -> None:
        if self._clock.consume():
            self._resumed = self._resumed or self._clock.suspended_for() > 0
            self._wake()

    async def _follow_wireless(self) -> None:
        while True:
            await self._wireless.changed.wait()
            self._wireless.changed.clear()
            self._wake()
