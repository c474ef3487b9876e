"""Where packets go: nothing leaves in clear that the tunnel was meant to carry, and the tunnel's own packets do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.lan import private_lan
from autovpn.core.network import IPAddress, IPNetwork
from autovpn.core.routing import (
    LAST_METRIC,
    MAIN_TABLE,
    PRIORITIES,
    QUERY_PORTS,
    TABLES,
    Band,
    Place,
    RouteKind,
    RoutePlan,
    RouteSpec,
    RuleSpec,
    TunnelRoutes,
    choose_priority,
    choose_table,
    guard,
    pin_rules,
    tunnel_mtu,
    tunnel_routing,
)
from autovpn.core.tunnel import PinnedEndpoint, RouteMode
from tests.core.builders import routing_for

PLACE = Place(table=0x8705, priority=8710)
TUN = 9
BY_ITS_OWN_ROUTES = "lookup main suppress_prefixlength"
ENDPOINT = PinnedEndpoint(IPv4Address("198.51.100.7"), 51820, "udp")


@dataclass(frozen=True)
class Packet:
    to: IPAddress
    bound_to: str | None = None
    ipproto: int = 6
    dport: int = 443
    sport: int = 50000


def way_of(plan: RoutePlan, packet: Packet, *, tunnel_alive: bool = True, main: int = 24) -> str:
    """Look a packet up as the kernel does: "main", "tunnel" or "unreachable".

    `main` is the length of the prefix of the route that the main table has for it, 0 for the default route.
    """
    for rule in sorted(plan.rules, key=lambda rule: rule.priority):
        if not _fits(rule, packet):
            continue
        if rule.table is None:
            return "unreachable"
        if rule.table == MAIN_TABLE:
            if rule.suppress is not None and main <= rule.suppress:
                continue
            return "main"
        routes = [route for route in plan.routes if _leads(route, packet) and (tunnel_alive or route.device is None)]
        if packet.bound_to and packet.to.version == 6:
            continue  # these routes are of other devices, and IPv6 goes on to the next rule then
        if routes:
            best = min(routes, key=lambda route: (-(route.dst.prefixlen if route.dst else 0), route.metric))
            return "tunnel" if best.kind is RouteKind.UNICAST else "unreachable"
    return "main"


def _fits(rule: RuleSpec, packet: Packet) -> bool:
    return (
        rule.family == packet.to.version
        and (rule.dst is None or packet.to in rule.dst)
        and rule.oif in (None, packet.bound_to)
        and rule.ipproto in (None, packet.ipproto)
        and rule.dport in (None, packet.dport)
        and (rule.sport is None or rule.sport[0] <= packet.sport <= rule.sport[1])
    )


def _leads(route: RouteSpec, packet: Packet) -> bool:
    return route.family == packet.to.version and (route.dst is None or packet.to in route.dst)


def nets(*prefixes: str) -> tuple[IPNetwork, ...]:
    return tuple(map(ip_network, prefixes))


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
prefixes = st.one_of(
    st.builds(lambda a, n: IPv4Network((a, n), strict=False), st.ip_addresses(v=4), st.integers(1, 32)),
    st.builds(lambda a, n: IPv6Network((a, n), strict=False), st.ip_addresses(v=6), st.integers(1, 128)),
    st.sampled_from(nets("10.0.0.0/8", "192.168.1.0/24", "172.16.0.0/12", "fd00::/48", "0.0.0.0/0", "::/0")),
)
tunnels = st.builds(
    TunnelRoutes,
    device=st.just(TUN),
    mode=st.sampled_from([RouteMode.FULL, RouteMode.SPLIT]),
    prefixes=st.lists(prefixes, max_size=4).map(tuple),
    dns=st.lists(addresses, max_size=2).map(tuple),
    on_link=st.lists(prefixes, max_size=3).map(tuple),
    has_ipv4=st.booleans(),
    has_ipv6=st.booleans(),
)


@given(tunnels, addresses, st.booleans())
def test_nothing_but_the_private_lan_gets_past_a_full_tunnel(tunnel: TunnelRoutes, to: IPAddress, alive: bool) -> None:
    plan = routing_for(replace(tunnel, mode=RouteMode.FULL), [ENDPOINT], "wlan0", PLACE)
    if way_of(plan, Packet(to), tunnel_alive=alive) == "main":
        assert to.is_link_local or any(to in prefix for prefix in private_lan(tunnel.on_link, ()))
        assert not any(to in prefix for prefix in tunnel.prefixes if prefix.prefixlen > 1)
        assert to not in tunnel.dns


@given(tunnels, st.booleans())
def test_what_a_tunnel_offers_never_leaves_by_the_uplink(tunnel: TunnelRoutes, alive: bool) -> None:
    """Not even bound to it, on a LAN that claims the same prefix, or while the tunnel's device is dead."""
    plan = routing_for(tunnel, [], "wlan0", PLACE)
    offered = [prefix for prefix in tunnel.prefixes if tunnel.mode is RouteMode.SPLIT or prefix.prefixlen > 1]
    for to in [*(prefix[0] for prefix in offered), *(prefix[-1] for prefix in offered), *tunnel.dns]:
        carried = tunnel.has_ipv4 if to.version == 4 else tunnel.has_ipv6
        expected = "tunnel" if alive and carried and to.version == 4 else "unreachable"
        assert way_of(plan, Packet(to, bound_to="wlan0"), tunnel_alive=alive) == expected


