"""The machine's DNS: the back end that is chosen for each wish, its standing, and its defence against others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

from autovpn.core.dnschoice import DnsFacts, MachineDns, choose
from autovpn.core.network import UplinkDns
from autovpn.core.resolvconf import ResolvConf
from autovpn.daemon.report import DnsStanding
from autovpn.dns.backend import DnsBackend, Outcome, Receipt
from autovpn.errors import AutovpnError
from autovpn.system.files import NameWatch

log = logging.getLogger(__name__)


class Backend(DnsBackend, Protocol):
    """A back end that also tells what the machine has without us."""

    async def facts(self) -> DnsFacts:
        """Gather what the choice of a back end needs."""
        ...

    async def original(self) -> ResolvConf:
        """Return the machine's own DNS."""
        ...


class MachineResolver:
    """Applies wishes through the back end that fits, and keeps them in force while others write."""

    def __init__(self, backends: Mapping[str, Backend], forced: Callable[[], str]) -> None:
        """Choose among `backends` by name; `forced` says what the configuration asks for."""
        self._backends = backends
        self._forced = forced
        self._wish: MachineDns | None = None
        self._backend: Backend | None = None
        self._receipt: Receipt | None = None
        self._why: tuple[str, ...] = ()

    async def apply(self, dns: MachineDns) -> Receipt:
        """Put `dns` in force, by the back end that is chosen for it now."""
        first = next(iter(self._backends.values()))
        choice = choose(await first.facts(), dns, self._forced())
        backend = self._backends.get(choice.backend or "")
        if backend is not self._backend and self._backend is not None:
            await self._backend.revert()
        self._wish, self._backend, self._why = dns, backend, choice.why
        if backend is None:
            self._receipt = Receipt(
                "none", in_force=not dns.is_wanted, degraded=choice.why[-1] if choice.refused else ""
            )
        else:
            self._receipt = await backend.apply(dns)
        return self._receipt

    async def revert(self) -> Outcome:
        """Undo whatever is left of us, by whichever back end."""
        outcomes = [await backend.revert() for backend in self._backends.values()]
        self._wish = self._backend = self._receipt = None
        return Outcome(all(outcome.clean for outcome in outcomes), tuple(why for o in outcomes for why in o.why))

    async def resume(self, dns: MachineDns) -> None:
        """Take over a wish that a daemon before us put in force, and mend it where it is not."""
        if not dns.is_wanted:
            return
        first = next(iter(self._backends.values()))
        choice = choose(await first.facts(), dns, self._forced())
        backend = self._backends.get(choice.backend or "")
        drift = await backend.verify(dns) if backend else None
        if backend is None or drift:
            await self.apply(dns)
            return
        self._wish, self._backend, self._why = dns, backend, choice.why
        self._receipt = Receipt(backend.name, in_force=True)

    async def original(self) -> UplinkDns | None:
        """Return the resolvers and suffixes of the machine as they are without us."""
        first = next(iter(self._backends.values()))
        try:
            own = await first.original()
        except AutovpnError as error:
            log.warning("dns.unreadable error=%s", error)
            return None
        return UplinkDns(own.nameservers, own.search)

    async def defend(self, backend: Backend, wake: Callable[[], None]) -> None:
        """Answer what others change while a wish is in force; runs until cancelled."""
        async with aclosing(backend.changes()) as changes:
            async for change in changes:
                log.info("dns.changed why=%s", change.why)
                if self._wish is not None and self._backend is backend:
                    await self._answer(self._wish)
                wake()

    async def follow(self, path: Path, wake: Callable[[], None]) -> None:
        """Call `wake` whenever the machine's own DNS may have changed, for the rules that observe it."""
        watch = NameWatch(path)
        try:
            while True:
                await watch.disturbed()
                wake()
        finally:
            watch.close()

    async def _answer(self, wish: MachineDns) -> None:
        try:
            await self.apply(wish)
        except AutovpnError as error:
            name = self._backend.name if self._backend else "none"
            self._receipt = Receipt(name, in_force=False, degraded=str(error))

    def standing(self) -> DnsStanding | None:
        """Return how our wish stands, None while there is none."""
        if self._receipt is None:
            return None
        receipt = self._receipt
        return DnsStanding(receipt.backend, receipt.in_force, "; ".join(self._why), receipt.degraded, receipt.notes)
