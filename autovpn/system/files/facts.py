"""What a name on disk is, asked without ever waiting and without following a symlink by accident."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from pathlib import Path

_GETFLAGS = 2 << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 1
"""FS_IOC_GETFLAGS of `<linux/fs.h>`: _IOR('f', 1, long)."""

_IMMUTABLE = 0x10
_APPEND_ONLY = 0x20


def read_small(path: Path, most: int, *, follow: bool = False) -> bytes | None:
    """Return the bytes of a plain file, or None where it is larger than `most` bytes or no plain file.

    Never waits, not even for a fifo. Raises OSError (ELOOP for a symlink that is not to be followed).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        data = file.read(most + 1)
    return data if len(data) <= most else None


def is_immutable(path: Path) -> bool:
    """Tell whether a file or directory has `chattr +i` or `+a`; what has no such flags (a symlink, a fifo) is not."""
    try:
        if stat.S_IFMT(path.lstat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        flags = fcntl.ioctl(descriptor, _GETFLAGS, bytes(struct.calcsize("l")))
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            return False
        raise
    finally:
        os.close(descriptor)
    return bool(
        int.from_bytes(flags[:4], "little" if struct.pack("=H", 1) == b"\1\0" else "big") & (_IMMUTABLE | _APPEND_ONLY)
    )


def is_mount_point(path: Path, mountinfo: Path = Path("/proc/thread-self/mountinfo")) -> bool:
    """Tell whether something is mounted on this very name.

    `os.path.ismount` compares devices, and so does not see a file that is bind-mounted from the same file system. See
    proc(5).
    """
    wanted = os.fsencode(path.parent.resolve() / path.name)
    with mountinfo.open("rb") as lines:
        return any(_unescaped(line.split(b" ", 5)[4]) == wanted for line in lines)


def _unescaped(field: bytes) -> bytes:
    """Undo the octal escapes of mountinfo: blank, tab, newline, backslash."""
    for escape, plain in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(escape, plain)
    return field
