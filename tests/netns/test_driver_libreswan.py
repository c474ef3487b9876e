"""The driver of libreswan against strongSwan: all that a kernel without ESP lets it come to, and how it fails."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import tempfile
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autovpn.core.actions import Failed, Run
from autovpn.core.driving import Line, Ran
from autovpn.core.secret import Secret
from autovpn.core.settings import IpsecAuth, LibreswanSettings
from autovpn.core.tunnel import FailureClass, TunnelSpec
from autovpn.system.farewell import carry_out
from autovpn.tunnels import pluto
from autovpn.tunnels.drivers import DRIVERS
from tests.netns import driving, server_ipsec
from tests.netns.driving import Work, ip, launch
from tests.netns.server_ipsec import Ipsec
from tests.netns.test_driver_contracts import shown_to_everybody
from tests.netns.world import GATEWAY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from autovpn.core.driving import Launch
    from tests.netns.world import World

pytestmark = pytest.mark.netns

CACHE = os.environ.get("AUTOVPN_LIBRESWAN_CACHE") or Path(__file__).parents[2] / ".cache" / "libreswan"
LIBRESWAN = Path(CACHE) / "ipsec"

DEVICE = "ipsec77"
TRANSPORT: dict[str, Any] = {"mode": "transport", "virtual_address": False}
XAUTH: dict[str, Any] = {"auth": IpsecAuth.XAUTH, "version": 1, "user": "alice", "local_id": None}


@pytest.fixture
def directory() -> Iterator[Path]:
    """Give a folder with a short name, since a socket's path has 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="avt"))
    yield path / "t"
    shutil.rmtree(path)


@pytest.fixture
def server(world: World) -> Iterator[Ipsec]:
    """Have a gateway, and the test itself on the laptop, which has to be as before at the end."""
    if not LIBRESWAN.exists():
        pytest.skip("needs libreswan: make packages")
    if missing := Ipsec.missing() + [name for name in ("certutil",) if not shutil.which(name)]:
        pytest.skip(f"needs {', '.join(missing)}: make packages")
    made = Ipsec(world)
    before = state(world)
    with world.laptop.enter():
        yield made
    assert state(world) == before


def state(world: World) -> str:
    """Return what libreswan could leave behind on the laptop."""
    policies = world.laptop.run("ip", "xfrm", "policy", "list").stdout
    return world.laptop.snapshot() + policies + world.laptop.run("ip", "xfrm", "state", "list").stdout


def launch_for(
    server: Ipsec,
    directory: Path,
    *,
    password: bytes = b"wonder land\n",
    psk: str = "shared.key",
    timeout: float = 12.0,
    **changes: Any,  # noqa: ANN401 - fields of the settings
) -> Launch:
    """Return the launch of a laptop with a shared key, whose settings are changed."""
    path = str(server.folder / psk)
    settings = LibreswanSettings(
        GATEWAY, local_id="laptop.office.example", remote_id="vpn.office.example", psk=path, ipsec=str(LIBRESWAN)
    )
    settings = replace(settings, **changes)
    private = tuple(filter(None, (path, settings.key)))
    device = DEVICE if settings.mode == "tunnel" else ""
    spec = TunnelSpec("office", "ipsec", settings, device, files=private, connect_timeout=timeout)
    return launch(spec, server.endpoints, directory, password=password)


@asynccontextmanager
async def attempt(made: Launch, devices: driving.IpDevices | None = None) -> AsyncIterator[Work]:
    """Give an attempt that ends as the daemon ends one."""
    async with Work(made, devices=devices) as work:
        yield work
        words = DRIVERS["ipsec"].farewell(made)
        patient = [replace(word, deadline=60.0) if isinstance(word, Run) else word for word in words]
        wrong = [await carry_out(word, made.nonce) for word in patient]
        assert not any(wrong), wrong


def by_certificate(server: Ipsec, *, ca: str = "ca", client: str = "laptop") -> dict[str, Any]:
    """Return the settings of a laptop with a certificate."""
    files = {"ca": f"{ca}.crt", "certificate": f"{client}.crt", "key": f"{client}.key"}
    paths = {name: str(server.folder / file) for name, file in files.items()}
    return {"auth": IpsecAuth.CERTIFICATE, "local_id": "laptop.cert.example", **paths}


