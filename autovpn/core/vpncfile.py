"""What of a user's vpnc.conf gives way to ours: known to `check`, which says so, and to the driver, which does it."""

from __future__ import annotations

from collections.abc import Iterable

GATEWAY = "IPSec gateway"
NAT_MODE = "NAT Traversal Mode"
UDP_PORT = "Cisco UDP Encapsulation Port"

OWNED = (
    "Script",
    "Pidfile",
    "Interface name",
    "Interface mode",
    "Local Port",
    "No Detach",
    "Noninteractive",
    "Debug",  # 99 prints the passwords
    "Password helper",  # a program of nobody's choosing, with a terminal that isn't there
)
"""The keys that we set or leave out, whatever the user's file says, beside the gateway."""

PASSWORDS = ("Xauth password", "Xauth obfuscated password")
"""The keys that give way when the profile has a password."""


def key_in(line: str, keys: Iterable[str]) -> str | None:
    """Return which of the keys a line sets: vpnc compares its beginning, without regard to case (config.c)."""
    stripped = line.strip().lower()
    for key in keys:
        rest = stripped.removeprefix(key.lower())
        if rest != stripped and (not rest or rest[0].isspace()):
            return key
    return None


def value_in(text: str, key: str) -> str | None:
    """Return the value of a key, that of the first line which sets it, as vpnc has it; None where none does."""
    values = (line.strip()[len(key) :].strip() for line in text.splitlines() if key_in(line, (key,)))
    return next(values, None) or None