@given(tunnels)
def test_the_tunnels_own_packets_always_leave_by_the_uplink(tunnel: TunnelRoutes) -> None:
    """Even when the tunnel offers a prefix that covers its own far end."""
    plan = routing_for(tunnel, [ENDPOINT], "wlan0", PLACE)
    assert way_of(plan, Packet(ENDPOINT.address, ipproto=17, dport=51820)) == "main"


@given(tunnels, addresses)
def test_a_split_tunnel_leaves_everything_else_alone(tunnel: TunnelRoutes, to: IPAddress) -> None:
    split = replace(tunnel, mode=RouteMode.SPLIT)
    if not any(to in prefix for prefix in tunnel.prefixes) and to not in tunnel.dns:
        assert way_of(routing_for(split, [ENDPOINT], "wlan0", PLACE), Packet(to)) == "main"


@pytest.mark.parametrize(("ipproto", "dport"), [(17, 53), (6, 51820), (1, 0)])
def test_only_the_tunnels_own_protocol_and_port_are_let_out(ipproto: int, dport: int) -> None:
    plan = pin_rules([ENDPOINT], PLACE) | guard("wlan0", PLACE)
    assert way_of(plan, Packet(ENDPOINT.address, ipproto=ipproto, dport=dport)) == "unreachable"


@pytest.mark.parametrize("address", ["192.0.2.1", "192.168.1.1", "2001:db8::1", "fd00::1"])
def test_the_guard_lets_out_only_what_is_bound_to_the_uplink(address: str) -> None:
    plan = guard("wlan0", PLACE)
    assert way_of(plan, Packet(ip_address(address))) == "unreachable"
    assert way_of(plan, Packet(ip_address(address), bound_to="eth0")) == "unreachable"
    assert way_of(plan, Packet(ip_address(address), bound_to="wlan0")) == "main"


@pytest.mark.parametrize("ipproto", [17, 6])
def test_our_own_question_gets_past_the_guard_and_no_other_programs(ipproto: int) -> None:
    plan = guard("wlan0", PLACE)
    question = Packet(IPv4Address("192.168.1.1"), ipproto=ipproto, dport=53, sport=QUERY_PORTS[-1])
    assert way_of(plan, question) == "main"
    for other in (
        replace(question, sport=QUERY_PORTS.stop),
        replace(question, dport=853),
        replace(question, ipproto=1),
    ):
        assert way_of(plan, other) == "unreachable"
    assert str(plan.rules[0]) == "8710: from all ipproto 17 sport 914-945 dport 53 lookup main"


