"""A DNS back end in memory, which remembers what it was asked and does what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from autovpn.core.dnschoice import MachineDns
from autovpn.core.dnsfacts import DnsFacts, FileFacts
from autovpn.core.dnsstanding import Kind
from autovpn.core.resolvconf import ResolvConf
from autovpn.dns.backend import DnsBackend, DnsChanged, Drift, Outcome, Receipt


class FakeBackend(DnsBackend):
    """A back end by name; `refuses` is raised by everything that would change or read something."""

    def __init__(self, name: str = "file") -> None:
        self.name = name
        self.applied: list[MachineDns] = []
        self.reverts = 0
        self.drift = False
        self.looks = 0
        self.refuses: Exception | None = None
        self.stuck: Exception | None = None
        self.others: asyncio.Queue[str] = asyncio.Queue()

    async def apply(self, dns: MachineDns) -> Receipt:
        self._obey()
        self.applied.append(dns)
        self.drift = False
        return Receipt(self.name, in_force=True)

    async def revert(self) -> Outcome:
        if self.stuck:
            raise self.stuck
        self.reverts += 1
        return Outcome(clean=not self.drift, why=("somebody wrote it",) if self.drift else ())

    async def verify(self, dns: MachineDns) -> Drift | None:
        return Drift("somebody wrote it") if self.drift else None

    async def changes(self) -> AsyncGenerator[DnsChanged, None]:
        while True:
            yield DnsChanged(await self.others.get())

    async def facts(self) -> DnsFacts:
        return DnsFacts(FileFacts("/etc/resolv.conf", Kind.FILE))

    async def original(self) -> ResolvConf:
        self._obey()
        return ResolvConf(nameservers=("192.0.2.53",), search=("home.example",))

    def look_again(self) -> None:
        self.looks += 1

    def _obey(self) -> None:
        if self.refuses:
            raise self.refuses
