"""The zebedee driver against its program and a server: the real one where it is installed, else its stand-in."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autovpn.core.actions import Failed, Ready
from autovpn.core.endpoint import Listener
from autovpn.core.settings_zebedee import ZebedeeForward, ZebedeeSettings
from autovpn.core.tunnel import Facts, FailureClass
from autovpn.tunnels import zebedee
from autovpn.tunnels.attempt import ENVIRONMENT
from tests.netns.driving import Work, launch
from tests.netns.server_zebedee import LOCAL_PORT, TARGET, Zebedee
from tests.netns.test_driver_contracts import directory, laptop

if TYPE_CHECKING:
    from tests.netns.world import World

pytestmark = pytest.mark.netns
__all__ = ["directory", "laptop"]

FORWARD = ZebedeeForward(Listener(IPv4Address("127.0.0.1"), LOCAL_PORT), TARGET)
IS_REAL = shutil.which("zebedee") is not None


@pytest.fixture
def server(laptop: World, monkeypatch: pytest.MonkeyPatch) -> Zebedee:
    """Give a server whose client the test finds under zebedee's name."""
    made = Zebedee(laptop)
    path = f"{Path(made.binary).parent}:{dict(ENVIRONMENT)['PATH']}"
    monkeypatch.setattr(zebedee, "ENVIRONMENT", (("LC_ALL", "C"), ("PATH", path)))
    return made


def work_for(server: Zebedee, directory: Path, *, timeout: float = 12.0, **settings: object) -> Work:
    """Return a client's attempt; `settings` are those of zebedee."""
    spec = server.spec("office", "")
    assert isinstance(spec.settings, ZebedeeSettings)
    changed = replace(spec.settings, **{"forwards": (FORWARD,), **settings})  # type: ignore[arg-type]
    files = (changed.key,) if changed.key else ()
    spec = replace(spec, settings=changed, connect_timeout=timeout, files=files)
    return Work(launch(spec, server.endpoints, directory), measured=IS_REAL)


def answer(words: bytes) -> bytes:
    """Return what the service behind the tunnel answers."""
    with socket.create_connection(("127.0.0.1", LOCAL_PORT), 5.0) as connection:
        connection.sendall(words)
        return connection.recv(100)


async def test_it_is_ready_when_a_connection_gets_through_and_carries_others(server: Zebedee, directory: Path) -> None:
    async with work_for(server, directory) as work:
        assert await (await work.start()).news() == Ready(Facts())
        assert answer(b"hello") == b"HELLO"


async def test_a_client_that_is_killed_is_lost(server: Zebedee, directory: Path) -> None:
    async with work_for(server, directory) as work:
        assert isinstance(await (await work.start()).news(), Ready)
        os.kill(work.channels.receipt()["pid"], 9)
        failed = await work.news()
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOST


async def failure(work: Work) -> Failed:
    async with work:
        failed = await (await work.start()).news()
    assert isinstance(failed, Failed), failed
    return failed


async def test_keys_that_do_not_fit_are_told_apart(server: Zebedee, directory: Path) -> None:
    unknown = await failure(work_for(server, directory, key=f"{server.folder}/stranger.key"))
    assert (unknown.kind, "failed to read challenge" in unknown.words) == (FailureClass.AUTH, True), unknown
    another = await failure(work_for(server, directory, server_id=server.fingerprint("stranger")))
    assert (another.kind, "identity not found" in another.words) == (FailureClass.TRUST, True), another


async def test_a_server_that_refuses_is_told_from_one_that_is_silent(server: Zebedee, directory: Path) -> None:
    server.silence()
    silent = await failure(work_for(server, directory, timeout=1.0))
    assert (silent.kind, "within 1 s" in silent.words) == (FailureClass.UNREACHABLE, True), silent
    server.unsilence()
    server.stop()
    refused = await failure(work_for(server, directory))
    assert (refused.kind, "Connection refused" in refused.words) == (FailureClass.UNREACHABLE, True), refused
