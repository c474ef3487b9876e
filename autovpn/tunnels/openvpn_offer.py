"""What an OpenVPN server pushes, from the variables that OpenVPN makes of it for scripts (openvpn(8), ENVIRONMENT).

They come after OpenVPN's own checks and the user's `pull-filter` and `route-nopull`, so they are what holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

from autovpn.core.driving import Launch
from autovpn.core.tunnel import Facts
from autovpn.tunnels import pushed
from autovpn.tunnels.offer import Offer, accepted

MOST_VALUES = 8192
"""Variables of one tunnel that are read; each route has three."""

USUAL_MTU = "1500"
"""What `tun_mtu` says where nobody said anything."""

EVERYTHING: Mapping[int, pushed.Pair] = {4: ("0.0.0.0", "0"), 6: ("::", "0")}  # noqa: S104 (a destination)
HOST = "255.255.255.255"
OVERHEAD = {4: 100, 6: 120}
"""Bytes of IP, UDP, OpenVPN, padding and check value around a packet with AES-256-CBC and SHA-256, the largest of its
usual ciphers."""

_KNOWN = re.compile(r"dev|tun_mtu|(?:ifconfig|route|dns|foreign_option)_[a-z0-9_]+")
_REDIRECT = re.compile(r"[',]redirect-gateway(?P<flags>[^',]*)")


def taken(values: Mapping[str, str], told: Iterable[str]) -> Mapping[str, str]:
    """Return the variables with more of them, from `NAME=VALUE`, as far as they matter."""
    pairs = (text.partition("=")[::2] for text in told)
    known = islice((pair for pair in pairs if _KNOWN.fullmatch(pair[0])), max(0, MOST_VALUES - len(values)))
    return {**values, **dict(known)}


def redirects(pushed_options: str) -> tuple[pushed.Pair, ...]:
    """Return the default routes that a PUSH_REPLY asks for: with `route-noexec` no variable tells of them."""
    match = _REDIRECT.search(pushed_options)
    if match is None:
        return ()
    flags = match["flags"].split()
    return ((EVERYTHING[4],) if "!ipv4" not in flags else ()) + ((EVERYTHING[6],) if "ipv6" in flags else ())


def facts_of(values: Mapping[str, str], defaults: tuple[pushed.Pair, ...], launch: Launch) -> Facts | None:
    """Return what the server said, checked; None without a usable address. `defaults` are routes to everything."""
    four = pushed.address(values.get("ifconfig_local"))
    six = pushed.address(values.get("ifconfig_ipv6_local"), 6)
    if four is None and six is None:
        return None
    past = tuple(_past_the_tunnel(values))
    mtu = values.get("tun_mtu")
    facts = accepted(
        Offer(
            routes=(*defaults, *_own_networks(values), *_routes(values)),
            dns=tuple(_servers(values)),
            search=tuple(_search(values)),
            mtu=None if mtu == USUAL_MTU else mtu,
        ),
        launch,
    )
    return replace(
        facts,
        device=launch.spec.device,
        addresses=tuple(address for address in (four, six) if address),
        overhead=OVERHEAD[launch.endpoints[0].address.version],
        refused=(*facts.refused, *past),
    )


def _own_networks(values: Mapping[str, str]) -> Iterator[pushed.Pair]:
    """Yield the network that the tunnel itself is, or its other end where it leads to one machine."""
    if "ifconfig_netmask" in values:
        yield values.get("ifconfig_local"), values["ifconfig_netmask"]
    if "ifconfig_remote" in values:
        yield values["ifconfig_remote"], HOST
    if "ifconfig_ipv6_netbits" in values:
        yield values.get("ifconfig_ipv6_local"), values["ifconfig_ipv6_netbits"]


def _routes(values: Mapping[str, str]) -> Iterator[pushed.Pair]:
    for number, base in _numbered(values, "route_network_"):
        if not _goes_past(values, number):
            yield base, values.get(f"route_netmask_{number}", HOST)
    for _, network in _numbered(values, "route_ipv6_network_"):
        base, _, length = network.partition("/")
        yield base, length


def _past_the_tunnel(values: Mapping[str, str]) -> Iterator[str]:
    past = [base for number, base in _numbered(values, "route_network_") if _goes_past(values, number)]
    sentences = (f"route {pushed.shown(base)} is left out: the server wants it past the tunnel" for base in past)
    yield from pushed.capped(tuple(sentences))


def _goes_past(values: Mapping[str, str], number: str) -> bool:
    """Report whether a route has the gateway of the uplink (`net_gateway`) and not the tunnel's."""
    gateway = values.get(f"route_gateway_{number}")
    return gateway is not None and gateway == values.get("route_net_gateway") != values.get("route_vpn_gateway")


def _servers(values: Mapping[str, str]) -> Iterator[str]:
    for number, server in _numbered(values, "dns_server_", "_address_"):
        port = values.get(f"dns_server_{number.replace('_address_', '_port_')}", "53")
        yield server if port == "53" else f"{server} port {port}"
    yield from _options(values, "DNS", "DNS6")


def _search(values: Mapping[str, str]) -> Iterator[str]:
    for _, names in _numbered(values, "dns_search_domain_"):
        yield from names.split()
    yield from _options(values, "DOMAIN", "DOMAIN-SEARCH", "ADAPTER_DOMAIN_SUFFIX")


def _options(values: Mapping[str, str], *kinds: str) -> Iterator[str]:
    for _, option in _numbered(values, "foreign_option_"):
        words = option.split()
        if words[:1] == ["dhcp-option"] and words[1:2] and words[1] in kinds:
            yield from words[2:]


def _numbered(values: Mapping[str, str], prefix: str, infix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the values whose names end in a number (with an infix, two) after a prefix, in its order."""
    pattern = re.compile(rf"{prefix}([0-9]+){f'{infix}([0-9]+)' if infix else ''}")
    found = [(match, value) for name, value in values.items() if (match := pattern.fullmatch(name))]
    for match, value in sorted(found, key=lambda pair: tuple(map(int, pair[0].groups()))):
        yield match[0].removeprefix(prefix), value
