"""Judge the programs that a configuration names: found, trusted, executable, and so is the interpreter."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field

from autovpn.config.files import Files, told
from autovpn.config.packages import distribution, how_to_install, printed_version, too_old
from autovpn.config.report import quoted
from autovpn.core.escape import show_text
from autovpn.errors import Refused

PROGRAM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Problem = tuple[str, str]
"""What is wrong, and what would help."""


def find_program(name: str) -> str | None:
    """Return where a program is that the daemon would run; the PATH of whoever checks the files plays no part."""
    return shutil.which(name, path=PROGRAM_PATH)


@dataclass(slots=True)
class Programs:
    """The programs of one load; each is looked at once, however many hooks name it."""

    files: Files
    which: Callable[[str], str | None] = find_program
    distribution: Callable[[], tuple[str, ...]] = distribution
    printed_version: Callable[[str, str], str] = printed_version
    _verdicts: dict[str, Problem | None] = field(default_factory=dict)
    _clients: dict[str, Problem | None] = field(default_factory=dict)

    def problem(self, program: str) -> Problem | None:
        """Return why the first element of an argument list can't be run; None when it can."""
        if program not in self._verdicts:
            self._verdicts[program] = self._judge_named(program)
        return self._verdicts[program]

    def client_problem(self, program: str) -> Problem | None:
        """Return why a tunnel's program can't be used, with the package that has it; None when it can."""
        if program not in self._clients:
            self._clients[program] = self._judge_client(program)
        return self._clients[program]

    def installed(self, program: str) -> bool:
        """Report whether a program of this name is there at all."""
        return self.which(program) is not None

    def _judge_named(self, program: str) -> Problem | None:
        if program.startswith("/"):
            return self._judge(program)
        if "/" in program:
            return f"the program {quoted(program)} is relative to no folder", "write its whole path"
        found = self.which(program) if program else None
        if found is None:
            return f"the program {quoted(program)} is not installed", "install it, or write its whole path"
        return self._judge(found)

    def _judge_client(self, program: str) -> Problem | None:
        path = self.which(program)
        if path is None:
            what = f"the program {quoted(program)} is not installed"
            return what, how_to_install(program, self.distribution())
        problem = self._judge(path)
        if problem is None and (old := too_old(program, self.printed_version(program, path))):
            return old, how_to_install(program, self.distribution())
        return problem

    def _judge(self, path: str) -> Problem | None:
        try:
            status, first = self.files.head(path)
        except Refused as refused:
            return told(refused)
        if not status.st_mode & 0o111:
            return f"{show_text(path)} is not executable", "chmod +x it"
        if first.startswith(b"#!") and (words := first[2:].split()):
            interpreter = os.fsdecode(words[0])
            if not os.access(interpreter, os.X_OK):
                return f"{show_text(path)} needs the interpreter {show_text(interpreter)}, which is not installed", ""
        return None
