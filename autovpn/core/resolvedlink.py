"""What a wish means to systemd-resolved: the settings of a link, or the text of a delegate where there is no link.

Pure. See org.freedesktop.resolve1(5), systemd.dns-delegate(5), and docs/RESOLVED-VPNS.md of systemd.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from autovpn.core.dnschoice import DnsWish

ALL_NAMES = "."
_FAMILIES = {4: 2, 6: 10}
"""AF_INET and AF_INET6 of <sys/socket.h>."""


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """The DNS of one link: servers as family and bytes, domains with whether they only route, the default route.

    A domain that only routes sends its names here; another is also tried as the end of a name without dots.
    """

    servers: tuple[tuple[int, bytes], ...]
    domains: tuple[tuple[str, bool], ...]
    default_route: bool


def link_settings(wish: DnsWish) -> LinkSettings:
    """Return the settings for the wish's device."""
    addresses = [ip_address(server.partition("%")[0]) for server in wish.servers]
    return LinkSettings(
        servers=tuple((_FAMILIES[address.version], address.packed) for address in addresses),
        domains=_domains(wish),
        default_route=not wish.domains,
    )


def left_out(wish: DnsWish) -> tuple[str, ...]:
    """Return why search domains are not used: one outside of a wish's domains would draw names to its servers."""
    outside = [name for name in wish.search if wish.domains and not _is_within(name, wish.domains)]
    return tuple(
        f"{wish.owner}: search domain {name} is left out, since it is outside of 'domains'; add it there to use it"
        for name in outside
    )


def delegate(wish: DnsWish) -> str:
    """Return the file that has systemd-resolved ask the wish's servers without a link."""
    domains = " ".join(("~" if routes else "") + name for name, routes in _domains(wish))
    return (
        f"# Written by autovpn for {wish.owner}; removed when its tunnel goes down.\n"
        "[Delegate]\n"
        f"DNS={' '.join(wish.servers)}\n"
        f"Domains={domains}\n"
        f"DefaultRoute={'no' if wish.domains else 'yes'}\n"
    )


def link_path(index: int) -> str:
    """Return the D-Bus object of a link: its index, whose first digit is escaped (sd_bus_path_encode(3))."""
    digits = str(index)
    return f"/org/freedesktop/resolve1/link/_{ord(digits[0]):02x}{digits[1:]}"


def _domains(wish: DnsWish) -> tuple[tuple[str, bool], ...]:
    """Return each name once: one that is both searched and routed is a search domain, which routes too."""
    search = [name for name in wish.search if not wish.domains or _is_within(name, wish.domains)]
    routes = [name for name in wish.domains or (ALL_NAMES,) if name not in search]
    return (*((name, True) for name in routes), *((name, False) for name in search))


def _is_within(name: str, domains: tuple[str, ...]) -> bool:
    return any(name == domain or name.endswith(f".{domain}") for domain in domains)
