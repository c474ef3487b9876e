"""A machine's resolv.conf in a folder of its own, and a plug that can be pulled at every change."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autovpn.core.dnschoice import DnsWish, MachineDns, merge
from autovpn.core.resolvconf import parse
from autovpn.dns.file import FileBackend
from autovpn.dns.file_swap import Swap
from autovpn.system.files import Disk

KINDS = ("file", "symlink", "relative", "dangling", "absent")
THEIRS = (
    "# from the network\nnameserver 192.0.2.53\nsearch lan.example\noptions ndots:2 trust-ad\nsortlist 192.0.2.0/24\n"
)
FOREIGN = "nameserver 198.51.100.7\n"
WORK = DnsWish("work", "tun0", ("10.0.0.1", "10.0.0.2"), search=("corp.example",))
LONGER = DnsWish("work", "tun0", ("10.0.0.3", "10.0.0.4"), search=("a-long-name.corp.example", "corp.example"))
SHORTER = DnsWish("work", "tun0", ("10.0.0.5",))

Fingerprint = tuple[object, ...] | None


class PowerCutError(BaseException):
    """The process is gone: no handler of an ordinary exception may run on."""


class Plug:
    """The `boundary` of a `Disk`: counts the changes, and pulls the plug before the one numbered `at`."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.changes: list[str] = []

    def __call__(self, what: str) -> None:
        if self.at is not None and len(self.changes) >= self.at:
            raise PowerCutError(what)
        self.changes.append(what)


class Faulty:
    """A `boundary` at which the change numbered `at` fails, once, as on a full disk."""

    def __init__(self, at: int, error: int) -> None:
        self.at = at
        self.error = error
        self.count = 0
        self.struck = False

    def __call__(self, what: str) -> None:
        self.count += 1
        if self.count == self.at + 1:
            self.struck = True
            raise OSError(self.error, os.strerror(self.error), what)


class WithoutLinks(Disk):
    """A file system that knows no hard links."""

    def link(self, source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(source), None, str(target))


@dataclass
class Scene:
    """One machine: /etc with a resolv.conf of some kind, /run, and our own directories."""

    root: Path
    kind: str

    @classmethod
    def made(cls, root: Path, kind: str) -> Scene:
        """Make the folder and the original."""
        scene = cls(root, kind)
        (root / "etc").mkdir(parents=True)
        (root / "managed").mkdir()
        (root / "managed" / "resolv.conf").write_text(THEIRS)
        match kind:
            case "file":
                scene.path.write_text(THEIRS)
                scene.path.chmod(0o640)
                with contextlib.suppress(OSError):  # not on every file system
                    os.setxattr(scene.path, "user.test", b"label")
                if os.geteuid() == 0:
                    os.chown(scene.path, 1234, 4321)
            case "symlink":
                scene.path.symlink_to(root / "managed" / "resolv.conf")
            case "relative":
                scene.path.symlink_to("../managed/resolv.conf")
            case "dangling":
                scene.path.symlink_to("../managed/gone")
            case _:
                pass
        return scene

    @property
    def path(self) -> Path:
        return self.root / "etc" / "resolv.conf"

    @property
    def kept(self) -> Path:
        return self.root / "etc" / ".resolv.conf.autovpn-orig"

    @property
    def has_nameserver(self) -> bool:
        """Report whether libc would find a server right now."""
        try:
            return bool(parse(self.path.read_bytes()).nameservers)
        except OSError:
            return False

    def swap(self, boundary: Callable[[str], None] | None = None, disk: type[Disk] = Disk) -> Swap:
        """Return the algorithm itself, without lock, thread and budget."""
        return Swap(self.path, self.root / "state", disk(boundary) if boundary else disk())

    def backend(self, **options: object) -> FileBackend:
        """Return a back end as a freshly started process has it."""
        backend = FileBackend(self.path, self.root / "state", self.root / "run", **options)  # type: ignore[arg-type]
        backend.quiet, backend.patience = 0.01, 0.2
        return backend

    def rewrite_as_others_do(self, text: str = FOREIGN) -> None:
        """Replace the file by rename, as a DHCP client does."""
        fresh = self.root / "etc" / "new"
        fresh.write_text(text)
        fresh.rename(self.path)

    def fingerprint(self) -> Fingerprint:
        """Return all that makes up the object at the path; equal fingerprints are the same object in the same state."""
        return fingerprint(self.path)

    def litter(self) -> set[str]:
        """Return the names that would not be there without us."""
        left = {name.name for name in (self.root / "etc").iterdir()} - {"resolv.conf"}
        state = self.root / "state"
        return left | ({name.name for name in state.iterdir()} if state.exists() else set())


def fingerprint(path: Path) -> Fingerprint:
    """Return all that makes up the object at a path."""
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return None
    wears = (facts.st_ino, facts.st_mode, facts.st_uid, facts.st_gid, facts.st_mtime_ns, facts.st_nlink)
    if stat.S_ISLNK(facts.st_mode):
        return (*wears, path.readlink())
    xattrs = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    return (*wears, path.read_bytes(), xattrs)


def dns(*wishes: DnsWish) -> MachineDns:
    """Return what the machine wants of these wishes."""
    return merge(wishes)
