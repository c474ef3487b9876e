"""Starts programs: each in a session of its own, with nothing of ours but what is meant for it."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from autovpn.errors import SystemFault, Unsupported
from autovpn.system.process import Process, put_away, uncancelled
from autovpn.system.procfs import NONCE_VARIABLE, facts_of

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs without a slash in their name are looked for; the daemon's own PATH has no say."""


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a program runs as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


async def spawn(  # noqa: PLR0913 (what a process starts with, each named at the call)
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    nonce: str,
    stdin: bytes | None = None,
    output: Path | int | None = None,
    errors: int | None = None,
    cwd: Path = Path("/"),
    umask: int = 0o077,
    account: Account | None = None,
) -> Process:
    """Start a program in a session of its own, with this environment, PATH and the nonce, and nothing else of ours.

    `stdin` is handed over whole through a pipe that is already closed. `output` is a file to append to, or the write
    end of a pipe for programs whose end is awaited; a tunnel must be able to go on printing after our death. Standard
    error goes the same way, or to the descriptor `errors` (subprocess.DEVNULL drops it).
    A cancelled spawn leaves no process. Raises Unsupported where there is no such program, SystemFault where it can't
    be run.
    """
    variables = {"PATH": SEARCH_PATH, **environment, NONCE_VARIABLE: nonce}
    is_given_up = False

    def start() -> Process:
        if is_given_up:
            raise SystemFault(f"{argv[0]}: its start was given up")
        child: subprocess.Popen[bytes] | None = None
        try:
            with _stdin(stdin) as source, _output(output) as sink:
                child = _popen(
                    argv,
                    variables,
                    (source, sink, sink if errors is None else errors),
                    cwd=cwd,
                    umask=umask,
                    account=account,
                )
            return _held(child, nonce)
        except OSError as error:
            if child is not None:
                _abandon(child)
            raise SystemFault(f"{argv[0]}: cannot be run: {error.strerror}") from error

    starting = asyncio.ensure_future(asyncio.to_thread(start))
    try:
        return await asyncio.shield(starting)
    except RuntimeError as error:  # no thread can be had, at the limit of how many there may be; one may come later
        is_given_up = True
        raise SystemFault(f"{argv[0]}: cannot be run: {error}") from error
    except asyncio.CancelledError:
        if process := await uncancelled(starting):
            await uncancelled(asyncio.ensure_future(put_away(process)))
        raise


def _popen(
    argv: Sequence[str],
    environment: Mapping[str, str],
    stdio: tuple[int, int, int],
    *,
    cwd: Path,
    umask: int,
    account: Account | None,
) -> subprocess.Popen[bytes]:
    # The child starts with the signal mask of this thread. The daemon's handlers are Python's, which only take a
    # note, so it does not matter that a signal may now be delivered here.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    source, sink, trouble = stdio
    try:
        return subprocess.Popen(
            argv,
            env=environment,
            stdin=source,
            stdout=sink,
            stderr=trouble,
            cwd=cwd,
            umask=umask,
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=account.groups if account else None,
        )
    except FileNotFoundError as error:
        msg = f"{argv[0]}: there is no such program, or not the interpreter that it names; install it"
        raise Unsupported(msg) from error


def _held(child: subprocess.Popen[bytes], nonce: str) -> Process:
    child.returncode = 0  # we await its end by pidfd; nobody else may, or its number would be free too early
    facts = facts_of(child.pid)
    if facts is None:  # it is there, since nobody has asked for its status; without its start time nobody could end it
        raise OSError(errno.EMFILE, "/proc cannot be read")
    return Process(child.pid, facts.start_time, os.pidfd_open(child.pid), nonce)


def _abandon(child: subprocess.Popen[bytes]) -> None:
    """End a program that runs but that we cannot hold: nobody would ever know of it."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(child.pid, 0)


@contextmanager
def _stdin(content: bytes | None) -> Iterator[int]:
    """Give the read end of a pipe that holds the content and has no writer any more, so that nothing of it stays."""
    if not content:
        yield subprocess.DEVNULL
        return
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        with open(write, "wb", buffering=0) as pipe:  # noqa: PTH123 (a descriptor)
            _make_room(write, len(content))
            pipe.write(content)
        yield read
    finally:
        os.close(read)


def _make_room(pipe: int, size: int) -> None:
    """Let the pipe hold everything, since nobody reads it yet (fcntl(2), F_SETPIPE_SZ)."""
    if size <= fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ):
        return
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)
    except OSError as error:
        msg = f"{size} bytes are too many to hand to a program (/proc/sys/fs/pipe-max-size): {error.strerror}"
        raise SystemFault(msg) from error


@contextmanager
def _output(target: Path | int | None) -> Iterator[int]:
    if not isinstance(target, Path):
        yield subprocess.DEVNULL if target is None else target
        return
    descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
