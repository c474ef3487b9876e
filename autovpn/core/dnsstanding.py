"""What the two names on disk, the file and its kept original, say about a swap; and what is to be done about it.

The file system is the journal: nothing else is read to recover from a crash. Pure: what was seen goes in, a row of
the table comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from autovpn.core.resolvconf import Original, unseal


class Kind(Enum):
    """What a name stands for; OTHER is anything that is no resolv.conf (a directory, a fifo, a file of over 1 MiB)."""

    FILE = "file"
    SYMLINK = "symlink"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Look:
    """One name on disk, as seen: for a file its bytes, for a symlink its target.

    `device` and `inode` name the object, `changed` and `size` (mtime in nanoseconds, bytes) its state; `uid` and
    `gid` its owner.
    """

    kind: Kind
    data: bytes
    device: int = 0
    inode: int = 0
    changed: int = 0
    size: int = 0
    uid: int = 0
    gid: int = 0

    def is_same_object(self, other: Look) -> bool:
        """Tell whether both are names of one inode."""
        return (self.device, self.inode) == (other.device, other.inode)

    def is_unchanged(self, other: Look) -> bool:
        """Tell whether `other` is this very object in this very state."""
        return self.is_same_object(other) and (self.changed, self.size) == (other.changed, other.size)


class Standing(Enum):
    """Where a swap stands."""

    CLEAN = "clean"
    """No trace of us."""
    UNSWAPPED = "unswapped"
    """The original is kept and is still in its place: a crash before the swap."""
    APPLIED = "applied"
    """Our sealed file, and the original kept (or there was none)."""
    VACATED = "vacated"
    """The file is gone or was emptied; the original is kept."""
    FOREIGN = "foreign"
    """Somebody else's file is in place; the original that we keep is stale."""
    EDITED = "edited"
    """Our marker over a text that is not the one we wrote."""
    ORPHAN = "orphan"
    """Our sealed file, but the original is lost."""


class Action(Enum):
    """What is done about a standing."""

    NOTHING = "nothing"
    UNKEEP = "drop the kept original, which never left its place"
    RESTORE = "put the kept original back, or remove our file where there was none"
    FORGET = "drop the kept original, which is stale"
    LEAVE = "touch nothing, and say so"
    SWAP = "keep the original, then put our file over it"
    REWRITE = "put our new text over our old one; the original stays kept"
    UNDO_THEN_SWAP = "revert, then swap"


ON_APPLY = {
    Standing.CLEAN: Action.SWAP,
    Standing.UNSWAPPED: Action.UNDO_THEN_SWAP,
    Standing.APPLIED: Action.REWRITE,
    Standing.VACATED: Action.UNDO_THEN_SWAP,
    Standing.FOREIGN: Action.UNDO_THEN_SWAP,  # which adopts theirs as the original
    Standing.EDITED: Action.LEAVE,
    Standing.ORPHAN: Action.REWRITE,  # never take our own file for the original
}

ON_REVERT = {
    Standing.CLEAN: Action.NOTHING,
    Standing.UNSWAPPED: Action.UNKEEP,
    Standing.APPLIED: Action.RESTORE,
    Standing.VACATED: Action.RESTORE,
    Standing.FOREIGN: Action.FORGET,
    Standing.EDITED: Action.LEAVE,
    Standing.ORPHAN: Action.LEAVE,
}


def standing(current: Look | None, kept: Look | None) -> Standing:
    """Return where the swap stands, from the file and its kept original as they are now; None is a missing name."""
    ours = unseal(current.data) if current is not None and current.kind is Kind.FILE else None
    if ours is not None:
        if not ours.intact:
            return Standing.EDITED
        return Standing.APPLIED if kept is not None or ours.original is Original.ABSENT else Standing.ORPHAN
    if kept is None:
        return Standing.CLEAN
    if current is None:
        return Standing.VACATED
    if is_original(current, kept):
        return Standing.UNSWAPPED
    return Standing.VACATED if is_blank(current) else Standing.FOREIGN


def is_original(current: Look, kept: Look) -> bool:
    """Tell whether the file is the kept original: the same inode or, where there are no hard links, the same content.

    Newlines at the end do not count: a mount point is padded with them before it is rewritten.
    """
    if current.is_same_object(kept):
        return True
    return current.kind is kept.kind and current.data.rstrip(b"\n") == kept.data.rstrip(b"\n")


def is_blank(look: Look) -> bool:
    """Tell whether a file says nothing at all: a program that truncates before it writes, or died in between.

    Such a file is never anybody's wish (tailscale/tailscale#18757, NetworkConfiguration/openresolv#37).
    """
    return look.kind is Kind.FILE and not look.data.strip()
