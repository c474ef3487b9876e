"""The seam at which every system call of ours on files can be made to fail, and what was made to fail so far."""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE, errno.EINTR, errno.ENOMEM)
"""A full disk, a broken one, a read-only one; no descriptor left; a signal; no memory."""

CALLS = (
    "chown",
    "close",
    "fchmod",
    "fchown",
    "fstat",
    "fsync",
    "ftruncate",
    "getxattr",
    "link",
    "listxattr",
    "lstat",
    "mkdir",
    "open",
    "pread",
    "pwrite",
    "readlink",
    "rename",
    "setxattr",
    "stat",
    "symlink",
    "unlink",
    "write",
)
"""The functions of `os` that ask the kernel about files; pathlib uses them too."""

STARTS = ("open", "pidfd_open", "pipe2")
"""Those that it takes to start a program, beside the fork."""

tally: dict[str, Counter[str]] = {}
"""What was generated in this run: how often, by kind, under a heading. The end of a run tells it."""


def count(heading: str, kind: str, times: int = 1) -> None:
    """Take note that so many cases of a kind were run."""
    tally.setdefault(heading, Counter())[kind] += times


class Strike:
    """Lets the call numbered `at` fail with an error, and with `lasting` all after it; notes which one was struck."""

    def __init__(self, at: int, error: int, *, lasting: bool = False) -> None:
        self.at = at
        self.error = error
        self.lasting = lasting
        self.calls = 0
        self.struck: str | None = None
        self._lock = threading.Lock()

    def falls_on(self, name: str) -> bool:
        """Count a call; tell whether it is to fail."""
        with self._lock:
            self.calls += 1
            falls = self.calls - 1 == self.at or (self.lasting and self.calls > self.at)
            if falls and self.struck is None:
                self.struck = name
            return falls

    def refusal(self) -> OSError:
        return OSError(self.error, os.strerror(self.error))


@contextmanager
def striking(strike: Strike, calls: Iterable[str] = CALLS) -> Iterator[Strike]:
    """Put the strike between us and the kernel for the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name in calls:
            patch.setattr(os, name, _struck(strike, name, getattr(os, name)))
        yield strike


def _struck(strike: Strike, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def struck(*given: object, **named: object) -> object:
        falls = strike.falls_on(name)
        if falls and name != "close":
            raise strike.refusal()
        answer = call(*given, **named)
        if falls:  # Linux gives a descriptor back, whatever close(2) says
            raise strike.refusal()
        return answer

    return struck


def descriptors() -> set[int]:
    """Return the numbers of this process's open descriptors."""
    return {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}
