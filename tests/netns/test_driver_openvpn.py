"""The openvpn driver against openvpn(8) and a real server."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autovpn.core.actions import Failed, Ready
from autovpn.core.driving import Recovered, UplinkChanged
from autovpn.core.secret import Secret
from autovpn.core.tunnel import Facts, FailureClass, PinnedEndpoint
from tests.netns.driving import Work, address, index_of, launch, passes
from tests.netns.server_openvpn import PASSWORD, Openvpn, OpenvpnTcp
from tests.netns.servers import OFFICE_NETWORK
from tests.netns.world import GATEWAY, OFFICE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from autovpn.core.driving import Launch
    from tests.netns.world import World

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(bool(Openvpn.missing()), reason=f"needs {', '.join(Openvpn.missing())}: make packages"),
]

DEVICE = "avtovpn"


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


def launch_for(server: Openvpn, folder: Path, **changes: Any) -> Launch:  # noqa: ANN401 - fields of the launch
    """Return the launch of a client that fits the server."""
    spec = replace(server.spec("office", DEVICE), connect_timeout=10.0)
    made = launch(spec, server.endpoints, folder, password=PASSWORD.encode())
    return replace(made, **changes)


def with_file(made: Launch, text: str) -> Launch:
    """Return the launch with another configuration of the user's."""
    (path,) = made.spec.files
    return replace(made, files={path: Secret(text.encode())})


def with_timeout(made: Launch, seconds: float) -> Launch:
    return replace(made, spec=replace(made.spec, connect_timeout=seconds))


async def failure(made: Launch) -> Failed:
    async with Work(made) as work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed), failed
    return failed


def shown_and_printed(pid: int, folder: Path) -> bytes:
    """Return a process's arguments and environment, and what it has printed."""
    process = Path("/proc") / str(pid)
    return b"".join(file.read_bytes() for file in (process / "cmdline", process / "environ", folder / "output"))


# -- connect


@pytest.mark.parametrize("cls", [Openvpn, OpenvpnTcp])
async def test_it_is_ready_with_what_was_pushed_and_carries_packets(
    laptop: World, cls: type[Openvpn], directory: Path
) -> None:
    server = cls(laptop)
    async with Work(launch_for(server, directory)) as work:
        ready = await (await work.start()).news()
        assert ready == Ready(
            Facts(
                DEVICE,
                (IPv4Interface("10.96.0.2/32"), IPv6Interface("2001:db8:96::1000/128")),
                prefixes=server.prefixes,
                dns=server.dns,
                search=server.search,
                overhead=100,
            )
        )
        address(ready, OFFICE_NETWORK)
        await passes(laptop.laptop, OFFICE)
        pid = work.channels.receipt()["pid"]
        told = shown_and_printed(pid, directory)
        assert b"won" not in told
        assert b"der\\" not in told
    assert index_of(DEVICE) == 0


@pytest.mark.parametrize("cls", [Openvpn, OpenvpnTcp])
async def test_one_that_was_left_running_is_adopted_by_its_socket(
    laptop: World, cls: type[Openvpn], directory: Path
) -> None:
    made = launch_for(cls(laptop), directory)
    first = await (await Work(made).__aenter__()).start()
    ready = await first.news()
    assert isinstance(ready, Ready), ready
    address(ready, OFFICE_NETWORK)
    await passes(laptop.laptop, OFFICE)
    receipt = first.leave()
    async with Work(replace(made, files={}, password=None)) as second:
        recovered = Recovered(receipt["pid"], DEVICE, ready.facts, time.time() - time.monotonic())
        assert await (await second.adopt(receipt, recovered)).news() == Ready(ready.facts)
        assert await asyncio.to_thread(laptop.laptop.ping, OFFICE, count=2), "it stopped carrying packets"
        os.kill(receipt["pid"], 9)
        failed = await second.news()
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOST


@pytest.mark.parametrize("cls", [Openvpn, OpenvpnTcp])
async def test_a_new_address_of_the_uplink_keeps_the_device_and_the_login(
    laptop: World, cls: type[Openvpn], directory: Path
) -> None:
    server = cls(laptop)
    async with Work(launch_for(server, directory)) as work:
        ready = await (await work.start()).news()
        assert isinstance(ready, Ready), ready
        address(ready, OFFICE_NETWORK)
        index = index_of(DEVICE)
        laptop.laptop.batch("addr del 192.0.2.10/24 dev eth0", "addr add 192.0.2.77/24 dev eth0")
        uplink = replace(work.launch.uplink, addresses=(IPv4Address("192.0.2.77"),))
        await work.feed(UplinkChanged(uplink, server.endpoints))
        deadline = time.monotonic() + 60
        while not laptop.laptop.ping(OFFICE):
            assert time.monotonic() < deadline, "the tunnel did not follow"
            while not work.events.empty():
                await work.feed(work.events.get_nowait())
            await asyncio.sleep(0.01)
        assert index_of(DEVICE) == index


