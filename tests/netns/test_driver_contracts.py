"""Each driver against the program that it drives, and a real server."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autovpn.core.actions import Failed, Ready
from autovpn.core.driving import Recovered, Report
from autovpn.core.settings import OpensshSettings
from autovpn.core.settings_command import CommandSettings
from autovpn.core.tunnel import Facts, FailureClass
from tests.netns.driving import Work, address, index_of, launch, passes
from tests.netns.server_command import DEVICE, Command
from tests.netns.server_openconnect import Ocserv
from tests.netns.server_tinc import Tinc
from tests.netns.servers import OFFICE_NETWORK, Charon, Server, Sshd, Wireguard
from tests.netns.world import OFFICE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autovpn.core.driving import Launch
    from tests.netns.world import World

pytestmark = pytest.mark.netns

# wireguard-go's socket has the device's name and is in no network namespace: two test runs must not meet at it.
DEVICES: dict[type[Server], str] = {
    Sshd: "tun712345",
    Wireguard: f"avtw{os.getpid()}",
    Charon: "avtvpnc",
    Tinc: "avttinc",
    Ocserv: "avtoc",
    Command: DEVICE,
}
FORM = "force-natt (ESP in UDP, as if a NAT were on the way): as the file says"
PASSWORDS: dict[type[Server], bytes] = {Charon: b"wonder land\n", Ocserv: b"wonder land\n"}
TYPES = [pytest.param(cls, id=cls.label) for cls in DEVICES]


@pytest.fixture
def directory() -> Iterator[Path]:
    """Give a folder with a short name, since a socket's path has 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="avt"))
    yield path / "t"
    shutil.rmtree(path)


@pytest.fixture
def laptop(world: World) -> Iterator[World]:
    """Have the test itself on the laptop: what it starts is there too."""
    with world.laptop.enter():
        yield world


def serve(cls: type[Server], world: World) -> Server:
    """Start a server, where its programs are."""
    if missing := cls.missing():
        pytest.skip(f"needs {', '.join(missing)}: make packages")
    return cls(world)


def launch_for(server: Server, directory: Path, *, connect_timeout: float = 12.0) -> Launch:
    """Return the launch of a client that fits the server."""
    spec = server.spec("office", DEVICES[type(server)])
    spec = replace(spec, connect_timeout=connect_timeout)
    return launch(spec, server.endpoints, directory, password=PASSWORDS.get(type(server)))


def expected_facts(server: Server) -> Facts:
    device = DEVICES[type(server)]
    match server:
        case Sshd():
            return Facts(device, (server.address,), server.peer)
        case Wireguard():
            prefixes = server.spec("office", device).settings.peers[0].allowed_ips  # type: ignore[union-attr]
            return Facts(device, (server.address,), prefixes=prefixes)
        case Tinc():
            return Facts(device, (server.address,), prefixes=(ip_network(server.own.ip), OFFICE_NETWORK), overhead=86)
        case Charon():
            return Facts(
                device,
                prefixes=(OFFICE_NETWORK,),
                dns=server.dns,
                search=server.search,
                overhead=88,
                form=FORM,
                on_trial=True,
            )
        case Ocserv():
            return Facts(
                device,
                server.addresses,
                prefixes=server.prefixes,
                dns=server.dns,
                search=server.search,
                mtu=server.mtu,
                overhead=86,
                banner=server.banner,
                form="DTLS over UDP",
            )
        case _:
            raise AssertionError(server)


@pytest.mark.parametrize("cls", TYPES)
async def test_a_tunnel_is_ready_with_what_it_was_told_and_carries_packets(
    laptop: World, cls: type[Server], directory: Path
) -> None:
    server = serve(cls, laptop)
    async with Work(launch_for(server, directory)) as work:
        ready = await (await work.start()).news()
        wanted = expected_facts(server)
        while isinstance(server, Tinc) and isinstance(ready, Ready) and len(ready.facts.prefixes) < 2:
            ready = await work.news()  # each subnet is told as it is announced, and one may come late
        assert isinstance(ready, Ready), ready
        if isinstance(server, Charon):
            assert ready.facts.banner == server.banner
            assert [str(own.network.supernet(8)) for own in ready.facts.addresses] == ["10.99.0.0/24"]
            wanted = replace(wanted, banner=ready.facts.banner, addresses=ready.facts.addresses)
        assert ready.facts == wanted
        address(ready, OFFICE_NETWORK)
        await passes(laptop.laptop, OFFICE)
    assert index_of(DEVICES[cls]) == 0


