"""The tinc driver against a real mesh: keys that do not fit, subnets that come and go, and a machine that moves."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import replace
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autovpn.core.actions import Failed, Ready
from autovpn.core.driving import Report, UplinkChanged
from autovpn.core.tunnel import FailureClass
from tests.netns.driving import Work, address, launch
from tests.netns.server_tinc import Tinc
from tests.netns.servers import OFFICE_NETWORK
from tests.netns.world import OFFICE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.netns.world import World

pytestmark = pytest.mark.netns

DEVICE = "avttinc"


@pytest.fixture
def server(world: World) -> Iterator[Tinc]:
    """Have the test itself on the laptop, before a server."""
    if missing := Tinc.missing():
        pytest.skip(f"needs {', '.join(missing)}: make packages")
    made = Tinc(world)
    wait_until(lambda: world.laptop.ping("192.0.2.1"), "the gateway to answer")
    with world.laptop.enter():
        yield made


@pytest.fixture
def directory() -> Iterator[Path]:
    """Give a folder with a short name, since a socket's path has 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="avt"))
    yield path / "t"
    shutil.rmtree(path)


def work(server: Tinc, directory: Path) -> Work:
    return Work(launch(replace(server.spec("office", DEVICE), connect_timeout=12.0), server.endpoints, directory))


def another_key(server: Tinc, folder: Path, node: str) -> None:
    """Have one side believe in another key of a node."""
    stranger = server.node(server.folder / f"another-{node}", node, "")
    file = folder / "hosts" / node
    file.write_text(file.read_text().partition("-----BEGIN")[0] + stranger)


def restarted(server: Tinc) -> None:
    server.stop()
    server.start()


BREAKAGES: dict[str, Callable[[Tinc], None]] = {
    "our key is another": lambda server: another_key(server, server.theirs, "laptop"),
    "the server's key is another": lambda server: another_key(server, server.config, "gateway"),
    "the server does not know us": lambda server: (server.theirs / "hosts/laptop").unlink(),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
async def test_keys_that_do_not_fit_are_suspected_in_words(server: Tinc, directory: Path, breakage: str) -> None:
    BREAKAGES[breakage](server)
    restarted(server)
    async with work(server, directory) as attempt:
        failed = await (await attempt.start()).news()
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.UNREACHABLE
    assert "do the keys in hosts/gateway here and hosts/laptop there fit?" in failed.words


async def test_a_server_that_refuses_is_told_from_one_that_is_silent(server: Tinc, directory: Path) -> None:
    server.stop()
    async with work(server, directory) as attempt:
        failed = await (await attempt.start()).news()
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.UNREACHABLE
    assert failed.words.endswith("Connection refused")


async def test_what_a_node_announces_is_taken_as_far_as_it_is_harmless(server: Tinc, directory: Path) -> None:
    server.announce("0.0.0.0/0", "127.0.0.0/8", "2001:db8:20::/64")
    restarted(server)
    wanted = {ip_network("10.94.0.1"), OFFICE_NETWORK, ip_network("2001:db8:20::/64")}
    async with work(server, directory) as attempt:
        ready = await (await attempt.start()).news()
        # A busy tincd may be slower to announce them than it takes to be ready; each change is told.
        while isinstance(ready, Ready) and (set(ready.facts.prefixes) < wanted or len(ready.facts.refused) < 2):
            ready = await attempt.news()
    assert isinstance(ready, Ready)
    assert set(ready.facts.prefixes) == wanted
    assert len(ready.facts.refused) == 2


async def test_a_server_that_is_restarted_at_once_is_found_again_with_its_new_subnets(
    server: Tinc, directory: Path
) -> None:
    async with work(server, directory) as attempt:
        ready = await (await attempt.start()).news()
        assert isinstance(ready, Ready)
        server.announce("10.21.0.0/24")
        restarted(server)
        wanted = {ip_network("10.94.0.1"), OFFICE_NETWORK, ip_network("10.21.0.0/24")}
        again = await attempt.news()
        while isinstance(again, Ready) and set(again.facts.prefixes) != wanted:
            again = await attempt.news()  # they are told as they are announced, one may come late
    assert isinstance(again, Ready), again


async def test_a_machine_that_moves_connects_anew_from_its_new_address(server: Tinc, directory: Path) -> None:
    laptop = server.world.laptop
    async with work(server, directory) as attempt:
        ready = await (await attempt.start()).news()
        assert isinstance(ready, Ready)
        address(ready, OFFICE_NETWORK)
        laptop.batch("addr add 192.0.2.77/24 dev eth0", "addr del 192.0.2.10/24 dev eth0")
        laptop.run("ip", "address", "replace", "192.0.2.77/24", "dev", "eth0")
        uplink = replace(attempt.launch.uplink, addresses=(IPv4Address("192.0.2.77"),))
        await attempt.feed(UplinkChanged(uplink, server.endpoints))
        ups = 0
        while ups < 1:
            event = await attempt.events.get()
            await attempt.feed(event)
            ups += isinstance(event, Report) and event.values.get("ARGV_1") == "host-up"
        async with asyncio.timeout(60):  # tincd's scripts wait for the answer of this very loop
            while not await asyncio.to_thread(laptop.ping, OFFICE):
                pass
        assert server.program
        assert "Connection with laptop (192.0.2.77 " in server.program.output


async def test_the_key_is_in_a_file_that_only_root_reads_and_nowhere_else(server: Tinc, directory: Path) -> None:
    async with work(server, directory) as attempt:
        assert isinstance(await (await attempt.start()).news(), Ready)
        check_secrecy(attempt.channels.receipt()["pid"], directory)


def check_secrecy(pid: int, directory: Path) -> None:
    shown = b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    key = directory / "rsa_key.priv"
    assert [path.stat().st_mode & 0o777 for path in (key, directory)] == [0o600, 0o700]
    secrets = [line for line in key.read_bytes().splitlines() if line and not line.startswith(b"-----")]
    assert secrets
    assert not any(line in shown for line in secrets)
