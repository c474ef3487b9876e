"""The locks that make this daemon the only one; `recover` takes them too."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from typing import Self

from autovpn.errors import AlreadyRunning, SystemFault

log = logging.getLogger(__name__)

_LONGEST_PID = 20


class DaemonLock:
    """Lock files (flock(2)): the kernel lets go of them when their holder dies, however that happens.

    The files stay: removing one would let a third process lock another file of the same name. Somebody may do just
    that (emptying /run under a running daemon), so there is more than one, and holding the first alone isn't enough.
    """

    def __init__(self, path: Path, *others: Path) -> None:
        """Take no lock yet. `others` are locked where they can be made: a disk may be read-only, /run never is."""
        self._path = path
        self._others = others
        self._descriptors: list[int] = []

    def __enter__(self) -> Self:
        """Take the locks for the block."""
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of them."""
        self.release()

    def acquire(self) -> None:
        """Take the locks and leave our pid in them.

        Raises AlreadyRunning with the pid of whoever has one, SystemFault where there can be no such file.
        """
        try:
            self._descriptors.append(_locked(self._path))
            for path in self._others:
                self._acquire_other(path)
        except OSError as error:
            raise SystemFault(f"{self._path}: {error.strerror}; is this run as root?") from error
        except AlreadyRunning:
            self.release()
            raise

    def _acquire_other(self, path: Path) -> None:
        try:
            self._descriptors.append(_locked(path))
        except OSError as error:
            log.warning("lock.unmade path=%s error=%s", path, error.strerror)

    def release(self) -> None:
        """Let go of the locks; harmless when none is held."""
        while self._descriptors:
            descriptor = self._descriptors.pop()
            os.ftruncate(descriptor, 0)
            os.close(descriptor)


def _locked(path: Path) -> int:
    """Return the descriptor of a lock file that is ours from now on, with our pid in it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
    except BlockingIOError:
        pid = _read_pid(descriptor)
        os.close(descriptor)
        raise AlreadyRunning(pid) from None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _read_pid(descriptor: int) -> int | None:
    """Return the pid in the file, None in the moment before its holder has written it."""
    text = os.pread(descriptor, _LONGEST_PID, 0).strip()
    return int(text) if text.isdigit() else None
