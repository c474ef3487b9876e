"""The ipsec driver against strongSwan itself, on both sides."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import tempfile
import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from vici import Session

from autovpn.core.actions import Failed, Ready
from autovpn.core.driving import Recovered, UplinkChanged, ViciAnswer
from autovpn.core.settings import IpsecAuth, IpsecSettings
from autovpn.core.tunnel import FailureClass
from autovpn.system.farewell import carry_out
from autovpn.tunnels import ipsec
from autovpn.tunnels.ipsec import IpsecDriver
from tests.netns.driving import NONCE, IpDevices, Work, address, index_of, ip, launch, passes
from tests.netns.server_ipsec import Ipsec
from tests.netns.servers import OFFICE_NETWORK
from tests.netns.test_driver_contracts import shown_to_everybody
from tests.netns.world import GATEWAY, LAPTOP, LAPTOP6, OFFICE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autovpn.core.driving import Launch
    from tests.netns.world import World

pytestmark = pytest.mark.netns


@pytest.fixture
def directory() -> Iterator[Path]:
    """Give a folder with a short name, since a socket's path has 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="avt"))
    yield path / "t"
    shutil.rmtree(path)


@pytest.fixture
def server(world: World) -> Iterator[Ipsec]:
    """Have a gateway, and the test itself on the laptop."""
    if missing := Ipsec.missing():
        pytest.skip(f"needs {', '.join(missing)}: make packages")
    made = Ipsec(world)
    with world.laptop.enter():
        yield made


def launch_for(
    server: Ipsec,
    directory: Path,
    *,
    password: bytes | None = b"wonder land\n",
    timeout: float = 12.0,
    **changes: Any,  # noqa: ANN401 - fields of the settings
) -> Launch:
    """Return the launch of alice, whose settings are changed."""
    spec = server.spec("office", "avtipsec")
    assert isinstance(spec.settings, IpsecSettings)
    settings = replace(spec.settings, **changes)
    files = tuple(path for path in (settings.key, settings.psk) if path)
    spec = replace(spec, settings=settings, files=files, connect_timeout=timeout)
    made = launch(spec, server.endpoints, directory, password=password)
    return replace(made, uplink=replace(made.uplink, addresses=(IPv4Address(LAPTOP), IPv6Address(LAPTOP6))))


def identities(server: Ipsec, how: str) -> dict[str, Any]:
    """Return the settings for one way of saying who one is."""
    folder = server.folder
    common: dict[str, Any] = {"user": None, "ca": None, "remote_id": "vpn.office.example"}
    match how:
        case "psk":
            own = {"auth": IpsecAuth.PSK, "local_id": "laptop.office.example", "psk": str(folder / "shared.key")}
        case "certificate":
            own = {
                "auth": IpsecAuth.CERTIFICATE,
                "local_id": "laptop.cert.example",
                "ca": str(folder / "ca.crt"),
                "certificate": str(folder / "laptop.crt"),
                "key": str(folder / "laptop.key"),
            }
        case "psk by IKEv1":
            own = {
                "auth": IpsecAuth.PSK,
                "version": 1,
                "local_id": "router.office.example",
                "psk": str(folder / "shared.key"),
            }
        case "xauth":
            own = {"auth": IpsecAuth.XAUTH, "user": "alice", "version": 1, "psk": str(folder / "shared.key")}
        case "xauth in aggressive mode":
            own = identities(server, "xauth") | {"aggressive": True, "local_id": "group.office.example"}
        case _:
            own = {"user": "alice", "ca": str(folder / "ca.crt")}
    return common | own


FILES = ("ca", "certificate", "key", "psk")
WAYS = {"psk by IKEv1": None, "eap": b"wonder land\n", "psk": None, "certificate": None, "xauth": b"wonder land\n",
        "xauth in aggressive mode": b"wonder land\n"}  # fmt: skip


@pytest.mark.parametrize("how", WAYS)
async def test_a_tunnel_is_ready_with_what_it_was_told_and_carries_packets(
    server: Ipsec, directory: Path, how: str
) -> None:
    made = launch_for(server, directory, password=WAYS[how], **identities(server, how))
    async with Work(made) as work:
        ready = await (await work.start()).news()
        assert isinstance(ready, Ready), ready
        facts = ready.facts
        assert facts.prefixes == (OFFICE_NETWORK,)
        assert facts.dns == server.dns
        assert [str(own.network.supernet(8)) for own in facts.addresses] == ["10.96.0.0/24"]
        assert facts.form.startswith("ESP in UDP: strongSwan moves the packets itself")
        address(ready, OFFICE_NETWORK)
        await passes(server.world.laptop, OFFICE)
        device = facts.device
        assert device
    assert index_of(device) == 0


