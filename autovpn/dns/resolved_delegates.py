"""Servers of a tunnel without a device: delegates of systemd-resolved, files below /run (systemd.dns-delegate(5))."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from autovpn.core.dnschoice import DnsWish
from autovpn.core.resolvedlink import delegate
from autovpn.errors import StepFailed
from autovpn.system.bus import Bus, BusFault, Remote
from autovpn.system.files import read_small, to_its_end, write_durably

DIRECTORY = Path("/run/systemd/dns-delegate.d")
SYSTEMD = Remote("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
UNIT = "systemd-resolved.service"
LARGEST = 1 << 16


class Delegates:
    """Our files there. They end with the boot at the latest."""

    def __init__(self, bus: Bus, directory: Path = DIRECTORY) -> None:
        """Write to `directory`; `bus` leads to systemd, which has the service read it."""
        self._bus = bus
        self._directory = directory

    def name(self, wish: DnsWish) -> str:
        """Return the name of a wish's file."""
        return f"autovpn-{wish.owner}.dns-delegate"

    async def write(self, wishes: Sequence[DnsWish]) -> None:
        """Put a file there for each wish, and have them read."""
        if wishes:
            await to_its_end(self._write, wishes)
            await self._reload()

    async def remove(self, names: Collection[str]) -> None:
        """Remove these files; a service that can't be told reads them no more when it starts."""
        if names:
            await to_its_end(self._remove, names)
            with suppress(StepFailed):
                await self._reload()

    async def holds(self, wish: DnsWish) -> bool:
        """Tell whether the file of a wish is there and says what it asks for."""
        return await to_its_end(self._read, self._directory / self.name(wish)) == delegate(wish).encode()

    def _write(self, wishes: Sequence[DnsWish]) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            for wish in wishes:
                write_durably(self._directory / self.name(wish), delegate(wish).encode())
        except OSError as error:
            raise StepFailed("dns", f"{self._directory}: {error.strerror}") from error

    def _remove(self, names: Collection[str]) -> None:
        for name in names:
            (self._directory / name).unlink(missing_ok=True)

    def _read(self, path: Path) -> bytes | None:
        with suppress(OSError):
            return read_small(path, LARGEST)
        return None

    async def _reload(self) -> None:
        try:
            await self._bus.call(SYSTEMD, "ReloadUnit", "ss", UNIT, "replace")
        except BusFault as fault:
            raise StepFailed("dns", str(fault)) from fault
