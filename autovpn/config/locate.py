"""Find the lines of keys in TOML text, which the parser doesn't tell.

It reads only text that the parser has accepted, and only when there is something to report; where it loses its way the
lines found so far are the answer.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from contextlib import suppress

import tomli

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[ \t]*("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*""")
_STRING = re.compile(
    r'''"""(?:\\.|[^\\])*?"""(?:"{0,2})|\'\'\'.*?\'\'\'(?:'{0,2})|"(?:[^"\\\n]|\\.)*"|'[^'\n]*\'''',
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]*")


def lines_of(text: str) -> Mapping[KeyPath, int]:
    """Return the line, counted from 1, on which each key of a TOML text first appears.

    A path holds keys and, for arrays, indexes: `("hooks", 0, "run")`.
    """
    locator = _Locator(text)
    with suppress(_LostError, RecursionError):
        locator.document()
    return locator.lines


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """Return the line of a key, or of the nearest table around it that has one."""
    return next((lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines), 1)


class _LostError(Exception):
    """The text isn't what the locator understands."""


class _Locator:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._counts: dict[KeyPath, int] = {}

    def document(self) -> None:
        table: KeyPath = ()
        while not self._ended():
            if self._take("[["):
                table = self._array_element(self._key())
                self._expect("]]")
            elif self._take("["):
                table = self._current(self._key())
                self._record(table)
                self._expect("]")
            else:
                self._pair(table)

    def _pair(self, table: KeyPath) -> None:
        path = table + self._key()
        self._expect("=")
        self._value(path)

    def _key(self) -> KeyPath:
        parts: list[str] = []
        while match := _KEY.match(self.text, self.at):
            parts.append(_unquoted(match[1]))
            self.at = match.end()
            if not self._take("."):
                return tuple(parts)
        raise _LostError

    def _value(self, path: KeyPath) -> None:
        self._record(path)
        self._skip(_BLANK)
        if self._take("["):
            index = 0
            while not self._closed("]"):
                self._value((*path, index))
                index += 1
        elif self._take("{"):
            while not self._closed("}"):
                self._pair(path)
        elif self.text[self.at : self.at + 1] in ('"', "'"):
            self._skip(_STRING)
        else:
            self._skip(_SCALAR)

    def _closed(self, bracket: str) -> bool:
        """Step over blanks and a comma, and report whether the array or inline table ends here."""
        self._skip(_BLANK)
        if self._take(","):
            self._skip(_BLANK)
        if self._take(bracket):
            return True
        if self.at >= len(self.text):
            raise _LostError
        return False

    def _current(self, key: KeyPath) -> KeyPath:
        """Return the path of a key with the newest index after each array of tables."""
        path: KeyPath = ()
        for part in key:
            path = (*path, part)
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
        return path

    def _array_element(self, key: KeyPath) -> KeyPath:
        array = (*self._current(key[:-1]), key[-1])
        self._counts[array] = self._counts.get(array, 0) + 1
        element = (*array, self._counts[array] - 1)
        self._record(element)
        return element

    def _record(self, path: KeyPath) -> None:
        """Note the present line for a path, and for each table around it that was not seen before."""
        line = bisect_right(self._newlines, self.at - 1) + 1
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                break
            self.lines[path[:length]] = line

    def _ended(self) -> bool:
        self._skip(_BLANK)
        return self.at >= len(self.text)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise _LostError
        self.at = match.end()

    def _take(self, word: str) -> bool:
        if not self.text.startswith(word, self.at):
            return False
        self.at += len(word)
        return True

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise _LostError


def _unquoted(part: str) -> str:
    if part[0] == "'":
        return part[1:-1]
    if part[0] == '"':
        return str(tomli.loads(f"key = {part}")["key"])
    return part
