"""Two tunnels at once, each of a network of its own: neither is in the way of the other, nor ends with it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.netns.laptop import Laptop
from tests.netns.server_command import Command
from tests.netns.server_ipsec import Ipsec
from tests.netns.server_openconnect import Ocserv
from tests.netns.server_openvpn import Openvpn
from tests.netns.server_pptp import Pptp
from tests.netns.server_tinc import Tinc
from tests.netns.server_zebedee import Zebedee
from tests.netns.servers import Charon, Server, Sshd, Wireguard
from tests.netns.test_zebedee import carries as answers
from tests.netns.world import OFFICE, wait_until

pytestmark = pytest.mark.netns

PAIRS = [
    pytest.param(one, other, id=f"{one.label}-{other.label}")
    for one, other in (
        (Openvpn, Ocserv),
        (Tinc, Charon),
        (Pptp, Command),
        (Ipsec, Wireguard),
        (Sshd, Zebedee),
        (Ocserv, Ocserv),
    )
]
"""Every type, and one that is there twice."""


def second_network(laptop: Laptop) -> None:
    """Plug in another cable, to the same gateway."""
    world = laptop.world
    world.connect(world.laptop, "eth9", world.gateway, "eth9")
    world.gateway.batch("addr add 198.51.100.1/24 dev eth9")
    world.laptop.batch("addr add 198.51.100.2/24 dev eth9", "route add default via 198.51.100.1 metric 900")


def profile(laptop: Laptop, place: int, name: str, uplink: str, server: Server) -> None:
    tunnel = server.tunnel_toml(name)
    laptop.profile(
        f"{place}-{name}",
        f'tunnels = ["{name}"]\n[match]\ninterface = ["{uplink}"]\n[dns]\nservers = []\n'
        f"{tunnel}{laptop.hooks('postup', 'predown')}",
    )


def tunnel(laptop: Laptop, name: str) -> dict[str, Any]:
    """Return what `status` tells of the one tunnel of a profile."""
    activation = laptop.activation(name)
    assert activation
    found: dict[str, Any] = activation["tunnels"][0]
    return found


def carries(laptop: Laptop, name: str) -> bool:
    """Report whether a packet passes through a profile's tunnel, by its device or its port, whatever other way is."""
    device = tunnel(laptop, name)["device"]
    if not device:
        return answers(laptop)
    ping = ("ping", "-n", "-q", "-c", "1", "-W", "1", "-I", str(device), OFFICE)
    return laptop.namespace.run(*ping, check=False).returncode == 0


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_two_tunnels_carry_packets_side_by_side_and_one_outlives_the_other(
    laptop: Laptop, one: type[Server], other: type[Server]
) -> None:
    second_network(laptop)
    first = one(laptop.world)
    profile(laptop, 10, "office", "eth0", first)
    profile(laptop, 20, "branch", "eth9", first if one is other else other(laptop.world))
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "up")
    laptop.wait_for("branch", "up")
    wait_until(lambda: carries(laptop, "office") and carries(laptop, "branch"), "both to carry packets")
    assert tunnel(laptop, "office")["device"] != tunnel(laptop, "branch")["device"]
    stays = tunnel(laptop, "branch")["device"], tunnel(laptop, "branch")["attempt"]

    laptop.request("down", profile="office")
    laptop.wait_for("office", None)

    wait_until(lambda: carries(laptop, "branch"), "the other to carry packets still")
    assert (tunnel(laptop, "branch")["device"], tunnel(laptop, "branch")["attempt"]) == stays
    assert [line for line in laptop.hook_log() if "predown branch" in line] == []
    assert laptop.stop() == 0
    assert laptop.picture() == before
