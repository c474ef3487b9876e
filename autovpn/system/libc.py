"""What Python's standard library lacks of libc: inotify(7).

The constants are from `<sys/inotify.h>`; they are part of the kernel's interface and the same on every architecture.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import Self

from autovpn.errors import SystemFault


class Watched(IntFlag):
    """What a watch reports (`IN_*`)."""

    MODIFY = 0x2
    ATTRIB = 0x4
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    ONLYDIR = 0x0100_0000
    DONT_FOLLOW = 0x0200_0000


@dataclass(frozen=True, slots=True)
class Notice:
    """One event: its watch, what happened, and to which name in a watched directory (empty for the watched file)."""

    watch: int
    what: Watched
    name: bytes


_HEADER = struct.Struct("iIII")
_BATCH = 64 * 1024
_libc = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """A queue of file system events; `fileno()` is readable when there are some.

    Raises SystemFault when the user's instances or watches are used up.
    """

    def __init__(self) -> None:
        """Open the queue, not blocking, closed on exec."""
        self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")

    def __enter__(self) -> Self:
        """Return the queue, closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the queue and all its watches."""
        self.close()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._fd

    def close(self) -> None:
        """Close the queue and all its watches."""
        os.close(self._fd)

    def add(self, path: Path, what: Watched) -> int | None:
        """Watch `path`; the same inode gets the same watch again. Return None where there is nothing of that name."""
        watch: int = _libc.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(what))
        if watch < 0 and ctypes.get_errno() in (errno.ENOENT, errno.ENOTDIR):
            return None
        return _checked(watch, f"inotify_add_watch {path}")

    def remove(self, watch: int) -> None:
        """Drop a watch; one that died with its inode is fine."""
        _libc.inotify_rm_watch(self._fd, ctypes.c_int(watch))

    def read(self) -> list[Notice]:
        """Return all the events that are there, without waiting."""
        notices: list[Notice] = []
        with suppress(BlockingIOError):
            while data := os.read(self._fd, _BATCH):
                notices += _notices(data)
        return notices


def _notices(data: bytes) -> list[Notice]:
    notices = []
    while data:
        watch, mask, _cookie, length = _HEADER.unpack_from(data)
        end = _HEADER.size + length
        notices.append(Notice(watch, Watched(mask), data[_HEADER.size : end].rstrip(b"\0")))
        data = data[end:]
    return notices


def _checked(result: int, call: str) -> int:
    if result >= 0:
        return result
    number = ctypes.get_errno()
    hint = "; raise fs.inotify.max_user_instances or max_user_watches" if number in (errno.EMFILE, errno.ENOSPC) else ""
    msg = f"{call}: {os.strerror(number)}{hint}"
    raise SystemFault(msg)
