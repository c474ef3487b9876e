"""Opening what only root can have written: hooks, configuration, secrets."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from autovpn.core.ownership import distrust_file, distrust_folder
from autovpn.errors import Refused

_MOST_SYMLINKS = 40


def open_trusted(path: Path, *, owner: int = 0, below: Path = Path("/")) -> int:
    """Open for reading a file that only `owner` (root) can have written; use the descriptor from then on, not the path.

    The file and each directory on the way, but for those above `below`, must be `owner`'s or root's and not writable
    by group or others (`core.ownership`); so must the directory that holds a symlink, for who can change that can
    choose the file.
    Checked on open descriptors, so nothing can be exchanged between the check and the use (CVE-2022-29800). Raises
    Refused, or OSError for a file that is not there.
    """
    return _Walk(path, frozenset({0, owner}), below).open()


class _Walk:
    """One descent along a path, directory by directory, on open descriptors."""

    def __init__(self, path: Path, owners: frozenset[int], below: Path) -> None:
        self._asked = path
        self._owners = owners
        self._below = below
        self._links = 0

    def open(self) -> int:
        names = list(self._asked.absolute().parts)
        here, done = -1, Path("/")
        try:
            while names:
                name = names.pop(0)
                if name == "/":
                    here, done = _exchanged(here, os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)), Path("/")
                    self._check(done, os.fstat(here))
                    continue
                found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
                done = done / name if name != ".." else done.parent
                facts = os.fstat(found)
                if stat.S_ISLNK(facts.st_mode):
                    names[:0] = self._followed(found)
                    done = done.parent
                    continue
                here = _exchanged(here, found)
                self._check(done, facts)
            return self._for_reading(here)
        finally:
            if here >= 0:
                os.close(here)

    def _followed(self, link: int) -> tuple[str, ...]:
        try:
            self._links += 1
            if self._links > _MOST_SYMLINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(self._asked))
            return Path(os.readlink("", dir_fd=link)).parts
        finally:
            os.close(link)

    def _check(self, path: Path, facts: os.stat_result) -> None:
        if path in self._below.parents:
            return
        judge = distrust_folder if stat.S_ISDIR(facts.st_mode) else distrust_file
        why = judge(facts.st_uid, facts.st_mode, self._owners)
        if why is not None:
            mend = f"chown root {path}" if facts.st_uid not in self._owners else f"chmod go-w {path}"
            raise self._refused(path, why, mend)

    def _for_reading(self, found: int) -> int:
        """Reopen the very inode that was checked, now that it is known to be a plain file."""
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise Refused(str(self._asked), "it is not a plain file")
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)

    def _refused(self, path: Path, why: str, command: str) -> Refused:
        which = "it" if path == self._asked else str(path)
        return Refused(
            str(self._asked), f"{which} {why}, so it cannot be trusted as root's", f"mend it with '{command}'"
        )


def _exchanged(old: int, new: int) -> int:
    if old >= 0:
        os.close(old)
    return new
