"""Short programs: run to their end within a deadline, their output captured and bounded."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from autovpn.errors import SystemFault
from autovpn.system.process import Process, put_away, uncancelled
from autovpn.system.spawn import Account, spawn

_CHUNK = 64 * 1024
_LAST_CHUNKS = 16  # what a program left in the pipe is at most one; a child of its own may go on filling it


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that ended: its status (negative: the signal), None when it ran out of time, and all that was kept.

    `errors` is what it printed there, where that was to be kept apart.
    """

    status: int | None
    output: bytes
    errors: bytes = b""


class Errors(Enum):
    """What becomes of a program's standard error: kept with its output, kept by itself, or dropped."""

    WITH_OUTPUT = "with output"
    APART = "apart"
    DROPPED = "dropped"


async def run_program(  # noqa: PLR0913 (what a process starts with, each named at the call)
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    nonce: str,
    deadline: float,
    stdin: bytes | None = None,
    keep: int = 16 * 1024,
    errors: Errors = Errors.WITH_OUTPUT,
    umask: int = 0o077,
    account: Account | None = None,
    report: Callable[[bytes], None] | None = None,
) -> Completed:
    """Run a program, with `stdin` and no other input, in a session of its own, and return when it ends.

    The first `keep` bytes of its output are returned, and each piece is handed to `report` as it comes; the rest is
    read and dropped, so that a flood stops nobody. Errors that are kept apart are bounded alike, and not reported.
    After `deadline` seconds, or when cancelled, its process group gets SIGTERM, two seconds later all of its session
    SIGKILL. What it leaves running in the background goes on, but can't print any more. Raises what `spawn` raises.
    """
    with _reading(keep, report) as output, _reading(keep) as trouble:
        try:
            process = await spawn(
                argv,
                environment,
                nonce=nonce,
                stdin=stdin,
                output=output.sink,
                errors=_place(errors, trouble),
                umask=umask,
                account=account,
            )
        finally:
            output.close_sink()
            trouble.close_sink()
        status = await _end_of(process, deadline)
        output.finish()
        trouble.finish()
        return Completed(status, bytes(output.kept), bytes(trouble.kept))


def _place(errors: Errors, trouble: _Output) -> int | None:
    if errors is Errors.WITH_OUTPUT:
        return None
    return trouble.sink if errors is Errors.APART else subprocess.DEVNULL


async def _end_of(process: Process, deadline: float) -> int | None:
    """Return the status of a program that ends by itself, or None after making it end."""
    try:
        async with asyncio.timeout(deadline):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        await uncancelled(asyncio.ensure_future(put_away(process)))


@contextmanager
def _reading(keep: int, report: Callable[[bytes], None] | None = None) -> Iterator[_Output]:
    try:
        output = _Output(keep, report)
    except OSError as error:
        raise SystemFault(f"there is no pipe for what a program prints: {error.strerror}") from error
    try:
        yield output
    finally:
        output.close()


class _Output:
    """A pipe for a program to print into: keeps the beginning, reports all, never lets the writer wait for long."""

    def __init__(self, keep: int, report: Callable[[bytes], None] | None) -> None:
        self.kept = bytearray()
        self._pipe, self.sink = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._pipe, False)
        self._keep = keep
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pipe, self._take)

    def close_sink(self) -> None:
        """Let go of the end that the program has got by now, so that its end is the pipe's."""
        sink, self.sink = self.sink, -1
        if sink >= 0:
            os.close(sink)

    def finish(self) -> None:
        """Take what is still in the pipe, without waiting for whoever may hold its other end."""
        for _ in range(_LAST_CHUNKS):
            if not self._take():
                return

    def close(self) -> None:
        self._loop.remove_reader(self._pipe)
        self.close_sink()
        os.close(self._pipe)

    def _take(self) -> bool:
        try:
            data = os.read(self._pipe, _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._pipe)
            return False
        self.kept += data[: self._keep - len(self.kept)]
        if self._report is not None:
            self._report(data)
        return True
