"""The networks on the stage: a laptop, the gateway before it, and an office that only a tunnel reaches.

    laptop                 gateway                                    office
    eth0 ──────── cable ── eth0 192.0.2.1     eth1 10.20.0.1 ──────── eth0 10.20.0.2     the office
                           or 203.0.113.1     VPN 198.51.100.1             198.51.100.80 a site on the Internet

The gateway refuses what comes from the cable and wants to go to the office. What it lets pass in clear it counts.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autovpn.errors import SystemFault

VPN = "198.51.100.1"
OFFICE = "10.20.0.2"
OFFICE_NETWORK = "10.20.0.0/24"
SITE = "198.51.100.80"
TICK = 0.01
"""Seconds between two looks at something that is awaited."""

COUNTER = """
table ip stage {
  chain cable {
    type filter hook prerouting priority -300
    iifname "eth0" ip daddr != %s counter
  }
}
"""


def await_that(condition: Callable[[], object], what: str, deadline: float = 20.0) -> None:
    """Return as soon as the condition holds.

    Raises:
        SystemFault: it did not within `deadline` seconds.
    """
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise SystemFault(f"waited {deadline:g} s in vain for {what}")
        time.sleep(TICK)


@dataclass(frozen=True, slots=True)
class Network:
    """A network that the laptop's cable can be plugged into; it has a router of its own."""

    name: str
    prefix: str
    laptop: str
    router: str
    mac: str


CAMPUS = Network("campus", "192.0.2.0/24", "192.0.2.10", "192.0.2.1", "02:00:5e:10:00:01")
CAFE = Network("café", "203.0.113.0/24", "203.0.113.77", "203.0.113.1", "02:00:5e:20:00:01")


class Namespace:
    """A named network namespace; its name is seen on the stage alone."""

    def __init__(self, name: str) -> None:
        """Make it."""
        self.name = name
        _run(("ip", "netns", "add", name))
        self.ip("link set lo up")

    def command(self, *argv: str) -> tuple[str, ...]:
        """Return the argument list that runs a program in it."""
        return ("nsenter", f"--net=/run/netns/{self.name}", "--", *argv)

    def run(self, *argv: str, stdin: str = "") -> str:
        """Run a program in it and return what it printed.

        Raises:
            SystemFault: it ended without success; with its own words.
        """
        return _run(self.command(*argv), stdin)

    def succeeds(self, *argv: str) -> bool:
        """Report whether a program ends with success in it."""
        return subprocess.run(self.command(*argv), check=False, capture_output=True).returncode == 0

    def spawn(self, *argv: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a program in it, with all that it prints in a file."""
        with log.open("ab") as output:
            return subprocess.Popen(
                self.command(*argv), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def ip(self, *lines: str) -> None:
        """Have `ip -batch` carry out these lines."""
        self.run("ip", "-batch", "-", stdin="\n".join(lines))

    def packets(self, device: str) -> int:
        """Return how many packets a device of it has received."""
        (link,) = json.loads(self.run("ip", "-json", "-statistics", "link", "show", "dev", device))
        return int(link["stats64"]["rx"]["packets"])


@dataclass(frozen=True, slots=True)
class Answers:
    """What ping(8) says after some packets."""

    sent: int
    received: int
    words: str
    refused: bool

    @classmethod
    def of(cls, output: str) -> Answers:
        """Read ping's output. What was sent after the last answer may still be on its way, so it is not lost."""
        answered = set(map(int, re.findall(r"bytes from .* icmp_seq=(\d+)", output)))
        refused = re.search(r"Packet filtered|Network is unreachable|Destination \w+ \w+", output)
        sent = max(answered, default=0)
        words = refused.group() if refused else f"{len(answered)} of {sent} packets answered"
        return cls(sent, len(answered), words, refused=refused is not None)


class Networks:
    """All of the stage's networks."""

    def __init__(self) -> None:
        """Make them; the laptop's cable is not plugged in."""
        self.laptop, self.gateway, self.office = map(Namespace, ("laptop", "gateway", "office"))
        self.laptop.ip("link add eth0 type veth peer name eth0 netns gateway")
        self.gateway.ip("link add eth1 type veth peer name eth0 netns office", f"address add {VPN}/32 dev lo")
        self.gateway.ip("address add 10.20.0.1/24 dev eth1", "link set eth1 up", f"route add {SITE} via {OFFICE}")
        self.gateway.ip(f"rule add iif eth0 to {OFFICE_NETWORK} prohibit priority 100")
        self.office.ip(f"address add {OFFICE}/24 dev eth0", f"address add {SITE}/32 dev lo", "link set eth0 up")
        self.office.ip("route add default via 10.20.0.1")
        # /proc/sys/net shows each process its own namespace.
        self.gateway.run("tee", "/proc/sys/net/ipv4/ip_forward", stdin="1")
        self.gateway.run("nft", "-f", "-", stdin=COUNTER % VPN)

    def plug_in(self, network: Network) -> None:
        """Plug the cable into a network, and configure the uplink as a DHCP client would."""
        self.gateway.ip(
            f"link set eth0 address {network.mac}", f"address add {network.router}/24 dev eth0", "link set eth0 up"
        )
        self.laptop.ip(
            "link set eth0 up", f"address add {network.laptop}/24 dev eth0", f"route add default via {network.router}"
        )

    def unplug(self) -> None:
        """Pull the cable out."""
        self.gateway.ip("link set eth0 down", "address flush dev eth0")
        self.laptop.ip("address flush dev eth0", "link set eth0 down")

    def ping(self, address: str, count: int = 3) -> Answers:
        """Ping from the laptop until so many packets were answered, or one was refused, or two seconds are over."""
        ping = ("ping", "-n", "-i", "0.05", "-c", str(count), "-w", "2", address)
        done = subprocess.run(self.laptop.command(*ping), check=False, capture_output=True, text=True)
        return Answers.of(done.stdout + done.stderr)

    def in_clear(self) -> int:
        """Return how many packets have come along the cable that were not for the VPN server."""
        counted = re.search(r"counter packets (\d+)", self.gateway.run("nft", "list", "table", "ip", "stage"))
        return int(counted.group(1)) if counted else 0


def _run(argv: tuple[str, ...], stdin: str = "") -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, errors="replace", input=stdin)
    if done.returncode:
        raise SystemFault(f"{' '.join(argv)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout
