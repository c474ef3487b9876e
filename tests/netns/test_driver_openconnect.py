"""The openconnect driver against openconnect and ocserv."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autovpn.core.actions import AskPerson, Failed, Ready
from autovpn.core.driving import Exited, Report, UplinkChanged
from autovpn.core.secret import Secret
from autovpn.core.settings import OpenconnectSettings
from autovpn.core.tunnel import FailureClass
from autovpn.tunnels import openconnect_login
from tests.netns.driving import Work, address, index_of, launch, passes
from tests.netns.server_openconnect import NAME, PORT, Ocserv, one_time_code
from tests.netns.servers import OFFICE_NETWORK
from tests.netns.world import OFFICE, OFFICE6

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autovpn.core.driving import Launch
    from tests.netns.world import World

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(bool(Ocserv.missing()), reason=f"needs {', '.join(Ocserv.missing())}: make packages"),
]

DEVICE = "avtoc"
PASSWORD = b"wonder land\n"


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


def launch_for(server: Ocserv, directory: Path, *, password: bytes | None = PASSWORD, **changes: object) -> Launch:
    """Return the launch of a client that fits the server, but for `changes` of its settings."""
    spec = replace(server.spec("office", DEVICE), connect_timeout=8.0)
    assert isinstance(spec.settings, OpenconnectSettings)
    settings = replace(spec.settings, **changes)  # type: ignore[arg-type]
    return launch(replace(spec, settings=settings), server.endpoints, directory, password=password)


async def failure(made: Launch) -> Failed:
    """Return how an attempt fails."""
    async with Work(made) as work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed), failed
    assert index_of(DEVICE) == 0
    return failed


async def test_it_is_ready_with_what_it_was_told_and_carries_packets_of_both_families(
    laptop: World, directory: Path
) -> None:
    server = Ocserv(laptop)
    async with Work(launch_for(server, directory, host=NAME)) as work:
        ready = await (await work.start()).news()
        assert isinstance(ready, Ready), ready
        facts = ready.facts
        assert (facts.device, facts.dns, facts.search) == (DEVICE, server.dns, server.search)
        assert facts.banner == server.banner
        assert (facts.prefixes, facts.addresses) == (server.prefixes, server.addresses)
        assert facts.form == "DTLS over UDP"
        assert facts.refused == ()
        address(ready, *server.prefixes[:2])
        await passes(laptop.laptop, OFFICE)
        await passes(laptop.laptop, OFFICE6)
    assert index_of(DEVICE) == 0


async def test_the_password_and_the_cookie_are_in_no_argument_no_environment_and_no_report(
    laptop: World, directory: Path
) -> None:
    server = Ocserv(laptop)
    async with Work(launch_for(server, directory)) as work:
        assert isinstance(await (await work.start()).news(), Ready)
        process = Path("/proc") / str(work.channels.receipt()["pid"])
        shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        assert b"--cookie-on-stdin" in shown
    for secret in ("wonder land", "webvpn", "strapkey"):
        assert secret.encode() not in shown
        assert secret not in repr([event for event in work.seen if isinstance(event, Report)])
        assert secret not in repr(work.seen)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"password": b"looking glass\n"}, FailureClass.AUTH, "Login failed"),
        ({"password": None}, FailureClass.AUTH, "needs a person"),
        ({"user": None}, FailureClass.AUTH, "needs a person"),
        ({"ca": None}, FailureClass.TRUST, "signer not found"),
        ({"host": "other.example"}, FailureClass.TRUST, "certificate does not match hostname"),
        ({"server_cert": f"pin-sha256:{'A' * 43}="}, FailureClass.TRUST, "specified via --servercert"),
        ({"port": PORT + 1}, FailureClass.UNREACHABLE, "Connection refused"),
        ({"client_cert": "/nonexistent"}, FailureClass.LOCAL, "/nonexistent"),
    ],
)
async def test_a_login_that_fails_says_why(
    laptop: World, directory: Path, changes: dict[str, object], kind: FailureClass, words: str
) -> None:
    failed = await failure(launch_for(Ocserv(laptop), directory, **changes))  # type: ignore[arg-type]
    assert failed.kind is kind, failed
    assert words in failed.words


async def test_a_pinned_certificate_needs_no_authority_and_no_name(laptop: World, directory: Path) -> None:
    server = Ocserv(laptop)
    made = launch_for(server, directory, ca=None, host="other.example", server_cert=server.pin)
    async with Work(made) as work:
        assert isinstance(await (await work.start()).news(), Ready)


async def test_a_server_that_shows_another_certificate_after_the_login_gets_no_cookie(
    laptop: World, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name and the authority may be right, it is not the server that the password was given to."""
    server = Ocserv(laptop)
    printed = openconnect_login.session_in

    def other(secret: Secret | None) -> openconnect_login.Session | None:
        session = printed(secret)
        return replace(session, fingerprint=f"pin-sha256:{'A' * 43}=") if session else None

    monkeypatch.setattr(openconnect_login, "session_in", other)
    failed = await failure(launch_for(server, directory))
    assert failed.kind is FailureClass.TRUST
    assert "specified via --servercert" in failed.words


