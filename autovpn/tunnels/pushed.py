"""What a VPN server tells its client, read as hostile input: every value is checked, and what is odd is left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, NetmaskValueError
from ipaddress import ip_interface as interface
from typing import Final

from autovpn.core.dnsclean import clean_search, clean_servers
from autovpn.core.network import IPAddress, IPInterface, IPNetwork
from autovpn.core.tunnel import RouteMode

MAX_PREFIXES = 256
"""More than any office pushes; a route costs the kernel memory."""

WIDEST: Final = {4: 8, 6: 16}
"""A split tunnel takes no wider prefix at a server's word: to send it everything is for the user to say."""

MAX_REASONS = 8
"""How many sentences about what was refused are kept: a hostile list must not fill the status with them either."""

MAX_BANNER = 500
LARGEST_MTU = 65535
SMALLEST_MTU = 576
"""RFC 791: what every IPv4 host takes."""

MAX_NAME = 15
"""IFNAMSIZ in <linux/if.h>, less the NUL."""

Pair = tuple[str | None, str | None]
"""The two halves of a prefix as servers write them: an address, and a length or a netmask."""

_ADDRESS: Final[dict[int, type[IPAddress]]] = {4: IPv4Address, 6: IPv6Address}
_NETWORK: Final[dict[int, type[IPNetwork]]] = {4: IPv4Network, 6: IPv6Network}
_NAME = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_NAME}}}")
_MAX_SHOWN = 60


def address(text: str | None, version: int = 4) -> IPInterface | None:
    """Return our address in the tunnel as a /32 or /128: what else is reached through it, the routes say."""
    try:
        found = _ADDRESS[version]((text or "").strip())
    except AddressValueError:
        return None
    odd = found.is_unspecified or found.is_loopback or found.is_multicast or found.is_reserved or found.is_link_local
    return None if odd or _is_scoped(found) else interface(found)


def prefix(base: str | None, length: str | None, version: int = 4) -> IPNetwork | None:
    """Return a pushed prefix, unless it is none, covers nearly everything, or is not for machines."""
    found = _prefix(base, length, version)
    return None if found is None or _fault(found) else found


def prefixes(pairs: Sequence[Pair], version: int = 4) -> tuple[IPNetwork, ...]:
    """Return the usable prefixes of (address, length) pairs, each once, in order."""
    usable = (prefix(*pair, version) for pair in pairs[:MAX_PREFIXES])
    return tuple(dict.fromkeys(found for found in usable if found))


def routes(pairs: Iterable[Pair], mode: RouteMode) -> tuple[tuple[IPNetwork, ...], tuple[str, ...]]:
    """Return the usable prefixes of both families, each once, in order, and a sentence for each that is left out.

    A profile that sends everything through the tunnel is told nothing of wide prefixes: it has them already.
    """
    kept: dict[IPNetwork, None] = {}
    reasons: dict[str, None] = {}
    for base, length in pairs:
        found = _prefix(base, length, 6 if ":" in (base or "") else 4)
        fault = _fault(found) if found else "it is no prefix"
        if found and not fault:
            kept[found] = None
        elif mode is not RouteMode.FULL or not found or not _is_wide(found):
            reasons[f"route {shown(found or f'{base}/{length}')} is left out: {fault}"] = None
    if len(kept) > MAX_PREFIXES:
        reasons[f"{len(kept)} routes are too many; the first {MAX_PREFIXES} are used"] = None
    return tuple(kept)[:MAX_PREFIXES], capped(tuple(reasons))


def capped(reasons: tuple[str, ...]) -> tuple[str, ...]:
    """Return no more sentences than a person reads; the last then says how many there were."""
    if len(reasons) <= MAX_REASONS:
        return reasons
    return (*reasons[: MAX_REASONS - 1], f"and {len(reasons) - MAX_REASONS + 1} more of the kind")


def shown(value: object) -> str:
    """Return a server's word as it may stand in a sentence: escaped and short."""
    text = str(value)
    return ascii(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}...")[1:-1]


def _prefix(base: str | None, length: str | None, version: int) -> IPNetwork | None:
    try:
        return _NETWORK[version](f"{(base or '').strip()}/{(length or '').strip()}", strict=False)
    except (AddressValueError, NetmaskValueError, ValueError):
        return None


def _fault(found: IPNetwork) -> str:
    if _is_wide(found):
        return 'it is for the profile to say that everything goes through the tunnel (routes.mode = "full")'
    odd = found.is_loopback or found.is_multicast or found.is_link_local or found.is_reserved
    return "it is not for machines" if odd or _is_scoped(found.network_address) else ""


def _is_wide(found: IPNetwork) -> bool:
    return found.prefixlen < WIDEST[found.version]


def _is_scoped(found: IPAddress) -> bool:
    return isinstance(found, IPv6Address) and found.scope_id is not None


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
