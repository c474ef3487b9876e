"""IPsec by strongSwan on a kernel that has ESP, AH and devices of kind xfrm: the kernel moves the packets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.lab.ipsec import KernelIpsec
from tests.netns.test_main_job import DNS, EVENTS, MATCH, moments
from tests.netns.world import GATEWAY, OFFICE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.laptop import EmulatedLaptop
    from tests.netns.namespace import Namespace
    from tests.netns.world import World

SOCKET = "/run/charon.vici"
PATIENT = 'connect_timeout = "120s"'
HEALTH = f'health = {{ check = "ping", address = "{OFFICE}", interval = "2s", fail_after = 3 }}'


@pytest.fixture(scope="module")
def server(world: World) -> KernelIpsec:
    return KernelIpsec(world)


@pytest.fixture(autouse=True)
def cleaned(laptop: EmulatedLaptop, server: KernelIpsec) -> Iterator[None]:
    yield
    laptop.clean()


def profile(laptop: EmulatedLaptop, server: KernelIpsec, who: str, *lines: str) -> None:
    """Have the laptop connect as one of the gateway's clients."""
    tunnel = server.client("office", who, PATIENT, *lines)
    laptop.profile("10-office", f'tunnels = ["office"]\n{MATCH}{DNS}{tunnel}{laptop.hooks(*EVENTS)}')


def picture(laptop: EmulatedLaptop) -> str:
    """Return what must be as before, with the kernel's IPsec."""
    return f"{laptop.picture()}\n{xfrm(laptop.namespace, 'state')}\n{xfrm(laptop.namespace, 'policy')}"


def xfrm(namespace: Namespace, what: str) -> str:
    return namespace.run("ip", "xfrm", what).stdout


def carried(namespace: Namespace) -> int:
    """Return how many bytes the kernel's SAs have carried."""
    listing = namespace.run("ip", "-s", "xfrm", "state").stdout
    return sum(map(int, re.findall(r"(\d+)\(bytes\), \d+\(packets\)", listing)))


def form(laptop: EmulatedLaptop) -> str:
    """Return which form the packets of the tunnel have."""
    activation = laptop.activation("office")
    assert activation
    found: str = activation["tunnels"][0]["form"]
    return found


@pytest.mark.parametrize(
    ("who", "lines", "protocol", "said"),
    [
        ("laptop", (), "esp", "ESP"),
        ("ah", ('protocol = "ah"',), "ah", "AH"),
        ("ikev1", ("version = 1",), "esp", "ESP"),
    ],
    ids=["esp", "ah", "ikev1"],
)
def test_the_kernel_carries_the_tunnel_and_all_of_it_is_undone(
    laptop: EmulatedLaptop, server: KernelIpsec, who: str, lines: tuple[str, ...], protocol: str, said: str
) -> None:
    profile(laptop, server, who, *lines)
    before = picture(laptop)
    assert not laptop.namespace.ping(OFFICE)

    laptop.start()
    laptop.wait_for("office", "up")

    assert laptop.namespace.ping(OFFICE)
    assert form(laptop) == said
    states = xfrm(laptop.namespace, "state")
    assert f"proto {protocol} " in states
    assert "encap" not in states
    assert "xfrm" in laptop.namespace.run("ip", "-details", "link", "show", "vpn-office").stdout
    assert "nameserver 10.20.0.53" in laptop.resolv_conf

    assert laptop.stop() == 0
    assert picture(laptop) == before
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]


def test_transport_mode_protects_what_goes_to_the_server_itself(laptop: EmulatedLaptop, server: KernelIpsec) -> None:
    profile(laptop, server, "transport", 'mode = "transport"')
    before = picture(laptop)
    laptop.start()
    laptop.wait_for("office", "up")

    assert form(laptop) == "ESP in transport mode"
    assert "mode transport" in xfrm(laptop.namespace, "state")
    at_first = carried(laptop.namespace)
    assert laptop.namespace.ping(GATEWAY)
    wait_until(lambda: carried(laptop.namespace) > at_first, "the ping to be counted")

    assert laptop.stop() == 0
    assert picture(laptop) == before


@pytest.mark.parametrize("lines", [(HEALTH,), ()], ids=["by its health", "by its trial"])
def test_where_esp_is_dropped_the_tunnel_goes_over_to_udp_by_itself(
    laptop: EmulatedLaptop, server: KernelIpsec, lines: tuple[str, ...]
) -> None:
    profile(laptop, server, "laptop", *lines)
    laptop.world.drop("esp")
    try:
        laptop.start()
        assert laptop.first_failure("office", 60.0)[0] == "lost"
        wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer", 60.0)
        laptop.wait_for("office", "up")
        assert form(laptop) == "ESP in UDP: the plain form came up and passed nothing"
        assert "encap type espinudp" in xfrm(laptop.namespace, "state")
    finally:
        laptop.world.let_pass("esp")


def test_a_strongswan_that_runs_already_is_used_and_left_as_it_was(laptop: EmulatedLaptop, server: KernelIpsec) -> None:
    charon = server.running_on(laptop, SOCKET)
    profile(laptop, server, "laptop", f'vici = "{SOCKET}"')
    before = picture(laptop)

    laptop.start()
    laptop.wait_for("office", "up")

    assert laptop.namespace.ping(OFFICE)
    assert laptop.processes("charon-systemd") == [charon.pid]
    assert laptop.stop() == 0
    assert laptop.processes("charon-systemd") == [charon.pid]
    assert picture(laptop) == before
    charon.stop()