# -- fail


def file_with(old: str, new: str) -> Callable[[Openvpn, Launch], Launch]:
    return lambda server, made: with_file(made, server.client().replace(old, new))


def password(text: bytes) -> Callable[[Openvpn, Launch], Launch]:
    return lambda server, made: replace(made, password=Secret(text))


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (password(b"looking glass"), FailureClass.AUTH, "AUTH_FAILED"),
        (password(b"ask me"), FailureClass.AUTH, "the server asks: Your code, please; it needs a person"),
        (file_with("verify-x509-name vpn", "verify-x509-name other"), FailureClass.TRUST, "VERIFY X509NAME ERROR"),
        (file_with("ca ca.crt", "ca stranger.crt"), FailureClass.TRUST, "VERIFY ERROR"),
        (file_with("ca ca.crt", "ca none.crt"), FailureClass.LOCAL, "No such file"),
        (file_with("client\n", "client\nnonsense\n"), FailureClass.LOCAL, "Options error"),
    ],
)
async def test_each_failure_has_its_class_and_the_words_of_openvpn(
    laptop: World,
    directory: Path,
    change: Callable[[Openvpn, Launch], Launch],
    kind: FailureClass,
    words: str,
) -> None:
    server = Openvpn(laptop)
    failed = await failure(change(server, launch_for(server, directory)))
    assert failed.kind is kind, failed
    assert words in failed.words


async def test_a_certificate_that_the_server_does_not_accept_is_guessed_from_its_silence(
    laptop: World, directory: Path
) -> None:
    server = Openvpn(laptop)
    text = server.client().replace("laptop.crt", "foreign.crt").replace("laptop.key", "foreign.key")
    failed = await failure(with_timeout(with_file(launch_for(server, directory), text), 2.0))
    assert failed.kind is FailureClass.UNREACHABLE
    assert "may not accept our certificate" in failed.words


@pytest.mark.parametrize("cls", [Openvpn, OpenvpnTcp])
async def test_a_server_that_refuses_is_left_at_once(laptop: World, cls: type[Openvpn], directory: Path) -> None:
    server = cls(laptop)
    server.stop()
    failed = await failure(launch_for(server, directory))
    assert failed.kind is FailureClass.UNREACHABLE
    assert "Connection refused" in failed.words
    assert "within" not in failed.words


async def test_a_device_of_somebody_else_is_left_alone(laptop: World, directory: Path) -> None:
    server = Openvpn(laptop)
    laptop.laptop.run("ip", "link", "add", DEVICE, "type", "veth", "peer", "name", "other")
    assert (await failure(launch_for(server, directory))).kind is FailureClass.LOCAL
    assert index_of(DEVICE)
    assert server.users == []


# -- more than one server, and more than it should say


async def test_the_second_server_is_tried_when_the_first_refuses(laptop: World, directory: Path) -> None:
    server = Openvpn(laptop)
    ends = tuple(PinnedEndpoint(IPv4Address(GATEWAY), port, protocol) for port, protocol in ((7, "tcp"), (8, "udp")))
    async with Work(launch_for(server, directory, endpoints=(*ends, *server.endpoints))) as work:
        ready = await (await work.start()).news()
    assert isinstance(ready, Ready), ready
    assert ready.facts.form == "UDP to 192.0.2.1 port 1194"
    wait_until(lambda: server.users == ["alice"], "one login, and no more")


class Hostile(Openvpn):
    """A server that wants all traffic, its own address included, and pushes nonsense."""

    label = "openvpn-hostile"
    more = "".join(
        f'push "{option}"\n'
        for option in ("redirect-gateway def1 ipv6", "route 192.0.2.0 255.255.255.0", "route 127.0.0.0 255.0.0.0",
                       "dhcp-option DNS 127.0.0.1", "setenv-safe PATH /evil", "tun-mtu 65000",
                       *(f"route 10.21.{number}.0 255.255.255.0" for number in range(40)))
    )  # fmt: skip


async def test_what_a_hostile_server_pushes_is_refused_in_sentences(laptop: World, directory: Path) -> None:
    async with Work(launch_for(Hostile(laptop), directory)) as work:
        ready = await (await work.start()).news()
    assert isinstance(ready, Ready), ready
    said = " ".join(ready.facts.refused)
    for word in ("route 0.0.0.0/0", "route ::/0", "route 127.0.0.0/8", "127.0.0.1"):
        assert word in said
    assert all(prefix.prefixlen >= 16 for prefix in ready.facts.prefixes)


async def test_a_one_time_code_that_a_person_says_opens_the_tunnel(laptop: World, directory: Path) -> None:
    server = Openvpn(laptop)
    made = with_file(launch_for(server, directory), server.client('static-challenge "Your token, please" 1\n'))
    async with Work(made) as work:
        work.channels._ask = token
        assert isinstance(await (await work.start()).news(), Ready)


async def token(question: object) -> Secret:
    """Answer for a person."""
    return Secret(b"123456")
