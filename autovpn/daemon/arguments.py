"""The arguments of a request: they came from outside, so each is checked where it is taken out."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from autovpn.errors import ControlError

LONGEST = 86400.0 * 366
"""Seconds; a longer time is a mistake."""


class Arguments:
    """The arguments of one request by name."""

    def __init__(self, given: Mapping[str, object]) -> None:
        """Take what the client sent."""
        self._given = given

    def text(self, name: str) -> str:
        """Return a text that must be there."""
        value = self.optional_text(name)
        if value is None:
            raise ControlError(f"the request lacks {name!r}")
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a text, or None where it was not given."""
        value = self._given.get(name)
        if value is not None and not isinstance(value, str):
            raise ControlError(f"{name!r} must be a text")
        return value

    def optional_number(self, name: str) -> float | None:
        """Return a number of seconds, or None where it was not given."""
        value = self._given.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise ControlError(f"{name!r} must be a number of seconds")
        if not 0 <= value <= LONGEST:
            raise ControlError(f"{name!r} must be between 0 and a year, in seconds")
        return float(value)

    def flag(self, name: str) -> bool:
        """Return a truth, false where it was not given."""
        value = self._given.get(name, False)
        if not isinstance(value, bool):
            raise ControlError(f"{name!r} must be true or false")
        return value
