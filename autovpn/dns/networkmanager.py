"""The back end that has NetworkManager write our servers: a drop-in of its configuration, gone with the next boot.

Its devices are left alone, for it forgets what others set on them (tailscale/tailscale#1699), and so is its D-Bus
property for global DNS, which it would keep on disk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from autovpn.core.dnschoice import DnsWish, MachineDns
from autovpn.core.dnsfacts import NetworkManagerFacts
from autovpn.core.resolvconf import MAX_NAMESERVERS, ResolvConf
from autovpn.dns.backend import DnsBackend, DnsChanged, Drift, Outcome, Receipt
from autovpn.dns.file_look import LARGEST
from autovpn.dns.managed import ManagedFile
from autovpn.dns.networkmanager_service import NetworkManagerService
from autovpn.errors import AutovpnError, StepFailed, SystemFault
from autovpn.system.bus import BusFault
from autovpn.system.files import Disk, read_small, temporary, to_its_end

_DROP_IN = "95-autovpn.conf"
_FORGOTTEN = b"# autovpn: no longer in force; this file may be removed\n"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where NetworkManager has its files; see NetworkManager.conf(5)."""

    run: Path = Path("/run/NetworkManager")
    main: Path = Path("/etc/NetworkManager/NetworkManager.conf")
    internal: Path = Path("/var/lib/NetworkManager/NetworkManager-intern.conf")
    folders: tuple[Path, ...] = (
        Path("/usr/lib/NetworkManager/conf.d"),
        Path("/run/NetworkManager/conf.d"),
        Path("/etc/NetworkManager/conf.d"),
    )

    @property
    def drop_in(self) -> Path:
        """Return our own file."""
        return self.run / "conf.d" / _DROP_IN


class NetworkManagerBackend(DnsBackend):
    """Its global DNS, which stands for that of all its connections: for all names or for none."""

    name = "networkmanager"

    def __init__(
        self,
        service: NetworkManagerService,
        path: Path = Path("/etc/resolv.conf"),
        layout: Layout | None = None,
        *,
        on_conflict: str = "reapply",
        clock: Callable[[], float] = time.monotonic,
        disk: Disk | None = None,
    ) -> None:
        """Tell `service`, and look at `path`."""
        self._service = service
        self._layout = layout or Layout()
        self._disk = disk or Disk()
        self._file = ManagedFile(path, clock, on_conflict=on_conflict)
        self._uplinks: ResolvConf | None = None

    async def facts(self) -> NetworkManagerFacts:
        """Gather what the choice of a back end needs to know of it; one that doesn't answer is as good as none."""
        try:
            if not await self._service.is_running():
                return NetworkManagerFacts()
            about = await self._service.about()
        except BusFault:
            return NetworkManagerFacts()
        writes, global_dns = await asyncio.to_thread(lambda: (self._writes_file(), self._users_global_dns()))
        return replace(about, writes_file=writes, global_dns=global_dns)

    async def apply(self, dns: MachineDns) -> Receipt:
        """Put `dns` in force; see `DnsBackend`. Where we yield to another program the receipt says so."""
        return await self._file.apply(self.name, dns, self._tell, self.revert)

    async def revert(self) -> Outcome:
        """Take our drop-in out, whoever left it.

        It is first made to say nothing, and removed once NetworkManager has read that: so a crash between the two
        leaves a file that has the next revert tell it again.
        """
        self._file.applied = self._uplinks = None
        drop_in = self._layout.drop_in
        await self._on_disk(self._disk.remove, temporary(drop_in))
        if not await asyncio.to_thread(drop_in.exists):
            return Outcome(clean=True)
        if await self._service.is_running():
            await self._on_disk(self._disk.replace, drop_in, _FORGOTTEN)
            await self._service.reload()
        await self._on_disk(self._disk.remove, drop_in)
        return Outcome(clean=True)

    async def verify(self, dns: MachineDns) -> Drift | None:
        """Return how the drop-in or resolv.conf differs from `dns`, or None."""
        drop_in = self._layout.drop_in
        says = await asyncio.to_thread(_read, drop_in)
        if dns.exclusive is None:
            return Drift(f"{drop_in}: is still there") if says else None
        if says != _text(dns.exclusive):
            return Drift(f"{drop_in}: is {'another one' if says else 'gone'}")
        return await self._file.verify(dns.exclusive)

    def changes(self) -> AsyncGenerator[DnsChanged, None]:
        """Yield when resolv.conf has come to rest without our servers; at the start, if it already has."""
        return self._file.changes()

    async def original(self) -> ResolvConf | None:
        """Return the DNS of its primary connection, while ours is in force; as last known where it can't say now.

        Raises SystemFault where it never could, for what resolv.conf holds then is ours.
        """
        if not await asyncio.to_thread(self._layout.drop_in.exists):
            return None
        try:
            self._uplinks = await self._service.uplinks_dns()
        except SystemFault:
            if self._uplinks is None:
                raise
        return self._uplinks

    async def _tell(self, wish: DnsWish) -> None:
        try:
            await self._on_disk(self._write, _text(wish))
            await self._service.reload()
        except AutovpnError:
            with suppress(AutovpnError):  # the first error is the one to tell
                await self.revert()
            raise

    async def _on_disk(self, work: Callable[..., None], *arguments: object) -> None:
        try:
            await to_its_end(work, *arguments)
        except OSError as error:
            raise StepFailed("dns", f"{self._layout.drop_in}: {error.strerror or error}") from error

    def _write(self, text: bytes) -> None:
        drop_in = self._layout.drop_in
        drop_in.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._disk.replace(drop_in, text)

    def _writes_file(self) -> bool:
        """Tell whether resolv.conf is NetworkManager's: a link to the copy that it always keeps, or the same text."""
        own = self._layout.run / "resolv.conf"
        if self._file.path.resolve() == own.resolve():
            return True
        text = _read(own)
        return bool(text) and text == _read(self._file.path)

    def _users_global_dns(self) -> str:
        """Return the file in which the user has a [global-dns], or an empty string."""
        layout = self._layout
        files = [layout.main, layout.internal]
        for folder in layout.folders:
            with suppress(OSError):
                files += sorted(folder.glob("*.conf"))
        return next((str(file) for file in files if file != layout.drop_in and _has_global_dns(_read(file))), "")


def _read(path: Path) -> bytes:
    try:
        return read_small(path, LARGEST, follow=True) or b""
    except OSError:
        return b""


def _has_global_dns(text: bytes) -> bool:
    return any(line.strip().startswith((b"[global-dns", b"[.intern.global-dns")) for line in text.splitlines())


def _text(wish: DnsWish) -> bytes:
    """Return the drop-in for a wish; what is in it has been checked for form, so it can't hold a line of its own."""
    searches = f"searches={','.join(wish.search)}\n" if wish.search else ""
    servers = ",".join(wish.servers[:MAX_NAMESERVERS])
    return f"[global-dns]\n{searches}\n[global-dns-domain-*]\nservers={servers}\n".encode()
