"""Two halves of decoding late: the newest raw message per object, and the rows made of them when somebody looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from autovpn.system.rtnl_decode import MalformedMessage

if TYPE_CHECKING:
    from collections.abc import Callable

Key = TypeVar("Key")
Row = TypeVar("Row")


class Newest(Generic[Key]):
    """The newest raw message per key, and the keys that were touched since rows were last made of them."""

    __slots__ = ("messages", "touched")

    def __init__(self) -> None:
        """Start empty."""
        self.messages: dict[Key, bytes] = {}
        self.touched: set[Key] = set()

    def put(self, key: Key, message: bytes) -> bytes | None:
        """Keep `message` in place of the one before, which is returned."""
        before = self.messages.get(key)
        self.messages[key] = message
        self.touched.add(key)
        return before

    def drop(self, key: Key) -> bytes | None:
        """Forget the object; its last message, if it was known."""
        self.touched.add(key)
        return self.messages.pop(key, None)


class Rows(Generic[Key, Row]):
    """Decoded rows that are brought up to date by what was touched."""

    __slots__ = ("_decode", "by_key")

    def __init__(self, decode: Callable[[Key, bytes], Row]) -> None:
        """Start empty; `decode` makes the row of a message."""
        self.by_key: dict[Key, Row] = {}
        self._decode = decode

    def refresh(self, newest: Newest[Key]) -> int:
        """Decode what was touched, once each; how many objects were left out since their message made no sense."""
        malformed = 0
        for key in newest.touched:
            self.by_key.pop(key, None)
            message = newest.messages.get(key)
            if message is None:
                continue
            try:
                self.by_key[key] = self._decode(key, message)
            except MalformedMessage:
                malformed += 1
        newest.touched.clear()
        return malformed
