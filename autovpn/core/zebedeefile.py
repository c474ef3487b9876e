"""Zebedee's own files, as far as they are read here."""

from __future__ import annotations

import re

_PRIVATE_KEY = re.compile(r"""^\s*privatekey\s+["']?([0-9a-f]+)["']?\s*(?:#.*)?$""", re.IGNORECASE | re.MULTILINE)


def private_key(content: str) -> str | None:
    """Return the hexadecimal digits of the private key that `zebedee -p` made; None where there is none.

    Nothing else of the file is taken: the keywords of its language can run programs.
    """
    found = _PRIVATE_KEY.search(content)
    return found[1] if found else None
