"""What must not be shown."""

from __future__ import annotations


class Secret:
    """Bytes that must not be shown: no `repr`, no comparison by accident, no way into the journal."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        """Wrap the content."""
        self._content = content

    def reveal(self) -> bytes:
        """Return the content, for the one place that hands it to its program."""
        return self._content

    def __repr__(self) -> str:
        """Hide the content."""
        return "<secret>"
