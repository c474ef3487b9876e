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
from tests.netns.world import OFFICE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.laptop import EmulatedLaptop
    from tests.netns.world import World

LIBRESWAN = Path(__file__).parents[2] / ".cache" / "libreswan" / "ipsec"

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


def connect(laptop: EmulatedLaptop, server: KernelIpsec) -> None:
    """Have the laptop connect."""
    tunnel = server.client("office", "laptop", *OURS)
    laptop.profile("10-office", f'tunnels = ["office"]\n{MATCH}{DNS}{tunnel}{laptop.hooks(*EVENTS)}')
    laptop.start()
    laptop.wait_for("office", "up")


def picture(laptop: EmulatedLaptop) -> str:
    """Return what must be as before, with the kernel's IPsec; sockets have policies of their own while they live."""
    states, policies = (laptop.namespace.run("ip", "xfrm", what).stdout for what in ("state", "policy"))
    own = re.sub(r"^src \S+ dst \S+ \n\tsocket .*\n", "", policies, flags=re.MULTILINE)
    return f"{laptop.picture()}\n{states}\n{own}"


def test_the_kernel_carries_the_tunnel_and_all_of_it_is_undone(laptop: EmulatedLaptop, server: KernelIpsec) -> None:
    before = picture(laptop)
    assert not laptop.namespace.ping(OFFICE)

    connect(laptop, server)

    assert laptop.namespace.ping(OFFICE)
    assert "proto esp " in laptop.namespace.run("ip", "xfrm", "state").stdout
    assert "xfrm" in laptop.namespace.run("ip", "-details", "link", "show", "ipsec7").stdout
    assert "nameserver 10.20.0.53" in laptop.resolv_conf
    assert laptop.stop() == 0
    assert picture(laptop) == before
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]


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
