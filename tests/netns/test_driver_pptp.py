"""The pptp driver against pppd, pptp and a server: the real ones where the kernel has PPP, else their stand-in.

Without PPP in the kernel the real pppd is still what proves how that fails.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autovpn.core.actions import Failed, Ready
from autovpn.core.driving import Report, UplinkChanged
from autovpn.core.settings import Mppe, PptpSettings
from autovpn.core.tunnel import FailureClass
from autovpn.tunnels import pppd, pptp
from autovpn.tunnels.attempt import ENVIRONMENT
from tests.netns.driving import Work, index_of, launch, passes
from tests.netns.record import RECORD
from tests.netns.server_pptp import PASSWORD, Pptp, PptpServer, PptpStandIn, has_ppp
from tests.netns.servers import OFFICE_NETWORK
from tests.netns.test_driver_contracts import directory, laptop, shown_to_everybody
from tests.netns.world import OFFICE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from autovpn.core.driving import Launch
    from tests.netns.world import World

pytestmark = pytest.mark.netns
__all__ = ["directory", "laptop"]

DEVICE = "avtpptp"


@pytest.fixture
def server(laptop: World, monkeypatch: pytest.MonkeyPatch) -> PptpServer:
    """Give a server, and its client under pppd's name."""
    if missing := Pptp.missing():
        pytest.skip(f"needs {', '.join(missing)}: make packages")
    made = Pptp(laptop)
    if isinstance(made, PptpStandIn):
        monkeypatch.delenv(RECORD, raising=False)  # what it costs says nothing about pppd
        path = f"{made.client.parent}:{dict(ENVIRONMENT)['PATH']}"
        monkeypatch.setattr(pptp, "ENVIRONMENT", (("LC_ALL", "C"), ("PATH", path)))
    return made


def launch_for(
    server: PptpServer, directory: Path, *, password: str = PASSWORD, timeout: float = 12.0, **settings: object
) -> Launch:
    """Return the launch of a client; `settings` are those of PPTP."""
    spec = server.spec("office", DEVICE)
    assert isinstance(spec.settings, PptpSettings)
    changed = replace(spec.settings, **settings)  # type: ignore[arg-type]
    spec = replace(spec, settings=changed, connect_timeout=timeout)
    return launch(spec, server.endpoints, directory, password=f"{password}\n".encode())


async def test_it_is_ready_with_what_the_server_gave_and_carries_packets(
    laptop: World, server: PptpServer, directory: Path
) -> None:
    async with Work(launch_for(server, directory)) as work:
        ready = await (await work.start()).news()
        assert isinstance(ready, Ready), ready
        (own,) = ready.facts.addresses
        assert own.ip in IPv4Network("10.99.0.0/24")
        assert ready.facts.peer == IPv4Address("10.99.0.1")
        assert ready.facts.dns == server.dns
        assert ready.facts.form == "GRE, MPPE 128-bit stateless"
        assert any(isinstance(event, Report) for event in work.seen), "the notifier said nothing"
        laptop.laptop.run("ip", "route", "add", str(OFFICE_NETWORK), "dev", DEVICE)
        await passes(laptop.laptop, OFFICE)
        listing = laptop.laptop.run("ip", "-oneline", "link", "show", DEVICE).stdout
        assert f"mtu {ready.facts.mtu} " in listing
        shown = shown_to_everybody(work.channels.receipt()["pid"])
    assert PASSWORD.encode() not in shown
    assert PASSWORD not in repr(work.seen)
    assert index_of(DEVICE) == 0


async def test_a_server_that_is_not_asked_for_dns_gives_none(server: PptpServer, directory: Path) -> None:
    async with Work(launch_for(server, directory, ask_dns=False)) as work:
        ready = await (await work.start()).news()
    assert isinstance(ready, Ready), ready
    assert ready.facts.dns == ()


async def test_where_no_script_can_be_run_it_is_ready_by_what_pppd_prints(
    server: PptpServer, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pppd, "script", lambda _: b"#!/nowhere/sh\n")
    async with Work(launch_for(server, directory)) as work:
        ready = await (await work.start()).news()
    assert isinstance(ready, Ready), ready
    assert ready.facts.dns == server.dns
    assert not any(isinstance(event, Report) for event in work.seen)