@pytest.mark.parametrize("cls", TYPES)
async def test_a_silent_server_is_unreachable_when_the_time_is_up(
    laptop: World, cls: type[Server], directory: Path
) -> None:
    server = serve(cls, laptop)
    server.silence()
    async with Work(launch_for(server, directory, connect_timeout=1.0)) as work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.UNREACHABLE
    assert any(word in failed.words for word in ("within 1 s", "timed out")), failed.words


@pytest.mark.parametrize("cls", TYPES)
async def test_a_device_that_somebody_else_has_is_a_local_failure(
    laptop: World, cls: type[Server], directory: Path
) -> None:
    server = serve(cls, laptop)
    laptop.laptop.run("ip", "link", "add", DEVICES[cls], "type", "veth", "peer", "name", "other")
    async with Work(launch_for(server, directory)) as work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOCAL, failed
    assert index_of(DEVICES[cls]), "the device of somebody else was deleted"


@pytest.mark.parametrize("cls", TYPES)
async def test_a_tunnel_whose_program_is_killed_is_lost(laptop: World, cls: type[Server], directory: Path) -> None:
    server = serve(cls, laptop)
    async with Work(launch_for(server, directory)) as work:
        assert isinstance(await (await work.start()).news(), Ready)
        pid = work.channels.receipt()["pid"]
        if pid is None:
            pytest.skip("this kernel has WireGuard: there is no program")
        os.kill(pid, 9)
        failed = await work.news()
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOST


@pytest.mark.parametrize("cls", TYPES)
async def test_a_tunnel_that_was_left_running_is_adopted_and_never_stops_carrying_packets(
    laptop: World, cls: type[Server], directory: Path
) -> None:
    server = serve(cls, laptop)
    first = await (await Work(launch_for(server, directory)).__aenter__()).start()
    ready = await first.news()
    assert isinstance(ready, Ready), ready
    address(ready, OFFICE_NETWORK)
    await passes(laptop.laptop, OFFICE)
    receipt = first.leave()
    async with Work(replace(launch_for(server, directory), files={}, password=None)) as second:
        recovered = Recovered(receipt["pid"], ready.facts.device, ready.facts, time.time() - time.monotonic())
        adopted = await (await second.adopt(receipt, recovered)).news()
        assert adopted == Ready(ready.facts)
        assert await asyncio.to_thread(laptop.laptop.ping, OFFICE, count=2), "it stopped carrying packets"
    assert index_of(DEVICES[cls]) == 0


# -- OpenSSH


async def test_ssh_is_refused_for_a_wrong_key(laptop: World, directory: Path) -> None:
    failed = await ssh_failure(laptop, directory, identity="stranger")
    assert failed.kind is FailureClass.AUTH
    assert "Permission denied (publickey)" in failed.words


async def test_ssh_refuses_a_server_with_another_key(laptop: World, directory: Path) -> None:
    failed = await ssh_failure(laptop, directory, known_hosts="known_hosts.wrong")
    assert failed.kind is FailureClass.TRUST
    assert "Host key verification failed" in failed.words


async def test_ssh_is_not_ready_before_the_server_agrees_to_the_tunnel(laptop: World, directory: Path) -> None:
    failed = await ssh_failure(laptop, directory, remote_unit=7)
    assert "Tunnel forwarding failed" in failed.words


async def test_ssh_without_a_device_is_ready_when_its_ports_are_open(laptop: World, directory: Path) -> None:
    server = serve(Sshd, laptop)
    made = launch_for(server, directory)
    assert isinstance(made.spec.settings, OpensshSettings)
    settings = replace(made.spec.settings, address=None, peer=None, socks="127.0.0.1:1080")
    async with Work(replace(made, spec=replace(made.spec, settings=settings))) as work:
        assert await (await work.start()).news() == Ready(Facts())
        assert laptop.laptop.run("ss", "-Hltn", "sport", "1080").stdout


async def ssh_failure(world: World, directory: Path, **changes: object) -> Failed:
    """Return how ssh fails with other settings than those that fit its server."""
    server = serve(Sshd, world)
    made = launch_for(server, directory)
    assert isinstance(made.spec.settings, OpensshSettings)
    paths = {key: str(server.folder / value) if isinstance(value, str) else value for key, value in changes.items()}
    settings = replace(made.spec.settings, **paths)  # type: ignore[arg-type]
    async with Work(replace(made, spec=replace(made.spec, settings=settings))) as work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed), failed
    return failed


