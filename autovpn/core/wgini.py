"""The lines of a wg-quick file (wg-quick(8), wg(8)), read as they stand: what they mean is for the reader to say."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# What stands before the "=" on a line that is no more than a key without its name (base64 ends in "=") is not shown.
_KEY = re.compile(r"[a-z]{1,24}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One `Key = value` line.

    `key` is in lower case, empty where it can't be one; `value` is None where the line has no `=`, and is never shown.
    """

    key: str
    value: str | None = field(repr=False)
    line: int


@dataclass(frozen=True, slots=True)
class Section:
    """One `[Name]` and its entries. `name` is in lower case, empty for what stands before the first section."""

    name: str
    line: int
    entries: tuple[Entry, ...]

    def all(self, key: str) -> tuple[Entry, ...]:
        """Return the entries of this key, in any case, in order."""
        return tuple(entry for entry in self.entries if entry.key == key.lower())

    def value(self, key: str) -> str | None:
        """Return the last value of this key, as `wg` does with a key that is repeated, or None without one."""
        values = [entry.value for entry in self.all(key) if entry.value is not None]
        return values[-1] if values else None


def sections(text: str) -> tuple[Section, ...]:
    """Return the sections of a file in order; comments (`#`) and blank lines are left out, lines count from 1."""
    found: list[tuple[str, int, list[Entry]]] = []
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        if line.startswith("[") and line.endswith("]"):
            found.append((line[1:-1].strip().lower(), number, []))
            continue
        if not found:
            found.append(("", number, []))
        name, equals, value = line.partition("=")
        key = name.strip().lower()
        found[-1][2].append(Entry(key if _KEY.fullmatch(key) else "", value.strip() if equals else None, number))
    return tuple(Section(name, line, tuple(entries)) for name, line, entries in found)
