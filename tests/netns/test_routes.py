"""Real packets: what leaves by the uplink, and what does not, is what the rules and routes say."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from autovpn.core.network import IPNetwork
from autovpn.core.routing import (
    DNS_PORT,
    QUERY_PORTS,
    Place,
    RoutePlan,
    TunnelRoutes,
    choose_priority,
    choose_table,
    guard,
    pin_rules,
)
from autovpn.core.tunnel import PinnedEndpoint, RouteMode
from autovpn.system import links, routes
from autovpn.system.rtnl import Rtnl
from tests.core.builders import routing_for
from tests.netns.namespace import Namespace
from tests.netns.world import GATEWAY, GATEWAY6, World, wait_until

ALIAS = "autovpn:routes"
PLACE = Place()
PORT = 4500
ENDPOINTS = [PinnedEndpoint(ip_address(GATEWAY), PORT, "udp"), PinnedEndpoint(ip_address(GATEWAY6), PORT, "udp")]
FAR = ("203.0.113.9", "10.20.0.2", "2001:db8:99::9", "2001:db8:20::2")
OFFERED = (ip_network("10.20.0.0/24"), ip_network("2001:db8:20::/64"))

COUNTERS = """
table inet ways {
    counter eth0 { }
    counter tun0 { }
    counter lan0 { }
    chain out {
        type filter hook output priority 0; policy accept;
        oifname { "eth0", "eth9" } th dport { 443, 4500 } counter name eth0
        oifname "tun0" th dport { 443, 4500 } counter name tun0
        oifname "lan0" th dport { 443, 4500 } counter name lan0
    }
}
"""


@pytest.fixture
def laptop(world: World) -> Iterator[Namespace]:
    """The laptop, with counters of what leaves by which device; the test itself is in it."""
    world.laptop.run("nft", "-f", "-", stdin=COUNTERS)
    with world.laptop.enter():
        yield world.laptop


async def tunnel_device() -> int:
    """Make the stand-in of a tunnel: packets that are sent into it are counted, and go nowhere."""
    index = await links.create("tun", "tun0", ALIAS)
    await links.set_up(index)
    await links.add_address(index, ip_interface("10.98.0.2/30"))
    await links.add_address(index, ip_interface("fd98::2/64"))
    return index


def way_of(laptop: Namespace, address: str, *, port: int = 443, tcp: bool = False, bound_to: str | None = None) -> str:
    """Send one packet; the device that it left by, or "unreachable"."""
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as sender:
        sender.setblocking(False)
        if bound_to:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, bound_to.encode())
        laptop.run("nft", "reset", "counters")
        try:
            sender.connect((address, port))
            sender.send(b"?")
        except (BlockingIOError, BrokenPipeError):
            pass  # the first packet of a connection is on its way
        except OSError:
            return "unreachable"
    counters = json.loads(laptop.run("nft", "--json", "list", "counters").stdout)["nftables"]
    left = [item["counter"]["name"] for item in counters if item.get("counter", {}).get("packets")]
    assert len(left) == 1, left
    return str(left[0])


async def full(*, has_ipv6: bool = True) -> tuple[TunnelRoutes, RoutePlan]:
    return await tunnel_is_up(has_ipv6=has_ipv6)


async def tunnel_is_up(
    mode: RouteMode = RouteMode.FULL, *, has_ipv6: bool = True, local: tuple[IPNetwork, ...] = ()
) -> tuple[TunnelRoutes, RoutePlan]:
    tunnel = TunnelRoutes(await tunnel_device(), mode, OFFERED, has_ipv6=has_ipv6, local=local)
    plan = routing_for(tunnel, ENDPOINTS, "eth0", PLACE)
    await routes.apply(plan)
    return tunnel, plan


def inject(laptop: Namespace) -> None:
    """Do as a hostile DHCP server and router do: routes into main that are more specific than the default."""
    laptop.batch(
        *(f"route add {prefix} via {GATEWAY}" for prefix in ("0.0.0.0/1", "128.0.0.0/1", "203.0.113.9/32")),
        *(f"route add {prefix} via {GATEWAY6}" for prefix in ("::/1", "8000::/1", "2001:db8:99::9/128")),
    )


@pytest.mark.parametrize("address", FAR)
async def test_a_full_tunnel_takes_everything_whatever_is_injected_into_main(laptop: Namespace, address: str) -> None:
    assert way_of(laptop, address) == "eth0"
    await full()
    inject(laptop)
    assert way_of(laptop, address) == "tun0"
    assert way_of(laptop, address, tcp=True) == "tun0"


@pytest.mark.parametrize("address", [*FAR, GATEWAY, GATEWAY6])
async def test_a_tunnel_device_that_dies_leaks_nothing(laptop: Namespace, address: str) -> None:
    tunnel, _ = await full()
    inject(laptop)
    await links.delete(tunnel.device, ALIAS)
    assert way_of(laptop, address) == "unreachable"
    assert way_of(laptop, address, tcp=True) == "unreachable"


async def test_a_full_tunnel_without_ipv6_inside_blocks_ipv6(laptop: Namespace) -> None:
    await full(has_ipv6=False)
    assert way_of(laptop, FAR[0]) == "tun0"
    assert way_of(laptop, FAR[2]) == "unreachable"


@pytest.mark.parametrize("gateway", [GATEWAY, GATEWAY6])
async def test_the_pin_lets_out_only_the_tunnels_own_protocol_and_port(laptop: Namespace, gateway: str) -> None:
    """The gateway is the far end here; it is on a public prefix, which is never let past the tunnel."""
    await full()
    assert way_of(laptop, gateway, port=PORT) == "eth0"
    assert way_of(laptop, gateway, port=PORT, tcp=True) == "tun0"
    assert way_of(laptop, gateway, port=443) == "tun0"


@pytest.mark.parametrize("mode", [RouteMode.FULL, RouteMode.SPLIT])
async def test_what_the_tunnel_offers_over_ipv6_does_not_leave_even_by_a_socket_that_is_bound_to_the_uplink(
    laptop: Namespace, mode: RouteMode
) -> None:
    """IPv6 passes over routes of another device then, also over `unreachable default` (rt6_score_route)."""
    tunnel = TunnelRoutes(await tunnel_device(), mode, OFFERED, has_ipv6=True)
    await routes.apply(routing_for(tunnel, ENDPOINTS, "eth0", PLACE))
    assert way_of(laptop, "2001:db8:20::2", bound_to="eth0") == "unreachable"
    await links.delete(tunnel.device, ALIAS)
    assert way_of(laptop, "2001:db8:20::2", bound_to="eth0") == "unreachable"


@pytest.mark.parametrize("address", FAR)
async def test_a_second_uplink_is_no_way_out_beside_a_guard(world: World, laptop: Namespace, address: str) -> None:
    world.connect(laptop, "eth9", world.gateway, "eth9")
    laptop.batch(
        "addr add 198.51.100.2/24 dev eth9",
        "addr add 2001:db8:51::2/64 dev eth9",
        "route add default via 198.51.100.1 metric 900",
        "route add default via 2001:db8:51::1 metric 2000",
    )
    await routes.apply(guard("eth0", PLACE))
    assert way_of(laptop, address) == "unreachable"
    if ":" in address:
        assert way_of(laptop, address, bound_to="eth9") == "unreachable"


@pytest.mark.parametrize("mode", [RouteMode.FULL, RouteMode.SPLIT])
async def test_a_lan_that_claims_the_tunnels_prefix_does_not_get_its_packets(
    laptop: Namespace, mode: RouteMode
) -> None:
    laptop.batch("addr add 10.20.0.77/24 dev eth0", "addr add 2001:db8:20::77/64 dev eth0")
    on_link = (ip_network("10.20.0.0/24"), ip_network("2001:db8:20::/64"))
    tunnel = TunnelRoutes(await tunnel_device(), mode, OFFERED, on_link=on_link, has_ipv6=True)
    await routes.apply(routing_for(tunnel, ENDPOINTS, "eth0", PLACE))
    for address in ("10.20.0.2", "2001:db8:20::2"):
        assert way_of(laptop, address) == "tun0"
    await links.delete(tunnel.device, ALIAS)
    for address in ("10.20.0.2", "2001:db8:20::2"):
        assert way_of(laptop, address) == "unreachable"


async def test_a_split_tunnel_leaves_everything_else_alone(laptop: Namespace) -> None:
    tunnel = TunnelRoutes(await tunnel_device(), RouteMode.SPLIT, OFFERED, (ip_address("203.0.113.53"),), has_ipv6=True)
    await routes.apply(routing_for(tunnel, ENDPOINTS, "eth0", PLACE))
    assert [way_of(laptop, address) for address in FAR] == ["eth0", "tun0", "eth0", "tun0"]
    assert way_of(laptop, "203.0.113.53") == "tun0"


async def test_the_private_lan_stays_reachable_beside_a_full_tunnel(laptop: Namespace) -> None:
    laptop.batch("addr add 192.168.7.2/24 dev eth0", "addr add fd77::2/64 dev eth0")
    on_link = (ip_network("192.168.7.0/24"), ip_network("fd77::/64"))
    tunnel = TunnelRoutes(await tunnel_device(), RouteMode.FULL, OFFERED, on_link=on_link, has_ipv6=True)
    await routes.apply(routing_for(tunnel, ENDPOINTS, "eth0", PLACE))
    assert way_of(laptop, "192.168.7.9") == "eth0"
    assert way_of(laptop, "fd77::9") == "eth0"


BEHIND = ("10.30.0.2", "fd30::2", "10.20.0.200")
BEHIND_US = tuple(map(ip_network, ("10.30.0.0/24", "fd30::/64", "10.20.0.192/26")))


@pytest.mark.parametrize("is_up", [False, True])
async def test_nothing_for_a_network_behind_us_leaves_by_the_uplink_when_its_link_is_down(
    world: World, laptop: Namespace, *, is_up: bool
) -> None:
    """Neither while the full tunnel is made nor beside it, also where it offers what is around such a network."""
    world.connect(laptop, "lan0", world.gateway, "lan0")
    laptop.batch("addr add 10.30.0.1/24 dev lan0", "addr add fd30::1/64 dev lan0", "addr add 10.20.0.193/26 dev lan0")
    inject(laptop)
    await routes.apply(guard("eth0", PLACE, BEHIND_US))
    if is_up:
        await tunnel_is_up(local=BEHIND_US)
    wait_until(lambda: [way_of(laptop, one) for one in BEHIND] == ["lan0"] * 3, "the link to be used")
    laptop.batch("link set lan0 down")
    assert [way_of(laptop, one) for one in BEHIND] == ["unreachable"] * 3
    laptop.batch("link set lan0 up", "addr replace fd30::1/64 dev lan0")
    wait_until(lambda: [way_of(laptop, one) for one in BEHIND] == ["lan0"] * 3, "the link to be used again")


@pytest.mark.parametrize(("before", "after"), [(RouteMode.FULL, RouteMode.SPLIT), (RouteMode.SPLIT, RouteMode.FULL)])
async def test_a_tunnel_of_another_mode_leaves_the_networks_behind_us_theirs(
    laptop: Namespace, before: RouteMode, after: RouteMode
) -> None:
    tunnel, was = await tunnel_is_up(mode=before, local=BEHIND_US)
    becomes = routing_for(replace(tunnel, mode=after), ENDPOINTS, "eth0", PLACE)
    await routes.amend(was, becomes)
    with Rtnl.open() as rtnl:
        assert set(routes.present(rtnl.tables()).rules) == set(becomes.rules)


async def test_while_a_full_tunnel_is_made_only_the_tunnel_itself_gets_out(laptop: Namespace) -> None:
    await routes.apply(guard("eth0", PLACE) | pin_rules(ENDPOINTS, PLACE))
    for address in (*FAR, GATEWAY, GATEWAY6):
        assert way_of(laptop, address) == "unreachable"
        assert way_of(laptop, address, bound_to="eth0") == "eth0"
    assert way_of(laptop, GATEWAY, port=PORT) == "eth0"


async def test_link_local_neighbours_stay_reachable_on_links_that_are_not_the_uplink(
    world: World, laptop: Namespace
) -> None:
    world.connect(laptop, "other", world.gateway, "other")
    await full()
    theirs = world.gateway.run("ip", "-6", "-brief", "address", "show", "other", "scope", "link").stdout.split()[2]
    wait_until(lambda: laptop.ping(f"{theirs.partition('/')[0]}%other"), "the neighbour's answer")


async def test_what_is_there_is_what_was_put_there_and_undoing_leaves_nothing(laptop: Namespace) -> None:
    tunnel = await tunnel_device()
    before = laptop.snapshot()
    plan = routing_for(
        TunnelRoutes(tunnel, RouteMode.FULL, OFFERED, on_link=(ip_network("192.168.7.0/24"),), has_ipv6=True),
        [*ENDPOINTS, PinnedEndpoint(ip_address(GATEWAY), None, "esp")],
        "eth0",
        PLACE,
    )
    with Rtnl.open() as rtnl:
        for _ in range(2):
            await routes.apply(plan)
            rtnl.drain()
            found = routes.present(rtnl.tables())
            assert (set(found.rules), set(found.routes)) == (set(plan.rules), set(plan.routes))
        for _ in range(2):
            await routes.remove(plan)
            rtnl.drain()
            assert not routes.present(rtnl.tables())
    assert laptop.snapshot() == before


async def test_what_others_put_there_is_neither_taken_for_ours_nor_removed(laptop: Namespace) -> None:
    laptop.batch(
        "rule add to 10.20.0.0/24 lookup 34560 priority 8700",
        "route add 10.0.0.0/8 via 192.0.2.1 table 34560",
    )
    before = laptop.snapshot()
    with Rtnl.open() as rtnl:
        tables = rtnl.tables()
        table, priority = choose_table(routes.tables_in_use(tables)), choose_priority(routes.foreign_priorities(tables))
        assert (table, priority) == (34561, 8710)
        assert table
        assert priority
        plan = guard("eth0", Place(table, priority))
        await routes.apply(plan)
        rtnl.drain()
        assert routes.present(rtnl.tables()) == plan
    await routes.remove(plan)
    assert laptop.snapshot() == before


async def test_an_amended_tunnel_has_the_new_routes_alone(laptop: Namespace) -> None:
    tunnel, before = await full()
    moved = replace(tunnel, prefixes=(ip_network("10.30.0.0/16"),), has_ipv6=False)
    after = routing_for(moved, ENDPOINTS[:1], "eth0", PLACE)
    await routes.amend(before, after)
    with Rtnl.open() as rtnl:
        found = routes.present(rtnl.tables())
    assert (set(found.rules), set(found.routes)) == (set(after.rules), set(after.routes))


async def test_a_new_device_of_the_same_tunnel_takes_over_its_routes(laptop: Namespace) -> None:
    tunnel, before = await full()
    other = await links.create("tun", "tun1", "autovpn:other")
    await links.set_up(other)
    await links.add_address(other, ip_interface("fd97::2/64"))
    after = routing_for(replace(tunnel, device=other), ENDPOINTS, "eth0", PLACE)
    await routes.amend(before, after)
    with Rtnl.open() as rtnl:
        assert set(routes.present(rtnl.tables()).routes) == set(after.routes)


@pytest.fixture(params=["0", "1", "2"])
def reverse_path_filter(laptop: Namespace, request: pytest.FixtureRequest) -> str:
    for name in ("all", "eth0"):
        laptop.write(f"/proc/sys/net/ipv4/conf/{name}/rp_filter", request.param)
    return str(request.param)


def answered(world: World, port: int, source_port: int = 0) -> bool:
    """Report whether the gateway, asked by a socket that is bound to the uplink, is heard."""
    with world.gateway.enter():
        gateway = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with gateway, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        gateway.bind((GATEWAY, port))
        gateway.settimeout(5)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        sender.bind(("", source_port))
        sender.setblocking(False)
        sender.connect((GATEWAY, port))
        sender.send(b"question")
        _, laptops = gateway.recvfrom(16)
        before = dropped(world.laptop)
        gateway.sendto(b"answer", laptops)
        wait_until(lambda: _received(sender) or dropped(world.laptop) > before, "the answer, or its drop")
        return dropped(world.laptop) == before


def dropped(laptop: Namespace) -> int:
    """Return how many packets the reverse path filter has dropped."""
    names, numbers = laptop.call(Path("/proc/thread-self/net/netstat").read_text).splitlines()[:2]
    return int(dict(zip(names.split(), numbers.split(), strict=True))["IPReversePathFilter"])


async def test_the_tunnels_own_answers_come_in_whatever_the_reverse_path_filter(
    world: World, reverse_path_filter: str
) -> None:
    await full()
    assert answered(world, PORT)


async def test_beside_a_full_tunnel_a_strict_filter_drops_what_answers_a_socket_bound_to_the_uplink(
    world: World, reverse_path_filter: str
) -> None:
    """What the kernel does, and why a guard has rules for `QUERY_PORTS`."""
    await full()
    assert answered(world, 443) == (reverse_path_filter != "1")


async def test_beside_a_guard_any_filter_drops_what_answers_a_socket_bound_to_the_uplink_alone(
    world: World, reverse_path_filter: str
) -> None:
    await routes.apply(guard("eth0", PLACE) | pin_rules(ENDPOINTS, PLACE))
    assert answered(world, 53) == (reverse_path_filter == "0")


async def test_beside_a_guard_our_own_question_is_answered_whatever_the_filter(
    world: World, laptop: Namespace, reverse_path_filter: str
) -> None:
    plan = guard("eth0", PLACE)
    await routes.apply(plan)
    assert answered(world, DNS_PORT, source_port=QUERY_PORTS[-1])
    assert answered(world, DNS_PORT) == (reverse_path_filter == "0")
    with Rtnl.open() as rtnl:
        assert set(plan.rules) == set(routes.present(rtnl.tables()).rules)


def _received(receiver: socket.socket) -> bool:
    try:
        return receiver.recv(16) == b"answer"
    except BlockingIOError:
        return False


async def test_another_program_s_rules_for_its_table_are_dropped_and_no_others(world: World) -> None:
    for family in ("-4", "-6"):
        for rule in ("lookup 220 priority 220", "lookup 220 priority 221", "lookup 221 priority 220"):
            world.laptop.run("ip", family, "rule", "add", *rule.split(), "protocol", "boot")
    with world.laptop.enter():
        await routes.drop_rules(220, 220)
        await routes.drop_rules(220, 220)  # as after a crash
    for family in ("-4", "-6"):
        left = [line.split() for line in world.laptop.run("ip", family, "rule").stdout.splitlines()]
        assert [(rule[0], rule[-3]) for rule in left if "boot" in rule] == [("220:", "221"), ("221:", "220")]
