"""Noticing every change to one name on disk, whoever makes it and however."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from autovpn.system.libc import Inotify, Watched

_IN_DIRECTORY = (
    Watched.CREATE
    | Watched.DELETE
    | Watched.MOVED_FROM
    | Watched.MOVED_TO
    | Watched.MODIFY
    | Watched.CLOSE_WRITE
    | Watched.ATTRIB
    | Watched.ONLYDIR
)
_ON_FILE = (
    Watched.MODIFY
    | Watched.CLOSE_WRITE
    | Watched.ATTRIB
    | Watched.DELETE_SELF
    | Watched.MOVE_SELF
    | Watched.DONT_FOLLOW
)


class NameWatch:
    """A watch on a file *and* on its directory, for either alone is blind.

    After a rename over the file, a watch on the file is dead; where the file is a bind mount, its directory sees
    nothing of it. `others` are further names in the same directory. An event says only "look again".
    """

    def __init__(self, path: Path, *others: str) -> None:
        """Begin to watch. Raises SystemFault where the machine has no watches left."""
        self._names = {os.fsencode(name) for name in (path.name, *others)}
        self._queue = Inotify()
        try:
            self._directory = self._queue.add(path.parent, _IN_DIRECTORY)
            self._file = self._queue.add(path, _ON_FILE)
        except BaseException:
            self._queue.close()
            raise

    def close(self) -> None:
        """Stop watching."""
        self._queue.close()

    async def disturbed(self) -> None:
        """Return when something happened to the name since the last call."""
        while not self._concerned():
            await self._readable()

    def _concerned(self) -> bool:
        """Drain the queue; tell whether any of it is about the name."""
        return any(
            notice.name in self._names
            if notice.watch == self._directory
            else notice.watch in (self._file, -1)  # overflow
            for notice in self._queue.read()
        )

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._queue.fileno(), readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._queue.fileno())
