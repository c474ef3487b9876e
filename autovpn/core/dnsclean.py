"""Lists of DNS servers and names that somebody else wrote: checked, capped, and what was dropped is said.

A VPN server, or whoever speaks in its name, may push nothing, a hundred servers, or a line break followed by an
`options` line.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from autovpn.core.resolvconf import MAX_BYTES, parse

MAX_SERVERS = 8
"""More than any site has; libc asks three, systemd-resolved any number."""

MAX_SEARCH = 6
MAX_SEARCH_CHARACTERS = 256
"""glibc before 2.26 reads six search domains of 256 characters in all; musl still reads 256 characters."""

MAX_DOMAINS = 64
_MAX_SHOWN = 40
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_ZONE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")

Cleaned = tuple[tuple[str, ...], tuple[str, ...]]
"""What is kept, and a sentence for each thing that is not."""


def clean_servers(servers: Iterable[str], *, pushed: bool = True, own: frozenset[str] = frozenset()) -> Cleaned:
    """Return the usable DNS servers in canonical spelling and order, and why others were dropped.

    `pushed` lists come from outside and may not name this machine itself; a profile may (a forwarded port, a local
    resolver). `own` are this machine's addresses: a resolver that asks itself answers nobody
    (tailscale/tailscale#7816).
    """
    kept: list[str] = []
    reasons: list[str] = []
    for server in servers:
        address, fault = _address(server, pushed=pushed, own=own)
        if address is None:
            reasons.append(f"DNS server {_shown(server)} is left out: {fault}")
        elif address not in kept:
            kept.append(address)
    return _capped(kept, MAX_SERVERS, "DNS servers", reasons)


def clean_search(names: Iterable[str]) -> Cleaned:
    """Return the usable search domains, as many as every libc reads, and why others were dropped."""
    kept, reasons = _clean_names(names, "search domain")
    fitting: list[str] = []
    for name in kept:
        if len(" ".join([*fitting, name])) > MAX_SEARCH_CHARACTERS:
            reasons.append(
                f"search domain {_shown(name)} is left out: libc reads {MAX_SEARCH_CHARACTERS} characters in all"
            )
        else:
            fitting.append(name)
    return _capped(fitting, MAX_SEARCH, "search domains", reasons)


def clean_domains(names: Iterable[str]) -> Cleaned:
    """Return the usable names of a split DNS, and why others were dropped."""
    kept, reasons = _clean_names(names, "domain")
    return _capped(kept, MAX_DOMAINS, "domains", reasons)


def whole_file_fault(text: str) -> str:
    """Return what is wrong with a whole resolv.conf that is to be swapped in, or an empty string."""
    if len(text.encode()) > MAX_BYTES:
        return f"it is larger than {MAX_BYTES} bytes"
    if any(not character.isprintable() and character not in "\t\n\r" for character in text):
        return "it holds control characters"
    if not parse(text.encode()).nameservers:
        return "it names no nameserver"
    return ""


def _address(text: str, *, pushed: bool, own: frozenset[str]) -> tuple[str | None, str]:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None, "it is not an IP address"
    zone = address.scope_id if isinstance(address, ipaddress.IPv6Address) else None
    if zone is not None and not _ZONE.fullmatch(zone):
        return None, "it has no valid zone"
    plain = getattr(address, "ipv4_mapped", None) or address
    if plain.is_unspecified or plain.is_multicast or (plain.version == 4 and plain.is_reserved):  # noqa: PLR2004 - IPv4
        return None, "it is not the address of a machine"
    if pushed and plain.is_loopback:
        return None, "it is this machine itself"
    if str(plain) in own:
        return None, "it is an address of this machine"
    return str(plain), ""


def _clean_names(names: Iterable[str], what: str) -> tuple[list[str], list[str]]:
    kept: list[str] = []
    reasons: list[str] = []
    for name in names:
        plain = name.removesuffix(".").lower()
        if len(plain) > 253 or not all(_LABEL.fullmatch(label) for label in plain.split(".")):  # noqa: PLR2004 - RFC 1035
            reasons.append(f"{what} {_shown(name)} is left out: it is not a domain name")
        elif plain not in kept:
            kept.append(plain)
    return kept, reasons


def _capped(kept: list[str], most: int, what: str, reasons: list[str]) -> Cleaned:
    """Cut both lists: a hostile list must not fill the log with its reasons either."""
    if len(kept) > most:
        reasons.append(f"{len(kept)} {what} are too many; the first {most} are used")
    if len(reasons) > most:
        reasons = [*reasons[: most - 1], f"and {len(reasons) - most + 1} more of the kind"]
    return tuple(kept[:most]), tuple(reasons)


def _shown(text: str) -> str:
    """Return outside text as it may stand in a log line: quoted, escaped, short."""
    return ascii(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "...")
