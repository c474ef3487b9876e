"""The machine's DNS: the back end that is chosen for each wish, its standing, and its defence against others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Protocol

from autovpn.core.dnschoice import Choice, DnsFacts, MachineDns, choose
from autovpn.core.network import UplinkDns
from autovpn.core.resolvconf import ResolvConf
from autovpn.core.upstream import is_local, upstream_of
from autovpn.daemon.report import DnsStanding
from autovpn.dns.backend import DnsBackend, Outcome, Receipt
from autovpn.dns.file_look import servers_of
from autovpn.errors import AutovpnError, Refused
from autovpn.system.files import NameWatch

log = logging.getLogger(__name__)

UPSTREAMS = (Path("/run/systemd/resolve/resolv.conf"), Path("/run/NetworkManager/no-stub-resolv.conf"))
"""Where systemd-resolved(8) and NetworkManager say whom their resolver on this machine asks itself."""

SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds before a defence that failed begins anew; doubled each time."""


class Backend(DnsBackend, Protocol):
    """A back end that also tells what the machine has without us."""

    async def facts(self) -> DnsFacts:
        """Gather what the choice of a back end needs."""
        ...

    async def original(self) -> ResolvConf:
        """Return the machine's own DNS."""
        ...


class MachineResolver:
    """Applies wishes through the back end that fits, and keeps them in force while others write.

    One change at a time: what is given back is never put in force again by an answer that was under way.
    """

    def __init__(self, backends: Mapping[str, Backend], forced: Callable[[], str]) -> None:
        """Choose among `backends` by name; `forced` says what the configuration asks for."""
        self._backends = backends
        self._forced = forced
        self._wish: MachineDns | None = None
        self._backend: Backend | None = None
        self._receipt: Receipt | None = None
        self._why: tuple[str, ...] = ()
        self._turn = asyncio.Lock()

    async def apply(self, dns: MachineDns) -> Receipt:
        """Put `dns` in force, by the back end that is chosen for it now.

        Raises Refused where the machine does not allow it: the wish stands all the same, and `reconsider` tries again.
        """
        async with self._turn:
            return await self._apply(dns)

    async def _apply(self, dns: MachineDns) -> Receipt:
        choice = await self._chosen(dns)
        backend = self._backends.get(choice.backend or "")
        if backend is not self._backend and self._backend is not None:
            await self._backend.revert()
        self._backend, self._why = backend, choice.why
        try:
            self._receipt = await backend.apply(dns) if backend else _unapplied(dns, choice)
        except AutovpnError as error:
            self._receipt = Receipt(backend.name if backend else "none", in_force=False, degraded=str(error))
            if isinstance(error, Refused):
                self._wish = dns
            raise
        self._wish = dns
        return self._receipt

    async def _chosen(self, dns: MachineDns) -> Choice:
        return choose(await self._first.facts(), dns, self._forced())

    @property
    def _first(self) -> Backend:
        return next(iter(self._backends.values()))

    async def revert(self) -> Outcome:
        """Undo whatever is left of us, by whichever back end."""
        async with self._turn:
            outcomes = [await backend.revert() for backend in self._backends.values()]
            self._wish = self._backend = self._receipt = None
        return Outcome(all(outcome.clean for outcome in outcomes), tuple(why for o in outcomes for why in o.why))

    async def resume(self, dns: MachineDns) -> None:
        """Take over a wish that a daemon before us put in force, and mend it where it is not.

        Without a wish whatever is left of us is undone: the record of it may be lost, the file tells by itself.
        """
        if not dns.is_wanted:
            await self.revert()
            return
        async with self._turn:
            choice = await self._chosen(dns)
            backend = self._backends.get(choice.backend or "")
            drift = await backend.verify(dns) if backend else None
            if backend is None or drift:
                await self._apply(dns)
                return
            self._wish, self._backend, self._why = dns, backend, choice.why
            self._receipt = Receipt(backend.name, in_force=True)

    async def reconsider(self) -> None:
        """Try again a wish that is not in force: something changed that may well help, such as the network."""
        async with self._turn:
            if self._receipt is not None and not self._receipt.in_force:
                await self._answer()

    async def original(self) -> UplinkDns | None:
        """Return the resolvers and suffixes of the machine as they are without us."""
        try:
            own = await self._first.original()
        except AutovpnError as error:
            log.warning("dns.unreadable error=%s", error)
            return None
        return UplinkDns(own.nameservers, own.search)

    async def upstream(self) -> tuple[str, ...]:
        """Return the servers to ask for a tunnel's endpoint: those behind a resolver of the machine's own."""
        own = await self.original()
        servers = own.servers if own else ()
        if not any(map(is_local, servers)):
            return servers
        behind = await asyncio.to_thread(lambda: [servers_of(path).nameservers for path in UPSTREAMS])
        return upstream_of(servers, behind)

    async def defend(self, backend: Backend, wake: Callable[[], None]) -> None:
        """Answer what others change while a wish is in force; runs until cancelled.

        Where it can't be noticed (a full disk, no inotify watches left) it goes on after a pause: a back end tells at
        the start of its changes what it has missed.
        """
        pauses = _pauses()
        while True:
            try:
                async with aclosing(backend.changes()) as changes:
                    async for change in changes:
                        log.info("dns.changed why=%s", change.why)
                        await self._stand_up_to(backend)
                        wake()
                        pauses = _pauses()
            except (AutovpnError, OSError) as error:
                log.warning("dns.undefended error=%s", error)
                await asyncio.sleep(next(pauses))

    async def _stand_up_to(self, backend: Backend) -> None:
        async with self._turn:
            if self._backend is backend:
                await self._answer()

    async def follow(self, path: Path, wake: Callable[[], None]) -> None:
        """Call `wake` whenever the machine's own DNS may have changed, for the rules that observe it."""
        watch = NameWatch(path)
        try:
            while True:
                await watch.disturbed()
                wake()
        finally:
            watch.close()

    async def _answer(self) -> None:
        """Apply the wish again; what goes wrong is in the receipt."""
        if self._wish is not None:
            with suppress(AutovpnError):
                await self._apply(self._wish)

    def standing(self) -> DnsStanding | None:
        """Return how our wish stands, None while there is none."""
        if self._receipt is None:
            return None
        receipt = self._receipt
        return DnsStanding(receipt.backend, receipt.in_force, "; ".join(self._why), receipt.degraded, receipt.notes)


def _unapplied(dns: MachineDns, choice: Choice) -> Receipt:
    """Return what is to be said where no back end is chosen."""
    return Receipt("none", in_force=not dns.is_wanted, degraded=choice.why[-1] if choice.refused else "")


def _pauses() -> Iterator[float]:
    """Give the seconds to wait after one failure upon another."""
    pause = SHORTEST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)
