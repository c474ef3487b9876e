"""The back end that tells systemd-resolved, where that is the machine's resolver: each link's own servers and names."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path

from autovpn.core.dnscandidates import wishes_of
from autovpn.core.dnschoice import DnsWish, MachineDns
from autovpn.core.resolvconf import ResolvConf
from autovpn.core.resolvedlink import left_out, link_settings
from autovpn.dns.backend import DnsBackend, DnsChanged, Drift, Outcome, Receipt
from autovpn.dns.defence import Defence
from autovpn.dns.file_look import servers_of
from autovpn.dns.file_patience import PATIENCE, QUIET
from autovpn.dns.resolved_calls import SERVICE, Resolve1
from autovpn.dns.resolved_delegates import Delegates
from autovpn.dns.resolved_record import Record, Told, has_still
from autovpn.errors import AutovpnError, StepFailed
from autovpn.system.bus import Bus, Signal
from autovpn.system.files import to_its_end

_NEWS = (
    f"sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{SERVICE}'",
    f"sender='{SERVICE}',member='PropertiesChanged',path='/org/freedesktop/resolve1'",
)
RESTART = 10.0
"""Seconds that a service may be away for; longer than that it doesn't come back."""

UNREACHABLE = "keeps our DNS servers until it goes away, since systemd-resolved can't be reached"


