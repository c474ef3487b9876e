"""Open, look at the descriptor, then use: files that nobody but their owner could have put there.

A file is trusted when it and every folder on the way to it, through every symbolic link, belong to root (in tests: to
`owner`) and can't be written by others. With such folders nobody can swap the file between two looks at it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from autovpn.core.escape import show_text
from autovpn.core.ownership import distrust_file, distrust_folder
from autovpn.errors import Refused

LARGEST = 1 << 20  # bytes; no configuration that a person wrote comes near it
MOST_LINKS = 40  # as many as the kernel follows (path_resolution(7))


@dataclass(slots=True)
class Files:
    """The reader of one load; what it has learnt of a folder holds for the next file in it."""

    owner: int = 0
    _folders: dict[str, str | None] = field(default_factory=dict)

    @property
    def trusted(self) -> frozenset[int]:
        """Return the users whose files are believed."""
        return frozenset({0, self.owner})

    def read(self, path: str | Path, *, secret: bool = False) -> str:
        """Return the text of a trusted file.

        Raises:
            Refused: it can't be opened or trusted, is too long or isn't UTF-8.
        """
        with self._open(path, secret=secret) as file:
            # Asking for all that is allowed would make Python reserve that much for each small file.
            content = file.read(min(os.fstat(file.fileno()).st_size, LARGEST) + 1)
        if len(content) > LARGEST:
            raise Refused(str(path), f"is longer than {LARGEST >> 20} MiB")
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise Refused(str(path), f"line {line} is not UTF-8", "save the file as UTF-8") from None

    def check(self, path: str | Path, *, secret: bool = False) -> None:
        """Make sure that a file is there and trusted, without reading it.

        Raises:
            Refused: it can't be opened or trusted.
        """
        self._open(path, secret=secret).close()

    def head(self, path: str | Path) -> tuple[os.stat_result, bytes]:
        """Return what fstat(2) says of a trusted file, and as much of its first line as the kernel reads of a script.

        Raises:
            Refused: it can't be opened or trusted.
        """
        with self._open(path, secret=False) as file:
            return os.fstat(file.fileno()), file.readline(256)

    def _open(self, path: str | Path, *, secret: bool) -> BinaryIO:
        try:
            self._check_folders(path)
            # Without O_NONBLOCK a FIFO in the place of the file would hold the daemon for ever.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except (OSError, ValueError) as error:
            raise Refused(str(path), f"can't be read: {reason(error)}") from error
        try:
            self._judge(path, os.fstat(descriptor), secret=secret)
        except Refused:
            os.close(descriptor)
            raise
        return os.fdopen(descriptor, "rb")

    def _judge(self, path: str | Path, status: os.stat_result, *, secret: bool) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise Refused(str(path), "is not a regular file")
        why = distrust_file(status.st_uid, status.st_mode, self.trusted, secret=secret)
        if why and status.st_uid not in self.trusted:
            raise Refused(str(path), why, "make root its owner: chown root FILE")
        if why:
            raise Refused(str(path), why, f"take the permission away: chmod {'go=' if secret else 'go-w'} FILE")

    def _check_folders(self, path: str | Path) -> None:
        if _link_target(os.fspath(path)) is not None:
            why = self._judge_way(path)
        else:
            folder = os.path.dirname(path)  # noqa: PTH120  # a thousand files share few folders, and text is cheap
            if folder not in self._folders:
                self._folders[folder] = self._judge_way(path)
            why = self._folders[folder]
        if why:
            raise Refused(str(path), why, "others could put their own file in its place")

    def _judge_way(self, path: str | Path) -> str | None:
        for folder in folders_on_the_way(path):
            status = os.stat(folder)  # noqa: PTH116
            if why := distrust_folder(status.st_uid, status.st_mode, self.trusted):
                return f"its folder {folder} {why}"
        return None


def folders_on_the_way(path: str | Path) -> Iterator[str]:
    """Yield each real folder that the kernel looks into to find a file, in its order, through every symbolic link.

    Raises:
        OSError: the links go round in circles.
    """
    here = "/"
    yield here
    ahead = _parts(Path.cwd() / path)
    links = 0
    while ahead:
        name = ahead.pop()
        if name == "..":
            here = os.path.dirname(here)  # noqa: PTH120
            continue
        step = os.path.join(here, name)  # noqa: PTH118  # Path costs ten times as much, for every file of a load
        target = _link_target(step)
        if target is None:
            here = step
            if ahead:
                yield here
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(40, "too many symbolic links")
        if target.startswith("/"):
            here = "/"
        ahead += _parts(Path(target))


def _parts(path: Path) -> list[str]:
    return [part for part in reversed(path.parts) if part != "/"]


def _link_target(path: str) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115
    except OSError:
        return None  # not a link; whether it is there at all, opening it will tell


def fingerprint(paths: Iterable[str]) -> str:
    """Return what tells the versions of files apart: inode, size and time of change, never their content."""
    return " ".join(_version(path) for path in paths)


def _version(path: str) -> str:
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return "absent"
    return f"{status.st_ino},{status.st_size},{status.st_mtime_ns}"


def reason(error: OSError | ValueError) -> str:
    """Return why a system call failed, in the system's own words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)


def told(refused: Refused) -> tuple[str, str]:
    """Return what is wrong with a file, and what would help, fit to be printed."""
    return f"{show_text(refused.what)} {show_text(refused.why)}", show_text(refused.hint)
