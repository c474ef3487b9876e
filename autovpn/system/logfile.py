"""A file that grows by whole lines and is now and then replaced whole."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from autovpn.core.ownership import WRITABLE_BY_OTHERS
from autovpn.errors import JournalError
from autovpn.system.files import Disk, Dress

T = TypeVar("T")

_PRIVATE = Dress(mode=0o600)


class Log(Protocol):
    """Where records are kept. A call that raises JournalError has changed nothing."""

    name: str

    async def read(self) -> bytes:
        """Return all that is there; nothing when there is no file."""
        ...

    async def append(self, line: bytes, *, sync: bool) -> None:
        """Add a line, by one write; with `sync` it has outlived a power cut when this returns."""
        ...

    async def replace(self, content: bytes) -> None:
        """Put other content in the place of all that is there, whole or not at all."""
        ...


class LogFile:
    """A log at `path`, 0600, in a folder where only we can write; both are made when there is something to write.

    Others may pass through the folder (the group `autovpn`, to the control socket), since the file is closed to them.

    With `durable` it is on a disk, and a thread does the work; without, it is expected on a tmpfs, where nothing is to
    be synced and a write costs less than the way to a thread. One process writes at a time: the one that holds the
    daemon's lock.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        """Open nothing yet."""
        self.name = str(path)
        self._path = path
        self._durable = durable
        self._descriptor = -1
        self._length = 0

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)  # which gives the number back to others even where it fails (close(2))

    async def read(self) -> bytes:
        """Return all that is there; nothing when there is no file."""
        try:
            return await asyncio.to_thread(self._read)
        except OSError as error:
            raise JournalError(
                f"{self.name}: {error.strerror or error}; it tells what is to be undone: see to read access there"
            ) from error

    async def append(self, line: bytes, *, sync: bool) -> None:
        """Add a line, by one write; where that is not possible the file is as it was."""
        if self._durable:
            await asyncio.to_thread(self._checked, lambda: self._append(line, sync=sync))
        else:
            self._checked(lambda: self._append(line, sync=False))

    async def replace(self, content: bytes) -> None:
        """Put other content in the place of all that is there, whole or not at all."""
        await asyncio.to_thread(self._checked, lambda: self._replace(content))

    def _checked(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except OSError as error:
            raise JournalError(
                f"{self.name}: {error.strerror or error}; nothing is changed that cannot be recorded: "
                "see to free space and to write access there"
            ) from error

    def _read(self) -> bytes:
        with suppress(FileNotFoundError):
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
                _plain(descriptor)
                return file.read()
        return b""

    def _append(self, line: bytes, *, sync: bool) -> None:
        if self._descriptor < 0:
            self._open()
        facts = os.fstat(self._descriptor)
        if not facts.st_nlink:
            raise OSError(errno.ENOENT, "the file was removed")
        if facts.st_size != self._length:  # what is left of a write that failed before
            os.ftruncate(self._descriptor, self._length)
        try:
            _write_whole(self._descriptor, line)
            if sync:
                os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._length)
            raise
        self._length += len(line)

    def _open(self) -> None:
        # O_NONBLOCK is for whoever put a fifo here; a plain file knows no waiting.
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self._path, flags)
        try:
            length = _plain(descriptor).st_size
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor, self._length = descriptor, length

    def _replace(self, content: bytes) -> None:
        folder = self._path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & WRITABLE_BY_OTHERS:
            raise PermissionError(errno.EPERM, f"{folder} must be a folder that is ours and where only we can write")
        Disk().replace(self._path, content, _PRIVATE)
        # From here on it is written, whatever else fails; and until here the old file stays open, so that the next line
        # finds it removed where only the end of the replacing failed.
        with suppress(OSError):
            self.close()
        with suppress(OSError):
            self._open()


def _write_whole(descriptor: int, line: bytes) -> None:
    if os.write(descriptor, line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _plain(descriptor: int) -> os.stat_result:
    """Return the facts of a file that must be a plain one."""
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "is not a plain file")
    return facts