def test_a_full_tunnel_without_ipv6_inside_blocks_ipv6() -> None:
    tunnel = TunnelRoutes(TUN, RouteMode.FULL, has_ipv4=True, has_ipv6=False)
    plan = routing_for(tunnel, [ENDPOINT], "wlan0", PLACE)
    assert way_of(plan, Packet(IPv4Address("192.0.2.1"))) == "tunnel"
    assert way_of(plan, Packet(IPv6Address("2001:db8::1"))) == "unreachable"


@pytest.mark.parametrize(
    ("prefix", "kept"),
    [
        ("192.168.1.0/24", True),
        ("192.168.0.0/16", True),
        ("10.0.0.0/15", False),
        ("172.16.0.0/12", False),
        ("8.8.8.0/24", False),
        ("100.64.1.0/24", False),
        ("10.8.3.0/24", False),
        ("fd12:3456:789a::/48", True),
        ("fd00::/32", False),
        ("2001:db8::/64", False),
    ],
)
def test_only_a_narrow_private_prefix_that_the_tunnel_does_not_claim_stays_reachable(prefix: str, kept: bool) -> None:
    assert private_lan(nets(prefix), nets("10.8.0.0/16")) == (nets(prefix) if kept else ())


def test_a_default_route_among_the_prefixes_does_not_take_away_the_lan() -> None:
    """A peer that allows 0.0.0.0/0, or the two halves that OpenVPN pushes, say no more than that the tunnel is full."""
    pushed = nets("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0")
    tunnel = TunnelRoutes(TUN, RouteMode.FULL, pushed, on_link=nets("192.168.1.0/24"))
    plan = routing_for(tunnel, [], "wlan0", PLACE)
    assert way_of(plan, Packet(IPv4Address("192.168.1.9"))) == "main"
    assert way_of(plan, Packet(IPv4Address("8.8.8.8"), bound_to="wlan0")) == "main"


def test_the_rules_and_routes_of_a_full_tunnel_in_words() -> None:
    tunnel = TunnelRoutes(
        TUN,
        RouteMode.FULL,
        nets("10.20.0.0/16", "fd20::/64"),
        (IPv4Address("10.8.0.1"),),
        nets("192.168.1.0/24"),
        has_ipv6=True,
    )
    esp = PinnedEndpoint(IPv6Address("2001:db8::7"), None, "esp")
    plan = routing_for(tunnel, [ENDPOINT, esp], "wlan0", PLACE)
    assert [str(rule) for rule in plan.rules] == [
        "8710: from all to 198.51.100.7/32 ipproto 17 dport 51820 lookup main",
        "8710: from all to 2001:db8::7/128 ipproto 50 lookup main",
        "8710: from all ipproto 17 sport 914-945 dport 53 lookup main",
        "8710: from all ipproto 6 sport 914-945 dport 53 lookup main",
        "8713: from all to 10.8.0.1/32 lookup 34565",
        "8713: from all to 10.20.0.0/16 lookup 34565",
        "8713: from all to fd20::/64 lookup 34565",
        "8714: from all to fd20::/64 unreachable",
        "8715: from all to fe80::/10 lookup main",
        "8715: from all to 192.168.1.0/24 lookup main",
        "8717: from all oif wlan0 lookup main",
        "8717: from all oif wlan0 lookup main",
        "8718: from all lookup 34565",
        "8718: from all lookup 34565",
        "8719: from all unreachable",
    ]
    assert [str(route) for route in plan.routes] == [
        "default (IPv4) dev 9 table 34565 metric 1",
        "default (IPv6) dev 9 table 34565 metric 1",
        f"unreachable default (IPv4) table 34565 metric {LAST_METRIC}",
        f"unreachable default (IPv6) table 34565 metric {LAST_METRIC}",
    ]


