"""A driver at work on the real machine, without the daemon: its actions are carried out, its news collected."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from autovpn import notify
from autovpn.core.actions import Failed, Ready
from autovpn.core.driving import Driver, DriverEvent, Launch, Recovered, Step, Uplink
from autovpn.core.secret import Secret
from autovpn.core.settings import LibreswanSettings
from autovpn.core.snapshot import LinkId
from autovpn.errors import SystemFault, Unsupported
from autovpn.system.channels import Ask, Channels, nobody
from autovpn.tunnels.drivers import DRIVERS
from tests.netns.record import note
from tests.netns.world import wait_until

if TYPE_CHECKING:
    from autovpn.core.network import IPNetwork
    from autovpn.core.tunnel import PinnedEndpoint, TunnelSpec
    from tests.netns.namespace import Namespace

NONCE = f"{os.getpid():016x}"
"""What marks the programs of this run. Whoever ends one ends all that carry its mark, also those of another run."""

NOTIFIER = (sys.executable, "-I", "-S", notify.__file__)


class IpDevices:
    """Links made and changed by ip(8) in the namespace of the calling thread."""

    async def index_of(self, name: str) -> int | None:
        """Return the index of a link, or None."""
        return index_of(name) or None

    async def create(self, kind: str, name: str, alias: str, if_id: int | None = None) -> int:
        """Make a device; a kernel that lacks the kind says so."""
        done = await asyncio.to_thread(ip, "link", "add", name, "type", kind)
        if done.returncode:
            raise (Unsupported if "Unknown device type" in done.stderr else SystemFault)(done.stderr.strip())
        await self.mark(socket.if_nametoindex(name), alias)
        return socket.if_nametoindex(name)

    async def mark(self, index: int, alias: str) -> None:
        """Set the alias."""
        await asyncio.to_thread(ip, "link", "set", socket.if_indextoname(index), "alias", alias)

    async def set_up(self, name: str) -> None:
        """Set a device up."""
        done = await asyncio.to_thread(ip, "link", "set", name, "up")
        if done.returncode:
            raise SystemFault(done.stderr.strip())

    async def delete(self, index: int, alias: str) -> None:
        """Delete a device that is still there."""
        with suppress(OSError):
            await asyncio.to_thread(ip, "link", "delete", socket.if_indextoname(index))


class Work:
    """One attempt of one driver. Everything of it has ended with its block, unless it was left running."""

    def __init__(
        self, launch: Launch, ask: Ask = nobody, devices: IpDevices | None = None, *, measured: bool = True
    ) -> None:
        """Begin nothing yet; what a stand-in costs is not `measured`."""
        self.launch = launch
        self._measured = measured
        self.events: asyncio.Queue[DriverEvent] = asyncio.Queue()
        self.channels = Channels(
            Path(launch.directory),
            launch.nonce,
            launch.spec.device,
            devices or IpDevices(),
            self.events.put_nowait,
            ask,
        )
        self.seen: list[DriverEvent] = []
        self._driver: Driver[Any] = DRIVERS[launch.spec.type]
        self._state: Any = None
        self._news: list[Ready | Failed] = []
        self._watch: asyncio.Task[None] | None = None
        self._begun: float | None = None

    async def __aenter__(self) -> Self:
        """Watch for devices."""
        self._watch = asyncio.create_task(self._watch_devices())
        return self

    async def __aexit__(self, *_: object) -> None:
        """End what runs."""
        if self._watch:
            self._watch.cancel()
        await self.channels.stop()

    async def start(self) -> Self:
        """Start the tunnel."""
        self._begun = now()
        await self._take(self._driver.start(self.launch, now()))
        return self

    async def adopt(self, receipt: dict[str, Any], recovered: Recovered) -> Self:
        """Take over a tunnel that was left running."""
        assert await self.channels.reattach(receipt)
        await self._take(self._driver.adopt(self.launch, recovered, now()))
        return self

    async def feed(self, event: DriverEvent) -> None:
        """Tell the driver something that the machine doesn't."""
        self.seen.append(event)
        await self._take(self._driver.feed(self._state, event, now()))

    async def news(self, deadline: float = 40.0) -> Ready | Failed:
        """Return the next `Ready` or `Failed`."""
        async with asyncio.timeout(deadline):
            while not self._news:
                await self.feed(await self.events.get())
        return self._news.pop(0)

    def leave(self) -> dict[str, Any]:
        """Let go of the tunnel as a daemon that restarts does, and return the receipt for the next."""
        assert self._watch is not None
        self._watch.cancel()
        receipt = self.channels.receipt()
        self.channels.close()
        return receipt

    async def _take(self, step: Step[Any]) -> None:
        self._state, actions = step
        for action in actions:
            if isinstance(action, Ready | Failed):
                self._news.append(action)
                self._record(action)
            else:
                await self.channels.execute(action)

    def _record(self, news: Ready | Failed) -> None:
        began, self._begun = self._begun, None
        if isinstance(news, Failed) or (began is not None and self._measured):
            note(label(self.launch.spec), now() - (began or 0.0), self.channels.receipt()["pid"], news)

    async def _watch_devices(self) -> None:
        before = links()  # those that were there before are no news
        while True:
            present = links()
            for name, index in before.items():
                if present.get(name) != index:
                    self.channels.link_vanished(name, index)
            for name, index in present.items():
                if before.get(name) != index:
                    self.channels.link_appeared(name, index)
            before = present
            await asyncio.sleep(0.005)


def label(spec: TunnelSpec) -> str:
    """Return what a tunnel is called in the record: its type, and whose work it is where that is another's."""
    return f"{spec.type} by libreswan" if isinstance(spec.settings, LibreswanSettings) else spec.type


def launch(
    spec: TunnelSpec, endpoints: tuple[PinnedEndpoint, ...], directory: Path, *, password: bytes | None = None
) -> Launch:
    """Return what the daemon would hand to a driver."""
    return Launch(
        spec=spec,
        uplink=Uplink(LinkId(2), "eth0"),
        endpoints=endpoints,
        directory=str(directory),
        nonce=NONCE,
        notifier=NOTIFIER,
        files={path: Secret(Path(path).read_bytes()) for path in spec.files + spec.public_files},
        password=None if password is None else Secret(password),
    )


def address(ready: Ready, *routes: IPNetwork) -> None:
    """Give a ready tunnel's device its address, and route prefixes into it."""
    facts = ready.facts
    assert facts.device
    for own in facts.addresses:
        peer = ("peer", str(facts.peer)) if facts.peer else ()
        done = ip("address", "replace", str(own.ip if peer else own), *peer, "dev", facts.device)
        assert done.returncode == 0, done.stderr
    ip("link", "set", facts.device, "up")
    for route in routes:
        done = ip("route", "add", str(route), "dev", facts.device)
        assert done.returncode == 0, done.stderr


async def passes(laptop: Namespace, address: str) -> None:
    """Wait until a packet comes back. The loop goes on meanwhile: the program may wait for the answer to its script."""
    await asyncio.to_thread(wait_until, lambda: laptop.ping(address), f"{address} to answer")


def ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Have ip change or show something."""
    return subprocess.run(("ip", *arguments), check=False, capture_output=True, text=True, timeout=60)


def links() -> dict[str, int]:
    """Return the links that there are, and their indexes."""
    return {name: index for index, name in socket.if_nameindex()}


def index_of(name: str) -> int:
    """Return the index of a link, or 0."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def now() -> float:
    """Return the loop's time, which is the drivers'."""
    return asyncio.get_running_loop().time()
