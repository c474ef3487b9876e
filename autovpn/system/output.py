"""What programs print: made safe to show, cut, and followed in a file that outlives the reader."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from autovpn.core.escape import show_text
from autovpn.system.libc import Inotify, Watched

LONGEST_LINE = 1000
"""Characters of a line that are kept."""

FULL = 64 * 1024
"""Bytes after which the file of a tunnel's program begins again."""

_CHUNK = 16 * 1024
_WIDEST = 4  # bytes of a character in UTF-8


def shown(raw: bytes, longest: int = LONGEST_LINE) -> str:
    """Return bytes from outside as one line of text that does nothing to a terminal or a log, cut at `longest`."""
    return show_text(raw[: longest * _WIDEST])[:longest]


class Lines:
    """Cuts a stream of bytes into lines; a line without end costs no more memory than the longest that is kept."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._begun = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that are complete now."""
        *whole, begun = data.split(b"\n")
        if whole:
            whole[0] = self._begun + whole[0]
            self._begun = b""
        self._begun = (self._begun + begun)[: LONGEST_LINE * _WIDEST]
        return [shown(line.rstrip(b"\r")) for line in whole]

    def rest(self) -> list[str]:
        """Return the last line, if it had no end."""
        begun, self._begun = self._begun, b""
        return [shown(begun)] if begun else []


class Tail:
    """Follows the file that a program appends to, and keeps it small.

    A file and no pipe, since a program that prints must survive our death (wireguard-go and vpnc die of SIGPIPE). It is
    cut to nothing when it is full and read; a writer with O_APPEND goes on at the new end. What a program prints
    faster than we read is left out, and said so. Without a daemon nobody cuts; that lasts until it is started again.
    """

    def __init__(self, path: Path, report: Callable[[str], None], *, from_end: bool = False, full: int = FULL) -> None:
        """Follow a file, which is made if need be, from its start or from its present end."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        self._report = report
        self._full = full
        self._offset = os.fstat(self._file).st_size if from_end else 0
        self._lines = Lines()
        self._changes = Inotify()
        self._changes.add(path, Watched.MODIFY)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._changes.fileno(), self._changed)
        self._loop.call_soon(self._read)

    def drain(self) -> None:
        """Report all that was printed until now, and the last line even without its end.

        Something that the program left running may print on and on, faster than it is read.
        """
        behind = os.fstat(self._file).st_size - self._offset
        for _ in range(behind // _CHUNK + 1):
            if not self._read_chunk():
                break
        self._emit(self._lines.rest())

    def close(self) -> None:
        """Stop following; the file stays."""
        if self._file < 0:
            return
        self._loop.remove_reader(self._changes.fileno())
        self._changes.close()
        os.close(self._file)
        self._file = -1

    def _changed(self) -> None:
        self._changes.read()
        self._read()

    def _read(self) -> None:
        if self._file >= 0 and self._read_chunk():
            self._loop.call_soon(self._read)  # others of the loop get their turn between two chunks

    def _read_chunk(self) -> bool:
        """Report one chunk; tell whether there may be more."""
        behind = os.fstat(self._file).st_size - self._offset
        if behind > self._full:
            self._offset += behind
            self._emit([*self._lines.rest(), f"({behind} bytes of output left out)"])
        chunk = os.pread(self._file, _CHUNK, self._offset)
        self._offset += len(chunk)
        self._emit(self._lines.feed(chunk))
        if chunk or self._file < 0:
            return bool(chunk)
        if self._offset >= self._full:
            os.ftruncate(self._file, 0)
            self._offset = 0
        return False

    def _emit(self, lines: list[str]) -> None:
        for line in lines:
            self._report(line)
