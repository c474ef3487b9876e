"""What the choice needs to know of systemd-resolved."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from autovpn.core.dnsfacts import ResolvedFacts
from autovpn.dns.resolved_calls import SERVICE
from autovpn.dns.resolved_delegates import SYSTEMD
from autovpn.system.bus import Bus, BusFault
from autovpn.system.files import read_small, to_its_end

NETWORKD_LINKS = Path("/run/systemd/netif/links")
"""Where systemd-networkd keeps what it does with each link, by index; systemd-resolved looks there too."""

PROC = Path("/proc")
LARGEST = 1 << 16
_NOT_MANAGED = frozenset({"", "pending", "initialized", "unmanaged"})
_LEADING_NUMBER = re.compile(r"v?(\d+)")


async def resolved_facts(bus: Bus, networkd: Path = NETWORKD_LINKS, proc: Path = PROC) -> ResolvedFacts:
    """Gather them; a service that is enabled is started by being asked.

    One in another network namespace is not this machine's: its links are others, with the same indexes.
    """
    if not await bus.answers(SERVICE) or await to_its_end(_lives_elsewhere, await bus.process_of(SERVICE), proc):
        return ResolvedFacts()
    managed = await to_its_end(lambda: frozenset(_managed(networkd)))
    return ResolvedFacts(answers=True, version=await _version(bus), managed=managed)


def _lives_elsewhere(process: int, proc: Path) -> bool:
    """Tell whether a process is known to be in another network namespace than we are."""
    with suppress(OSError):
        return (proc / str(process) / "ns/net").readlink() != (proc / "self/ns/net").readlink()
    return False


async def _version(bus: Bus) -> int:
    """Return systemd's version: the part before the distribution's own words ("252.39-1~deb12u2")."""
    with suppress(BusFault):
        found = _LEADING_NUMBER.match(str(await bus.property(SYSTEMD, "Version")))
        return int(found[1]) if found else 0
    return 0


def _managed(networkd: Path) -> Iterator[str]:
    """Give the names of the links whose settings only systemd-networkd may change."""
    with suppress(OSError):
        for path in networkd.iterdir():
            with suppress(OSError, ValueError):
                text = (read_small(path, LARGEST) or b"").decode()
                known = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
                if known.get("ADMIN_STATE", "") not in _NOT_MANAGED:
                    yield socket.if_indextoname(int(path.name))
