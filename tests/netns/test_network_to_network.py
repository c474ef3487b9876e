"""Two networks joined by a tunnel, gateway to gateway: a host behind each reaches the other, and nothing is left.

host                    laptop                     gateway                    office
eth0 10.30.0.2    ───── eth1 10.30.0.1             10.20.0.1     ───────── eth0 10.20.0.2
                        eth0 192.0.2.10     ────── eth0 192.0.2.1
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.netns.server_ipsec import Ipsec
from tests.netns.server_tinc import Tinc
from tests.netns.servers import OFFICE_NETWORK, Server, Wireguard
from tests.netns.test_main_job import moments, office_profile
from tests.netns.world import GATEWAY, OFFICE, wait_until

if TYPE_CHECKING:
    from tests.netns.laptop import Laptop
    from tests.netns.namespace import Namespace

HOST = "10.30.0.2"
LAN = "10.30.0.0/24"


class JoiningWireguard(Wireguard):
    """One that lets the network behind its client in, and knows the way there."""

    def start(self) -> None:
        super().start()
        allowed = f"{self.address.ip}/32,{LAN}"
        self.gateway.run_private("wg", "set", self.device, "peer", self.client_public, "allowed-ips", allowed)
        self.gateway.batch(f"route add {LAN} dev {self.device}")


class JoiningTinc(Tinc):
    """One whose administrator routes the other network into it, as a subnet-up script would."""

    def start(self) -> None:
        super().start()
        self.gateway.batch(f"route add {LAN} dev {self.device}")


class JoiningIpsec(Ipsec):
    """One that has its end of the tunnel between the two networks, where neither is given an address."""

    def tunnel_toml(self, name: str) -> str:
        return (
            f'[tunnel.{name}]\ntype = "ipsec"\nserver = "{GATEWAY}"\nauth = "psk"\n'
            f'local_id = "site.office.example"\nremote_id = "vpn.office.example"\npsk = "{self.folder}/shared.key"\n'
            f'remote = ["{OFFICE_NETWORK}"]\n'
        )


SERVERS = [pytest.param(kind, id=kind.label) for kind in (JoiningWireguard, JoiningTinc, JoiningIpsec)]


def host_behind(laptop: Laptop) -> Namespace:
    """Make a host behind the laptop, for which the laptop is the way to everything."""
    host = laptop.world.namespace("host")
    laptop.world.connect(laptop.namespace, "eth1", host, "eth0")
    laptop.namespace.batch("addr add 10.30.0.1/24 dev eth1")
    host.batch(f"addr add {HOST}/24 dev eth0", "route add default via 10.30.0.1")
    return host


def joined(laptop: Laptop, server: Server, local: str = LAN) -> None:
    """Write the profile that joins the networks."""
    office_profile(laptop, server)
    path = "/etc/autovpn/profiles/10-office.toml"
    text = laptop.namespace.file(path).read_text()
    laptop.write(path, text.replace("[tunnel.office]\n", f'[tunnel.office]\nlocal = ["{local}"]\n'))


@pytest.mark.parametrize("kind", SERVERS)
def test_hosts_behind_both_gateways_reach_each_other(laptop: Laptop, kind: type[Server]) -> None:
    host, server = host_behind(laptop), kind(laptop.world)
    laptop.namespace.forward()
    joined(laptop, server)
    before = laptop.picture()
    assert not host.ping(OFFICE)
    assert not laptop.world.office.ping(HOST)

    laptop.start()
    laptop.wait_for("office", "up")

    wait_until(lambda: host.ping(OFFICE), "the office to answer the host behind us")
    wait_until(lambda: laptop.world.office.ping(HOST), "the host behind us to answer the office")
    assert "net.ipv4.ip_forward" not in laptop.ask("status")[1]

    assert laptop.stop() == 0
    assert laptop.picture() == before
    assert not host.ping(OFFICE)
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]


@pytest.mark.parametrize("wide", ["10.0.0.0/8", "full"])
def test_a_tunnel_that_offers_what_is_around_the_network_behind_us_does_not_take_it(laptop: Laptop, wide: str) -> None:
    host, server = host_behind(laptop), JoiningWireguard(laptop.world)
    laptop.namespace.forward()
    offered = "0.0.0.0/0" if wide == "full" else wide
    server.config.write_text(server.config.read_text().replace(str(OFFICE_NETWORK), offered))
    joined(laptop, server)
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "up")

    wait_until(lambda: host.ping(OFFICE), "the office to answer the host behind us")
    wait_until(lambda: laptop.world.office.ping(HOST), "the host behind us to answer the office")
    wait_until(lambda: laptop.namespace.ping(HOST), "the host behind us, which is still ours, to answer")

    assert laptop.stop() == 0
    assert laptop.picture() == before


def test_a_kernel_that_does_not_forward_is_named_and_not_switched(laptop: Laptop) -> None:
    host, server = host_behind(laptop), JoiningWireguard(laptop.world)
    joined(laptop, server)
    setting = "net.ipv4.ip_forward"
    assert setting in laptop.ask("check")[1]

    laptop.start()
    laptop.wait_for("office", "up")

    assert f"{setting} is 0, so nothing passes between {LAN} and the tunnel" in laptop.ask("status")[1]
    assert laptop.namespace.run("sysctl", "-n", setting).stdout == "0\n"
    assert not host.ping(OFFICE)
    laptop.namespace.run("sysctl", "-w", f"{setting}=1")
    wait_until(lambda: host.ping(OFFICE), "the office to answer once the user has switched it")

    def refused() -> list[str]:
        (tunnel,) = (laptop.activation("office") or {})["tunnels"]
        found: list[str] = tunnel["not_forwarded"]
        return found

    wait_until(lambda: refused() == [], "the daemon to see it too")
