"""Programs outlive their daemon, are found again whatever moment it died at, and end with all that they started."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from autovpn.errors import SystemFault, Unsupported
from autovpn.system.output import Tail
from autovpn.system.process import Process, identify, recover, stop
from autovpn.system.procfs import facts_of, find_by_nonce, process_ids
from autovpn.system.spawn import spawn

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def nonce() -> Iterator[str]:
    """Give a nonce whose processes are all gone after the test, whatever came of it."""
    made = uuid.uuid4().hex
    yield made
    for pid in find_by_nonce(made):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def until_printed(path: Path, text: str) -> None:
    """Wait until a program has printed a line that begins with a text."""
    printed = asyncio.Event()
    tail = Tail(path, lambda line: printed.set() if line.startswith(text) else None)
    try:
        async with asyncio.timeout(60):
            await printed.wait()
    finally:
        tail.close()


def read(output: Path) -> bytes:
    return output.read_bytes()


async def sh(script: str, nonce: str, output: Path, **options: object) -> Process:
    return await spawn(("sh", "-c", script), {}, nonce=nonce, output=output, **options)  # type: ignore[arg-type]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


async def test_the_status_of_a_program_is_told_when_it_ends(nonce: str, output: Path) -> None:
    process = await sh("exit 3", nonce, output)
    assert await process.wait() == 3
    assert await process.wait() == 3
    process.release()


async def test_a_program_killed_by_a_signal_has_its_number_as_a_negative_status(nonce: str, output: Path) -> None:
    process = await sh("kill -9 $$", nonce, output)
    assert await process.wait() == -signal.SIGKILL
    process.release()


async def test_a_program_gets_exactly_its_environment_and_the_nonce(
    nonce: str, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_DAEMON", "x")
    process = await spawn(("env",), {"A": "b"}, nonce=nonce, output=output)
    assert await process.wait() == 0
    names = {line.partition(b"=")[0] for line in read(output).splitlines()}
    assert names == {b"A", b"PATH", b"AUTOVPN_NONCE"}
    process.release()


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 500_000])
async def test_what_is_on_standard_input_arrives_whole_and_ends(nonce: str, output: Path, size: int) -> None:
    process = await spawn(("wc", "-c"), {}, nonce=nonce, output=output, stdin=b"x" * size)
    assert await process.wait() == 0
    assert int(read(output)) == size
    process.release()


async def test_more_than_a_pipe_can_hold_is_refused_with_a_sentence(nonce: str, output: Path) -> None:
    with pytest.raises(SystemFault, match="too many to hand to a program"):
        await spawn(("cat",), {}, nonce=nonce, output=output, stdin=bytes(1 << 31))


async def test_a_program_leads_a_session_and_holds_no_descriptor_of_ours(nonce: str, output: Path) -> None:
    leaked = os.open("/", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    try:
        process = await sh("ls -1 /proc/$$/fd; cat /proc/$$/stat", nonce, output)
        assert await process.wait() == 0
    finally:
        os.close(leaked)
    *descriptors, stat = read(output).decode().splitlines()
    assert set(descriptors) <= {"0", "1", "2", "255"}
    assert stat.rpartition(")")[2].split()[3] == str(process.pid)
    process.release()


async def test_a_program_starts_with_no_signal_blocked(nonce: str, output: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        process = await sh("grep -E '^SigBlk' /proc/self/status", nonce, output)
        assert await process.wait() == 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert int(read(output).split()[1], 16) == 0
    process.release()


async def test_a_missing_program_is_named(nonce: str, output: Path) -> None:
    with pytest.raises(Unsupported, match="no-such-program: there is no such program"):
        await spawn(("no-such-program",), {}, nonce=nonce, output=output)


async def test_a_file_that_is_no_program_is_named(nonce: str, output: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    with pytest.raises(SystemFault, match="cannot be run: Permission denied"):
        await spawn((str(tmp_path / "text"),), {}, nonce=nonce, output=output)


async def test_a_cancelled_spawn_leaves_no_process(nonce: str, output: Path) -> None:
    for turns in range(12):
        spawning = asyncio.create_task(sh("exec sleep 1000", nonce, output))
        for _ in range(turns):
            await asyncio.sleep(0)
        if spawning.cancel():
            with pytest.raises(asyncio.CancelledError):
                await spawning
        else:
            await stop(await spawning, patience=0)
        assert not await asyncio.to_thread(find_by_nonce, nonce)


async def test_stopping_asks_first_and_returns_the_status(nonce: str, output: Path) -> None:
    process = await sh("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done", nonce, output)
    await until_printed(output, "ready")
    assert await stop(process) == 7


async def test_the_polite_signal_goes_to_the_leader_alone(nonce: str, output: Path) -> None:
    child = "trap 'echo child asked' TERM; echo ready; while :; do sleep 0.01; done"
    script = output.with_name("child")
    script.write_text(child)
    process = await sh(f"trap 'exit 0' TERM; sh {script} & while :; do sleep 0.01; done", nonce, output)
    await until_printed(output, "ready")
    assert await stop(process) == 0
    assert b"child asked" not in read(output)


@pytest.mark.parametrize(
    "script",
    [
        "trap '' TERM; echo ready; while :; do sleep 0.01; done",
        "trap '' TERM; sleep 1000 & sleep 1000 & echo ready; wait",
        "setsid sh -c 'trap \"\" TERM; echo ready; sleep 1000' & sleep 1000",
        "setsid sh -c 'setsid sleep 1000 & echo ready; sleep 1000' & exit 0",
        "env -i sleep 1000 & echo ready; exec sleep 1000",
    ],
    ids=["deaf", "children", "left the session", "leader gone", "without environment"],
)
async def test_stopping_ends_all_that_a_program_started(nonce: str, output: Path, script: str) -> None:
    process = await sh(script, nonce, output)
    await until_printed(output, "ready")
    pid = process.pid
    await stop(process, patience=0.05)
    assert not await asyncio.to_thread(find_by_nonce, nonce)
    assert not await asyncio.to_thread(members_of, pid)


async def test_what_forks_while_it_is_killed_ends_too(nonce: str, output: Path) -> None:
    process = await sh("echo ready; while :; do sleep 1000 & done", nonce, output)
    await until_printed(output, "ready")
    await stop(process, patience=0)
    assert not await asyncio.to_thread(find_by_nonce, nonce)


async def test_a_number_that_another_process_has_now_is_not_taken_for_ours(nonce: str, output: Path) -> None:
    process = await sh("exec sleep 1000", nonce, output)
    assert identify(process.pid, process.start_time + 1) is None
    ours = identify(process.pid, process.start_time)
    assert ours is not None
    ours.release()
    await asyncio.to_thread(recover, "of nobody", process.pid, process.start_time - 1)
    assert not process.has_ended
    await stop(process, patience=0)
    assert identify(process.pid, process.start_time) is None


async def test_the_end_of_a_process_that_is_no_child_is_told_without_its_status(nonce: str, output: Path) -> None:
    script = "sh -c 'echo $$; exec sleep 1000' & wait"
    leader = await sh(script, nonce, output)
    await until_printed(output, "")
    pid = int(read(output))
    facts = facts_of(pid)
    assert facts is not None
    adopted = identify(pid, facts.start_time, nonce)
    assert adopted is not None
    adopted.signal(signal.SIGKILL)
    assert await adopted.wait() is None
    adopted.release()
    await stop(leader)


def members_of(session: int) -> list[int]:
    found = (facts_of(pid) for pid in process_ids())
    return [facts.pid for facts in found if facts and facts.session == session and not facts.has_ended]


DAEMON = """
import asyncio, os, sys
from pathlib import Path
from autovpn.system.spawn import spawn

