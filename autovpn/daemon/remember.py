"""What outlives the daemon but not the boot: the memory of the decision and the states of the tunnels.

The epochs in it let the next daemon see that what it finds running is what it wants. Without it everything found is
undone and done anew, which is safe and only costs a reconnection.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from autovpn.core.codec import CodecError, decode, encode
from autovpn.core.memory import Memory
from autovpn.core.network import Network
from autovpn.core.records import Origin
from autovpn.core.snapshot import Link, LinkId
from autovpn.core.tunnel import TunnelState
from autovpn.core.wanted import TunnelKey
from autovpn.system.files import Dress, write_durably

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the daemon before knew."""

    memory: Memory = field(default_factory=Memory)
    tunnels: Mapping[TunnelKey, TunnelState] = field(default_factory=dict)


class Memories:
    """A file under /run, rewritten whenever what it holds has changed."""

    def __init__(self, path: Path, origin: Origin) -> None:
        """Keep it at `path`, for this boot and network namespace."""
        self._path = path
        self._origin = origin
        self._saved: Remembered | None = None

    def load(self) -> Remembered:
        """Return what was kept in this boot; nothing, where that cannot be had."""
        try:
            kept = decode(json.loads(self._path.read_text()))
        except FileNotFoundError:
            return Remembered()
        except (OSError, ValueError, CodecError) as error:
            log.warning("memory.unreadable path=%s error=%s", self._path, error)
            return Remembered()
        match kept:
            case (self._origin, Memory() as memory, Mapping() as tunnels):
                return Remembered(memory, tunnels)
            case _:
                return Remembered()

    async def save(self, memory: Memory, tunnels: Mapping[TunnelKey, TunnelState]) -> None:
        """Keep both. A full /run loses no more than the comfort of being adopted, so it is only logged."""
        remembered = Remembered(memory, tunnels)
        if remembered == self._saved:
            return
        text = json.dumps(encode((self._origin, memory, tunnels)))
        try:
            await asyncio.to_thread(_write, self._path, text.encode())
        except OSError as error:
            log.warning("memory.unwritable path=%s error=%s", self._path, error)
        else:
            self._saved = remembered


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_durably(path, content, Dress(mode=0o600))


def relinked(memory: Memory, links: Iterable[Link]) -> Memory:
    """Return a memory of the daemon before with the links as this one counts them.

    A generation counts since the daemon began to watch, so only the index is taken over; a link that is not there any
    more keeps an identity that no link has. What was negotiated with an access point cannot be read again (only what it
    offers), so the security of a remembered network counts as unknown: it must not look like another network.
    """
    now = {link.id.index: link.id for link in links}

    def current(identity: LinkId) -> LinkId:
        return now.get(identity.index, LinkId(identity.index, -1))

    return replace(
        memory,
        rides=tuple(
            replace(ride, uplink=current(ride.uplink), network=without_security(ride.network)) for ride in memory.rides
        ),
        arrivals={
            current(identity): replace(arrival, network=without_security(arrival.network))
            for identity, arrival in memory.arrivals.items()
        },
        overrides=tuple(
            replace(override, uplink=current(override.uplink), network=without_security(override.network))
            for override in memory.overrides
        ),
        leaving={current(identity): since for identity, since in memory.leaving.items()},
    )


def without_security(network: Network) -> Network:
    """Return a network of which it is not known how it is protected."""
    return replace(network, security=None)
