"""What a file is judged against: the machine around it, the folders its paths are relative to, the report."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from autovpn.config.files import Files, told
from autovpn.config.locate import KeyPath
from autovpn.config.packages import distribution, printed_version
from autovpn.config.programs import Programs, find_program
from autovpn.config.report import Document, Report
from autovpn.core.escape import show_text
from autovpn.core.forwarding import FORWARDING
from autovpn.core.settings import SecretRef
from autovpn.errors import Refused


def has_user(name: str) -> bool:
    """Report whether the machine knows a user of this name."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def kernel_has_wireguard() -> bool:
    """Report whether the running kernel has WireGuard, loaded, built in or as a module that it can load."""
    if Path("/sys/module/wireguard").exists():
        return True
    modules = Path("/lib/modules", os.uname().release)
    for listing in ("modules.builtin", "modules.dep"):
        try:
            if "/wireguard.ko" in (modules / listing).read_text():
                return True
        except OSError:
            continue
    return False


def forwards(version: int) -> bool:
    """Report whether the running kernel passes packets of a family (4 or 6) on; it has no such setting without it."""
    try:
        return Path("/proc/sys", *FORWARDING[version].split(".")).read_text().strip() != "0"
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Environment:
    """The machine as the configuration sees it, each part replaceable in a test.

    `owner` is the user, beside root, whose files are believed: root itself but for tests.
    """

    owner: int = 0
    which: Callable[[str], str | None] = find_program
    has_user: Callable[[str], bool] = has_user
    kernel_has_wireguard: Callable[[], bool] = kernel_has_wireguard
    forwards: Callable[[int], bool] = forwards
    distribution: Callable[[], tuple[str, ...]] = distribution
    printed_version: Callable[[str, str], str] = printed_version


@dataclass(frozen=True, slots=True)
class Context:
    """One file while it is turned into the core's values. Keys are paths from the top of that file."""

    document: Document
    folders: tuple[Path, ...]
    files: Files
    programs: Programs
    report: Report
    environment: Environment = field(default_factory=Environment)

    def refuse(self, key: KeyPath, what: str, meant: str = "") -> None:
        """Record a problem at a key that withholds the policy."""
        self.report.refuse(self.document.place(key), what, meant)

    def warn(self, key: KeyPath, what: str, meant: str = "") -> None:
        """Record a problem at a key that the policy survives."""
        self.report.warn(self.document.place(key), what, meant)

    def note(self, key: KeyPath, what: str, meant: str = "") -> None:
        """Record something worth knowing about a key."""
        self.report.note(self.document.place(key), what, meant)

    def resolve(self, path: str) -> str:
        """Return the absolute path of a file: relative ones lie beside the profile, else in the folder above."""
        candidates = [folder / path for folder in self.folders]
        return str(next((candidate for candidate in candidates if os.path.lexists(candidate)), candidates[0]))

    def read(self, key: KeyPath, path: str, *, secret: bool = False) -> str | None:
        """Return the text of a file that a key names; a file that can't be used is reported there."""
        try:
            content = self.files.read(path, secret=secret)
        except Refused as refused:
            self.refuse(key, *told(refused))
            return None
        self._note_link(key, path)
        return content

    def check(self, key: KeyPath, path: str, *, secret: bool = False) -> bool:
        """Report whether a file that a key names is there and trusted; when it isn't, that is a problem there."""
        try:
            self.files.check(path, secret=secret)
        except Refused as refused:
            self.warn(key, *told(refused))
            return False
        self._note_link(key, path)
        return True

    def check_secret(self, key: KeyPath, secret: SecretRef) -> None:
        """Make sure that a secret can be had when it is needed: its file trusted, its program there."""
        if secret.file:
            self.check((*key, "file"), secret.file, secret=True)
        if secret.command:
            self.check_program((*key, "command"), secret.command[0])

    def check_program(self, key: KeyPath, program: str) -> None:
        """Make sure that a program can be run; when it can't, that is a problem at the key."""
        if problem := self.programs.problem(program):
            self.warn(key, *problem)

    def check_client(self, key: KeyPath, program: str) -> None:
        """Make sure that a tunnel's program is there and young enough; when it isn't, that is a problem at the key."""
        if problem := self.programs.client_problem(program):
            self.warn(key, *problem)

    def _note_link(self, key: KeyPath, path: str) -> None:
        if os.path.islink(path):  # noqa: PTH114  # a path from a file is text
            target = os.path.realpath(path)
            self.note(key, f"{show_text(path)} is a symbolic link to {show_text(target)}, which was read")
