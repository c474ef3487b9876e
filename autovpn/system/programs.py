"""Short programs: run to their end within a deadline, their output captured and bounded."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from autovpn.system.process import Process, put_away, uncancelled
from autovpn.system.spawn import Account, spawn

_CHUNK = 64 * 1024
_LAST_CHUNKS = 16  # what a program left in the pipe is at most one; a child of its own may go on filling it


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that ended: its status (negative: the signal), None when it ran out of time, and all that was kept."""

    status: int | None
    output: bytes


async def run_program(  # noqa: PLR0913 (what a process starts with, each named at the call)
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    nonce: str,
    deadline: float,
    stdin: bytes | None = None,
    keep: int = 16 * 1024,
    errors: bool = True,
    umask: int = 0o077,
    account: Account | None = None,
    report: Callable[[bytes], None] | None = None,
) -> Completed:
    """Run a program, with `stdin` and no other input, in a session of its own, and return when it ends.

    The first `keep` bytes of its output are returned, and each piece is handed to `report` as it comes; the rest is
    read and dropped, so that a flood stops nobody. After `deadline` seconds, or when cancelled, its process group
    gets SIGTERM, two seconds later all of its session SIGKILL. What it leaves running in the background goes on, but
    can't print any more. Raises what `spawn` raises.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read, False)
    output = _Output(read, keep, report)
    try:
        try:
            process = await spawn(
                argv,
                environment,
                nonce=nonce,
                stdin=stdin,
                output=write,
                errors=errors,
                umask=umask,
                account=account,
            )
        finally:
            os.close(write)
        status = await _end_of(process, deadline)
        output.finish()
        return Completed(status, bytes(output.kept))
    finally:
        output.close()


async def _end_of(process: Process, deadline: float) -> int | None:
    """Return the status of a program that ends by itself, or None after making it end."""
    try:
        async with asyncio.timeout(deadline):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        await uncancelled(asyncio.ensure_future(put_away(process)))


class _Output:
    """The read end of a pipe: keeps the beginning, reports all, never lets the writer wait for long."""

    def __init__(self, pipe: int, keep: int, report: Callable[[bytes], None] | None) -> None:
        self.kept = bytearray()
        self._pipe = pipe
        self._keep = keep
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(pipe, self._take)

    def finish(self) -> None:
        """Take what is still in the pipe, without waiting for whoever may hold its other end."""
        for _ in range(_LAST_CHUNKS):
            if not self._take():
                return

    def close(self) -> None:
        self._loop.remove_reader(self._pipe)
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
