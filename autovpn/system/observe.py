"""From the kernel's tables to the links of a snapshot, with our own effects left out.

Our devices carry the alias `autovpn:<nonce>`, our routes the protocol number of `core.routing`; neither is seen here,
so that what we do never changes what we decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autovpn.core.network import Gateway, IPAddress, IPInterface, UplinkDns, Wireless
from autovpn.core.routing import AUTOVPN_PROTO
from autovpn.core.snapshot import Link, LinkId, LinkType, counts_as_uplink, phase_of
from autovpn.system.rtnl_abi import OperState
from autovpn.system.rtnl_rows import LinkRow, RouteRow, Tables

ALIAS_PREFIX = "autovpn:"
"""The start of the alias (IFLA_IFALIAS) of every device of ours."""

RT_TABLE_MAIN = 254  # linux/rtnetlink.h
RTN_UNICAST = 1
RT_SCOPE_LINK = 253

ARPHRD_ETHER = 1  # linux/if_arp.h
ARPHRD_LOOPBACK = 772
ARPHRD_RAWIP = 519

NUD_WITHOUT_ADDRESS = 0x01 | 0x20  # INCOMPLETE, FAILED (linux/neighbour.h)


@dataclass(frozen=True, slots=True)
class Associations:
    """What nl80211 knows: every station interface by index, None where it is not associated.

    While it is not `complete` there may be stations that are not listed.
    """

    by_index: Mapping[int, Wireless | None] = field(default_factory=dict)
    pending: frozenset[int] = frozenset()
    complete: bool = True


@dataclass(frozen=True, slots=True)
class _DefaultRoute:
    metric: int
    gateways: tuple[IPAddress, ...]


def observe_links(
    tables: Tables,
    associations: Associations,
    *,
    include: frozenset[str] = frozenset(),
    exclude: frozenset[str] = frozenset(),
    dns: UplinkDns | None = None,
) -> tuple[Link, ...]:
    """Return every link that is no device of ours, in the order of the indexes.

    `dns` is that of the original resolv.conf. It says nothing about which uplink it belongs to, so it counts only
    while there is a single one.
    """
    routes = _default_routes(tables)
    neighbours = {
        (row.index, row.address): row.mac
        for row in tables.neighbours
        if row.mac and not row.state & NUD_WITHOUT_ADDRESS
    }
    addresses = _addresses(tables)
    rows = [row for _, row in sorted(tables.links.items()) if not (row.alias or "").startswith(ALIAS_PREFIX)]
    uplinks = {row.index for row in rows if _is_uplink(row, routes.get(row.index), include, exclude)}
    return tuple(
        _link(
            row,
            addresses.get(row.index, ()),
            routes.get(row.index, []),
            neighbours,
            associations,
            is_uplink=row.index in uplinks,
            dns=dns if uplinks == {row.index} else None,
        )
        for row in rows
    )


def _is_uplink(
    row: LinkRow, routes: list[_DefaultRoute] | None, include: frozenset[str], exclude: frozenset[str]
) -> bool:
    return row.arphrd != ARPHRD_LOOPBACK and counts_as_uplink(
        row.name,
        row.kind,
        enslaved=row.master is not None,
        has_default_route=bool(routes),
        include=include,
        exclude=exclude,
    )


def _link(
    row: LinkRow,
    addresses: tuple[IPInterface, ...],
    routes: list[_DefaultRoute],
    neighbours: Mapping[tuple[int, IPAddress], str],
    associations: Associations,
    *,
    is_uplink: bool,
    dns: UplinkDns | None,
) -> Link:
    gateways = dict.fromkeys(gateway for route in routes for gateway in route.gateways)
    type_ = _type_of(row, associations)
    wireless = associations.by_index.get(row.index)
    # Between two access points there is no network, and nothing to judge. The kernel itself tells of a lost carrier up
    # to a second late (net/core/link_watch.c), long after a roam is over.
    attached = type_ is not LinkType.WIFI or wireless is not None
    # A radio that nl80211 has not told us of yet looks like a cable, and no rule about cables may match it.
    settled = associations.complete or type_ is not LinkType.ETHERNET or row.kind is not None
    return Link(
        id=LinkId(row.index, row.generation),
        name=row.name,
        type=type_,
        phase=phase_of(
            admin_up=row.flags_up,
            carrier=row.carrier and attached,
            dormant=row.operstate is OperState.DORMANT,
            operational=row.operstate in (OperState.UP, OperState.UNKNOWN),
            has_address=bool(addresses) and settled,
        ),
        is_uplink=is_uplink,
        addresses=addresses,
        gateways=tuple(Gateway(address, neighbours.get((row.index, address))) for address in gateways),
        metric=min((route.metric for route in routes), default=None),
        mtu=row.mtu,
        wireless=wireless,
        wireless_pending=row.index in associations.pending,
        dns=dns,
    )


def _type_of(row: LinkRow, associations: Associations) -> LinkType:
    if row.index in associations.by_index or row.index in associations.pending:
        return LinkType.WIFI
    if row.kind == "wwan" or row.arphrd == ARPHRD_RAWIP:
        return LinkType.WWAN
    return LinkType.ETHERNET if row.arphrd == ARPHRD_ETHER else LinkType.OTHER


def _addresses(tables: Tables) -> dict[int, tuple[IPInterface, ...]]:
    """Return the addresses wider than link scope that may be used, sorted so that an order never counts as a change."""
    found: dict[int, list[IPInterface]] = {}
    for row in tables.addresses:
        if row.scope < RT_SCOPE_LINK and not row.tentative and not row.dadfailed:
            found.setdefault(row.index, []).append(row.address)
    return {index: tuple(sorted(rows, key=lambda address: (address.version, address))) for index, rows in found.items()}


def _default_routes(tables: Tables) -> dict[int, list[_DefaultRoute]]:
    found: dict[int, list[_DefaultRoute]] = {}
    for row in tables.routes:
        if row.dst is None and row.table == RT_TABLE_MAIN and row.type == RTN_UNICAST and row.protocol != AUTOVPN_PROTO:
            for index, gateways in _ways(row).items():
                found.setdefault(index, []).append(_DefaultRoute(row.metric, gateways))
    return found


def _ways(row: RouteRow) -> dict[int, tuple[IPAddress, ...]]:
    if not row.nexthops:
        return {row.oif: (row.gateway,) if row.gateway else ()} if row.oif is not None else {}
    ways: dict[int, tuple[IPAddress, ...]] = {}
    for hop in row.nexthops:
        ways[hop.oif] = (*ways.get(hop.oif, ()), *((hop.gateway,) if hop.gateway else ()))
    return ways