# -- WireGuard


async def test_a_wireguard_server_that_does_not_know_us_never_shakes_hands(laptop: World, directory: Path) -> None:
    server = serve(Wireguard, laptop)
    assert isinstance(server, Wireguard)
    server.forget_client()
    async with Work(launch_for(server, directory, connect_timeout=1.0)) as work:
        failed = await (await work.start()).news()
    assert failed == Failed(
        FailureClass.UNREACHABLE,
        "no handshake from 192.0.2.1 port 51820 within 1 s; check the keys and the address",
    )


@pytest.mark.parametrize("place", ["laptop", "gateway"])
async def test_the_device_of_another_wireguard_go_of_the_same_name_keeps_its_key_and_peers(
    laptop: World, directory: Path, place: str
) -> None:
    """In another network namespace its link is not in the way, but its control socket has the name of ours."""
    server, device = serve(Wireguard, laptop), DEVICES[Wireguard]
    namespace = getattr(laptop, place)
    namespace.spawn("wireguard-go", "-f", device)
    wait_until(lambda: namespace.run("wg", "show", device, check=False).returncode == 0, "the other's device")
    key = namespace.run("wg", "genkey").stdout
    namespace.run("wg", "set", device, "private-key", "/dev/stdin", stdin=key)
    before = namespace.run("wg", "show", device, "dump").stdout
    assert key.strip() in before
    async with Work(launch_for(server, directory)) as work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOCAL, failed
    assert namespace.run("wg", "show", device, "dump").stdout == before
    assert "UP" not in namespace.run("ip", "-br", "link", "show", device).stdout.split("<")[1]


async def test_the_keepalive_that_provoked_the_handshake_is_taken_back(laptop: World, directory: Path) -> None:
    server = serve(Wireguard, laptop)
    async with Work(launch_for(server, directory)) as work:
        assert isinstance(await (await work.start()).news(), Ready)
        shown = ("wg", "show", DEVICES[Wireguard], "persistent-keepalive")
        wait_until(lambda: laptop.laptop.run(*shown).stdout.endswith("off\n"), "the keepalive to be off")


# -- a command


@pytest.mark.parametrize(
    ("right", "wrong", "kind"),
    [("/laptop", "/stranger", FailureClass.AUTH), ("/known_hosts", "/known_hosts.wrong", FailureClass.TRUST)],
)
async def test_what_a_command_says_when_it_is_refused_means_what_the_profile_says(
    laptop: World, directory: Path, right: str, wrong: str, kind: FailureClass
) -> None:
    made = launch_for(serve(Command, laptop), directory)
    assert isinstance(made.spec.settings, CommandSettings)
    start = tuple(word.replace(right, wrong) if word.endswith(right) else word for word in made.spec.settings.start)
    settings = replace(made.spec.settings, start=start)
    async with Work(replace(made, spec=replace(made.spec, settings=settings))) as work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed)
    assert failed.kind is kind, failed


# -- vpnc


@pytest.mark.parametrize(
    ("line", "password", "words"),
    [
        ("", b"wrong", "authentication unsuccessful"),
        ("IPSec secret wrong", b"wonder land", "check group password"),
        ("IPSec ID nogroup", b"wonder land", "ISAKMP_N_INVALID_EXCHANGE_TYPE"),
        ("", None, "missing Xauth password"),
    ],
)
async def test_vpnc_is_refused(laptop: World, directory: Path, line: str, password: bytes | None, words: str) -> None:
    server = serve(Charon, laptop)
    assert isinstance(server, Charon)
    server.config.write_text(f"{line}\n{server.config.read_text()}")  # the first value of a key holds
    made = launch(launch_for(server, directory).spec, server.endpoints, directory, password=password)
    async with Work(made) as work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.AUTH, failed
    assert words in failed.words


async def test_vpnc_reports_nothing_secret(laptop: World, directory: Path) -> None:
    server = serve(Charon, laptop)
    async with Work(launch_for(server, directory)) as work:
        await (await work.start()).news()
        pid = work.channels.receipt()["pid"]
        shown = shown_to_everybody(pid)
    reports = [event for event in work.seen if isinstance(event, Report)]
    assert reports
    for secret in ("wonder land", "group secret"):
        assert secret.encode() not in shown
        assert secret not in repr(reports)


def shown_to_everybody(pid: int) -> bytes:
    """Return a process's arguments and environment."""
    process = Path("/proc") / str(pid)
    return (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