@pytest.mark.parametrize(
    ("mode", "offered", "local", "rule"),
    [
        (RouteMode.SPLIT, "10.20.0.0/16", "10.30.0.0/24", None),
        (RouteMode.SPLIT, "10.0.0.0/8", "10.30.0.0/24", "8712: from all to 10.30.0.0/24 lookup main"),
        (RouteMode.SPLIT, "10.30.0.0/24", "10.30.0.0/24", "8712: from all to 10.30.0.0/24 lookup main"),
        (RouteMode.SPLIT, "10.30.0.0/24", "10.0.0.0/8", None),
        (RouteMode.FULL, "10.20.0.0/16", "203.0.113.0/24", f"8715: from all to 203.0.113.0/24 {BY_ITS_OWN_ROUTES} 23"),
        (RouteMode.FULL, "10.0.0.0/8", "10.30.0.0/24", f"8711: from all to 10.30.0.0/24 {BY_ITS_OWN_ROUTES} 23"),
        (RouteMode.FULL, "10.20.0.0/16", "10.0.0.0/8", f"8715: from all to 10.0.0.0/8 {BY_ITS_OWN_ROUTES} 7"),
        (RouteMode.SPLIT, "fd00::/16", "fd00:30::/64", "8712: from all to fd00:30::/64 lookup main"),
    ],
)
def test_a_network_behind_us_stays_there_whatever_the_tunnel_offers_around_it(
    mode: RouteMode, offered: str, local: str, rule: str | None
) -> None:
    tunnel = TunnelRoutes(5, mode, nets(offered), local=nets(local))
    laid = sorted(routing_for(tunnel, [], "wlan0", PLACE).rules, key=lambda one: one.priority)
    rules = [str(one) for one in laid if one.dst in nets(local) and one.table == MAIN_TABLE]
    assert rules[:1] == ([rule] if rule else [])


@given(tunnels, prefixes)
def test_a_full_tunnel_leaves_the_networks_behind_us_alone_at_every_moment(
    tunnel: TunnelRoutes, local: IPNetwork
) -> None:
    """Also while it is made, when there is only the guard; no rule is in both, since each is undone on its own."""
    full = replace(tunnel, mode=RouteMode.FULL, local=(local,), on_link=(*tunnel.on_link, local))
    before, routed = guard("wlan0", PLACE, full.local), tunnel_routing(full, PLACE)
    assert not set(before.rules) & set(routed.rules)
    offered = [prefix for prefix in (*tunnel.prefixes, *map(ip_network, tunnel.dns)) if prefix.prefixlen > 1]
    own = max(2, local.prefixlen)  # the length of the network's own route
    for to in (local[0], local[-1]):
        assert way_of(before, Packet(to), main=own) == "main"
        named = any(to in one and one.prefixlen > local.prefixlen for one in offered if one.version == local.version)
        assert named or way_of(before | routed, Packet(to), main=own) == "main"


@given(tunnels, prefixes, st.sampled_from([0, 1]))
def test_nothing_for_a_network_behind_us_leaves_by_the_uplink_while_a_full_tunnel_is_wanted(
    tunnel: TunnelRoutes, local: IPNetwork, default: int
) -> None:
    """Where the link to it is down, nothing but a default route is left, or the halves that somebody made of one."""
    full = replace(tunnel, mode=RouteMode.FULL, local=(local,), on_link=(), prefixes=tunnel.prefixes[:1])
    before, routed = guard("wlan0", PLACE, full.local), tunnel_routing(full, PLACE)
    for to in (local[0], local[-1]):
        assert way_of(before, Packet(to), main=default) == "unreachable"
        assert to.is_link_local or way_of(before | routed, Packet(to), main=default) in {"unreachable", "tunnel"}


