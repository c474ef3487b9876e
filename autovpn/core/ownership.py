"""Whose file may be trusted as code, as configuration or as a secret: the pure rule on what stat(2) says of it."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

WRITABLE_BY_OTHERS = 0o022
OPEN_TO_OTHERS = 0o077
STICKY = 0o1000


def distrust_file(uid: int, mode: int, trusted: AbstractSet[int], *, secret: bool = False) -> str | None:
    """Return why a file of this owner and `st_mode` can't be trusted, None when it can.

    Group and others may not write it; a secret they may not even read.
    """
    if uid not in trusted:
        return f"belongs to user {uid}, who could change it"
    if mode & WRITABLE_BY_OTHERS:
        return f"may be written by others (mode {mode & 0o7777:04o})"
    if secret and mode & OPEN_TO_OTHERS:
        return f"holds a secret and may be read by others (mode {mode & 0o7777:04o})"
    return None


def distrust_folder(uid: int, mode: int, trusted: AbstractSet[int]) -> str | None:
    """Return why what lies in a folder of this owner and `st_mode` could be replaced, None when it can't.

    In a sticky folder such as /tmp only the owner of an entry can replace it (unlink(2)), and each entry is judged too.
    """
    if uid not in trusted:
        return f"belongs to user {uid}, who could replace what is in it"
    if mode & WRITABLE_BY_OTHERS and not mode & STICKY:
        return f"may be written by others (mode {mode & 0o7777:04o})"
    return None
