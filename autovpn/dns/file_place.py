"""Where the original is kept and how one file takes another's place: by names, or, on a mount point, in place."""

from __future__ import annotations

import errno
import os
import shlex
from pathlib import Path
from typing import Protocol

from autovpn.core.dnsstanding import Kind, Look
from autovpn.core.resolvconf import Original
from autovpn.dns.file_look import LARGEST, look
from autovpn.system.files import Disk, Dress, read_small

_LABEL = "security.selinux"
_LABELS = frozenset({_LABEL, "security.SMACK64"})
_NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


class Place(Protocol):
    """One way of keeping an original at `kept` and of putting our file where it was."""

    kept: Path

    def keep(self, original: Look) -> None:
        """Keep the original; the file stays as it is."""
        ...

    def put(self, text: bytes, original: Look | None) -> None:
        """Put our text in force; it looks like `original` from outside."""
        ...

    def restore(self) -> None:
        """Put the kept original back; nothing stays behind."""
        ...

    def unkeep(self) -> None:
        """Give up what was kept, for the original never left its place."""
        ...

    def remove(self) -> None:
        """Remove our file where there was none before."""
        ...

    def forget(self) -> None:
        """Give up what was kept, for somebody put something newer in force."""
        ...

    def way_back(self, original: Original) -> str:
        """Return the command that undoes us by hand."""
        ...


class Beside:
    """The original keeps its inode under a second name in the same directory; ours is renamed over the first.

    So type, owner, mode, label, attributes come back as they were, and a program that still has the original open
    writes into the original.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        """Serve `path`."""
        self.kept = path.with_name(f".{path.name}.autovpn-orig")
        self._path = path
        self._disk = disk

    def keep(self, original: Look) -> None:
        """Keep the original by a hard link; where the file system has none, by a copy with all that it wears."""
        try:
            self._disk.link(self._path, self.kept)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._copy(original)

    def put(self, text: bytes, original: Look | None) -> None:
        """Rename a new file over the name."""
        is_file = original is not None and original.kind is Kind.FILE
        dress = Dress(
            mode=0o644,
            uid=original.uid if is_file and original else None,
            gid=original.gid if is_file and original else None,
            xattrs=_worn_by(self.kept) if is_file else _usual_label(self._path.parent),
        )
        self._disk.replace(self._path, text, dress)

    def restore(self) -> None:
        """Rename the original back."""
        self._disk.rename(self.kept, self._path)

    def unkeep(self) -> None:
        """Drop the second name."""
        self._disk.remove(self.kept)

    def remove(self) -> None:
        """Remove our file."""
        self._disk.remove(self._path)

    def forget(self) -> None:
        """Drop the second name."""
        self._disk.remove(self.kept)

    def way_back(self, original: Original) -> str:
        """Return the command that undoes us by hand."""
        path = shlex.quote(str(self._path))
        return f"rm {path}" if original is Original.ABSENT else f"mv {shlex.quote(str(self.kept))} {path}"

    def _copy(self, original: Look) -> None:
        if original.kind is Kind.SYMLINK:
            self._disk.symlink(original.data, self.kept, original.uid, original.gid)
            return
        mode = self._path.lstat().st_mode & 0o7777
        self._disk.replace(self.kept, original.data, Dress(mode, original.uid, original.gid, _xattrs(self._path)))


class InPlace:
    """A mounted file cannot be renamed over: its bytes go to the state directory, and it is rewritten in place."""

    def __init__(self, path: Path, state: Path, disk: Disk) -> None:
        """Serve `path`, which is a mount point."""
        self.kept = state / f"{path.name}.orig"
        self._path = path
        self._disk = disk

    def keep(self, original: Look) -> None:
        """Copy the bytes."""
        self.kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._disk.replace(self.kept, original.data)

    def put(self, text: bytes, original: Look | None) -> None:  # noqa: ARG002 - the file keeps what it wears
        """Rewrite in place."""
        self._disk.rewrite(self._path, text)

    def restore(self) -> None:
        """Rewrite with the bytes that were kept, then drop them."""
        data = read_small(self.kept, LARGEST)
        found = look(self._path)
        if data is not None and (found is None or found.data != data):
            self._disk.rewrite(self._path, data)
        self._disk.remove(self.kept)

    def unkeep(self) -> None:
        """Take the padding off again, then drop the copy."""
        self.restore()

    def remove(self) -> None:
        """Fail: a mount point was never absent, so somebody mounted over the place since."""
        raise OSError(
            errno.EBUSY, "something was mounted here since; unmount it, then run 'autovpn recover'", str(self._path)
        )

    def forget(self) -> None:
        """Drop the copy."""
        self._disk.remove(self.kept)

    def way_back(self, original: Original) -> str:  # noqa: ARG002 - it is a file, always
        """Return the command that undoes us by hand."""
        return f"cp {shlex.quote(str(self.kept))} {shlex.quote(str(self._path))}"


def _xattrs(path: Path) -> dict[str, bytes]:
    """Return all extended attributes; none where the file system has no such thing, like many without hard links."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        return {}
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _worn_by(original: Path) -> dict[str, bytes]:
    """Return the attributes that our file takes from the original before it gets its name (tailscale/tailscale#20149).

    The labels and what users noted. Not the ACL, for everybody must be able to read ours; not digests of the content
    (`security.ima`, `security.evm`), which would be wrong; nothing of `trusted`, which is overlayfs's own.
    """
    return {name: value for name, value in _xattrs(original).items() if name in _LABELS or name.startswith("user.")}


def _usual_label(directory: Path) -> dict[str, bytes]:
    """Return the SELinux label where no file was there to take it from: a symlink has one of its own kind.

    The type is the one that every policy gives resolv.conf.
    """
    try:
        user, role, _type, level = os.getxattr(directory, _LABEL).decode().split(":", 3)
    except (OSError, ValueError):  # no SELinux here, or a policy without levels
        return {}
    return {_LABEL: f"{user}:{role}:net_conf_t:{level}".encode()}
