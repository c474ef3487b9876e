"""What holds for every type of tunnel once it is up: what its server says is in force, and its end is seen."""

from __future__ import annotations

import os
import signal

import pytest

from tests.netns.clients import tunnel_clients
from tests.netns.every_server import SERVERS
from tests.netns.laptop import Laptop
from tests.netns.server_ipsec import Ipsec
from tests.netns.server_openconnect import Ocserv
from tests.netns.server_openvpn import Openvpn
from tests.netns.server_pptp import Pptp
from tests.netns.servers import Charon, Server, Sshd, Wireguard
from tests.netns.world import OFFICE, wait_until

pytestmark = pytest.mark.netns

EVENTS = ("preup", "postup", "predown", "postdown", "failup")


def profile(laptop: Laptop, server: Server) -> None:
    """Write a profile that leaves DNS to the server."""
    tunnel = server.tunnel_toml("office")
    laptop.profile("10-office", f'tunnels = ["office"]\n[match]\ninterface = ["eth0"]\n{tunnel}{laptop.hooks(*EVENTS)}')


def moments(laptop: Laptop) -> list[str]:
    return [line.split()[0] for line in laptop.hook_log()]


@pytest.mark.parametrize("kind", [Charon, Ipsec, Openvpn, Ocserv, Pptp])
def test_the_dns_that_a_server_pushes_is_in_force_while_its_tunnel_is_up(laptop: Laptop, kind: type[Server]) -> None:
    profile(laptop, kind(laptop.world))
    laptop.start()
    laptop.wait_for("office", "up")

    assert "nameserver 10.20.0.53\n" in laptop.resolv_conf
    assert "nameserver 192.0.2.1\n" not in laptop.resolv_conf

    laptop.request("down", profile="office")
    laptop.wait_for("office", None)
    assert laptop.resolv_conf == "# the laptop's own\nnameserver 192.0.2.1\nsearch home.example\n"


@pytest.mark.parametrize("kind", [kind for kind in SERVERS if kind not in (Sshd, Wireguard)])
def test_a_client_that_is_killed_is_lost_and_started_again(laptop: Laptop, kind: type[Server]) -> None:
    profile(laptop, kind(laptop.world))
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "up")
    (client,) = tunnel_clients(laptop.namespace)

    os.kill(client, signal.SIGKILL)

    assert laptop.first_failure("office")[0] == "lost"
    wait_until(lambda: moments(laptop) == ["preup", "postup", "predown", "postup"], "the hooks of its return")
    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer again")
    assert client not in tunnel_clients(laptop.namespace)
    assert laptop.stop() == 0
    assert laptop.picture() == before