async def test_a_cookie_that_is_not_taken_fails_the_attempt(
    laptop: World, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Ocserv(laptop)
    printed = openconnect_login.session_in

    def tampered(secret: Secret | None) -> openconnect_login.Session | None:
        session = printed(secret)
        return replace(session, cookie=Secret(b"webvpn=stale\n")) if session else None

    monkeypatch.setattr(openconnect_login, "session_in", tampered)
    failed = await failure(launch_for(server, directory))
    assert failed.kind is FailureClass.UNREACHABLE
    assert "VPN service unavailable" in failed.words


async def test_without_udp_everything_goes_through_tcp(laptop: World, directory: Path) -> None:
    server = Ocserv(laptop)
    async with Work(launch_for(server, directory, udp_port=None)) as work:
        ready = await (await work.start()).news()
        assert isinstance(ready, Ready)
        assert ready.facts.form == "TLS over TCP, since the profile says so"
        address(ready, OFFICE_NETWORK)
        await passes(laptop.laptop, OFFICE)


# -- a person


class OneTimeCodes(Ocserv):
    """An ocserv that asks for a one-time code after the password."""

    auth = "plain[passwd={folder}/passwd,otp={folder}/otp]"


@pytest.mark.parametrize("answers", [("good",), ("wrong",), ()])
async def test_a_one_time_code_comes_from_a_person(laptop: World, directory: Path, answers: tuple[str, ...]) -> None:
    server = OneTimeCodes(laptop)
    codes = {"good": one_time_code(0), "wrong": "1"}
    asked: list[AskPerson] = []

    async def person(question: AskPerson) -> Secret | None:
        asked.append(question)
        return Secret(codes[answers[0]].encode()) if answers else None

    async with Work(launch_for(server, directory), ask=person) as work:
        news = await (await work.start()).news()
    assert [(question.prompt, question.hidden) for question in asked] == [
        ("The server of the tunnel office asks: Please enter your OTP password. Password:", True)
    ]
    if answers == ("good",):
        assert isinstance(news, Ready), news
        return
    assert isinstance(news, Failed)
    assert news.kind is FailureClass.AUTH
    assert ("401 Authentication failed" if answers else "needs a person") in news.words


async def test_no_answer_makes_a_login_trust_a_certificate(laptop: World, directory: Path) -> None:
    """The server is another one by the time that the person has answered."""
    server = OneTimeCodes(laptop)

    def be_another() -> None:
        server.stop()
        server.take_strangers_certificate()
        server.start()

    async def person(question: AskPerson) -> Secret:
        await asyncio.to_thread(be_another)
        return Secret(b"yes")

    async with Work(launch_for(server, directory), ask=person) as work:
        news = await (await work.start()).news()
    assert isinstance(news, Failed), news
    assert news.kind is FailureClass.TRUST, news
    assert "specified via --servercert" in news.words


# -- a tunnel that is up


async def test_another_uplink_makes_it_connect_anew_and_its_packets_go_on(laptop: World, directory: Path) -> None:
    server = Ocserv(laptop)
    async with Work(launch_for(server, directory)) as work:
        ready = await (await work.start()).news()
        assert isinstance(ready, Ready)
        address(ready, OFFICE_NETWORK)
        laptop.laptop.run("ip", "address", "delete", "192.0.2.10/24", "dev", "eth0")
        laptop.laptop.run("ip", "address", "add", "192.0.2.77/24", "dev", "eth0")
        uplink = replace(work.launch.uplink, addresses=(IPv4Address("192.0.2.77"),))
        await work.feed(UplinkChanged(uplink, server.endpoints))
        async with asyncio.timeout(60):
            while not any(isinstance(event, Report) and event.values["reason"] == "reconnect" for event in work.seen):
                await work.feed(await work.events.get())
        await passes(laptop.laptop, OFFICE)
        assert not any(isinstance(event, Exited) for event in work.seen)
