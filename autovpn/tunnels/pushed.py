"""What a VPN server tells its client, read as hostile input: every value is checked, and what is odd is left out."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network, NetmaskValueError

from autovpn.core.dnsclean import clean_search, clean_servers

MAX_PREFIXES = 256
"""More than any office pushes; a route costs the kernel memory."""

WIDEST = 8
"""A split tunnel takes no more than a /8 at a server's word: to send it everything is for the user to say."""

MAX_BANNER = 500
LARGEST_MTU = 65535
SMALLEST_MTU = 576
"""RFC 791: what every IPv4 host takes."""

MAX_NAME = 15
"""IFNAMSIZ in <linux/if.h>, less the NUL."""

_NAME = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_NAME}}}")


def address(text: str | None) -> IPv4Interface | None:
    """Return our address in the tunnel as a /32: what else is reached through it, the routes say."""
    try:
        found = IPv4Address((text or "").strip())
    except AddressValueError:
        return None
    odd = found.is_unspecified or found.is_loopback or found.is_multicast or found.is_reserved or found.is_link_local
    return None if odd else IPv4Interface((found, 32))


def prefix(base: str | None, length: str | None) -> IPv4Network | None:
    """Return a pushed prefix, unless it is none, covers nearly everything, or is not for machines."""
    try:
        found = IPv4Network(f"{(base or '').strip()}/{(length or '').strip()}", strict=False)
    except (AddressValueError, NetmaskValueError, ValueError):
        return None
    too_wide = found.prefixlen < WIDEST
    odd = found.is_loopback or found.is_multicast or found.is_link_local or found.is_reserved
    return None if too_wide or odd else found


def prefixes(pairs: list[tuple[str | None, str | None]]) -> tuple[IPv4Network, ...]:
    """Return the usable prefixes of (address, length) pairs, each once, in order."""
    usable = (prefix(*pair) for pair in pairs[:MAX_PREFIXES])
    return tuple(dict.fromkeys(found for found in usable if found))


def servers(text: str | None) -> tuple[str, ...]:
    """Return the usable DNS servers of a list separated by spaces."""
    return clean_servers((text or "").split())[0]


def search(text: str | None) -> tuple[str, ...]:
    """Return the usable search domains of a list separated by spaces or commas."""
    return clean_search((text or "").replace(",", " ").split())[0]


def mtu(text: str | None) -> int | None:
    """Return a pushed MTU in bytes, if it can be one."""
    value = number(text)
    return value if value is not None and SMALLEST_MTU <= value <= LARGEST_MTU else None


def number(text: str | None) -> int | None:
    """Return a small number written in ASCII digits."""
    text = (text or "").strip()
    return int(text) if re.fullmatch("[0-9]{1,5}", text) else None


def banner(text: str | None) -> str:
    """Return a greeting as one line without control characters, cut."""
    printable = "".join(character if character.isprintable() else " " for character in (text or "")[: 2 * MAX_BANNER])
    return " ".join(printable.split())[:MAX_BANNER]


def device(text: str | None) -> str | None:
    """Return the name of a network interface, if it can be one."""
    return text if text and _NAME.fullmatch(text) and text not in {".", ".."} else None
