"""PPTP with the real pppd, pptp and pptpd, on a kernel that has PPP and MPPE."""

from __future__ import annotations

import re
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.netns.server_pptp import Pptpd
from tests.netns.test_main_job import moments, office_profile
from tests.netns.world import OFFICE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.laptop import EmulatedLaptop
    from tests.netns.world import World

GRE_LOST = """
table inet gre_lost {
    chain input { type filter hook input priority -300; meta l4proto 47 drop; }
}
"""
MODULES = ("ppp_generic", "ppp_async", "ppp_mppe")


@pytest.fixture(scope="module")
def server(world: World) -> Pptpd:
    subprocess.run(("modprobe", "--all", *MODULES), check=True)
    assert not Pptpd.missing()
    return Pptpd(world)


@pytest.fixture(autouse=True)
def office(laptop: EmulatedLaptop, server: Pptpd) -> Iterator[None]:
    """Give the laptop the profile of the office, for one case, with the right password."""
    server.prepare()
    office_profile(laptop, server)
    patience(laptop, "120s")  # its own 30 s are for a machine at full speed
    yield
    laptop.clean()


def patience(laptop: EmulatedLaptop, time: str) -> None:
    """Have the tunnel's connect_timeout be this."""
    profile = laptop.namespace.file("/etc/autovpn/profiles/10-office.toml").read_text()
    start = re.compile(r'\[tunnel.office\]\n(connect_timeout = "\w+"\n)?')
    laptop.profile("10-office", start.sub(f'[tunnel.office]\nconnect_timeout = "{time}"\n', profile))


@contextmanager
def gre_lost(world: World) -> Iterator[None]:
    """Lose GRE on the way. Dropped where it is sent, pptpd would get an error that no network between gives."""
    ends = (world.laptop, world.gateway)
    for end in ends:
        end.run("nft", "-f", "-", stdin=GRE_LOST)
    try:
        yield
    finally:
        for end in ends:
            end.run("nft", "delete", "table", "inet", "gre_lost")


def test_the_tunnel_is_encrypted_and_all_of_it_is_undone(laptop: EmulatedLaptop) -> None:
    before = laptop.picture()
    assert not laptop.namespace.ping(OFFICE)

    laptop.start()
    laptop.wait_for("office", "up")

    assert laptop.namespace.ping(OFFICE)
    assert "MPPE 128-bit" in laptop.ask("status")[1]
    assert "nameserver 10.20.0.53" in laptop.resolv_conf
    assert moments(laptop) == ["preup", "postup"]

    assert laptop.stop() == 0
    assert laptop.picture() == before
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]


def test_a_daemon_that_was_killed_is_followed_without_a_lost_packet(laptop: EmulatedLaptop) -> None:
    laptop.start()
    laptop.wait_for("office", "up")
    clients = laptop.processes("pppd", "pptp")
    pinging = laptop.namespace.spawn("ping", "-n", "-i", "0.2", OFFICE)

    laptop.kill()
    laptop.start()
    laptop.wait_for("office", "up")
    seen = pinging.output.count("bytes from")
    wait_until(lambda: pinging.output.count("bytes from") > seen + 5, "some answers")
    pinging.stop(signal.SIGINT)

    answered = [int(number) for number in re.findall(r"icmp_seq=(\d+)", pinging.output)]
    assert sorted(answered) == list(range(1, max(answered) + 1)), pinging.output
    assert laptop.processes("pppd", "pptp") == clients
    assert moments(laptop) == ["preup", "postup"]


def test_a_wrong_password_is_tried_once_and_said(laptop: EmulatedLaptop, server: Pptpd) -> None:
    server.password.write_text("another land\n")
    laptop.start()

    laptop.wait_for("office", "failed")

    failure = laptop.failure("office")
    assert failure
    assert failure["class"] == "auth"
    assert "refuses the user or the password" in failure["words"]
    assert moments(laptop) == ["preup", "failup"]
    assert not laptop.processes("pppd", "pptp")


def test_dropped_gre_is_said_and_the_tunnel_comes_up_once_it_passes(laptop: EmulatedLaptop) -> None:
    patience(laptop, "15s")
    with gre_lost(laptop.world):
        laptop.start()
        kind, words = laptop.first_failure("office")

    assert kind == "unreachable"
    assert "protocol 47 (GRE)" in words
    laptop.wait_for("office", "up", 40.0)
    assert laptop.namespace.ping(OFFICE)
