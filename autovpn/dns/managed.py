"""resolv.conf as another program writes it for us: what shows of a wish, and how often others may undo it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

from autovpn.core.dnschoice import DnsWish, MachineDns, refuse_split
from autovpn.core.dnsseen import Seen, seen
from autovpn.dns.backend import DnsChanged, Drift, Outcome, Receipt
from autovpn.dns.defence import Defence, settled
from autovpn.dns.file_look import servers_of
from autovpn.dns.file_patience import PATIENCE, QUIET, Settling
from autovpn.dns.follow import FollowWatch


class ManagedFile:
    """A resolv.conf that is a manager's own; we only look at it. `applied` is the wish that the manager was told."""

    def __init__(self, path: Path, clock: Callable[[], float], *, on_conflict: str) -> None:
        """Look at `path`."""
        self.path = path
        self.applied: DnsWish | None = None
        self.quiet = QUIET
        self.patience = PATIENCE
        self._clock = clock
        self._defence = Defence(str(path), clock, on_conflict=on_conflict)
        self._rounds = 0

    async def apply(
        self,
        name: str,
        dns: MachineDns,
        tell: Callable[[DnsWish], Awaitable[None]],
        revert: Callable[[], Awaitable[Outcome]],
    ) -> Receipt:
        """Have the manager `name` told the wish of `dns` for all names, or told to forget; return what came of it.

        Where another program has used up our patience nothing is told, and the receipt says so.
        """
        notes = (*dns.refused, *map(refuse_split, dns.split))
        wish = dns.exclusive
        if wish is None:
            await revert()
            degraded = refuse_split(dns.split[0]) if dns.split else ""
            return Receipt(name, in_force=not degraded, degraded=degraded, notes=notes)
        yielded = await self._yielded()
        if yielded:
            return Receipt(name, in_force=False, degraded=yielded, notes=notes)
        self.applied = None  # while the manager writes, nothing that the file says is somebody else's change
        await tell(wish)
        self.applied = wish
        found = await self.seen(wish)
        return Receipt(
            name, in_force=found.in_force, degraded=found.amiss, notes=(*notes, *filter(None, (found.note,)))
        )

    async def seen(self, wish: DnsWish) -> Seen:
        """Return how `wish` fares in the file now."""
        return seen(wish, await asyncio.to_thread(servers_of, self.path), str(self.path))

    async def verify(self, wish: DnsWish) -> Drift | None:
        """Return why `wish` is not in force, or None: from now on it is ours to defend, whoever put it there."""
        found = await self.seen(wish)
        if not found.in_force:
            return Drift(found.amiss)
        self.applied = wish
        return None

    async def _yielded(self) -> str:
        """Return why another program's change is left alone, or an empty string: there is none, or it is answered."""
        if self.applied is None or (await self.seen(self.applied)).in_force:
            return ""
        # Each answer begins a new round: what is rewritten again and again may look the same every time.
        refusal = self._defence.refuses((self._rounds, await asyncio.to_thread(servers_of, self.path)))
        self._rounds += not refusal
        return refusal

    async def changes(self) -> AsyncGenerator[DnsChanged, None]:
        """Yield when the file has come to rest without our servers; at the start, if it already has."""
        watch = FollowWatch(self.path)
        try:
            while True:
                settling = Settling.begin(self._clock(), self.quiet, self.patience)
                await settled(watch.disturbed, self._reading, self._clock, settling)
                wish = self.applied
                found = await self.seen(wish) if wish else None
                if found and not found.in_force and wish is self.applied:
                    yield DnsChanged(found.amiss)
                await watch.disturbed()
        finally:
            watch.close()

    def _reading(self) -> tuple[object, bool]:
        conf = servers_of(self.path)
        return conf, bool(conf.nameservers)
