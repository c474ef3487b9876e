"""What openconnect's script is told about the tunnel, read as hostile input."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from autovpn.core.dnsclean import clean_search, clean_servers
from autovpn.core.tunnel import Facts, RouteMode, TunnelSpec
from autovpn.tunnels import pushed

if TYPE_CHECKING:
    from collections.abc import Mapping

OVERHEAD = 86
"""Bytes of IPv6, UDP and a DTLS 1.2 record with AES-GCM around a packet, where the server names no MTU."""

MOST_TOLD = 10_000
"""Numbers of a list that are looked for; more of them than this do not fit into a report by far."""

_FORM = re.compile(r"Configured as .* and (DTLS|ESP)\b.* (connected|established|in progress|disabled)")


def facts_of(values: Mapping[str, str], spec: TunnelSpec) -> Facts | None:
    """Return what the script's environment says about the tunnel, checked; None without a usable address."""
    given = (pushed.address(values.get("INTERNAL_IP4_ADDRESS")), pushed.address(values.get("INTERNAL_IP6_ADDRESS"), 6))
    addresses = tuple(address for address in given if address)
    if not addresses:
        return None
    prefixes, odd_routes = pushed.routes([*_included(values), *_own_network(values)], spec.routes.mode)
    servers = " ".join(values.get(f"INTERNAL_IP{version}_DNS", "") for version in (4, 6))
    dns, odd_servers = clean_servers(servers.split())
    search, odd_search = clean_search(values.get("CISCO_DEF_DOMAIN", "").replace(",", " ").split())
    mtu = pushed.mtu(values.get("INTERNAL_IP4_MTU"))
    refused = (*_unheeded(values, spec.routes.mode), *odd_routes, *odd_servers, *odd_search)
    if values.get("INTERNAL_IP4_MTU") and mtu is None:
        refused += (f"an MTU of {pushed.shown(values['INTERNAL_IP4_MTU'])} is left out",)
    return Facts(
        device=pushed.device(values.get("TUNDEV")) or spec.device,
        addresses=addresses,
        prefixes=prefixes,
        dns=dns,
        search=search,
        mtu=mtu,
        overhead=OVERHEAD,
        banner=pushed.banner(values.get("CISCO_BANNER")),
        refused=pushed.capped(refused),
    )


def form_in(line: str, *, wants_udp: bool) -> str:
    """Return which form the tunnel's packets have and why, where openconnect's line tells; else nothing."""
    match = _FORM.fullmatch(line.strip())
    if match is None:
        return ""
    kind, state = match.groups()
    if state == "disabled":
        return f"TLS over TCP, since {'the server offers nothing over UDP' if wants_udp else 'the profile says so'}"
    if state == "in progress":
        return f"TLS over TCP, until {kind} over UDP is answered"
    return f"{kind} over UDP"


def _included(values: Mapping[str, str]) -> list[pushed.Pair]:
    return [pair for kind in ("CISCO_SPLIT_INC", "CISCO_IPV6_SPLIT_INC") for pair in _listed(values, kind)]


def _listed(values: Mapping[str, str], kind: str) -> list[pushed.Pair]:
    """Return the (address, length) pairs of a numbered list, as far as they were told."""
    names = (f"{kind}_{number}" for number in range(min(_count(values, kind), MOST_TOLD)))
    pairs = ((values.get(f"{name}_ADDR"), values.get(f"{name}_MASKLEN")) for name in names)
    return [pair for pair in pairs if None not in pair]


def _count(values: Mapping[str, str], kind: str) -> int:
    return pushed.number(values.get(kind)) or 0


def _own_network(values: Mapping[str, str]) -> list[pushed.Pair]:
    """Return the networks that our own addresses are of, where those are more than the addresses alone."""
    base6, _, length6 = values.get("INTERNAL_IP6_NETMASK", "").partition("/")
    own = [
        (values.get("INTERNAL_IP4_NETADDR"), values.get("INTERNAL_IP4_NETMASKLEN"), "32"),
        (base6, length6, "128"),
    ]
    return [(base, length) for base, length, alone in own if base and length and length != alone]


def _unheeded(values: Mapping[str, str], mode: RouteMode) -> tuple[str, ...]:
    """Say what the server wants and does not get."""
    excluded = sum(_count(values, kind) for kind in ("CISCO_SPLIT_EXC", "CISCO_IPV6_SPLIT_EXC"))
    names_routes = any(_count(values, kind) for kind in ("CISCO_SPLIT_INC", "CISCO_IPV6_SPLIT_INC"))
    said = []
    if mode is RouteMode.SPLIT and not names_routes:
        said.append(
            "the server wants everything to go through the tunnel: that is for the profile to say"
            ' (routes.mode = "full"), or name what you need in routes.include'
        )
    if excluded:
        said.append(f"{excluded} networks that the server wants beside the tunnel are routed as the profile says")
    if domains := values.get("CISCO_SPLIT_DNS"):
        said.append(
            f"the server's DNS is meant for {pushed.shown(domains)} alone; that is for the profile to say (dns.domains)"
        )
    return tuple(said)
