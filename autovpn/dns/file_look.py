"""What resolv.conf and its kept original are right now; nothing here changes anything."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from autovpn.core.dnsfacts import FileFacts, OriginalFacts
from autovpn.core.dnsstanding import Kind, Look
from autovpn.core.resolvconf import ResolvConf, parse
from autovpn.system.files import is_immutable, is_mount_point, read_small

LARGEST = 1 << 20
"""A larger file than this is no resolv.conf; some list of blocked names, perhaps."""

_MOST_TRIES = 5


def look(path: Path) -> Look | None:
    """Return what has this name, a symlink as itself; None where nothing has.

    Raises FileNotFoundError when the name keeps changing under the look.
    """
    for _ in range(_MOST_TRIES):
        try:
            facts = path.lstat()
        except FileNotFoundError:
            return None
        try:
            kind, data = _content(path, facts.st_mode)
        except OSError:  # exchanged since the lstat, so look again
            if path.is_symlink() or not path.exists():
                continue
            raise
        return Look(
            kind, data, facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_size, facts.st_uid, facts.st_gid
        )
    raise FileNotFoundError(f"{path} keeps coming and going")


def servers_of(path: Path) -> ResolvConf:
    """Return what libc reads at `path`, through symlinks; nothing where it cannot be read."""
    return parse(_read(path))


def original_facts(path: Path) -> OriginalFacts:
    """Gather what tells whose file it is that libc reads at `path`."""
    data = _read(path)
    first_line = data.partition(b"\n")[0].decode(errors="replace").strip()
    return OriginalFacts(os.path.realpath(path), first_line, parse(data).nameservers)


def file_facts(path: Path, original: Path | None = None) -> FileFacts:
    """Gather what decides whether resolv.conf may be swapped; `original` is where it is while ours is in its place."""
    found = look(original or path)
    mounted = is_mount_point(path)
    return FileFacts(
        path=str(path),
        kind=found.kind if found else None,
        target=os.fsdecode(found.data) if found and found.kind is Kind.SYMLINK else "",
        immutable=is_immutable(path) or is_immutable(path.parent),
        writable=os.access(path if mounted else path.parent, os.W_OK),
        mounted=mounted,
    )


def _read(path: Path) -> bytes:
    try:
        return read_small(path, LARGEST, follow=True) or b""
    except OSError:
        return b""


def _content(path: Path, mode: int) -> tuple[Kind, bytes]:
    if stat.S_ISLNK(mode):
        return Kind.SYMLINK, os.fsencode(path.readlink())
    if not stat.S_ISREG(mode):
        return Kind.OTHER, b""
    data = read_small(path, LARGEST)
    return (Kind.OTHER, b"") if data is None else (Kind.FILE, data)