REFUSALS = {
    "a wrong password": ("eap", b"looking glass\n", {}, FailureClass.AUTH),
    "an unknown user": ("eap", b"wonder land\n", {"user": "mallory"}, FailureClass.AUTH),
    "a wrong shared key": ("psk", None, {"psk": "alice.pw"}, FailureClass.AUTH),
    "a certificate of strangers": (
        "certificate",
        None,
        {"certificate": "stranger.crt", "key": "stranger.key"},
        FailureClass.AUTH,
    ),
    "a server that another authority vouches for": ("eap", b"x", {"ca": "strangers.crt"}, FailureClass.TRUST),
    "a server of another name": ("eap", b"x", {"remote_id": "other.example"}, FailureClass.AUTH),
    "a wrong password by IKEv1": ("xauth", b"looking glass\n", {}, FailureClass.AUTH),
    "a wrong secret of the group": ("xauth", b"wonder land\n", {"psk": "alice.pw"}, FailureClass.AUTH),
    "no common encryption": ("eap", b"x", {"ike_proposals": ("3des-md5-modp768",)}, FailureClass.LOCAL),
    "no common encryption of packets": ("eap", b"wonder land\n", {"proposals": ("null-md5",)}, FailureClass.LOCAL),
    "networks that there are none of": (
        "eap",
        b"wonder land\n",
        {"remote": (IPv4Network("172.31.0.0/16"),)},
        FailureClass.LOCAL,
    ),
}


@pytest.mark.parametrize(("how", "password", "changes", "kind"), REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_is_told_in_words_of_strongswan(
    server: Ipsec, directory: Path, how: str, password: bytes | None, changes: dict[str, Any], kind: FailureClass
) -> None:
    paths = {key: str(server.folder / value) if key in FILES else value for key, value in changes.items()}
    made = launch_for(server, directory, password=password, **identities(server, how) | paths)
    async with Work(made) as work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed), failed
    assert failed.kind is kind, failed


async def test_a_silent_server_is_unreachable_when_the_time_is_up(server: Ipsec, directory: Path) -> None:
    server.silence()
    async with Work(launch_for(server, directory, timeout=1.0)) as work:
        failed = await (await work.start()).news()
    assert failed == Failed(FailureClass.UNREACHABLE, "no tunnel to 192.0.2.1 within 1 s")


async def test_a_tunnel_that_was_left_running_is_adopted_and_never_stops_carrying_packets(
    server: Ipsec, directory: Path
) -> None:
    first = await (await Work(launch_for(server, directory)).__aenter__()).start()
    ready = await first.news()
    assert isinstance(ready, Ready), ready
    address(ready, OFFICE_NETWORK)
    await passes(server.world.laptop, OFFICE)
    receipt = first.leave()
    assert receipt["device"] == ready.facts.device
    async with Work(replace(launch_for(server, directory), files={}, password=None)) as second:
        recovered = Recovered(receipt["pid"], ready.facts.device, ready.facts, time.time() - time.monotonic())
        assert await (await second.adopt(receipt, recovered)).news() == Ready(ready.facts)
        assert await asyncio.to_thread(server.world.laptop.ping, OFFICE, count=2), "it stopped carrying packets"
    assert index_of(str(ready.facts.device)) == 0


@pytest.mark.parametrize("what", ["--child", "--ike"])
async def test_what_the_server_deletes_is_noticed_at_once(server: Ipsec, directory: Path, what: str) -> None:
    name = {"--child": "office", "--ike": "eap"}[what]
    async with Work(launch_for(server, directory)) as work:
        assert isinstance(await (await work.start()).news(), Ready)
        # The script that tells of the end is heard meanwhile: charon waits for it before it answers the server.
        failed, _ = await asyncio.gather(work.news(), asyncio.to_thread(server.swanctl, "--terminate", what, name))
    assert failed == Failed(FailureClass.LOST, "the server ended the tunnel (there is no child SA any more)")


def moved(server: Ipsec, work: Work) -> UplinkChanged:
    """Give the laptop another address, and return what a daemon would tell of that."""
    gone, come = IPv4Address(LAPTOP), IPv4Address("192.0.2.77")
    server.world.laptop.batch(
        f"addr del {gone}/24 dev eth0", f"addr add {come}/24 dev eth0", f"route replace default via {GATEWAY}"
    )
    return UplinkChanged(replace(work.launch.uplink, addresses=(come, IPv6Address(LAPTOP6))), server.endpoints)


