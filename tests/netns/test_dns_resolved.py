"""The daemon beside the real systemd-resolved: told over D-Bus, defended, and given back, also after a crash."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.netns.laptop import Laptop
from tests.netns.namespace import Program
from tests.netns.servers import Sshd
from tests.netns.world import wait_until
from tests.system.private_bus import CONFIG

UNPACKED = Path(__file__).parents[2] / ".cache" / "systemd-resolved"
SOCKET = "/run/dbus/system_bus_socket"
SERVERS = "/run/systemd/resolve/resolv.conf"
STUB = "../run/systemd/resolve/stub-resolv.conf"
UPLINKS, OURS = "192.0.2.53", "10.20.0.53"
USER = "systemd-resolve:x:4712:4712::/:/usr/sbin/nologin\n"

pytestmark = [
    pytest.mark.netns,
    pytest.mark.dbus,
    pytest.mark.skipif(not UNPACKED.is_dir(), reason="needs systemd-resolved, unpacked: make packages"),
]


class Resolved:
    """A laptop's systemd-resolved, with its bus; the uplinks' server is told to it by its configuration."""

    def __init__(self, laptop: Laptop) -> None:
        self.laptop = laptop
        (libraries,) = UNPACKED.rglob("libsystemd-shared-*.so")
        self.environment = ("env", f"LD_LIBRARY_PATH={libraries.parent}", "SYSTEMD_LOG_TARGET=console")
        passwd, group = (laptop.namespace.file(f"/etc/{name}") for name in ("passwd", "group"))
        passwd.write_text(passwd.read_text() + USER)
        group.write_text(group.read_text() + "systemd-resolve:x:4712:\n")
        laptop.write("/etc/systemd/resolved.conf", f"[Resolve]\nDNS={UPLINKS}\nLLMNR=no\nMulticastDNS=no\n")
        laptop.write("/run/bus.conf", CONFIG.format(socket=SOCKET))
        laptop.namespace.file("/run/dbus").mkdir()
        laptop.namespace.spawn_private("dbus-daemon", "--nofork", "--nopidfile", "--config-file=/run/bus.conf")
        wait_until(laptop.namespace.file(SOCKET).exists, "the bus")
        folder = laptop.namespace.file("/run/systemd/resolve")
        folder.mkdir(parents=True)
        shutil.chown(folder, 4712, 4712)
        resolv_conf = laptop.namespace.file("/etc/resolv.conf")
        resolv_conf.unlink()
        resolv_conf.symlink_to(STUB)
        self.process = self.start()

    def start(self) -> Program:
        """Start it, and return when it has taken its place on the bus."""
        program = self.laptop.namespace.spawn_private(*self.environment, str(UNPACKED / "lib/systemd/systemd-resolved"))
        wait_until(lambda: UPLINKS in self.ctl("status", check=False), "systemd-resolved to answer")
        return program

    def ctl(self, *arguments: str, check: bool = True) -> str:
        """Ask it by its own tool."""
        command = (*self.environment, str(UNPACKED / "usr/bin/resolvectl"), *arguments)
        return self.laptop.namespace.run_private(*command, check=check).stdout

    def servers(self) -> list[str]:
        """Return whom it asks, of all links."""
        text = self.laptop.namespace.file(SERVERS).read_text()
        return [line.split()[1] for line in text.splitlines() if line.startswith("nameserver")]

    def wait_for(self, *servers: str) -> None:
        """Wait until it asks these and no others."""
        wait_until(lambda: self.servers() == list(servers), f"systemd-resolved to ask {' and '.join(servers)}")


@pytest.fixture
def resolved(laptop: Laptop) -> Resolved:
    made = Resolved(laptop)
    made.wait_for(UPLINKS)
    return made


def office(laptop: Laptop, domains: str = "") -> None:
    server = Sshd(laptop.world)
    dns = f'[dns]\nservers = ["{OURS}"]\n{domains}'
    match = '[match]\ninterface = ["eth0"]\n'
    laptop.profile("10-office", f'tunnels = ["office"]\n{match}{dns}{server.tunnel_toml("office")}')


def test_it_is_told_and_told_again_and_given_back(laptop: Laptop, resolved: Resolved) -> None:
    office(laptop, 'domains = ["office.example"]\n')
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "up")

    dns = laptop.status()["dns"]
    assert (dns["backend"], dns["in_force"], dns["degraded"]) == ("resolved", True, "")
    assert "/etc/resolv.conf is its /run/systemd/resolve/stub-resolv.conf" in dns["standing"]
    code, said = laptop.ask("explain")
    assert (code, "is set by the back end resolved" in said) == (0, True), said
    assert "~office.example" in resolved.ctl("domain")
    assert laptop.namespace.file("/etc/resolv.conf").readlink() == Path(STUB)

    (link,) = [line.split("(")[1].split(")")[0] for line in resolved.ctl("domain").splitlines() if "office" in line]
    resolved.ctl("revert", link)
    wait_until(lambda: "~office.example" in resolved.ctl("domain"), "the link to be set again")
    assert resolved.process.stop() == 0
    resolved.start()
    wait_until(lambda: "~office.example" in resolved.ctl("domain"), "a service that was restarted to be told again")

    assert laptop.stop() == 0
    resolved.wait_for(UPLINKS)
    assert laptop.picture() == before


def test_after_a_crash_it_is_given_back(laptop: Laptop, resolved: Resolved) -> None:
    office(laptop)
    laptop.start()
    laptop.wait_for("office", "up")
    resolved.wait_for(UPLINKS, OURS)
    laptop.kill()

    code, said = laptop.ask("recover")

    assert code == 0, said
    resolved.wait_for(UPLINKS)
    assert not laptop.namespace.file("/run/autovpn/dns-resolved.json").exists()
