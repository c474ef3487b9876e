"""Gathers what the choice of a back end needs to know, afresh each time, from whoever knows it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from autovpn.core.dnsfacts import DnsFacts, NetworkManagerFacts, ResolvconfFacts, ResolvedFacts
from autovpn.system.files import read_small

NSSWITCH = Path("/etc/nsswitch.conf")
LARGEST = 1 << 16


async def _no_resolved() -> ResolvedFacts:
    return ResolvedFacts()


async def _no_networkmanager() -> NetworkManagerFacts:
    return NetworkManagerFacts()


async def _no_resolvconf() -> ResolvconfFacts:
    return ResolvconfFacts()


@dataclass(frozen=True, slots=True)
class Gatherer:
    """Asks each of those who know; who isn't given is not there.

    The services are asked before the file is read: one that is started by being asked writes it first
    (tailscale/tailscale#3531).
    """

    file: Callable[[], Awaitable[DnsFacts]]
    resolved: Callable[[], Awaitable[ResolvedFacts]] = _no_resolved
    networkmanager: Callable[[], Awaitable[NetworkManagerFacts]] = _no_networkmanager
    resolvconf: Callable[[], Awaitable[ResolvconfFacts]] = _no_resolvconf
    nsswitch: Path = NSSWITCH

    async def gather(self) -> DnsFacts:
        """Return all that is known now."""
        resolved, networkmanager, resolvconf = await asyncio.gather(
            self.resolved(), self.networkmanager(), self.resolvconf()
        )
        return replace(
            await self.file(),
            nss_resolve=await asyncio.to_thread(_asks_resolved_first, self.nsswitch),
            resolved=resolved,
            networkmanager=networkmanager,
            resolvconf=resolvconf,
        )


def _asks_resolved_first(nsswitch: Path) -> bool:
    """Tell whether nsswitch.conf(5) has `resolve` before `dns` for host names."""
    try:
        text = (read_small(nsswitch, LARGEST, follow=True) or b"").decode(errors="replace")
    except OSError:
        return False
    for line in text.splitlines():
        database, _, sources = line.partition("#")[0].partition(":")
        if database.strip() == "hosts":
            words = sources.split()
            return "resolve" in words and ("dns" not in words or words.index("resolve") < words.index("dns"))
    return False
