"""Changes to files that a crash may fall between, each durable before the next begins."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Dress:
    """What a new file wears beside its bytes: mode, owner (None: ours), extended attributes."""

    mode: int = 0o644
    uid: int | None = None
    gid: int | None = None
    xattrs: dict[str, bytes] = field(default_factory=dict)


PLAIN = Dress()


def _uninterrupted(_what: str) -> None:
    return


class Disk:
    """Changes to files, each durable before the next begins.

    `boundary` is called before every single change with its name: the place where the tests pull the plug. A caller
    holds a lock on what it changes: the name of the temporary file is always the same, so that whatever a crash
    leaves can be swept.
    """

    def __init__(self, boundary: Callable[[str], None] = _uninterrupted) -> None:
        """Take the hook."""
        self._boundary = boundary

    def replace(self, path: Path, data: bytes, dress: Dress = PLAIN) -> None:
        """Put a new file at `path`, whole and on disk before it gets the name: readers see the old or the new one."""
        fresh = temporary(path)
        self.remove(fresh)
        self._create(fresh, data, dress)
        self.rename(fresh, path)

    def link(self, source: Path, target: Path) -> None:
        """Give the object at `source`, even a symlink, a second name."""
        self._boundary("link")
        os.link(source, target, follow_symlinks=False)
        self.sync_directory(target.parent)

    def symlink(self, says: bytes, path: Path, uid: int, gid: int) -> None:
        """Put a symlink at `path`, by a temporary name."""
        fresh = temporary(path)
        self.remove(fresh)
        self._boundary("symlink")
        fresh.symlink_to(os.fsdecode(says))
        self._boundary("lchown")
        os.chown(fresh, uid, gid, follow_symlinks=False)
        self.rename(fresh, path)

    def rename(self, source: Path, target: Path) -> None:
        """Move one name over another.

        Two names of one inode are left as they are (POSIX): remove one of them instead.
        """
        self._boundary("rename")
        source.rename(target)
        self.sync_directory(target.parent)

    def remove(self, path: Path) -> None:
        """Take the name away, if it is there."""
        if not os.path.lexists(path):
            return
        self._boundary("unlink")
        path.unlink(missing_ok=True)
        self.sync_directory(path.parent)

    def rewrite(self, path: Path, data: bytes) -> None:
        """Write over a file in place, for a mount point cannot be renamed over; no reader ever finds it empty.

        The old text is first padded with newlines to the new length, or the new one to the old; so one write does the
        change. Only a power cut in the middle of that write can tear it.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            length = os.fstat(descriptor).st_size
            if len(data) > length:
                self._boundary("pad")
                _write_all(descriptor, b"\n" * (len(data) - length), length)
            self._boundary("overwrite")
            _write_all(descriptor, data.ljust(length, b"\n"), 0)
            if len(data) < length:
                self._boundary("truncate")
                os.ftruncate(descriptor, len(data))
            self._boundary("fsync")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_directory(self, directory: Path) -> None:
        """Bring the names in a directory to disk."""
        self._boundary("fsync directory")
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _create(self, path: Path, data: bytes, dress: Dress) -> None:
        """Make a file that only we can open until it is whole; the umask has no say (tailscale/tailscale#12609)."""
        self._boundary("create")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            self._boundary("write")
            _write_all(descriptor, data, 0)
            if dress.uid is not None or dress.gid is not None:
                self._boundary("chown")
                os.fchown(descriptor, -1 if dress.uid is None else dress.uid, -1 if dress.gid is None else dress.gid)
            self._boundary("chmod")
            os.fchmod(descriptor, dress.mode)
            for name, value in dress.xattrs.items():
                self._boundary(f"setxattr {name}")
                with suppress(OSError):  # a label that this machine's policy does not know is no reason to have no file
                    os.setxattr(descriptor, name, value)
            self._boundary("fsync")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_durably(path: Path, data: bytes, dress: Dress = PLAIN) -> None:
    """Put `data` at `path`, whole or not at all, even through a power cut."""
    Disk().replace(path, data, dress)


def temporary(path: Path) -> Path:
    """Return the name under which a new file for `path` is made."""
    return path.with_name(f".{path.name.removeprefix('.')}.autovpn-tmp")


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
