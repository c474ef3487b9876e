"""The lock that makes this daemon the only one; `recover` takes it too."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Self

from autovpn.errors import AlreadyRunning, SystemFault

_LONGEST_PID = 20


class DaemonLock:
    """A lock file (flock(2)): the kernel lets go of it when its holder dies, however that happens.

    The file stays: removing it would let a third process lock another file of the same name.
    """

    def __init__(self, path: Path = Path("/run/autovpn/daemon.lock")) -> None:
        """Take no lock yet."""
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Take the lock for the block."""
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of it."""
        self.release()

    def acquire(self) -> None:
        """Take the lock and leave our pid in it.

        Raises AlreadyRunning with the pid of whoever has it, SystemFault where there can be no such file.
        """
        try:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise SystemFault(f"{self._path}: {error.strerror}; is this run as root?") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _read_pid(descriptor)
            os.close(descriptor)
            raise AlreadyRunning(pid) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go of the lock; harmless when it is not held."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


def _read_pid(descriptor: int) -> int | None:
    """Return the pid in the file, None in the moment before its holder has written it."""
    text = os.pread(descriptor, _LONGEST_PID, 0).strip()
    return int(text) if text.isdigit() else None