async def test_a_wrong_password_and_a_network_that_drops_gre_are_told_apart(
    server: PptpServer, directory: Path
) -> None:
    async with Work(launch_for(server, directory, password="looking glass")) as work:
        refused = await (await work.start()).news()
    server.world.drop("gre")
    async with Work(launch_for(server, directory.with_name("u"), timeout=7.0)) as work:
        dropped = await (await work.start()).news()
    assert isinstance(refused, Failed)
    assert refused.kind is FailureClass.AUTH
    assert "MS-CHAP authentication failed" in refused.words
    assert isinstance(dropped, Failed)
    assert dropped.kind is FailureClass.UNREACHABLE
    assert "answers on TCP port 1723" in dropped.words
    assert "protocol 47 (GRE)" in dropped.words


async def test_a_server_that_is_silent_altogether_is_not_said_to_lack_gre(server: PptpServer, directory: Path) -> None:
    server.silence()
    async with Work(launch_for(server, directory, timeout=7.0)) as work:
        failed = await (await work.start()).news()
    assert failed == Failed(FailureClass.UNREACHABLE, "no answer from 192.0.2.1 on TCP port 1723")


async def test_a_server_that_refuses_the_connection_is_unreachable(server: PptpServer, directory: Path) -> None:
    server.stop()
    async with Work(launch_for(server, directory)) as work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.UNREACHABLE
    assert "connect: Connection refused" in failed.words


async def test_a_server_that_encrypts_nothing_is_not_trusted_unless_the_profile_says_so(
    server: PptpServer, directory: Path
) -> None:
    server.stop()
    server.encrypts = False
    server.start()
    async with Work(launch_for(server, directory)) as work:
        failed = await (await work.start()).news()
    async with Work(launch_for(server, directory.with_name("u"), mppe=Mppe.OFF)) as work:
        ready = await (await work.start()).news()
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.TRUST, failed
    assert "MPPE required" in failed.words
    assert isinstance(ready, Ready)
    assert ready.facts.form == "GRE, not encrypted"


async def test_a_server_that_ends_is_lost(server: PptpServer, directory: Path) -> None:
    async with Work(launch_for(server, directory)) as work:
        assert isinstance(await (await work.start()).news(), Ready)
        server.stop()
        failed = await work.news(20.0)
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOST


async def test_another_address_of_this_machine_is_the_end_of_it(server: PptpServer, directory: Path) -> None:
    made = launch_for(server, directory)
    made = replace(made, uplink=replace(made.uplink, addresses=(IPv4Address("192.0.2.10"),)))
    async with Work(made) as work:
        assert isinstance(await (await work.start()).news(), Ready)
        await work.feed(UplinkChanged(made.uplink, made.endpoints))
        await work.feed(UplinkChanged(replace(made.uplink, addresses=(IPv4Address("192.0.2.99"),)), made.endpoints))
        failed = await work.news()
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOST
    assert "address has changed" in failed.words


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Put a script among those of the distribution, and give what it writes: for whom it was run."""
    script = Path("/etc/ppp/ip-up.d/autovpn-test-trap")
    calls = tmp_path / "calls"
    calls.touch()
    script.write_text(f'#!/bin/sh\necho "$6" >> {calls}\n')
    script.chmod(0o755)
    yield calls.read_text
    script.unlink()


@pytest.mark.skipif(not has_ppp(), reason="needs a kernel with PPP: the real pppd alone can show this")
async def test_no_script_of_the_distribution_runs_for_us(
    server: PptpServer, directory: Path, trap: Callable[[], str]
) -> None:
    async with Work(launch_for(server, directory)) as work:
        ready = await (await work.start()).news()
    assert isinstance(ready, Ready), ready
    assert "autovpn:" not in trap()


@pytest.mark.skipif(has_ppp(), reason="this kernel has PPP")
async def test_a_kernel_without_ppp_is_said_with_what_to_do(laptop: World, directory: Path) -> None:
    if missing := PptpStandIn.missing():
        pytest.skip(f"needs {', '.join(missing)}: make packages")
    server = PptpStandIn(laptop)
    async with Work(launch_for(server, directory)) as work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOCAL
    assert failed.words.startswith("this kernel has no PPP: modprobe ppp_generic"), failed.words
    assert not index_of(DEVICE)
