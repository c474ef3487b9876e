"""Programs that outlive the daemon: awaited by pidfd, proven by start time, ended with all that they started."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from autovpn.errors import SystemFault
from autovpn.system.procfs import ProcessFacts, carries_nonce, facts_of, find_by_nonce, process_ids

PATIENCE = 5.0
"""Seconds that a program has between the polite signal and SIGKILL."""

GRACE = 2.0
"""Seconds that a short program has, once it is out of time or not wanted any more."""

_DEATH_DEADLINE = 5.0

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Process:
    """A running program: `pidfd` refers to it even after its number is used again; `start_time` is in clock ticks.

    Its status is kept unread (WNOWAIT) until `release`, since an unread child keeps its number, and with it the
    session's, from being used again.
    """

    pid: int
    start_time: int
    pidfd: int
    nonce: str
    _exit: asyncio.Future[int | None] | None = field(default=None, init=False, repr=False)

    @property
    def has_ended(self) -> bool:
        """Report whether the program has ended; what it started may still run."""
        facts = facts_of(self.pid)
        return facts is None or facts.start_time != self.start_time or facts.has_ended

    async def wait(self) -> int | None:
        """Return the status when the program ends (negative: the signal), None when it is not a child of ours."""
        return await asyncio.shield(self._watched())

    def signal(self, number: int) -> None:
        """Signal the program itself; one that has ended is fine."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def signal_group(self, number: int) -> None:
        """Signal the program's process group, unless the program has ended."""
        if facts := facts_of(self.pid):
            with suppress(ProcessLookupError):
                if facts.start_time == self.start_time:
                    os.killpg(self.pid, number)

    def release(self) -> None:
        """Forget the program, running or not: nothing of ours refers to it any more."""
        if self.pidfd < 0:
            return
        if self._exit is not None:
            self._exit.get_loop().remove_reader(self.pidfd)
            self._exit.cancel()
        with suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG)
        os.close(self.pidfd)
        self.pidfd = -1

    def _watched(self) -> asyncio.Future[int | None]:
        if self._exit is None:
            loop = asyncio.get_running_loop()
            self._exit = loop.create_future()
            loop.add_reader(self.pidfd, self._ended)
        return self._exit

    def _ended(self) -> None:
        if self._exit is None or self._exit.done():
            return
        self._exit.get_loop().remove_reader(self.pidfd)
        self._exit.set_result(_status(self.pidfd))


def identify(pid: int, start_time: int, nonce: str = "") -> Process | None:
    """Take hold of a process that another daemon started, or return None when it has ended, whoever has its pid now."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    facts = facts_of(pid)
    if facts is None or facts.start_time != start_time or facts.has_ended:
        os.close(pidfd)
        return None
    return Process(pid, start_time, pidfd, nonce)


async def stop(process: Process, polite: int | None = signal.SIGTERM, patience: float = PATIENCE) -> int | None:
    """Ask the leader to end, then kill the whole session and all that carries the nonce; return when all are gone.

    The leader alone is asked, since a signal to the group would hit a program's clean-up scripts with it.
    Raises SystemFault for what cannot be killed.
    """
    if polite is not None:
        process.signal(polite)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await process.wait()
    await asyncio.to_thread(end_all, process.pid, process.start_time, process.nonce)
    status = await process.wait()
    process.release()
    return status


async def put_away(process: Process) -> None:
    """End a short program and its session, by SIGTERM and then SIGKILL; what has left the session lives on."""
    if not process.has_ended:
        process.signal_group(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await process.wait()
        await asyncio.to_thread(end_all, process.pid, process.start_time, process.nonce, only_session=True)
    process.release()


def recover(nonce: str, pid: int | None = None, start_time: int | None = None, patience: float = PATIENCE) -> None:
    """End what a dead daemon spawned with this nonce, as `stop` does; its leader may not have been journalled."""
    leader = identify(pid, start_time, nonce) if pid is not None and start_time is not None else _leader(nonce)
    if leader is None:
        end_all(pid, start_time, nonce)
        return
    try:
        leader.signal(signal.SIGTERM)
        _await_end(leader.pidfd, patience)
        end_all(leader.pid, leader.start_time, nonce)
    finally:
        leader.release()


def end_all(leader: int | None, start_time: int | None, nonce: str, *, only_session: bool = False) -> None:
    """Kill the leader's session and, unless `only_session`, all that carries the nonce; return when nobody is left.

    The number of a session is safe for as long as its leader is in the process table; after that the nonce alone
    counts. Waits, so not for the event loop. Raises SystemFault for what cannot be killed.
    """
    family = _Family(leader, start_time, nonce, only_session)
    deadline = time.monotonic() + _DEATH_DEADLINE
    while members := tuple(family.members()):
        for pidfd in members:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        for pidfd in members:
            _await_end(pidfd, deadline - time.monotonic())
            os.close(pidfd)
        if time.monotonic() > deadline:
            msg = f"process {leader or nonce} can't be killed: it hangs in the kernel, or forks without end"
            raise SystemFault(msg)


@dataclass(frozen=True, slots=True)
class _Family:
    """What descends from one spawn."""

    leader: int | None
    start_time: int | None
    nonce: str
    only_session: bool

    def members(self) -> Iterator[int]:
        """Yield a pidfd for each that runs; the pidfd is opened first, so that what is checked is what gets killed."""
        for pid in process_ids():
            try:
                pidfd = os.pidfd_open(pid)
            except OSError:
                continue
            facts = facts_of(pid)
            if facts and not facts.has_ended and self._includes(facts):
                yield pidfd
            else:
                os.close(pidfd)

    def _includes(self, facts: ProcessFacts) -> bool:
        if facts.session != self.leader:
            return not self.only_session and carries_nonce(facts.pid, self.nonce)
        holder = facts_of(facts.session)
        is_ours = holder is not None and holder.start_time == self.start_time
        return is_ours or carries_nonce(facts.pid, self.nonce)


def _leader(nonce: str) -> Process | None:
    found = filter(None, map(facts_of, find_by_nonce(nonce)))
    return next((identify(facts.pid, facts.start_time, nonce) for facts in found if facts.session == facts.pid), None)


def _await_end(pidfd: int, seconds: float) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(max(seconds, 0) * 1000)


def _status(pidfd: int) -> int | None:
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


async def uncancelled(task: asyncio.Future[T]) -> T | None:
    """Return what the task returns, however often the caller is cancelled meanwhile; None when it fails."""
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    return None if task.cancelled() or task.exception() else task.result()
