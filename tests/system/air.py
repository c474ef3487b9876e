"""A made-up nl80211: radios whose state and events a test decides, and the bytes that real access points sent."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autovpn.system.station import Bss, Event, Gone, Happening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PRIVACY = 0x0411
CLEAR = 0x0401

# Elements as hostapd 2.10 and wpa_supplicant 2.10 sent them.
RSN_PSK = bytes.fromhex("3014 0100 000fac04 0100 000fac04 0100 000fac02 0c00")
RSN_SAE = bytes.fromhex("301a 0100 000fac04 0100 000fac04 0100 000fac08 cc00 0000 000fac06")
RSN_MIXED = bytes.fromhex("3018 0100 000fac04 0100 000fac04 0200 000fac02 000fac08 8c00")
RATES = bytes.fromhex("010882848b960c121824 030101")


def elements(ssid: bytes, security: bytes = b"") -> bytes:
    return bytes([0, len(ssid)]) + ssid + RATES + security


def bss(ssid: bytes, security: bytes = b"", bssid: str = "02:00:00:00:01:00", signal: float = -30.0) -> Bss:
    return Bss(bssid, elements(ssid, security), PRIVACY if security else CLEAR, 2412, signal)


HOME = bss(b"Home", RSN_PSK)
HOME_UPSTAIRS = bss(b"Home", RSN_PSK, "02:00:00:00:02:00")
CAFE = bss(b"Free Cafe", bssid="02:00:00:00:01:01")
MIXED = bss(b"Mix", RSN_MIXED, "02:00:00:00:02:03")
HIDDEN = bss(b"", RSN_PSK, "02:00:00:00:01:02")


@dataclass
class Air:
    """The state of the kernel's nl80211, and a source of it (`connect`), which may break or answer late."""

    associated: dict[int, Bss | None] = field(default_factory=dict)
    authorized: set[int] = field(default_factory=set)
    access_points: set[int] = field(default_factory=set)
    """Interfaces of another type: they answer, and are no stations."""
    connections: int = 0
    breaks: list[Exception] = field(default_factory=list)
    """What the next questions raise, in order."""
    read: list[int] = field(default_factory=list)
    asked: int = 0
    opened: int = 0
    gate: asyncio.Event | None = None
    """Where set, each reading waits for it after it has looked."""
    queue: asyncio.Queue[Event | Exception] = field(default_factory=asyncio.Queue)

    async def connect(self) -> Air:
        self._ask()
        self.opened += 1
        self.connections += 1
        self.queue = asyncio.Queue()
        return self

    def close(self) -> None:
        self.opened -= 1

    async def stations(self) -> frozenset[int]:
        self._ask()
        return frozenset(self.associated) - self.access_points

    async def associated_bss(self, index: int) -> Bss | None:
        self._ask()
        self.read.append(index)
        if index not in self.associated:
            raise Gone("the wireless interface is gone")
        found = self.associated[index]
        if self.gate is not None:
            await self.gate.wait()
        return found

    async def is_authorized(self, index: int) -> bool:
        self._ask()
        return index in self.authorized

    async def events(self) -> AsyncIterator[Event]:
        while True:
            event = await self.queue.get()
            if isinstance(event, Exception):
                raise event
            yield event

    def _ask(self) -> None:
        self.asked += 1
        if self.breaks:
            raise self.breaks.pop(0)

    # What happens to a station, in the order of the kernel: the state first, then the word of it.

    def join(self, index: int, ap: Bss, request: bytes | None, *, authorized: bool = True) -> None:
        self.associated[index] = ap
        (self.authorized.add if authorized else self.authorized.discard)(index)
        self.tell(Happening.CONNECTED, index, request)

    def leave(self, index: int) -> None:
        self.associated[index] = None
        self.authorized.discard(index)
        self.tell(Happening.DISCONNECTED, index)

    def tell(self, happening: Happening, index: int, request: bytes | None = None) -> None:
        self.queue.put_nowait(Event(happening, index, request))

    def lose(self, error: Exception) -> None:
        self.queue.put_nowait(error)


class FamilyTable:
    """Generic netlink's list of families: `put` changes nl80211's number, as loading its module does."""

    def __init__(self, number: int | None) -> None:
        self._number = number
        self.has_news = False
        self._readable, self._writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def put(self, number: int | None) -> None:
        self._number = number
        self.has_news = True
        os.write(self._writable, b"!")

    def fileno(self) -> int:
        return self._readable

    def consume(self) -> None:
        self.has_news = False
        try:
            os.read(self._readable, 64)
        except BlockingIOError:
            return

    def number(self) -> int | None:
        return self._number

    def close(self) -> None:
        os.close(self._readable)
        os.close(self._writable)
