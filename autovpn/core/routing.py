"""Which policy rules and routes send the right packets into a tunnel, and let no other packet past it.

The rules, in the order in which the kernel tries them, each with a priority of its own in our range:

    PIN      to ENDPOINT ipproto P dport N lookup main   the tunnel's own packets leave by the uplink, and nothing else
    (QUERY)  sport 914-945 dport 53 lookup main          full: our questions to the uplink's name servers do, too
    LOCAL    to PREFIX lookup main, by no default route  full: networks behind us, where the tunnel offers what is
    (_ELSE)  to PREFIX unreachable                       around them; split: "lookup main" alone
    TUNNEL   to PREFIX lookup T                          what the tunnel offers, and the DNS servers that it pushed
    (_ONLY)  to PREFIX unreachable                       IPv6: what was not found there goes nowhere else
    LAN      to PREFIX lookup main                       full: the private network of the uplink, and those behind us,
    (_ELSE)  to PREFIX unreachable                       which no default route leads to
    UPLINK   oif UPLINK lookup main                      full: what a program has bound to the uplink (SO_BINDTODEVICE)
    ALL      lookup T                                    full: everything else, of both families
    CLOSED   unreachable                                 full, IPv6: as above

The table T holds the routes through the tunnel's device and ends in `unreachable default`, so nothing falls through
when the device dies, or never had that family. Main is asked only for what the rules that name it let through: a route
that somebody injects into it, however specific, wins nothing (CVE-2024-3661, "TunnelVision"), and a pin names no
gateway, so roaming touches nothing. The rules hold for packets that are passed on, too, from and to networks behind us.

A socket that is bound to a device finds no route of another one. IPv6 then goes on to the next rule, past `unreachable
default` too (rt6_score_route in net/ipv6/route.c), so rules close what routes can't. IPv4 takes any destination to be
on the link of such a socket when nothing is found (ip_route_output_key_hash_rcu in net/ipv4/route.c): no rule can stop
that, only a packet filter.

The kernel takes two rules for one if they differ in what they suppress alone (rule_exists in net/core/fib_rules.c), so
no two of ours do.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Network, ip_network
from typing import Final

from autovpn.core.lan import private_lan
from autovpn.core.network import IPAddress, IPNetwork, collapsed, is_within
from autovpn.core.tunnel import PinnedEndpoint, RouteMode

AUTOVPN_PROTO: Final = 87
"""Who made a route or rule (rtm_protocol, FRA_PROTOCOL): ours. Free in rtnetlink.h and in iproute2's rt_protos."""

MAIN_TABLE: Final = 254  # RT_TABLE_MAIN in rtnetlink.h
_TABLE_NAMES: Final = {MAIN_TABLE: "main"}
TABLES: Final = range(0x8700, 0x8800)
PRIORITIES: Final = range(8700, 8800)  # before the table main at 32766, after what the kernel has at 0
_PRIORITIES_OF_A_SET: Final = 10

TUNNEL_METRIC: Final = 1  # said explicitly, since IPv6 makes 1024 of none
LAST_METRIC: Final = 0xFFFF_FFFF

QUERY_PORTS: Final = range(914, 946)
"""The source ports of our own questions to name servers. IANA assigns them to nobody, and only root can have them."""

DNS_PORT: Final = 53

_WIDEST_DEFAULT: Final = 1  # bits of the halves that stand for a default route where there is one already

