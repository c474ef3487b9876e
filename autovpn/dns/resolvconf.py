"""The back end that tells openresolv or Debian's resolvconf, where one of them writes resolv.conf."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from itertools import chain
from pathlib import Path

from autovpn.core.dnschoice import DnsWish, MachineDns
from autovpn.core.dnsfacts import Flavour
from autovpn.core.resolvconf import MAX_NAMESERVERS, ResolvConf, render
from autovpn.dns.backend import DnsBackend, DnsChanged, Drift, Outcome, Receipt
from autovpn.dns.managed import ManagedFile
from autovpn.dns.resolvconf_program import ResolvconfProgram
from autovpn.errors import AutovpnError, StepFailed

RECORD = "tun.autovpn"
"""One name for the machine's one wish, so that who recovers knows it; Debian's interface-order(5) puts `tun*` early."""

_OPTIONS = {Flavour.OPENRESOLV: ("-m", "0", "-x"), Flavour.DEBIAN: ()}
_NAMES = {Flavour.OPENRESOLV: "openresolv", Flavour.DEBIAN: "resolvconf"}


class ResolvconfBackend(DnsBackend):
    """One record of ours beside those of the network's links.

    openresolv lets it exclude the others; Debian's program puts it before them. What came of it is read from
    resolv.conf, since both end well without having written it where they are told to leave it alone.
    """

    def __init__(
        self,
        flavour: Flavour,
        program: ResolvconfProgram,
        path: Path = Path("/etc/resolv.conf"),
        *,
        on_conflict: str = "reapply",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Tell `program`, which is of that flavour, and look at `path`."""
        self.name = _NAMES[flavour]
        self._flavour = flavour
        self._options = _OPTIONS[flavour]
        self._program = program
        self._file = ManagedFile(path, clock, on_conflict=on_conflict)

    async def apply(self, dns: MachineDns) -> Receipt:
        """Put `dns` in force; see `DnsBackend`. Where we yield to another program the receipt says so."""
        return await self._file.apply(self.name, dns, self._tell, self.revert)

    async def revert(self) -> Outcome:
        """Take our record out, whoever left it.

        Only where the program is of our flavour: the record that the other one's back end has in force is its own.
        """
        self._file.applied = None
        if RECORD not in await self._program.records(self._flavour):
            return Outcome(clean=True)
        await self._program.delete(RECORD)
        if RECORD in await self._program.records(self._flavour):
            raise StepFailed("dns", f"resolvconf: kept {RECORD}; 'resolvconf -f -d {RECORD}' takes it out")
        return Outcome(clean=True)

    async def verify(self, dns: MachineDns) -> Drift | None:
        """Return how the record or resolv.conf differs from `dns`, or None."""
        told = (await self._program.records(self._flavour)).get(RECORD)
        if dns.exclusive is None:
            return Drift(f"resolvconf: our record {RECORD} is still there") if told else None
        if told != _said(dns.exclusive):
            return Drift(f"resolvconf: our record {RECORD} is {'another one' if told else 'gone'}")
        return await self._file.verify(dns.exclusive)

    def changes(self) -> AsyncGenerator[DnsChanged, None]:
        """Yield when resolv.conf has come to rest without our servers; at the start, if it already has."""
        return self._file.changes()

    async def original(self) -> ResolvConf | None:
        """Return what the other records say, while ours is in force."""
        records = await self._program.records(self._flavour)
        if RECORD not in records:
            return None
        others = tuple(conf for name, conf in records.items() if name != RECORD)
        return ResolvConf(
            tuple(dict.fromkeys(chain.from_iterable(conf.nameservers for conf in others))),
            tuple(dict.fromkeys(chain.from_iterable(conf.search for conf in others))),
        )

    async def _tell(self, wish: DnsWish) -> None:
        """Announce the wish; a second time where resolv.conf shows nothing of it, for a known record is not written."""
        await self._announce(wish)
        if not (await self._file.seen(wish)).in_force:
            await self._program.delete(RECORD)
            await self._announce(wish)

    async def _announce(self, wish: DnsWish) -> None:
        try:
            await self._program.add(RECORD, render(_said(wish)), options=self._options)
        except AutovpnError:
            with suppress(AutovpnError):  # the first error is the one to tell
                await self._program.delete(RECORD)
            raise


def _said(wish: DnsWish) -> ResolvConf:
    return ResolvConf(wish.servers[:MAX_NAMESERVERS], wish.search)
