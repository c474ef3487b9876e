"""What the back end does with the real NetworkManager, in network and mount namespaces of its own.

`python -m tests.netns.dns_networkmanager SCENARIO ROOT` lays the unpacked package over /etc, empties /run, and starts a
bus and NetworkManager: all that they change is gone when the program ends.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

from autovpn.core.resolvconf import ResolvConf
from autovpn.dns.file_look import servers_of
from autovpn.dns.networkmanager import NetworkManagerBackend
from autovpn.dns.networkmanager_service import NAME, PATH, NetworkManagerService
from autovpn.system.bus import Bus, Remote
from tests.dns.scene import FOREIGN, LONGER, SHORTER, WORK, dns
from tests.system.private_bus import bus_daemon

RESOLV_CONF = Path("/etc/resolv.conf")
DEADLINE = 100.0

_SETTINGS = """[main]
plugins=keyfile
auth-polkit=false
dns=default
rc-manager={rc_manager}
no-auto-default=*
"""
_UPLINK = """[connection]
id=uplink
uuid=4ad2b4ef-9a18-43d8-9d3b-0d4f5b6b2b11
type=ethernet
interface-name=up0
[ipv4]
method=manual
address1=192.0.2.10/24,192.0.2.1
dns=192.0.2.53;
dns-search=lan.example;
[ipv6]
method=disabled
"""


class Machine:
    """A machine with one uplink that NetworkManager has configured."""

    def __init__(self, root: Path, socket: Path) -> None:
        self.root = root
        self.bus = Bus(socket, deadline=30.0)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, rc_manager: str) -> None:
        """Start NetworkManager, and wait for the DNS of the uplink."""
        Path("/etc/NetworkManager/NetworkManager.conf").write_text(_SETTINGS.format(rc_manager=rc_manager))
        libraries = next(self.root.glob("usr/lib/*-linux-gnu"))
        self._process = subprocess.Popen(
            [self.root / "usr/sbin/NetworkManager", "--no-daemon"],
            env={**os.environ, "LD_LIBRARY_PATH": str(libraries)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + DEADLINE
        while servers_of(RESOLV_CONF).nameservers != ("192.0.2.53",):
            assert time.monotonic() < deadline, "NetworkManager did not write resolv.conf"
            assert self._process.poll() is None, "NetworkManager ended"
            time.sleep(0.05)

    async def started(self) -> None:
        """Wait until it is done with its start, after which it writes nothing of its own accord."""
        manager = Remote(NAME, PATH, NAME)
        async with asyncio.timeout(DEADLINE):
            while (  # noqa: ASYNC110 - it is told by its properties
                now := await self.bus.properties(manager)
            )["Startup"] or now["PrimaryConnection"] == "/":
                await asyncio.sleep(0.05)

    def stop(self) -> None:
        """End it, as a crash would."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def backend(self) -> NetworkManagerBackend:
        """Return a back end as a freshly started process has it."""
        return NetworkManagerBackend(NetworkManagerService(self.bus))

    def state(self) -> tuple[str, bool, list[str]]:
        """Return all that a wish may change."""
        return RESOLV_CONF.read_text(), RESOLV_CONF.is_symlink(), os.listdir("/run/NetworkManager/conf.d")  # noqa: PTH208

    def rewrite_as_others_do(self) -> None:
        RESOLV_CONF.write_text(FOREIGN)


@contextmanager
def machine(root: Path, rc_manager: str) -> Iterator[Machine]:
    """Make the machine."""
    for place in ("/run", "/var/lib"):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    for folder in ("upper", "work", "dbus", "NetworkManager/conf.d", "NetworkManager/system-connections"):
        Path("/run", folder).mkdir(parents=True)
    over = f"lowerdir={root}/etc:/etc,upperdir=/run/upper,workdir=/run/work"
    subprocess.run(["mount", "-t", "overlay", "-o", over, "overlay", "/etc"], check=True)
    # Where /sys can't be written, as in a container, it waits for no udev.
    subprocess.run(["mount", "-t", "sysfs", "-o", "ro", "sysfs", "/sys"], check=True)
    RESOLV_CONF.unlink(missing_ok=True)
    if rc_manager == "symlink":
        RESOLV_CONF.symlink_to("/run/NetworkManager/resolv.conf")
    for command in ("link add up0 type veth peer name gw0", "link set gw0 up", "link set lo up"):
        subprocess.run(["ip", *command.split()], check=True)
    uplink = Path("/run/NetworkManager/system-connections/uplink.nmconnection")
    uplink.write_text(_UPLINK)
    uplink.chmod(0o600)
    with bus_daemon(Path("/run/dbus")) as socket:
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={socket}"
        made = Machine(root, socket)
        made.start(rc_manager)
        try:
            yield made
        finally:
            made.stop()


async def apply_change_and_revert(machine: Machine) -> None:
    """Libc asks ours alone as soon as it is told, and another process gives the machine back as it was."""
    before = machine.state()
    facts = await machine.backend().facts()
    assert (facts.answers, facts.mode, facts.writes_file, facts.global_dns) == (True, "default", True, "")
    assert facts.version.startswith("1.")
    for wish in (WORK, LONGER, SHORTER):
        receipt = await machine.backend().apply(dns(wish))
        assert (receipt.in_force, receipt.degraded, receipt.notes) == (True, "", ())
        assert servers_of(RESOLV_CONF) == ResolvConf(wish.servers, wish.search)
        assert await machine.backend().verify(dns(wish)) is None
        assert await machine.backend().facts() == facts  # the machine without us
        assert await machine.backend().original() == ResolvConf(("192.0.2.53",), ("lan.example",))
    assert (await machine.backend().revert()).clean
    assert machine.state() == before


async def a_foreign_rewrite_is_told_and_mended(machine: Machine) -> None:
    """A program that writes past NetworkManager is noticed; applying again has the file written anew."""
    backend = machine.backend()
    await backend.apply(dns(WORK))
    async with aclosing(backend.changes()) as changes:
        told = asyncio.ensure_future(anext(changes))
        machine.rewrite_as_others_do()
        assert "10.0.0.1 is not among the servers" in (await asyncio.wait_for(told, DEADLINE)).why
    receipt = await backend.apply(dns(WORK))
    assert receipt.in_force, receipt
    assert (await backend.revert()).clean
    assert servers_of(RESOLV_CONF).nameservers == ("192.0.2.53",)


async def nothing_of_ours_outlives_it(machine: Machine) -> None:
    """Killed while ours is in force, and ours given back meanwhile: the next one knows nothing of us."""
    await machine.backend().apply(dns(WORK))
    machine.stop()
    assert (await machine.backend().revert()).clean
    await asyncio.to_thread(machine.start, "file")


SCENARIOS: dict[str, tuple[str, Callable[[Machine], Coroutine[None, None, None]]]] = {
    "apply_change_and_revert": ("file", apply_change_and_revert),
    "apply_change_and_revert_behind_a_symlink": ("symlink", apply_change_and_revert),
    "a_foreign_rewrite_is_told_and_mended": ("file", a_foreign_rewrite_is_told_and_mended),
    "nothing_of_ours_outlives_it": ("file", nothing_of_ours_outlives_it),
}


async def _run(scenario: Callable[[Machine], Coroutine[None, None, None]], machine: Machine) -> None:
    try:
        await machine.started()
        await scenario(machine)
    finally:
        machine.bus.close()


if __name__ == "__main__":
    rc_manager, scenario = SCENARIOS[sys.argv[1]]
    with machine(Path(sys.argv[2]), rc_manager) as made:
        asyncio.run(_run(scenario, made))
