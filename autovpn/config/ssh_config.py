"""Find where an ssh_config(5) alias leads, so that the pin knows the real far end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Destination:
    """What a file says of one alias; None where it says nothing. `opaque` names keys that we can't follow."""

    host: str | None = None
    port: int | None = None
    opaque: tuple[str, ...] = ()


def destination(text: str, alias: str) -> Destination:
    """Return where a file sends an alias; as in ssh(1), the first value of a key holds."""
    first: dict[str, str] = {}
    opaque = []
    applies = True
    for key, value in _settings(text):
        if key == "host":
            applies = _matches(alias, value.split())
        elif key in ("match", "include"):
            opaque.append(key)
            applies = applies and key == "include"
        elif applies and key in ("proxyjump", "proxycommand"):
            opaque.append(key)
        elif applies:
            first.setdefault(key, value)
    port = first.get("port", "")
    return Destination(
        host=first["hostname"].replace("%h", alias) if "hostname" in first else None,
        port=int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else None,  # noqa: PLR2004  # digits of 65535
        opaque=tuple(opaque),
    )


def _settings(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        key, _, value = line.strip().replace("=", " ", 1).partition(" ")
        if key and not key.startswith("#"):
            yield key.lower(), value.strip().strip('"')


def _matches(alias: str, patterns: list[str]) -> bool:
    if any(pattern.startswith("!") and fnmatchcase(alias, pattern[1:]) for pattern in patterns):
        return False
    return any(fnmatchcase(alias, pattern) for pattern in patterns)
