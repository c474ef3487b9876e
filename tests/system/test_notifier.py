"""The notifier tells the daemon what a tunnel's script was told, and harms nobody when the daemon isn't there."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.driving import Report
from autovpn.errors import SystemFault
from autovpn.notify import LARGEST, LONGEST_VALUE, NAMES, PREFIXES, SOCKET_VARIABLE, is_known, message
from autovpn.system.notifier import Notifier, report_values
from autovpn.system.process import Process, stop
from autovpn.system.spawn import spawn

NOTIFIER = (sys.executable, "-I", "-S", str(Path(__file__).parent.parent.parent / "autovpn" / "notify.py"))
BYTES = st.binary(max_size=50).filter(lambda raw: b"\0" not in raw)
KNOWN = st.sampled_from(sorted(NAMES)) | st.sampled_from(PREFIXES).map(lambda prefix: prefix + b"1_ADDR")


class Ear:
    """A notifier's socket, and what came in."""

    def __init__(self, path: Path) -> None:
        self.reports: list[Report] = []
        self._more = asyncio.Event()
        self.notifier = Notifier(path, self._take)
        self.path = path
        self._started: list[Process] = []

    def _take(self, report: Report) -> None:
        self.reports.append(report)
        self._more.set()

    async def next(self) -> dict[str, str]:
        async with asyncio.timeout(60):
            await self._more.wait()
        self._more.clear()
        return dict(self.reports[-1].values)

    async def called(self, callers: int = 1) -> None:
        """Wait until so many are on the line."""
        async with asyncio.timeout(60):
            while len(self.notifier._callers) < callers:  # noqa: ASYNC110 (a turn of the loop is what it takes)
                await asyncio.sleep(0)

    async def start(self, *argv: str, **environment: str) -> Process:
        variables = {SOCKET_VARIABLE: str(self.path), **environment}
        process = await spawn(argv, variables, nonce=uuid.uuid4().hex)
        self._started.append(process)
        return process

    async def close(self) -> None:
        self.notifier.close()
        for process in self._started:
            await stop(process, patience=0)


@pytest.fixture
async def ear(tmp_path: Path) -> AsyncIterator[Ear]:
    """Give a listening notifier."""
    listening = Ear(tmp_path / "notify.sock")
    await listening.notifier.listen()
    yield listening
    await listening.close()


async def test_a_script_of_the_tunnel_is_heard_and_goes_on(ear: Ear) -> None:
    leader = await ear.start(*NOTIFIER, "one", "", "tw o", reason="connect", TUNDEV="tun0", CISCO_BANNER="a\nb")
    ear.notifier.belongs_to(leader)
    assert await ear.next() == {
        "reason": "connect",
        "TUNDEV": "tun0",
        "CISCO_BANNER": r"a\x0ab",
        "ARGV_1": "one",
        "ARGV_2": "",
        "ARGV_3": "tw o",
    }
    async with asyncio.timeout(60):
        assert await leader.wait() == 0


async def test_a_script_is_a_child_of_the_program_and_may_be_started_through_a_shell(ear: Ear) -> None:
    leader = await ear.start("sh", "-c", f"{' '.join(NOTIFIER)}; exit 9", reason="pre-init")
    ear.notifier.belongs_to(leader)
    assert (await ear.next())["reason"] == "pre-init"
    assert await leader.wait() == 9


async def test_a_script_that_its_program_puts_in_a_session_of_its_own_is_heard(ear: Ear) -> None:
    """As pppd does with all of its scripts."""
    leader = await ear.start("sh", "-c", f"setsid {' '.join(NOTIFIER)}; exit 9", reason="connect")
    ear.notifier.belongs_to(leader)
    assert (await ear.next())["reason"] == "connect"
    assert await leader.wait() == 9


async def test_a_script_that_calls_before_its_program_is_known_waits(ear: Ear) -> None:
    leader = await ear.start(*NOTIFIER, reason="pre-init")
    await ear.called()
    assert not ear.reports
    ear.notifier.belongs_to(leader)
    assert (await ear.next())["reason"] == "pre-init"


async def test_a_process_outside_the_tunnel_is_not_heard_and_goes_on(ear: Ear) -> None:
    leader = await ear.start("sleep", "1000")
    ear.notifier.belongs_to(leader)
    stranger = await ear.start(*NOTIFIER, reason="connect")
    assert await stranger.wait() == 0
    assert not ear.reports


