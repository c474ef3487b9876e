"""IPsec by libreswan on a kernel that has ESP and devices of kind xfrm: packets pass, and all of it is undone."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.ipsec import KernelIpsec
from tests.netns.test_main_job import DNS, EVENTS, MATCH, moments
from tests.netns.world import GATEWAY, OFFICE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.laptop import EmulatedLaptop
    from tests.netns.world import World

LIBRESWAN = Path(__file__).parents[2] / ".cache" / "libreswan" / "ipsec"

SITE = "10.30.0.1"
OURS = ('implementation = "libreswan"', f'ipsec = "{LIBRESWAN}"', 'connect_timeout = "120s"', 'device = "ipsec7"')


@pytest.fixture(scope="module")
def server(world: World) -> KernelIpsec:
    if not LIBRESWAN.exists() or not shutil.which("certutil"):
        pytest.skip("needs libreswan: make packages")
    return KernelIpsec(world)


@pytest.fixture(autouse=True)
def cleaned(laptop: EmulatedLaptop, server: KernelIpsec) -> Iterator[None]:
    yield
    laptop.clean()


def connect(laptop: EmulatedLaptop, server: KernelIpsec, table: str | None = None, *lines: str) -> None:
    """Have the laptop connect, as one of the gateway's clients."""
    lines = OURS[: 3 if table and "transport" in "".join(lines) else 4] + lines
    tunnel = "".join((table or server.client("office", "laptop"), *(f"{line}\n" for line in lines)))
    laptop.profile("10-office", f'tunnels = ["office"]\n{MATCH}{DNS}{tunnel}{laptop.hooks(*EVENTS)}')
    laptop.start()
    laptop.wait_for("office", "up")


def picture(laptop: EmulatedLaptop) -> str:
    """Return what must be as before, with the kernel's IPsec; sockets have policies of their own while they live."""
    states, policies = (laptop.namespace.run("ip", "xfrm", what).stdout for what in ("state", "policy"))
    own = re.sub(r"^src \S+ dst \S+ \n\tsocket .*\n", "", policies, flags=re.MULTILINE)
    return f"{laptop.picture()}\n{states}\n{own}"


def carried(laptop: EmulatedLaptop) -> int:
    """Return how many bytes the kernel's SAs have carried."""
    listing = laptop.namespace.run("ip", "-s", "xfrm", "state").stdout
    return sum(map(int, re.findall(r"(\d+)\(bytes\), \d+\(packets\)", listing)))


def client(who: str) -> Callable[[KernelIpsec], str]:
    """Return what makes the table of a client with the shared key."""
    return lambda server: server.client("office", who)


BY_IKEV1 = 'remote = ["10.20.0.0/24"]'


@pytest.mark.parametrize(
    ("table", "lines"),
    [
        (client("laptop"), ()),
        (client("ikev1"), ("version = 1", BY_IKEV1)),
        (lambda server: server.alice("office"), (BY_IKEV1,)),
        (lambda server: server.certified("office"), ()),
    ],
    ids=["ikev2", "ikev1", "xauth", "certificate"],
)
def test_the_kernel_carries_the_tunnel_and_all_of_it_is_undone(
    laptop: EmulatedLaptop, server: KernelIpsec, table: Callable[[KernelIpsec], str], lines: tuple[str, ...]
) -> None:
    before = picture(laptop)
    assert not laptop.namespace.ping(OFFICE)

    connect(laptop, server, table(server), *lines)

    assert laptop.namespace.ping(OFFICE)
    assert "proto esp " in laptop.namespace.run("ip", "xfrm", "state").stdout
    assert "xfrm" in laptop.namespace.run("ip", "-details", "link", "show", "ipsec7").stdout
    assert "nameserver 10.20.0.53" in laptop.resolv_conf
    assert laptop.stop() == 0
    assert picture(laptop) == before
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]


@pytest.mark.parametrize(("who", "protocol"), [("transport", "esp"), ("transport-ah", "ah")], ids=["esp", "ah"])
def test_transport_mode_protects_what_goes_to_the_server_itself(
    laptop: EmulatedLaptop, server: KernelIpsec, who: str, protocol: str
) -> None:
    before = picture(laptop)

    connect(laptop, server, server.client("office", who), 'mode = "transport"', f'protocol = "{protocol}"')

    states = laptop.namespace.run("ip", "xfrm", "state").stdout
    assert "mode transport" in states
    assert f"proto {protocol} " in states
    at_first = carried(laptop)
    assert laptop.namespace.ping(GATEWAY)
    wait_until(lambda: carried(laptop) > at_first, "the ping to be counted")
    assert laptop.stop() == 0
    assert picture(laptop) == before


def test_two_sites_are_joined_with_the_addresses_that_they_have(laptop: EmulatedLaptop, server: KernelIpsec) -> None:
    laptop.namespace.run("ip", "address", "add", f"{SITE}/24", "dev", "lo")
    before = picture(laptop)
    joined = ('local = ["10.30.0.0/24"]', 'remote = ["10.20.0.0/24"]')

    connect(laptop, server, server.client("office", "site"), *joined)

    assert laptop.namespace.run("ping", "-n", "-c1", "-W1", "-I", SITE, OFFICE).returncode == 0
    assert server.world.office.ping(SITE)
    assert laptop.stop() == 0
    assert picture(laptop) == before
    laptop.namespace.run("ip", "address", "delete", f"{SITE}/24", "dev", "lo")


@pytest.mark.parametrize(("what", "name"), [("--ike", "psk"), ("--child", "office")], ids=["ike", "child"])
def test_a_tunnel_that_the_server_deletes_is_lost_and_made_anew_by_autovpn(
    laptop: EmulatedLaptop, server: KernelIpsec, what: str, name: str
) -> None:
    connect(laptop, server)
    pluto = laptop.processes("pluto")

    server.swanctl("--terminate", what, name)

    lost = ("lost", "libreswan has ended the tunnel")
    wait_until(lambda: lost in laptop.failures("office"), "the loss to be told")
    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer again", 60.0)
    laptop.wait_for("office", "up")
    assert laptop.processes("pluto") != pluto


def test_a_daemon_that_was_killed_is_followed_without_a_lost_packet(
    laptop: EmulatedLaptop, server: KernelIpsec
) -> None:
    connect(laptop, server)
    pluto = laptop.processes("pluto")
    pinging = laptop.namespace.spawn("ping", "-n", "-i", "0.2", OFFICE)

    laptop.kill()
    laptop.start()
    laptop.wait_for("office", "up")
    seen = pinging.output.count("bytes from")
    wait_until(lambda: pinging.output.count("bytes from") > seen + 5, "some answers")
    pinging.stop(signal.SIGINT)

    answered = [int(number) for number in re.findall(r"icmp_seq=(\d+)", pinging.output)]
    assert sorted(answered) == list(range(1, max(answered) + 1)), pinging.output
    assert pluto
    assert laptop.processes("pluto") == pluto