class ResolvedBackend(DnsBackend):
    """One link's settings for each wish; a delegate for one whose tunnel has no device.

    They live in systemd-resolved and go with the link. Others may take them away (NetworkManager resets links that it
    once knew, jonathanio/update-systemd-resolved#51; a restart loses them, systemd/systemd#23655): what is in force is
    looked at whenever systemd-resolved says that something changed, and whenever the network did.
    """

    name = "resolved"

    def __init__(
        self,
        bus: Bus,
        run: Path = Path("/run/autovpn"),
        delegates: Delegates | None = None,
        *,
        path: Path = Path("/etc/resolv.conf"),
        on_conflict: str = "reapply",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Speak over `bus`; `run` holds the record of what was told, and programs are led to the service by `path`."""
        self._bus = bus
        self._resolve1 = Resolve1(bus)
        self._record = Record(run)
        self._delegates = delegates or Delegates(bus)
        self._path = path
        self._defence = Defence("systemd-resolved", clock, on_conflict=on_conflict)
        self._applied: MachineDns | None = None
        self._owner_changed = False
        self._puts = 0
        self._look = asyncio.Event()
        self._search: tuple[str, ...] | None = None
        self.quiet = QUIET
        self.patience = RESTART

    async def apply(self, dns: MachineDns) -> Receipt:
        """Put `dns` in force; see `DnsBackend`. Where we yield to another program the receipt says so."""
        if not dns.is_wanted:
            outcome = await self.revert()
            return Receipt(self.name, in_force=outcome.clean, notes=outcome.why)
        notes = (*dns.refused, *(why for wish in wishes_of(dns) for why in left_out(wish)))
        yielded = await self._yielded()
        if yielded:
            return Receipt(self.name, in_force=False, degraded=yielded, notes=notes)
        try:
            notes = (*notes, *await self._put(dns))
        except AutovpnError:
            with suppress(AutovpnError):  # the first error is the one to tell
                await self.revert()
            raise
        self._applied, self._owner_changed, self._puts = dns, False, self._puts + 1
        self._look.set()
        drift = await self._drift(dns)
        return Receipt(self.name, in_force=drift is None, degraded=drift.why if drift else "", notes=notes)

    async def revert(self) -> Outcome:
        """Undo whatever is left of us, whoever left it; nothing is asked of the bus where nothing was told."""
        self._applied = None
        return await self._take_back(await to_its_end(self._record.read), Told())

    async def verify(self, dns: MachineDns) -> Drift | None:
        """Return how a link's settings differ from `dns`, or None."""
        drift = await self._drift(dns)
        if drift is None:
            self._applied = dns  # also that of a daemon before us: from now on it is ours to defend
            self._look.set()
        return drift

    async def changes(self) -> AsyncGenerator[DnsChanged, None]:
        """Yield when something of ours is in force no more, once that has settled; at the start, if it already is."""
        while self._applied is None:
            await self._look.wait()
            self._look.clear()
        async with aclosing(self._bus.signals(*_NEWS)) as signals:
            listening = asyncio.get_running_loop().create_task(self._listen(signals))
            listening.add_done_callback(lambda _task: self._look.set())
            try:
                while not listening.done():
                    await self._quiet()
                    drift = await self._trouble()
                    if drift:
                        yield DnsChanged(drift.why)
                    if not listening.done():
                        await self._look.wait()
                await listening  # raises what ended it
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def original(self) -> ResolvConf | None:
        """Return what programs are led to, with the search domains of the links that aren't ours.

        Where the service can't say, they are as last known; raises StepFailed where it never could.
        """
        told = await to_its_end(self._record.read)
        if told == Told():
            self._search = None
            return None
        try:
            self._search = await self._resolve1.search(without={index for index, _name in told.links})
        except StepFailed:
            if self._search is None:
                raise
        return replace(await to_its_end(servers_of, self._path), search=self._search)

    async def behind(self) -> tuple[str, ...] | None:
        """Return the servers of the links that aren't ours, and of no link: its file names ours among them."""
        told = await to_its_end(self._record.read)
        return await self._resolve1.servers(without={index for index, _name in told.links})

    def look_again(self) -> None:
        """Have `changes` look soon."""
        self._look.set()

    async def _put(self, dns: MachineDns) -> tuple[str, ...]:
        """Tell systemd-resolved, after it has been recorded; what isn't wished any more is taken back."""
        links = {index: wish for wish in wishes_of(dns) if wish.device and (index := _index(wish))}
        homeless = [wish for wish in wishes_of(dns) if not wish.device]
        new = Told(
            tuple((index, wish.device or "") for index, wish in links.items()),
            tuple(self._delegates.name(wish) for wish in homeless),
        )
        old = await to_its_end(self._record.read)
        await to_its_end(self._record.write, old.joined(new))
        notes: list[str] = []
        for index, wish in links.items():
            notes += await self._resolve1.set_link(index, wish.device or "", link_settings(wish))
        await self._delegates.write(homeless)
        await self._take_back(old, new)
        await self._resolve1.flush()
        return tuple(notes)

    async def _take_back(self, old: Told, new: Told) -> Outcome:
        """Undo what was told and is not told any more; who can't be reached now is kept in the record."""
        links = [link for link in old.links if link not in new.links and has_still(*link)]
        if links and await self._resolve1.is_running():
            for index, name in links:
                await self._resolve1.revert_link(index, name)
            await self._resolve1.flush()
            links = []
        await self._delegates.remove(set(old.delegates) - set(new.delegates))
        left = Told(tuple(links)).joined(new)
        if left != Told():
            await to_its_end(self._record.write, left)
        elif old != Told():
            await to_its_end(self._record.forget)
        return Outcome(clean=not links, why=tuple(f"{name}: {UNREACHABLE}" for _index, name in links))

    async def _drift(self, dns: MachineDns) -> Drift | None:
        for wish in wishes_of(dns):
            amiss = await self._amiss(wish)
            if amiss:
                return Drift(amiss)
        return None

    async def _trouble(self) -> Drift | None:
        """Return how what we applied is not in force any more, be it that the service went and did not come back."""
        gone_at = time.monotonic() + self.patience
        while self._applied is not None:
            try:
                return await self._drift(self._applied)
            except StepFailed as fault:
                if not await self._has_news(gone_at - time.monotonic()):
                    return Drift(str(fault))
        return None

    async def _amiss(self, wish: DnsWish) -> str:
        """Return what is missing of one wish, or an empty string."""
        if not wish.device:
            return "" if await self._delegates.holds(wish) else f"the delegate of {wish.owner} is gone"
        index = _index(wish)
        found = await self._resolve1.link(index) if index else None
        if found is None:
            return f"{wish.device}: systemd-resolved does not know it"
        return "" if found == link_settings(wish) else f"{wish.device}: another program changed its DNS"

    async def _yielded(self) -> str:
        """Return why another program's change is left alone, or nothing; a restart of the service is no fight."""
        if self._applied is None or self._owner_changed:
            return ""
        with suppress(AutovpnError):
            if await self._drift(self._applied):
                return self._defence.refuses(self._puts)  # each answer begins a new round
        return ""

    async def _listen(self, signals: AsyncIterator[Signal | None]) -> None:
        """Wake `changes` by each signal; ends by the fault that says that there will be no more."""
        async for signal in signals:
            if signal and signal.member == "NameOwnerChanged":
                self._owner_changed = True
            self._look.set()

    async def _quiet(self) -> None:
        """Return after a while without news, or when that takes too long."""
        self._look.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while await self._has_news(self.quiet):
                    pass

    async def _has_news(self, seconds: float) -> bool:
        """Tell whether there is any within that time, or since they were last taken note of."""
        try:
            async with asyncio.timeout(seconds):
                await self._look.wait()
        except TimeoutError:
            return False
        self._look.clear()
        return True


def _index(wish: DnsWish) -> int | None:
    """Return the index of a wish's device, None where it is gone."""
    try:
        return socket.if_nametoindex(wish.device or "")
    except OSError:
        return None
