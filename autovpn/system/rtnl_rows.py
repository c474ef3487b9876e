"""What the kernel's tables hold, as values: a row for each link, address, route, rule and neighbour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from types import MappingProxyType

from autovpn.core.network import IPAddress, IPInterface, IPNetwork
from autovpn.core.snapshot import LinkId
from autovpn.system.rtnl_abi import OperState


class Changes(IntFlag):
    """Which tables may differ from the last time; false when nothing happened."""

    NONE = 0
    LINKS = 1
    ADDRESSES = 2
    ROUTES = 4
    RULES = 8
    NEIGHBOURS = 16
    TABLES = LINKS | ADDRESSES | ROUTES | RULES | NEIGHBOURS
    WIRELESS = 32
    """A Wireless Extensions event came by (a scan, an association): no table changed, but nl80211 may have news."""
    MORE = 64
    """The budget ran out first: the socket still holds messages."""


@dataclass(frozen=True, slots=True)
class LinkRow:
    """A network interface since its last appearance: an index that is used again gets a higher `generation`.

    `lower` is the index of the device beneath it, which is in another network namespace if `link_netnsid` is set.
    """

    index: int
    generation: int
    name: str
    kind: str | None
    master: int | None
    flags_up: bool
    operstate: OperState
    carrier: bool
    alias: str | None
    mac: str | None
    permanent_mac: str | None
    mtu: int
    arphrd: int
    lower: int | None = None
    link_netnsid: int | None = None

    @property
    def id(self) -> LinkId:
        """The identity that outlives a rename."""
        return LinkId(self.index, self.generation)


@dataclass(frozen=True, slots=True)
class AddressRow:
    """An address of a link; `scope` and `protocol` as in rtnetlink.h and if_addr.h (253 is link scope, 0 is global)."""

    index: int
    address: IPInterface
    scope: int
    tentative: bool = False
    deprecated: bool = False
    dadfailed: bool = False
    temporary: bool = False
    peer: IPAddress | None = None
    protocol: int | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class NextHop:
    """One of several ways that a multipath route may take; `weight` counts from 1."""

    gateway: IPAddress | None
    oif: int
    weight: int


@dataclass(frozen=True, slots=True)
class RouteRow:
    """A route of any table but `local`; `dst` None is the default route. Numbers as in rtnetlink.h."""

    family: int
    table: int
    dst: IPNetwork | None
    gateway: IPAddress | None
    oif: int | None
    metric: int
    protocol: int
    scope: int
    type: int
    prefsrc: IPAddress | None = None
    nexthops: tuple[NextHop, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A policy rule; numbers as in fib_rules.h and rtnetlink.h, `sport` and `dport` inclusive ranges."""

    family: int
    priority: int
    table: int
    action: int
    src: IPNetwork | None = None
    dst: IPNetwork | None = None
    iif: str | None = None
    oif: str | None = None
    fwmark: int | None = None
    fwmask: int | None = None
    ipproto: int | None = None
    sport: tuple[int, int] | None = None
    dport: tuple[int, int] | None = None
    protocol: int | None = None
    suppress_prefixlength: int | None = None
    invert: bool = False


@dataclass(frozen=True, slots=True)
class NeighbourRow:
    """What the kernel knows of a neighbour; `state` is a set of NUD_ bits (neighbour.h)."""

    index: int
    address: IPAddress
    mac: str | None
    state: int


@dataclass(frozen=True, slots=True)
class Tables:
    """One look at the kernel's tables."""

    links: Mapping[int, LinkRow] = field(default_factory=lambda: MappingProxyType({}))
    addresses: tuple[AddressRow, ...] = ()
    routes: tuple[RouteRow, ...] = ()
    rules: tuple[RuleRow, ...] = ()
    neighbours: tuple[NeighbourRow, ...] = ()