REFUSALS: dict[str, tuple[dict[str, Any], FailureClass, str]] = {
    "a wrong shared key": ({"psk": "alice.pw"}, FailureClass.AUTH, "AUTHENTICATION_FAILED"),
    "an unknown identity": ({"local_id": "mallory.example"}, FailureClass.AUTH, "AUTHENTICATION_FAILED"),
    "a server of another name": ({"remote_id": "other.example"}, FailureClass.AUTH, "AUTHENTICATION_FAILED"),
    "a wrong password": (XAUTH | {"password": b"looking glass\n"}, FailureClass.AUTH, "XAUTH status: FAIL"),
    "a wrong secret of the group": (XAUTH | {"psk": "alice.pw"}, FailureClass.AUTH, "is the shared key right?"),
    "no common encryption": ({"ike_proposals": ("3des-sha1-modp1536",)}, FailureClass.LOCAL, "NO_PROPOSAL_CHOSEN"),
    "an encryption that there is none of": ({"proposals": ("rot13",)}, FailureClass.LOCAL, "rot13"),
    "networks that the server does not have": ({}, FailureClass.LOCAL, "TS_UNACCEPTABLE"),
}


@pytest.mark.parametrize(("changes", "kind", "words"), REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_is_told_in_words_of_libreswan(
    server: Ipsec, directory: Path, changes: dict[str, Any], kind: FailureClass, words: str
) -> None:
    async with attempt(launch_for(server, directory, **TRANSPORT | changes)) as work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed), failed
    assert failed.kind is kind, failed
    assert words in failed.words


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
async def test_both_ends_prove_who_they_are_by_certificates(
    server: Ipsec, directory: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "rsa":
        monkeypatch.setattr(server_ipsec, "NEW_KEY", ("-newkey", "rsa:2048", "-nodes"))
        server.stop()
        server.certify()
        server.start()
    async with attempt(launch_for(server, directory, **TRANSPORT | by_certificate(server))) as work:
        failed = await (await work.start()).news()
        said = [event.text for event in work.seen if isinstance(event, Line)]
    assert isinstance(failed, Failed), failed
    assert "TS_UNACCEPTABLE" in failed.words
    assert any("authenticated peer" in line and "issued by CA 'CN=ca'" in line for line in said), said


async def test_a_server_of_a_strange_authority_is_not_trusted(server: Ipsec, directory: Path) -> None:
    made = launch_for(server, directory, **TRANSPORT | by_certificate(server, ca="strangers"))
    async with attempt(made) as work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed), failed
    assert failed.kind is FailureClass.TRUST
    assert "Peer's Certificate issuer is not recognized" in failed.words


async def test_a_certificate_of_a_strange_authority_is_refused(server: Ipsec, directory: Path) -> None:
    made = launch_for(server, directory, **TRANSPORT | by_certificate(server, client="stranger"))
    async with attempt(made) as work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed), failed
    assert failed.kind is FailureClass.AUTH
    assert "AUTHENTICATION_FAILED" in failed.words


async def test_a_silent_server_is_unreachable_when_the_time_is_up(server: Ipsec, directory: Path) -> None:
    server.silence()
    async with attempt(launch_for(server, directory, timeout=2.0, **TRANSPORT)) as work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed), failed
    assert failed.kind is FailureClass.UNREACHABLE


async def test_a_private_key_is_nowhere_but_in_files_of_the_tunnels_folder(server: Ipsec, directory: Path) -> None:
    server.silence()
    made = launch_for(server, directory, **TRANSPORT | by_certificate(server))
    key = (server.folder / "laptop.key").read_text().splitlines()[1]
    async with attempt(made) as work:
        await work.start()
        await began(work)
        shown = shown_to_everybody(work.channels.receipt()["pid"]) + repr(work.seen).encode()
        modes = modes_in(directory)
    assert key.encode() not in shown
    assert modes["."] == 0o700
    assert [modes[name] for name in ("client.p12", "client.p12.password", "key4.db")] == [0o600] * 3