async def main():
    lock = os.open(sys.argv[2] + ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    import fcntl
    fcntl.flock(lock, fcntl.LOCK_EX)
    await asyncio.to_thread(print, "locked", flush=True)
    process = await spawn(
        ("sh", "-c", "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.01; done"), {},
        nonce=sys.argv[1], output=Path(sys.argv[2]),
    )
    await asyncio.to_thread(print, "spawned", process.pid, process.start_time, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def run_daemon(nonce: str, output: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        (sys.executable, "-c", textwrap.dedent(DAEMON), nonce, str(output)),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def lock_of(output: Path) -> None:
    """Wait for the dead daemon's lock, as whoever recovers does."""
    subprocess.run(["flock", f"{output}.lock", "true"], check=True, timeout=60)


def test_a_program_that_was_never_journalled_is_found_and_ended_whenever_its_daemon_died(
    nonce: str, tmp_path: Path
) -> None:
    """Kill the daemon at some twenty moments around fork and exec; with its lock taken, nothing of it is overlooked."""
    for step in range(20):
        output = tmp_path / f"output{step}"
        daemon = run_daemon(nonce, output)
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "locked\n"
        for _ in range(step * 5000):
            pass  # a moment of the kind that a clock is too coarse for
        daemon.kill()
        daemon.communicate()
        lock_of(output)
        recover(nonce, patience=0.1)
        assert not find_by_nonce(nonce)


async def test_a_program_survives_its_daemon_while_it_prints_and_is_adopted(nonce: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    daemon = await asyncio.to_thread(run_daemon, nonce, output)
    assert daemon.stdout is not None
    assert await asyncio.to_thread(daemon.stdout.readline) == "locked\n"
    _, pid, start_time = (await asyncio.to_thread(daemon.stdout.readline)).split()
    daemon.kill()
    await asyncio.to_thread(daemon.communicate)
    reached = len(read(output).decode().splitlines())
    await until_printed(output, f"line {reached + 20}")
    adopted = identify(int(pid), int(start_time), nonce)
    assert adopted is not None
    assert await stop(adopted) is None
    assert not await asyncio.to_thread(find_by_nonce, nonce)