async def test_a_new_address_of_the_uplink_is_followed_by_ikev2(
    server: Ipsec, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Work(launch_for(server, directory)) as work:
        ready = await (await work.start()).news()
        assert isinstance(ready, Ready), ready
        address(ready, OFFICE_NETWORK)
        index = index_of(str(ready.facts.device))
        change = moved(server, work)
        await work.feed(change)
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(server.world.laptop.ping, OFFICE):
                pass
        monkeypatch.setattr(ipsec, "MOVE_PATIENCE", 0.0)  # the time to follow is over
        await work.feed(change)
        async with asyncio.timeout(60):
            while (event := await work.events.get()) != ViciAnswer("list"):
                await work.feed(event)
        await work.feed(event)
        with pytest.raises(TimeoutError):
            await work.news(0.0)
        assert index_of(str(ready.facts.device)) == index


async def test_a_new_address_of_the_uplink_ends_ikev1_at_once(server: Ipsec, directory: Path) -> None:
    made = launch_for(server, directory, **identities(server, "xauth"))
    async with Work(made) as work:
        assert isinstance(await (await work.start()).news(), Ready)
        await work.feed(moved(server, work))
        failed = await work.news()
    assert failed == Failed(FailureClass.LOST, "this machine's address changed, which IKEv1 does not follow")


async def test_a_charon_that_is_killed_is_lost(server: Ipsec, directory: Path) -> None:
    async with Work(launch_for(server, directory)) as work:
        assert isinstance(await (await work.start()).news(), Ready)
        os.kill(work.channels.receipt()["pid"], signal.SIGKILL)
        failed = await work.news()
    assert failed == Failed(FailureClass.LOST, "charon-systemd was killed by signal 9")


async def test_two_tunnels_have_a_charon_and_a_device_each(server: Ipsec, directory: Path) -> None:
    other = launch_for(server, directory / "2", password=None, **identities(server, "psk"))
    other = replace(other, nonce=f"{NONCE}-2", spec=replace(other.spec, name="second", device="avtipsec2"))
    async with Work(launch_for(server, directory / "1")) as one, Work(other) as two:
        facts = [news.facts for work in (one, two) if isinstance(news := await (await work.start()).news(), Ready)]
        assert sorted(str(found.device) for found in facts) == ["ipsec0", "ipsec1"]
        assert len({found.addresses for found in facts}) == 2
        assert {one.channels.receipt()["device"], two.channels.receipt()["device"]} == {"ipsec0", "ipsec1"}


async def test_no_secret_is_shown(server: Ipsec, directory: Path) -> None:
    async with Work(launch_for(server, directory)) as work:
        await (await work.start()).news()
        shown = shown_to_everybody(work.channels.receipt()["pid"])
        shown += kept_in(directory)
    assert b"wonder land" not in shown
    assert "wonder land" not in repr(work.seen)


async def test_a_full_tunnel_carries_packets_though_it_covers_its_own_server(server: Ipsec, directory: Path) -> None:
    (server.folder / "swanctl/swanctl.conf").write_text(
        (server.folder / "swanctl/swanctl.conf").read_text().replace(str(OFFICE_NETWORK), "0.0.0.0/0")
    )
    server.swanctl("--load-all")
    async with Work(launch_for(server, directory)) as work:
        ready = await (await work.start()).news()
        assert isinstance(ready, Ready), ready
        assert ready.facts.prefixes == ()
        assert "0.0.0.0/0" in ready.facts.refused[0]
        address(ready, OFFICE_NETWORK)
        await passes(server.world.laptop, OFFICE)


class AnyKind(IpDevices):
    """Devices of a kernel that would have any kind: a tun device stands for them."""

    async def create(self, kind: str, name: str, alias: str, if_id: int | None = None) -> int:
        done = await asyncio.to_thread(ip, "tuntap", "add", "dev", name, "mode", "tun")
        assert done.returncode == 0, done.stderr
        await self.mark(index_of(name), alias)
        return index_of(name)


def known_to(path: str) -> dict[str, Any]:
    """Return what a strongSwan has in its memory: connections, secrets and SAs, by vici."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        session = Session(connection)
        return {
            "connections": session.get_conns()["conns"],
            "secrets": sorted(session.get_shared().get("keys", [])),
            "sas": [(name, sa["uniqueid"], sa["state"]) for found in session.list_sas() for name, sa in found.items()],
        }


@pytest.mark.parametrize("how", ["eap", "xauth"])
async def test_a_strongswan_that_runs_already_keeps_its_own_and_nothing_of_ours(
    server: Ipsec, directory: Path, how: str
) -> None:
    """This kernel has no ESP, so that strongSwan carries and routes the packets, past the device that is ours."""
    running = str(directory.parent / "running")
    server.running_client(running)
    before = await asyncio.to_thread(known_to, running)
    assert before["sas"] == [("of-another", b"1", b"ESTABLISHED")]
    made = launch_for(server, directory, password=WAYS[how], **identities(server, how) | {"vici": running})
    async with Work(made, devices=AnyKind()) as work:
        ready = await (await work.start()).news()
        assert isinstance(ready, Ready), ready
        assert (ready.facts.device, ready.facts.dns) == ("avtipsec", server.dns)
        await passes(server.world.laptop, OFFICE)
        meanwhile = await asyncio.to_thread(known_to, running)
        assert b"autovpn-office" in meanwhile["connections"]
        assert len(meanwhile["secrets"]) > len(before["secrets"])
        for _ in range(2):  # the second time as after a crash
            for last_word in IpsecDriver().farewell(made):
                assert await carry_out(last_word, made.nonce) == ""
    assert await asyncio.to_thread(known_to, running) == before


def kept_in(folder: Path) -> bytes:
    """Return all that is in a folder's files."""
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
