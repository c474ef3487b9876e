"""Text from outside made safe for a terminal, whatever it went through before."""

from __future__ import annotations

from autovpn.core.escape import show_text


def clean(text: str) -> str:
    """Return one line that a terminal only shows.

    Text that was escaped already stays as it is: a backslash is taken for the start of such an escape.
    """
    return show_text(text).replace("\\\\", "\\")
