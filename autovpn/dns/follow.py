"""Noticing every change to a file and to the symlink that leads to it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from autovpn.system.files import NameWatch


class FollowWatch:
    """A watch on a name and on the file behind it, wherever its symlinks lead by now."""

    def __init__(self, path: Path) -> None:
        """Begin to watch the name; what is behind it is watched from the first wait on.

        Raises SystemFault where the machine has no watches left.
        """
        self._path = path
        self._name = NameWatch(path)
        self._real = path
        self._behind: NameWatch | None = None

    def close(self) -> None:
        """Stop watching."""
        self._name.close()
        if self._behind:
            self._behind.close()

    async def disturbed(self) -> None:
        """Return when something happened to either since the last call, or when the name leads elsewhere now."""
        if await self._follow():
            return
        waiting = [asyncio.ensure_future(watch.disturbed()) for watch in (self._name, self._behind) if watch]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _follow(self) -> bool:
        """Watch what the name leads to now; tell whether that is another file than before."""
        real = Path(await asyncio.to_thread(os.path.realpath, self._path))
        if real == self._real:
            return False
        behind, self._behind = self._behind, None
        if behind:
            behind.close()
        self._behind = NameWatch(real) if real != self._path else None
        self._real = real
        return True
