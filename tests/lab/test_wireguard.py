"""The built-in tunnel on a kernel that has WireGuard: no program runs for it, and all is done and undone as ever."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.lab.wireguard import KernelWireguard
from tests.netns.test_main_job import moments, office_profile
from tests.netns.world import OFFICE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.laptop import EmulatedLaptop
    from tests.netns.world import World


@pytest.fixture(scope="module")
def server(world: World) -> KernelWireguard:
    return KernelWireguard(world)


@pytest.fixture(autouse=True)
def office(laptop: EmulatedLaptop, server: KernelWireguard) -> Iterator[None]:
    """Give the laptop the profile of the office, for one case."""
    office_profile(laptop, server)
    yield
    laptop.clean()


def device_kind(laptop: EmulatedLaptop) -> str:
    shown = laptop.namespace.run("ip", "-details", "link", "show", "vpn-office").stdout
    return "wireguard" if re.search(r"^\s+wireguard\b", shown, re.MULTILINE) else shown


def test_the_kernel_carries_the_tunnel_and_all_of_it_is_undone(laptop: EmulatedLaptop) -> None:
    before = laptop.picture()
    assert not laptop.namespace.ping(OFFICE)

    laptop.start()
    laptop.wait_for("office", "up")

    assert laptop.namespace.ping(OFFICE)
    assert device_kind(laptop) == "wireguard"
    assert not laptop.processes("wireguard-go")
    assert "nameserver 10.20.0.53" in laptop.resolv_conf
    assert moments(laptop) == ["preup", "postup"]

    assert laptop.stop() == 0
    assert laptop.picture() == before
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]


def test_a_daemon_that_was_killed_is_followed_without_a_lost_packet(laptop: EmulatedLaptop) -> None:
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "up")
    up = laptop.namespace.snapshot()
    pinging = laptop.namespace.spawn("ping", "-n", "-i", "0.2", OFFICE)

    laptop.kill()
    laptop.start()
    laptop.wait_for("office", "up")
    seen = pinging.output.count("bytes from")
    wait_until(lambda: pinging.output.count("bytes from") > seen + 5, "some answers")
    pinging.stop(signal.SIGINT)

    answered = [int(number) for number in re.findall(r"icmp_seq=(\d+)", pinging.output)]
    assert sorted(answered) == list(range(1, max(answered) + 1)), pinging.output
    assert laptop.namespace.snapshot() == up
    assert moments(laptop) == ["preup", "postup"]

    assert laptop.stop() == 0
    assert laptop.picture() == before


def test_recover_undoes_what_a_killed_daemon_left(laptop: EmulatedLaptop) -> None:
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "up")

    laptop.kill()
    code, said = laptop.ask("recover")

    assert code == 0, said
    assert laptop.picture() == before
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]


def test_the_cable_pulled_out_for_good_ends_the_tunnel(laptop: EmulatedLaptop) -> None:
    laptop.start()
    laptop.wait_for("office", "up")

    laptop.uplink_down()
    laptop.wait_for("office", None)

    assert "reason=uplink-lost" in laptop.hook_log()[2]
    assert "192.0.2.1" in laptop.resolv_conf
    assert not laptop.namespace.run("ip", "link", "show", "vpn-office", check=False).stdout