async def test_a_key_that_is_not_the_certificates_is_told_by_openssl(server: Ipsec, directory: Path) -> None:
    changes = by_certificate(server) | {"key": str(server.folder / "stranger.key")}
    async with attempt(launch_for(server, directory, **TRANSPORT | changes)) as work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed), failed
    assert failed.kind is FailureClass.LOCAL
    assert "matches private key" in failed.words


async def test_a_kernel_that_lacks_the_device_is_a_local_failure(server: Ipsec, directory: Path) -> None:
    async with attempt(launch_for(server, directory)) as work:
        if ip("link", "add", "probe", "type", "xfrm", "if_id", "7").returncode == 0:
            ip("link", "delete", "probe")
            pytest.skip("this kernel has devices of kind xfrm")
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed), failed
    assert failed.kind is FailureClass.LOCAL
    assert failed.words.endswith("; libreswan needs a device of kind xfrm")


class Tuns(driving.IpDevices):
    """A kernel that makes a device of any kind, so that what comes after is seen."""

    async def create(self, kind: str, name: str, alias: str, if_id: int | None = None) -> int:
        """Make a tun device."""
        await asyncio.to_thread(ip, "tuntap", "add", name, "mode", "tun")
        await self.mark(driving.index_of(name), alias)
        return driving.index_of(name)


async def test_a_kernel_without_esp_is_a_local_failure_though_libreswan_ends_with_0(
    server: Ipsec, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untied = pluto.connection

    def connection(launch: Launch, *, encap: bool, proof: tuple[str, ...]) -> Secret:
        lines = untied(launch, encap=encap, proof=proof).reveal().split(b"\n")
        return Secret(b"\n".join(line for line in lines if b"ipsec-interface" not in line))

    algorithm = ("enc", "cbc(aes)", "0x" + "00" * 16, "auth", "hmac(sha1)", "0x" + "00" * 20)
    key = ("src", "192.0.2.10", "dst", "192.0.2.1", "proto", "esp", "spi", "0x100")
    if ip("xfrm", "state", "add", *key, *algorithm).returncode == 0:
        ip("xfrm", "state", "delete", *key)
        pytest.skip("this kernel has ESP")
    monkeypatch.setattr(pluto, "connection", connection)
    async with attempt(launch_for(server, directory), Tuns()) as work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed), failed
    assert failed.kind is FailureClass.LOCAL
    assert "Function not implemented" in failed.words
    assert ("up", 0) in [(event.name, event.status) for event in work.seen if isinstance(event, Ran)]


async def test_no_secret_is_shown_and_pluto_ends_with_the_attempt(server: Ipsec, directory: Path) -> None:
    server.silence()
    async with attempt(launch_for(server, directory, **TRANSPORT)) as work:
        await work.start()
        await began(work)
        pid = work.channels.receipt()["pid"]
        shown = shown_to_everybody(pid) + repr(work.seen).encode()
    for secret in server.secrets:
        assert secret.encode() not in shown
        assert secret.encode().hex().encode() not in shown
    assert not runs(pid)


def modes_in(folder: Path) -> dict[str, int]:
    """Return the mode of a folder and of all that is in it."""
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}


async def began(work: Work) -> None:
    """Have it go on until pluto has begun to talk to the server."""
    while not any(isinstance(event, Line) and "initiating" in event.text for event in work.seen):
        await work.feed(await asyncio.wait_for(work.events.get(), 60.0))


def runs(pid: int) -> bool:
    """Report whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


async def test_the_ipsec_of_another_program_is_told_in_its_words(server: Ipsec, directory: Path) -> None:
    other = directory.parent / "ipsec"
    other.write_text('#!/bin/sh\necho "$0: unknown command \\`$1\'" >&2\nexit 2\n')
    other.chmod(0o700)
    async with attempt(launch_for(server, directory, ipsec=str(other), **TRANSPORT)) as work:
        failed = await (await work.start()).news()
    assert failed == Failed(FailureClass.LOCAL, f"{other}: unknown command `pluto'")
