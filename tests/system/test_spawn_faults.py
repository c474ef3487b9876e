"""A program that can't be started is said so, whatever it fails at; none runs of which nobody knows."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autovpn.core.hookenv import HookContext
from autovpn.core.profile import Event, Hook
from autovpn.errors import SystemFault
from autovpn.system.hooks import run_hook
from autovpn.system.procfs import find_by_nonce
from autovpn.system.programs import run_program
from autovpn.system.spawn import spawn
from tests.strikes import STARTS, Strike, count, descriptors, striking

HOOK = Hook(Event.POSTUP, ("/bin/true",))
CONTEXT = HookContext("postup", "campus", "wlan0")
MOST_CALLS = 60


@pytest.fixture
def nonce() -> str:
    return uuid.uuid4().hex


@pytest.fixture
async def before() -> set[int]:
    """Give the descriptors of a process whose loop and threads have theirs."""
    await asyncio.to_thread(int)
    return descriptors()


async def left(nonce: str) -> tuple[int, ...]:
    return await asyncio.to_thread(find_by_nonce, nonce)


async def test_a_call_that_fails_on_the_way_leaves_neither_a_program_nor_a_descriptor(
    nonce: str, before: set[int], tmp_path: Path
) -> None:
    for at in range(MOST_CALLS):
        with striking(Strike(at, errno.EMFILE), STARTS) as strike:
            try:
                process = await spawn(("sleep", "600"), {}, nonce=nonce, stdin=b"secret", output=tmp_path / "output")
            except SystemFault as fault:
                assert str(fault).startswith("sleep: cannot be run: ")  # noqa: PT017 (not every call has one)
                process = None
        if process is not None:
            assert strike.struck is None, f"{strike.struck} failed, and nobody was told"
            assert await left(nonce) == (process.pid,)
            os.kill(process.pid, 9)
            await process.wait()
            process.release()
            break
        assert await left(nonce) == (), f"{strike.struck}: it runs on"
        assert descriptors() <= before, strike.struck
        count("starts of a program that failed", str(strike.struck))
    assert at >= len(STARTS)


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOMEM, errno.EPERM])
async def test_a_fork_that_fails_is_the_failure_of_what_wanted_it(
    nonce: str, before: set[int], monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def fork(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(subprocess, "Popen", fork)
    words = f"cannot be run: {os.strerror(error)}"

    with pytest.raises(SystemFault, match=words):
        await run_program(("true",), {}, nonce=nonce, deadline=5, stdin=b"secret")
    result = await run_hook(HOOK, CONTEXT, nonce)

    assert words in result.words
    assert not result.succeeded
    assert descriptors() <= before
    count("starts of a program that failed", "fork")


async def test_a_thread_that_cannot_be_had_is_a_failure_to_start_and_starts_nothing_later(
    nonce: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ThreadPoolExecutor.submit queues the work before it finds out, and the next thread would carry it out."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    with monkeypatch.context() as limit:
        limit.setattr(threading.Thread, "start", _refused)
        with pytest.raises(SystemFault, match="sleep: cannot be run: can't start new thread"):
            await spawn(("sleep", "600"), {}, nonce=nonce)

    assert await left(nonce) == ()  # in the thread that has carried out what was queued


def _refused(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


async def test_a_hook_that_cannot_be_started_has_failed_in_words(nonce: str, before: set[int]) -> None:
    """Whatever the way to it lacks: the check of its file, its pipes, or what holds it."""
    for at in range(MOST_CALLS):
        with striking(Strike(at, errno.EMFILE), STARTS) as strike:
            result = await run_hook(HOOK, CONTEXT, nonce)
        if strike.struck is None:
            assert result.succeeded
            break
        assert result.refused or result.succeeded, strike.struck  # once it runs, nothing keeps it from its end
        assert await left(nonce) == (), strike.struck
        assert descriptors() <= before, strike.struck
        count("starts of a program that failed", str(strike.struck))
    assert at >= len(STARTS)
