"""Judge the programs that a configuration names: found, trusted, executable, and so is the interpreter."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field

from autovpn.config.files import Files, told
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
    _verdicts: dict[str, Problem | None] = field(default_factory=dict)

    def problem(self, program: str) -> Problem | None:
        """Return why the first element of an argument list can't be run; None when it can."""
        if program not in self._verdicts:
            self._verdicts[program] = self._judge_named(program)
        return self._verdicts[program]

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