async def test_secrets_in_the_environment_are_not_sent(ear: Ear, tmp_path: Path) -> None:
    leader = await ear.start(*NOTIFIER, reason="connect", PASSWORD="x", COOKIE="y", X_CISCO_Z="z")
    ear.notifier.belongs_to(leader)
    assert await ear.next() == {"reason": "connect"}


def test_without_a_daemon_the_notifier_succeeds_at_once(tmp_path: Path) -> None:
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    for path in (stale, tmp_path / "none.sock", tmp_path, ""):
        done = subprocess.run(
            NOTIFIER,
            env={SOCKET_VARIABLE: str(path), "reason": "connect"},
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_without_its_variable_the_notifier_succeeds() -> None:
    assert subprocess.run(NOTIFIER, env={}, check=False, timeout=60).returncode == 0


async def test_closing_lets_waiting_scripts_go_on(ear: Ear) -> None:
    waiting = await ear.start(*NOTIFIER, reason="connect")
    await ear.called()
    ear.notifier.close()
    async with asyncio.timeout(60):
        assert await waiting.wait() == 0
    assert not ear.reports


async def test_a_report_that_is_too_large_is_not_taken(ear: Ear) -> None:
    leader = await ear.start(*NOTIFIER, "x" * LARGEST, reason="connect")
    ear.notifier.belongs_to(leader)
    assert await leader.wait() == 0
    assert not ear.reports


async def test_silent_callers_are_bounded_and_the_next_goes_on_at_once(ear: Ear) -> None:
    silent = []
    for _ in range(40):
        reader, writer = await asyncio.open_unix_connection(str(ear.path))
        silent.append((reader, writer))
    await ear.called(16)
    script = await ear.start(*NOTIFIER, reason="connect")
    assert await script.wait() == 0
    assert len(ear.notifier._callers) == 16
    for _, writer in silent:
        writer.close()


async def test_the_socket_is_ours_alone_and_replaces_a_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "notify.sock"
    for _ in range(2):
        ear = Ear(path)
        await ear.notifier.listen()
        assert stat.S_IMODE(await asyncio.to_thread(lambda: path.stat().st_mode)) == 0o600
        await ear.close()


async def test_a_path_that_no_socket_can_have_is_refused_with_a_sentence(tmp_path: Path) -> None:
    ear = Ear(tmp_path / ("x" * 120))
    with pytest.raises(SystemFault, match=r"too long for a socket, by .* bytes; choose a shorter --run-dir"):
        await ear.notifier.listen()
    await ear.close()


@given(st.lists(BYTES, max_size=5), st.dictionaries(KNOWN, BYTES, max_size=5))
def test_a_report_comes_out_as_it_went_in(arguments: list[bytes], environment: dict[bytes, bytes]) -> None:
    values = report_values(message(arguments, environment))
    assert len(values) == len(arguments) + len(environment)
    plain = {name.decode(): value.decode() for name, value in environment.items() if value.isalnum()}
    assert plain.items() <= values.items()


@given(st.binary(max_size=300))
def test_any_bytes_make_a_harmless_report(data: bytes) -> None:
    for name, value in report_values(data).items():
        assert name.startswith("ARGV_") or is_known(os.fsencode(name))
        assert value.isprintable()


def test_of_ten_thousand_routes_and_an_endless_greeting_as_much_is_told_as_fits() -> None:
    routes = {
        b"CISCO_SPLIT_INC_%d_%s" % (n, half): b"24" for n in reversed(range(10_000)) for half in (b"ADDR", b"MASK")
    }
    greeting = {b"CISCO_BANNER": b"hello " * 10_000}
    report = message([], {**routes, **greeting, b"reason": b"connect", b"CISCO_SPLIT_INC": b"10000"})
    assert len(report) <= LARGEST
    values = report_values(report)
    assert (values["reason"], values["CISCO_SPLIT_INC"]) == ("connect", "10000")
    assert len(values["CISCO_BANNER"]) == LONGEST_VALUE
    told = [name for name in values if name.startswith("CISCO_SPLIT_INC_")]
    numbers = [int(name.split("_")[3]) for name in told]
    assert len(told) > 512
    assert numbers == sorted(numbers)