FAMILIES: Final = (4, 6)
IP_PROTOCOLS: Final = {"tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51}  # IANA's protocol numbers

_LINK_LOCAL: Final = IPv6Network("fe80::/10")
_SMALLEST_MTU: Final = 576  # every IPv4 host takes that much (RFC 791)
_SMALLEST_IPV6_MTU: Final = 1280  # RFC 8200


class Band(IntEnum):
    """The place of a rule among ours, to be added to the chosen priority."""

    PIN = 0
    LOCAL = 1
    LOCAL_ELSE = 2
    TUNNEL = 3
    TUNNEL_ONLY = 4
    LAN = 5
    LAN_ELSE = 6
    UPLINK = 7
    ALL = 8
    CLOSED = 9


class RouteKind(IntEnum):
    """What a route does with a packet (RTN_ in rtnetlink.h)."""

    UNICAST = 1
    UNREACHABLE = 7


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """A policy rule of ours: packets of `family` (4 or 6) that fit use `table`, and without one are unreachable.

    `sport` is the first and the last of the source ports. What the table has leads nowhere if its prefix is of
    `suppress` bits or fewer: the next rule is asked then.
    """

    family: int
    priority: int
    table: int | None
    dst: IPNetwork | None = None
    oif: str | None = None
    ipproto: int | None = None
    sport: tuple[int, int] | None = None
    dport: int | None = None
    suppress: int | None = None

    def __str__(self) -> str:
        """Show it as `ip rule` does."""
        words = [f"{self.priority}:", "from all"]
        words += [f"to {self.dst}"] if self.dst else []
        words += [f"oif {self.oif}"] if self.oif else []
        words += [f"ipproto {self.ipproto}"] if self.ipproto is not None else []
        words += [f"sport {self.sport[0]}-{self.sport[1]}"] if self.sport is not None else []
        words += [f"dport {self.dport}"] if self.dport is not None else []
        words.append("unreachable" if self.table is None else f"lookup {_TABLE_NAMES.get(self.table, self.table)}")
        words += [f"suppress_prefixlength {self.suppress}"] if self.suppress is not None else []
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """A route of ours in a table of ours; `dst` None is the default route of `family` (4 or 6), `device` an index."""

    family: int
    table: int
    dst: IPNetwork | None = None
    device: int | None = None
    kind: RouteKind = RouteKind.UNICAST
    metric: int = TUNNEL_METRIC

    def __str__(self) -> str:
        """Show it as `ip route` does."""
        words = ["unreachable"] if self.kind is RouteKind.UNREACHABLE else []
        words += [str(self.dst) if self.dst else f"default (IPv{self.family})"]
        words += [f"dev {self.device}"] if self.device is not None else []
        return " ".join([*words, "table", str(self.table), "metric", str(self.metric)])


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """Rules in the order of their priority, and routes with the fallback first."""

    rules: tuple[RuleSpec, ...] = ()
    routes: tuple[RouteSpec, ...] = ()

    def __or__(self, other: RoutePlan) -> RoutePlan:
        """Return both, each rule and route once."""
        rules = dict.fromkeys((*self.rules, *other.rules))
        routes = dict.fromkeys((*self.routes, *other.routes))
        return RoutePlan(tuple(sorted(rules, key=lambda rule: rule.priority)), tuple(routes))

    def __sub__(self, other: RoutePlan) -> RoutePlan:
        """Return what the other has not."""
        rules, routes = frozenset(other.rules), frozenset(other.routes)
        return RoutePlan(
            tuple(rule for rule in self.rules if rule not in rules),
            tuple(route for route in self.routes if route not in routes),
        )

    def __bool__(self) -> bool:
        """Report whether there is anything in it."""
        return bool(self.rules or self.routes)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an activation's rules and routes live: its table, and the first of the priorities, which all share."""

    table: int = TABLES.start
    priority: int = PRIORITIES.start


@dataclass(frozen=True, slots=True)
class TunnelRoutes:
    """What a tunnel that is up offers: its device (an index), its prefixes and DNS servers, and its families.

    `local` are the networks behind this machine, which stay there whatever the tunnel offers.
    """

    device: int
    mode: RouteMode
    prefixes: tuple[IPNetwork, ...] = ()
    dns: tuple[IPAddress, ...] = ()
    on_link: tuple[IPNetwork, ...] = ()
    has_ipv4: bool = True
    has_ipv6: bool = False
    local: tuple[IPNetwork, ...] = ()


def choose_table(in_use: AbstractSet[int]) -> int | None:
    """Return the first routing table of our range that nobody uses, by a route or a rule; None when there is none."""
    return next((table for table in TABLES if table not in in_use), None)


def choose_priority(in_use: AbstractSet[int]) -> int | None:
    """Return the first of enough free priorities in a row, given those of other programs' rules; None without any.

    All activations share them, so that the prefixes of a split tunnel come before the catch-all of a full one.
    """
    for first in PRIORITIES[::_PRIORITIES_OF_A_SET]:
        if in_use.isdisjoint(first + band for band in Band):
            return first
    return None


def pin_rules(endpoints: Iterable[PinnedEndpoint], place: Place) -> RoutePlan:
    """Let the tunnel's own packets out by the table main, and nothing else that goes to the same address.

    Raises:
        ValueError: a protocol that is not in `IP_PROTOCOLS`.
    """
    rules = []
    for endpoint in dict.fromkeys(endpoints):
        if endpoint.protocol not in IP_PROTOCOLS:
            raise ValueError(f"no IP protocol is called {endpoint.protocol!r}; known: {', '.join(IP_PROTOCOLS)}")
        rules.append(
            RuleSpec(
                family=endpoint.address.version,
                priority=place.priority + Band.PIN,
                table=MAIN_TABLE,
                dst=ip_network(endpoint.address),
                ipproto=IP_PROTOCOLS[endpoint.protocol],
                dport=endpoint.port,
            )
        )
    return RoutePlan(tuple(rules))


def guard(uplink: str, place: Place, local: Iterable[IPNetwork] = ()) -> RoutePlan:
    """Let nothing out but what is bound to the uplink, while a full tunnel is made, up, or made again.

    Packets to the networks behind us go on all the time, by whatever route the main table has for them or for a part of
    them; a wider one, such as the default route, is what is left where the link to one is down.

    Being bound to the uplink gets our questions to name servers out (the rule UPLINK) but not the answers in: the
    reverse path filter (net.ipv4.conf.*.rp_filter) looks up the way back without the device, meets the guard and drops
    the answer, in mode 1 always and in mode 2, systemd's default, as long as the tunnel has no default route. It does
    look at the ports, exchanged (fib_rules in fib_validate_source, net/ipv4/fib_frontend.c), so a pin is spared, and so
    is `QUERY_PORTS`. These rules stand as long as the guard does, so no moment of a question needs a record of its own.
    """
    questions = [
        RuleSpec(
            family=4,  # IPv6 has no such filter
            priority=place.priority + Band.PIN,
            table=MAIN_TABLE,
            ipproto=IP_PROTOCOLS[protocol],
            sport=(QUERY_PORTS[0], QUERY_PORTS[-1]),
            dport=DNS_PORT,
        )
        for protocol in ("udp", "tcp")
    ]
    bound = [RuleSpec(family, place.priority + Band.UPLINK, MAIN_TABLE, oif=uplink) for family in FAMILIES]
    behind = [rule for one in collapsed(local) for rule in _by_its_own_routes(one, place, Band.LAN)]
    everything = [RuleSpec(family, place.priority + Band.ALL, place.table) for family in FAMILIES]
    closed = RuleSpec(6, place.priority + Band.CLOSED, None)
    return RoutePlan((*questions, *behind, *bound, *everything, closed), _fallbacks(place))


def tunnel_routing(tunnel: TunnelRoutes, place: Place) -> RoutePlan:
    """Send what the tunnel offers into it; in mode full that is everything, with `guard` beside it."""
    if tunnel.mode is RouteMode.NONE:
        return RoutePlan()
    full = tunnel.mode is RouteMode.FULL
    offered = _offered(tunnel, full=full)
    rules = _behind_us(tunnel.local, offered, place, full=full)
    rules += [
        RuleSpec(prefix.version, place.priority + Band.TUNNEL, place.table, dst=prefix if prefix.prefixlen else None)
        for prefix in offered
    ]
    rules += [
        RuleSpec(6, place.priority + Band.TUNNEL_ONLY, None, dst=prefix if prefix.prefixlen else None)
        for prefix in offered
        if isinstance(prefix, IPv6Network)
    ]
    if full:
        # Link-local packets never leave their link, and the neighbours on all the other links have no other address.
        behind = collapsed(tunnel.local)  # of which the guard has the rules
        around = private_lan(tunnel.on_link, (*offered, *behind))  # it would take what is behind us, too
        lan = [one for one in (_LINK_LOCAL, *around) if one not in behind]
        rules += [RuleSpec(prefix.version, place.priority + Band.LAN, MAIN_TABLE, dst=prefix) for prefix in lan]
    return RoutePlan(tuple(rules), _routes(tunnel, offered, place, full=full))


def _behind_us(
    local: Iterable[IPNetwork], offered: tuple[IPNetwork, ...], place: Place, *, full: bool
) -> list[RuleSpec]:
    """Keep the networks behind us out of a tunnel that offers what is around them, and the replies to their hosts too.

    A part of such a network that the tunnel offers by name does go into the tunnel.
    """
    taken = [prefix for prefix in collapsed(local) if any(is_within(prefix, wide) for wide in offered)]
    if full:
        return [rule for one in taken for rule in _by_its_own_routes(one, place, Band.LOCAL)]
    return [RuleSpec(one.version, place.priority + Band.LOCAL_ELSE, MAIN_TABLE, dst=one) for one in taken]


def _by_its_own_routes(behind: IPNetwork, place: Place, band: Band) -> tuple[RuleSpec, RuleSpec]:
    """Lead to a network behind us beside a full tunnel, but by no route that is wider than the network itself.

    That is a default route, one of the halves of one, or that of an uplink which calls itself by a prefix around it.
    """
    first = place.priority + band
    wider = max(_WIDEST_DEFAULT, behind.prefixlen - 1)
    return (
        RuleSpec(behind.version, first, MAIN_TABLE, dst=behind, suppress=wider),
        RuleSpec(behind.version, first + 1, None, dst=behind),
    )


def tunnel_mtu(uplink_mtu: int, overhead: int, *, has_v6: bool) -> int:
    """Return the largest packet, in bytes, that fits into one of the uplink's; never less than IPv6 demands inside."""
    return max(uplink_mtu - overhead, _SMALLEST_IPV6_MTU if has_v6 else _SMALLEST_MTU)


def _offered(tunnel: TunnelRoutes, *, full: bool) -> tuple[IPNetwork, ...]:
    """Return the prefixes that go into the tunnel by name.

    A full tunnel takes everything anyway; a default route among its prefixes, or the two halves that stand for one
    (OpenVPN's `redirect-gateway def1`), would here come before the LAN and what is bound to the uplink.
    """
    prefixes = [prefix for prefix in tunnel.prefixes if not full or prefix.prefixlen > _WIDEST_DEFAULT]
    return collapsed([*prefixes, *map(ip_network, tunnel.dns)])


def _routes(tunnel: TunnelRoutes, offered: Iterable[IPNetwork], place: Place, *, full: bool) -> tuple[RouteSpec, ...]:
    """Return what T holds beside a guard's fallback; a family that the device can't carry is left to the fallback."""
    carried = {version for version, has in zip(FAMILIES, (tunnel.has_ipv4, tunnel.has_ipv6), strict=True) if has}
    if full:
        through = [RouteSpec(version, place.table, None, tunnel.device) for version in FAMILIES if version in carried]
        return tuple(through)  # the fallback is the guard's
    ways = [
        RouteSpec(prefix.version, place.table, prefix if prefix.prefixlen else None, tunnel.device)
        for prefix in offered
        if prefix.version in carried
    ]
    return (*_fallbacks(place), *ways)


def _fallbacks(place: Place) -> tuple[RouteSpec, ...]:
    return tuple(RouteSpec(family, place.table, kind=RouteKind.UNREACHABLE, metric=LAST_METRIC) for family in FAMILIES)
