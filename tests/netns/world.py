"""A small world of namespaces: a laptop, the gateway before it, and an office that only a tunnel reaches.

    laptop                  gateway                                 office
    eth0 192.0.2.10    ──── eth0 192.0.2.1    eth1 10.20.0.1    ─── eth0 10.20.0.2
         2001:db8:2::10          2001:db8:2::1     2001:db8:20::1        2001:db8:20::2

The gateway forwards, but prohibits what comes straight from the uplink's prefix, so a ping from the laptop to the
office is answered only through a tunnel that ends in the gateway.

    def test_something(world):
        world.laptop.spawn("sshd", "-D")
        world.laptop.run("ip", "link", "set", "eth0", "down")
        assert not world.laptop.ping("10.20.0.2")

All names begin with `avt<pid>-`, and all of it ends with the block: programs, also those that became daemons, devices,
namespaces and mounts.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from typing import TYPE_CHECKING, Self

from tests.netns.namespace import SLOWNESS, Namespace, namespaces, prefix_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAPTOP, GATEWAY, OFFICE = "192.0.2.10", "192.0.2.1", "10.20.0.2"
LAPTOP6, GATEWAY6, OFFICE6 = "2001:db8:2::10", "2001:db8:2::1", "2001:db8:20::2"

_counter = itertools.count()


def wait_until(condition: Callable[[], object], what: str, deadline: float = 30.0) -> None:
    """Return as soon as the condition holds; fail with `what` when it does not within `deadline` seconds.

    The deadline is for a machine that is short of everything: it costs nothing where the condition comes to hold.
    """
    deadline *= SLOWNESS
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"waited {deadline} s in vain for {what}"
        time.sleep(0.01)


class World:
    """The namespaces of one test, made when its block begins and gone when it ends."""

    laptop: Namespace
    gateway: Namespace
    office: Namespace

    def __init__(self, scratch: Path) -> None:
        """Keep logs of programs and private files under `scratch`."""
        self.scratch = scratch
        self._prefix = f"{prefix_of(os.getpid())}{next(_counter)}-"
        self._namespaces: list[Namespace] = []

    def __enter__(self) -> Self:
        """Make the laptop, the gateway and the office; undo all of it when that fails halfway."""
        remove_abandoned()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind."""
        self.close()

    def namespace(self, label: str) -> Namespace:
        """Make a further namespace with nothing in it but its loopback."""
        made = Namespace(self._prefix + label, self.scratch / label)
        self._namespaces.append(made)
        made.create()
        return made

    def connect(self, one: Namespace, device: str, other: Namespace, peer: str) -> None:
        """Lay a cable: a veth pair between two namespaces, both ends up and with an address of their own."""
        one.run("ip", "link", "add", device, "type", "veth", "peer", "name", peer, "netns", other.name)
        one.run("ip", "link", "set", device, "up")
        other.run("ip", "link", "set", peer, "up")
        wait_until(lambda: one.is_settled(device) and other.is_settled(peer), f"{device} and {peer} to be settled")

    def drop(self, protocol: str) -> None:
        """Lose the packets of an IP protocol on the wire before the gateway; no error tells their senders."""
        chains = "".join(
            f"chain {hook} {{ type filter hook {hook} device eth0 priority -500; ip protocol {protocol} drop; }}\n"
            for hook in ("ingress", "egress")
        )
        self.gateway.run("nft", "-f", "-", stdin=f"table netdev no_{protocol} {{\n{chains}}}\n")

    def let_pass(self, protocol: str) -> None:
        """Let them pass again."""
        self.gateway.run("nft", "delete", "table", "netdev", f"no_{protocol}")

    def close(self) -> None:
        """End every program of this world and remove its namespaces, the youngest first."""
        while self._namespaces:
            self._namespaces.pop().remove()

    def _build(self) -> None:
        self.laptop, self.gateway, self.office = map(self.namespace, ("laptop", "gateway", "office"))
        self.connect(self.laptop, "eth0", self.gateway, "eth0")
        self.connect(self.gateway, "eth1", self.office, "eth0")
        self.gateway.forward()
        self.laptop.batch(
            f"addr add {LAPTOP}/24 dev eth0",
            f"addr add {LAPTOP6}/64 dev eth0",
            f"route add default via {GATEWAY}",
            f"route add default via {GATEWAY6}",
        )
        self.gateway.batch(
            f"addr add {GATEWAY}/24 dev eth0",
            f"addr add {GATEWAY6}/64 dev eth0",
            "addr add 10.20.0.1/24 dev eth1",
            "addr add 2001:db8:20::1/64 dev eth1",
            "rule add from 192.0.2.0/24 to 10.20.0.0/24 iif eth0 prohibit prio 100",
            "-6 rule add from 2001:db8:2::/64 to 2001:db8:20::/64 iif eth0 prohibit prio 100",
        )
        self.office.batch(
            f"addr add {OFFICE}/24 dev eth0",
            f"addr add {OFFICE6}/64 dev eth0",
            "route add default via 10.20.0.1",
            "route add default via 2001:db8:20::1",
        )
        wait_until(lambda: all(made.is_settled() for made in self._namespaces), "the addresses to be usable")


def remove_abandoned() -> None:
    """Remove the namespaces of test runs that were killed before they could."""
    for name in namespaces():
        owner = name.removeprefix("avt").partition("-")[0]
        if name.startswith("avt") and owner.isdecimal() and not os.path.exists(f"/proc/{owner}"):  # noqa: PTH110
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
