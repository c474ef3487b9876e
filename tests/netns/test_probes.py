"""The probes of health on real sockets: only an answer through the device counts, and faults have words."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autovpn.core import health as health_module
from autovpn.core.health import Traffic
from autovpn.core.tunnel import Health, HealthCheck
from autovpn.daemon.health import Watched
from autovpn.daemon.probing import TunnelProbes
from autovpn.system import probes
from autovpn.system.counters import link_traffic
from tests.netns.servers import Wireguard
from tests.netns.world import GATEWAY, GATEWAY6, OFFICE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.world import World

pytestmark = pytest.mark.netns

SHORT = 0.3
"""Seconds of patience where no answer will come."""
LONG = 60.0
"""Seconds of patience where one will, sooner or later."""


@pytest.fixture
def here(world: World) -> Iterator[World]:
    """Have the test itself on the laptop."""
    with world.laptop.enter():
        yield world


@pytest.mark.parametrize("address", [GATEWAY, GATEWAY6])
def test_an_echo_comes_back_through_the_device(here: World, address: str) -> None:
    assert asyncio.run(probes.ping(ip_address(address), "eth0")) == ""


def test_several_pings_at_once_take_each_its_own_answer(here: World) -> None:
    async def both() -> list[str]:
        answering = (probes.ping(ip_address(GATEWAY), "eth0") for _ in range(8))
        return await asyncio.gather(*answering, probes.ping(ip_address("192.0.2.99"), "eth0", SHORT))

    assert asyncio.run(both()) == [""] * 8 + ["no answer from 192.0.2.99 through eth0"]


@pytest.mark.parametrize(
    ("address", "device", "words"),
    [
        (OFFICE, "eth0", f"no answer from {OFFICE} through eth0"),
        (GATEWAY, "lo", f"no answer from {GATEWAY} through lo"),
        (GATEWAY, "gone0", f"no answer from {GATEWAY} through gone0: No such device"),
    ],
)
def test_what_is_silent_or_reached_another_way_gives_no_answer(
    here: World, address: str, device: str, words: str
) -> None:
    assert asyncio.run(probes.ping(ip_address(address), device, SHORT)) == words


def test_a_connection_that_is_accepted_or_refused_is_an_answer(here: World) -> None:
    with here.gateway.enter(), closing(socket.create_server((GATEWAY, 0))) as server:
        port = server.getsockname()[1]
        with here.laptop.enter():
            assert asyncio.run(probes.connect(ip_address(GATEWAY), port, "eth0")) == ""
    assert asyncio.run(probes.connect(ip_address(GATEWAY), port, "eth0")) == ""
    assert asyncio.run(probes.connect(ip_address(GATEWAY6), port, "eth0")) == ""


@pytest.mark.parametrize(
    ("address", "device", "words"),
    [
        ("192.0.2.99", "eth0", "no connection to 192.0.2.99 port 22 through eth0"),
        (GATEWAY, "gone0", f"no connection to {GATEWAY} port 22 through gone0: No such device"),
    ],
)
def test_a_connection_that_nobody_answers_is_a_fault(here: World, address: str, device: str, words: str) -> None:
    assert asyncio.run(probes.connect(ip_address(address), 22, device, SHORT)) == words


def test_whatever_a_dns_server_s_machine_says_is_an_answer(here: World) -> None:
    with here.gateway.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((GATEWAY, 53))
        server.settimeout(LONG)
        threading.Thread(target=_echo_once, args=(server,)).start()
        with here.laptop.enter():
            assert asyncio.run(probes.ask(ip_address(GATEWAY), "eth0")) == ""
    assert asyncio.run(probes.ask(ip_address(GATEWAY), "eth0")) == ""  # nobody listens, which the gateway says
    silent = "no answer from the DNS server 192.0.2.99 through"
    assert asyncio.run(probes.ask(ip_address("192.0.2.99"), "eth0", SHORT)) == f"{silent} eth0"
    assert asyncio.run(probes.ask(ip_address("192.0.2.99"), "gone0", SHORT)) == f"{silent} gone0: No such device"


def _echo_once(server: socket.socket) -> None:
    question, sender = server.recvfrom(512)
    server.sendto(question, sender)


@pytest.mark.parametrize(
    ("argv", "patience", "words"),
    [
        (("true",), LONG, ""),
        (("sh", "-c", 'test "$AUTOVPN_DEVICE" = eth0 && test "$AUTOVPN_TUNNEL" = office'), LONG, ""),
        (("sh", "-c", "echo not well; exit 3"), LONG, "sh ended with status 3 (not well)"),
        (("sleep", "20"), SHORT, "sleep did not end within 0.3 s"),
        (
            ("/nowhere/check",),
            LONG,
            "the check could not be run (/nowhere/check: can't be opened: No such file or directory)",
        ),
    ],
)
def test_a_program_says_by_its_exit_status_whether_the_tunnel_is_well(
    argv: tuple[str, ...], patience: float, words: str
) -> None:
    environment = {"AUTOVPN_DEVICE": "eth0", "AUTOVPN_TUNNEL": "office"}
    assert asyncio.run(probes.succeed(argv, environment, "0123456789abcdef", patience)) == words


def test_a_program_that_others_can_write_is_not_run(tmp_path: Path) -> None:
    program = tmp_path / "check"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o777)
    words = asyncio.run(probes.succeed((str(program),), {}, "0123456789abcdef", 1.0))
    assert words.startswith("the check could not be run (")


def test_the_counters_are_those_of_the_link_in_this_namespace(here: World) -> None:
    before = link_traffic("eth0")
    assert here.laptop.ping(GATEWAY, count=3)
    after = link_traffic("eth0")
    assert before
    assert after
    assert after.received >= before.received + 3 * 84
    assert after.sent >= before.sent + 3 * 84
    statistics = here.laptop.run("ip", "-s", "-j", "link", "show", "lo").stdout
    assert link_traffic("lo") == Traffic(_bytes(statistics, "rx"), _bytes(statistics, "tx"))
    assert link_traffic("gone0") is None
    assert link_traffic("x" * 40) is None


def _bytes(statistics: str, way: str) -> int:
    return int(statistics.partition(f'"{way}":')[2].partition('"bytes":')[2].partition(",")[0])


@pytest.mark.skipif(not shutil.which("wireguard-go"), reason="needs wireguard-go: make packages")
def test_wireguard_go_tells_its_handshakes_and_bytes_by_its_socket(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Wireguard(here)
    sockets = here.gateway.file("/run/wireguard")
    watched = Watched(("p", "t"), "1-x", 1, Health(HealthCheck.HANDSHAKE), server.device)
    probing = TunnelProbes(Path(sockets))
    assert asyncio.run(probing.traffic(watched)) == Traffic(0, 0)
    assert asyncio.run(probing.check(watched)) == f"no handshake through {server.device}"

    _shake_hands(here, server.config)
    wait_until(lambda: asyncio.run(probing.check(watched)) == "", "a handshake")
    traffic = asyncio.run(probing.traffic(watched))
    assert traffic
    assert traffic.received >= 148  # a handshake's first message
    monkeypatch.setattr(health_module, "STALE", -1.0)
    assert asyncio.run(probing.check(watched)).startswith(f"no handshake through {server.device} since ")


def _shake_hands(world: World, config: Path) -> None:
    """Bring up a client on the laptop, which sends a packet."""
    world.laptop.spawn_private("wireguard-go", "-f", "wgc0")
    wait_until(lambda: world.laptop.listens_at("/wireguard/wgc0.sock"), "wireguard-go to listen")
    settings = "".join(line for line in config.read_text().splitlines(keepends=True) if "Address" not in line)
    world.laptop.run_private("wg", "setconf", "wgc0", "/dev/stdin", stdin=settings)
    world.laptop.batch("addr add 10.97.0.2/24 dev wgc0", "link set wgc0 up")
    threading.Thread(target=world.laptop.ping, args=("10.97.0.1",)).start()


def test_a_wireguard_device_of_which_nothing_can_be_learned_is_a_fault(here: World, tmp_path: Path) -> None:
    watched = Watched(("p", "t"), "1-x", 1, Health(HealthCheck.HANDSHAKE), "gone0")
    assert asyncio.run(TunnelProbes(tmp_path).traffic(watched)) is None
    assert asyncio.run(TunnelProbes(tmp_path).check(watched)) == "gone0 tells nothing of itself"
    (tmp_path / "gone0.sock").touch()
    assert asyncio.run(TunnelProbes(tmp_path).check(watched)) == "gone0 tells nothing of itself"


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (Health(HealthCheck.PING, ip_address(GATEWAY)), ""),
        (Health(HealthCheck.TCP, ip_address(GATEWAY), 9), ""),
        (Health(HealthCheck.COMMAND, command=("sh", "-c", 'test "$AUTOVPN_PROFILE" = p')), ""),
        (Health(HealthCheck.PING), "the check ping has no address"),
    ],
)
def test_each_check_is_the_probe_that_it_is_called(here: World, health: Health, words: str) -> None:
    watched = Watched(("p", "t"), "1-x", 1, health, "eth0")
    assert asyncio.run(TunnelProbes().check(watched)) == words
    assert asyncio.run(TunnelProbes().traffic(watched)) is not None
