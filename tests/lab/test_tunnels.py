"""Tunnels whose packets the kernel moves: WireGuard, PPTP by the real pppd and pptpd, and IPsec by strongSwan."""

from __future__ import annotations

import re
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.lab.ipsec import KernelIpsec
from tests.lab.wireguard import KernelWireguard
from tests.netns.server_pptp import Pptpd
from tests.netns.test_main_job import moments, office_profile
from tests.netns.world import OFFICE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.laptop import EmulatedLaptop
    from tests.netns.servers import Server
    from tests.netns.world import World

KINDS = {KernelWireguard: "wireguard", Pptpd: "ppp", KernelIpsec: "xfrm"}
"""What the kernel calls the device of each."""

FORMS = {KernelWireguard: "", Pptpd: "MPPE 128-bit", KernelIpsec: "ESP"}
CLIENTS = ("wireguard-go", "pppd", "pptp", "charon-systemd")


@pytest.fixture(scope="module")
def pptpd(world: World) -> Pptpd:
    subprocess.run(("modprobe", "--all", "ppp_generic", "ppp_async", "ppp_mppe"), check=True)
    assert not Pptpd.missing()
    return Pptpd(world)


@pytest.fixture(scope="module")
def servers(world: World, pptpd: Pptpd) -> dict[type[Server], Server]:
    return {Pptpd: pptpd, KernelWireguard: KernelWireguard(world), KernelIpsec: KernelIpsec(world)}


@pytest.fixture(autouse=True)
def cleaned(laptop: EmulatedLaptop) -> Iterator[None]:
    yield
    laptop.clean()


def connect(laptop: EmulatedLaptop, server: Server, patience: str = "120s") -> None:
    """Write the profile of the office, with the patience of an emulated machine."""
    office_profile(laptop, server)
    profile = laptop.namespace.file("/etc/autovpn/profiles/10-office.toml").read_text()
    head = "[tunnel.office]\n"
    laptop.profile("10-office", profile.replace(head, f'{head}connect_timeout = "{patience}"\n'))


@contextmanager
def dropped(world: World, protocol: str) -> Iterator[None]:
    """Lose the packets of an IP protocol on the way."""
    world.drop(protocol)
    try:
        yield
    finally:
        world.let_pass(protocol)


def device(laptop: EmulatedLaptop) -> str:
    """Return what the kernel says of the tunnel's device."""
    return laptop.namespace.run("ip", "-details", "link", "show", "vpn-office", check=False).stdout


def form(laptop: EmulatedLaptop) -> str:
    """Return which form the packets of the tunnel have."""
    activation = laptop.activation("office")
    assert activation
    found: str = activation["tunnels"][0]["form"]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_kernel_carries_the_tunnel_and_all_of_it_is_undone(
    laptop: EmulatedLaptop, servers: dict[type[Server], Server], kind: type[Server]
) -> None:
    connect(laptop, servers[kind])
    before = laptop.picture()
    assert not laptop.namespace.ping(OFFICE)

    laptop.start()
    laptop.wait_for("office", "up")

    assert laptop.namespace.ping(OFFICE)
    assert re.search(rf"^\s+{KINDS[kind]}\b", device(laptop), re.MULTILINE), device(laptop)
    assert FORMS[kind] in form(laptop)
    assert not laptop.processes("wireguard-go")
    assert "nameserver 10.20.0.53" in laptop.resolv_conf
    assert moments(laptop) == ["preup", "postup"]

    assert laptop.stop() == 0
    assert laptop.picture() == before
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_daemon_that_was_killed_is_followed_without_a_lost_packet(
    laptop: EmulatedLaptop, servers: dict[type[Server], Server], kind: type[Server]
) -> None:
    connect(laptop, servers[kind])
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "up")
    clients = laptop.processes(*CLIENTS)
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
    assert laptop.processes(*CLIENTS) == clients
    assert laptop.namespace.snapshot() == up
    assert moments(laptop) == ["preup", "postup"]

    assert laptop.stop() == 0
    assert laptop.picture() == before


@pytest.mark.parametrize("kind", KINDS)
def test_recover_undoes_what_a_killed_daemon_left(
    laptop: EmulatedLaptop, servers: dict[type[Server], Server], kind: type[Server]
) -> None:
    connect(laptop, servers[kind])
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "up")

    laptop.kill()
    code, said = laptop.ask("recover")

    assert code == 0, said
    assert laptop.picture() == before
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]


def test_the_cable_pulled_out_for_good_ends_the_tunnel(
    laptop: EmulatedLaptop, servers: dict[type[Server], Server]
) -> None:
    connect(laptop, servers[KernelWireguard])
    laptop.start()
    laptop.wait_for("office", "up")

    laptop.uplink_down()
    try:
        laptop.wait_for("office", None)
        assert "reason=uplink-lost" in laptop.hook_log()[2]
        assert "192.0.2.1" in laptop.resolv_conf
        assert not device(laptop)
    finally:
        laptop.uplink_up()


def test_a_wrong_password_of_pptp_is_tried_once_and_said(laptop: EmulatedLaptop, pptpd: Pptpd) -> None:
    connect(laptop, pptpd)
    right = pptpd.password.read_text()
    pptpd.password.write_text("another land\n")
    try:
        laptop.start()
        laptop.wait_for("office", "failed")
    finally:
        pptpd.password.write_text(right)

    ((kind, words),) = laptop.failures("office")
    assert kind == "auth"
    assert "refuses the user or the password" in words
    wait_until(lambda: moments(laptop) == ["preup", "failup"], "the hooks of a failure")
    wait_until(lambda: not laptop.processes("pppd", "pptp"), "its programs to end")


def test_dropped_gre_is_said_and_the_tunnel_comes_up_once_it_passes(laptop: EmulatedLaptop, pptpd: Pptpd) -> None:
    connect(laptop, pptpd, "15s")
    with dropped(laptop.world, "gre"):
        laptop.start()
        kind, words = laptop.first_failure("office")

    assert kind == "unreachable"
    assert "protocol 47 (GRE)" in words
    laptop.wait_for("office", "up", 40.0)
    assert laptop.namespace.ping(OFFICE)