def test_an_uplink_around_a_network_behind_us_gets_none_of_its_packets_beside_a_full_tunnel() -> None:
    """Whoever runs the uplink chooses its prefix (DHCP), so it must open nothing."""
    tunnel = TunnelRoutes(TUN, RouteMode.FULL, (), local=nets("192.168.7.0/24"), on_link=nets("192.168.0.0/16"))
    plan = guard("wlan0", PLACE, tunnel.local) | tunnel_routing(tunnel, PLACE)
    behind, around = (Packet(IPv4Address(to)) for to in ("192.168.7.9", "192.168.9.9"))
    assert way_of(plan, behind, main=24) == "main"
    assert way_of(plan, behind, main=16) == "unreachable", "its own route is gone with the link to it"
    assert way_of(plan, around, main=16) == "tunnel"


@given(tunnels, prefixes)
def test_no_two_rules_differ_in_what_they_suppress_alone(tunnel: TunnelRoutes, local: IPNetwork) -> None:
    """The kernel would take the second for the first, and a reload from one mode to the other undo both."""
    rules = set(guard("wlan0", PLACE, (local,)).rules)
    for mode in (RouteMode.FULL, RouteMode.SPLIT):
        rules |= set(tunnel_routing(replace(tunnel, mode=mode, local=(local,)), PLACE).rules)
    assert len({replace(rule, suppress=None) for rule in rules}) == len(rules)


def test_mode_none_changes_nothing() -> None:
    assert not tunnel_routing(TunnelRoutes(TUN, RouteMode.NONE, nets("10.0.0.0/8")), PLACE)


def test_the_rules_of_a_split_tunnel_come_before_the_catch_all_of_a_full_one() -> None:
    split = tunnel_routing(TunnelRoutes(5, RouteMode.SPLIT, nets("10.9.0.0/16")), Place(0x8701, 8710))
    plan = guard("wlan0", PLACE) | split
    assert way_of(RoutePlan(plan.rules, split.routes), Packet(IPv4Address("10.9.1.1"))) == "tunnel"


@given(st.sets(st.integers(8690, 8810)))
def test_the_chosen_priorities_are_nobodys(in_use: set[int]) -> None:
    chosen = choose_priority(in_use)
    if chosen is None:
        assert len(in_use) >= len(PRIORITIES) // 10
    else:
        assert in_use.isdisjoint(range(chosen, chosen + len(Band)))
        assert {chosen, chosen + max(Band)} <= set(PRIORITIES)


@given(st.sets(st.integers(TABLES.start - 2, TABLES.stop + 2)))
def test_the_chosen_table_is_nobodys(in_use: set[int]) -> None:
    chosen = choose_table(in_use)
    assert chosen is None or (chosen in TABLES and chosen not in in_use)
    assert choose_table(set(TABLES)) is None


@given(st.integers(68, 9000), st.integers(20, 200))
def test_the_mtu_fits_into_the_uplinks_but_never_breaks_ipv6(uplink: int, overhead: int) -> None:
    assert tunnel_mtu(uplink, overhead, has_v6=True) == max(1280, uplink - overhead)
    assert tunnel_mtu(uplink, overhead, has_v6=False) >= 576


def test_an_unknown_protocol_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'sctp'; known: tcp, udp"):
        pin_rules([PinnedEndpoint(IPv4Address("192.0.2.1"), 1, "sctp")], PLACE)


@given(tunnels, tunnels)
def test_what_is_removed_and_what_is_kept_make_up_the_plan(before: TunnelRoutes, after: TunnelRoutes) -> None:
    old, new = (routing_for(tunnel, [ENDPOINT], "wlan0", PLACE) for tunnel in (before, after))
    gone = old - new
    assert not set(gone.rules) & set(new.rules)
    assert set((gone | new).rules) == set(old.rules) | set(new.rules)
    assert not (old - old)


def test_no_place_is_chosen_where_others_have_taken_them_all() -> None:
    assert choose_priority(frozenset(PRIORITIES)) is None
