"""What was found while reading: every problem and every note, each with its file, its line and its key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autovpn.config.locate import KeyPath, line_of, lines_of
from autovpn.core.escape import show_text

LONGEST_QUOTE = 60


@dataclass(slots=True)
class Document:
    """One TOML file that was read: where, and what it says."""

    path: Path
    text: str
    data: dict[str, Any]
    _lines: Mapping[KeyPath, int] | None = field(default=None, repr=False)

    def line(self, key: KeyPath) -> int:
        """Return the line of a key; the text is searched for lines at the first call only."""
        if self._lines is None:
            self._lines = lines_of(self.text)
        return line_of(self._lines, key)

    def place(self, key: KeyPath = ()) -> str:
        """Return `file:line: key`, or the file alone for what concerns the whole of it."""
        file = show_text(str(self.path))
        return f"{file}:{self.line(key)}: {dotted(key)}" if key else file


@dataclass(slots=True)
class Report:
    """Problems and notes as they are found.

    A problem that leaves open what the user wants is `refused`: there is no policy then. One that takes a single
    profile or tunnel out of action is a `warning`: a missing program on one network must not end the protection on
    all others.
    """

    refused: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refuse(self, place: str, what: str, meant: str = "") -> None:
        """Record a problem that withholds the policy."""
        self.refused.append(_sentence(place, what, meant))

    def warn(self, place: str, what: str, meant: str = "") -> None:
        """Record a problem that the policy survives."""
        self.warnings.append(_sentence(place, what, meant))

    def note(self, place: str, what: str, meant: str = "") -> None:
        """Record something worth knowing that is no mistake."""
        self.notes.append(_sentence(place, what, meant))


def _sentence(place: str, what: str, meant: str) -> str:
    return f"{place}: {what}; {meant}" if meant else f"{place}: {what}"


def dotted(key: KeyPath) -> str:
    """Return a path as the user writes it, without the indexes that the line tells already."""
    return ".".join(show_text(part) for part in key if isinstance(part, str))


def quoted(value: object) -> str:
    """Return a value from a file for use in a sentence: escaped, in quotes, and cut when long."""
    text = value if isinstance(value, str) else str(value)
    return "'" + show_text(text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + "…") + "'"
