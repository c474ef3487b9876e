"""The reader against the real kernel: every change is seen, whatever way it takes."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_interface
from socket import AF_INET, AF_INET6

import pytest

from autovpn.system.rtnl import Rtnl
from autovpn.system.rtnl_abi import OperState
from autovpn.system.rtnl_rows import LinkRow, NextHop, Tables
from tests.netns.world import GATEWAY, GATEWAY6, World

MAIN = 254


@pytest.fixture
def rtnl(world: World) -> Iterator[Rtnl]:
    with world.laptop.enter():
        opened = Rtnl.open()
    with opened:
        yield opened


def seen(rtnl: Rtnl, condition: Callable[[Tables], object], deadline: float = 10.0) -> Tables:
    """Wait on the socket alone, so that a change without an event fails."""
    end = time.monotonic() + deadline
    rtnl.drain()
    while not condition(tables := rtnl.tables()):
        assert select.select([rtnl], [], [], max(0.0, end - time.monotonic()))[0], f"in vain; last: {tables}"
        rtnl.drain()
    return tables


def named(tables: Tables, name: str) -> LinkRow | None:
    return next((row for row in tables.links.values() if row.name == name), None)


def test_the_first_look_has_everything(world: World, rtnl: Rtnl) -> None:
    tables = rtnl.tables()
    eth0 = named(tables, "eth0")
    assert eth0
    assert (eth0.kind, eth0.operstate, eth0.carrier, eth0.flags_up) == ("veth", OperState.UP, True, True)
    assert eth0.link_netnsid is not None
    assert {str(row.address) for row in tables.addresses if row.index == eth0.index} >= {
        "192.0.2.10/24",
        "2001:db8:2::10/64",
    }
    defaults = {(row.family, str(row.gateway)) for row in tables.routes if row.dst is None}
    assert defaults == {(AF_INET, GATEWAY), (AF_INET6, GATEWAY6)}


def test_a_rename_keeps_the_identity_and_the_alias_is_seen(world: World, rtnl: Rtnl) -> None:
    before = named(rtnl.tables(), "eth0")
    world.laptop.run("ip", "link", "set", "eth0", "alias", "autovpn:abc")
    world.laptop.run("ip", "link", "set", "eth0", "name", "lan0")
    after = named(seen(rtnl, lambda tables: named(tables, "lan0")), "lan0")
    assert before
    assert after
    assert after.id == before.id
    assert after.alias == "autovpn:abc"


def test_an_index_that_is_used_again_is_another_link(world: World, rtnl: Rtnl) -> None:
    add = ("ip", "link", "add", "v0", "index", "700", "type", "veth", "peer", "name", "v1")
    world.laptop.run(*add)
    first = seen(rtnl, lambda tables: 700 in tables.links).links[700]
    world.laptop.run("ip", "link", "del", "v0")
    world.laptop.run(*add)
    second = seen(rtnl, lambda tables: tables.links.get(700) not in (None, first)).links[700]
    assert second.index == first.index
    assert second.generation > first.generation


def test_a_link_that_moves_to_another_namespace_is_gone(world: World, rtnl: Rtnl) -> None:
    world.laptop.run("ip", "link", "set", "eth0", "netns", world.office.name, "name", "moved")
    tables = seen(rtnl, lambda tables: named(tables, "eth0") is None)
    assert not [row for row in tables.routes if row.dst is None]
    assert all(row.index in tables.links for row in tables.addresses)


def test_an_enslaved_link_knows_its_master_and_lives_on_without_it(world: World, rtnl: Rtnl) -> None:
    world.laptop.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    world.laptop.run("ip", "link", "add", "br0", "type", "bridge")
    world.laptop.run("ip", "link", "set", "v0", "master", "br0")
    slave = named(seen(rtnl, lambda tables: (row := named(tables, "v0")) and row.master), "v0")
    bridge = named(rtnl.tables(), "br0")
    assert slave
    assert bridge
    assert slave.master == bridge.index
    world.laptop.run("ip", "link", "del", "br0")
    seen(rtnl, lambda tables: (row := named(tables, "v0")) and row.master is None and not named(tables, "br0"))


def test_an_ipv6_address_is_tentative_until_nobody_else_has_it(world: World, rtnl: Rtnl) -> None:
    for scope in ("all", "eth0"):
        world.laptop.write(f"/proc/sys/net/ipv6/conf/{scope}/accept_dad", "1")
    world.laptop.run("ip", "address", "add", "2001:db8:2::77/64", "dev", "eth0")
    address = ip_interface("2001:db8:2::77/64")
    seen(rtnl, lambda tables: any(row.address == address and row.tentative for row in tables.addresses))
    seen(rtnl, lambda tables: any(row.address == address and not row.tentative for row in tables.addresses))


def test_addresses_come_and_go(world: World, rtnl: Rtnl) -> None:
    address = ip_interface("10.9.0.1/32")
    world.laptop.run("ip", "address", "add", "10.9.0.1", "peer", "10.9.0.2", "dev", "eth0")
    tables = seen(rtnl, lambda tables: any(row.address == address for row in tables.addresses))
    assert next(row.peer for row in tables.addresses if row.address == address) == IPv4Address("10.9.0.2")
    world.laptop.run("ip", "address", "del", "10.9.0.1", "peer", "10.9.0.2", "dev", "eth0")
    seen(rtnl, lambda tables: all(row.address != address for row in tables.addresses))


def test_the_gateways_mac_is_known_once_it_has_answered(world: World, rtnl: Rtnl) -> None:
    assert world.laptop.ping(GATEWAY)
    tables = seen(rtnl, lambda tables: any(row.address == ip_address(GATEWAY) and row.mac for row in tables.neighbours))
    theirs = world.gateway.run("ip", "-brief", "link", "show", "eth0").stdout.split()[2]
    assert next(row.mac for row in tables.neighbours if row.address == ip_address(GATEWAY)) == theirs


def test_rules_come_and_go_even_two_equal_ones(world: World, rtnl: Rtnl) -> None:
    rule = ("to", "10.0.0.0/8", "ipproto", "udp", "dport", "500", "lookup", "700", "priority", "900")
    world.laptop.run("ip", "rule", "add", *rule, "protocol", "87")
    world.laptop.run("ip", "-6", "rule", "add", "oif", "eth0", "lookup", "main", "priority", "901")
    tables = seen(rtnl, lambda tables: {900, 901} <= {row.priority for row in tables.rules})
    ours = next(row for row in tables.rules if row.priority == 900)
    assert (ours.dst, ours.ipproto, ours.dport) == (IPv4Network("10.0.0.0/8"), 17, (500, 500))
    assert (ours.table, ours.protocol) == (700, 87)
    assert next(row.oif for row in tables.rules if row.priority == 901) == "eth0"
    world.laptop.run("ip", "rule", "del", *rule)
    seen(rtnl, lambda tables: 900 not in {row.priority for row in tables.rules})


def test_a_multipath_default_route_is_one_route_with_its_ways(world: World, rtnl: Rtnl) -> None:
    ways = ("nexthop", "via", GATEWAY, "dev", "eth0", "nexthop", "via", "192.0.2.3", "dev", "eth0", "weight", "3")
    world.laptop.run("ip", "route", "replace", "default", *ways)
    ways6 = ("nexthop", "via", GATEWAY6, "dev", "eth0", "nexthop", "via", "2001:db8:2::3", "dev", "eth0")
    world.laptop.run("ip", "-6", "route", "add", "2001:db8:77::/48", *ways6)
    tables = seen(rtnl, lambda tables: sum(len(row.nexthops) == 2 for row in tables.routes) == 2)
    four = next(row for row in tables.routes if row.family == AF_INET and row.dst is None)
    index = named(tables, "eth0")
    assert index
    assert four.nexthops == (
        NextHop(ip_address(GATEWAY), index.index, 1),
        NextHop(ip_address("192.0.2.3"), index.index, 3),
    )
    assert any(row.dst == IPv6Network("2001:db8:77::/48") and len(row.nexthops) == 2 for row in tables.routes)


@pytest.mark.parametrize("attempt", range(5))
def test_routes_that_the_kernel_drops_without_a_word_are_seen_to_be_gone(
    world: World, rtnl: Rtnl, attempt: int
) -> None:
    """It sends no RTM_DELROUTE for the IPv4 routes of a link that goes down."""
    world.laptop.run("ip", "route", "add", "10.0.0.0/8", "via", GATEWAY)
    seen(rtnl, lambda tables: any(row.dst == IPv4Network("10.0.0.0/8") for row in tables.routes))
    world.laptop.run("ip", "link", "set", "eth0", "down")
    seen(rtnl, lambda tables: not [row for row in tables.routes if row.family == AF_INET])


def test_routes_of_a_vanished_preferred_source_are_seen_to_be_gone(world: World, rtnl: Rtnl) -> None:
    world.laptop.run("ip", "address", "add", "10.5.0.1/32", "dev", "lo")
    world.laptop.run("ip", "route", "add", "10.6.0.0/16", "dev", "eth0", "src", "10.5.0.1")
    seen(rtnl, lambda tables: any(row.dst == IPv4Network("10.6.0.0/16") for row in tables.routes))
    world.laptop.run("ip", "address", "del", "10.5.0.1/32", "dev", "lo")
    seen(rtnl, lambda tables: all(row.dst != IPv4Network("10.6.0.0/16") for row in tables.routes))


def test_a_table_that_changes_while_it_is_dumped_comes_out_right(world: World, rtnl: Rtnl) -> None:
    """Routes are added and removed by another thread all the while; every look has all of the routes that stay."""
    lasting = [f"route add 10.{number >> 8}.{number & 255}.0/24 via {GATEWAY}" for number in range(1000)]
    world.laptop.batch(*lasting)
    churn = [
        f"route {verb} 172.16.{number & 255}.0/24 via {GATEWAY}" for number in range(2000) for verb in ("add", "del")
    ]

    def lasting_routes() -> int:
        routes = [row.dst for row in rtnl.tables().routes if isinstance(row.dst, IPv4Network)]
        return sum(dst.subnet_of(IPv4Network("10.0.0.0/8")) for dst in routes)

    rtnl.drain()
    assert lasting_routes() == 1000
    worker = threading.Thread(target=world.laptop.batch, args=churn)
    worker.start()
    looks = 0
    try:
        while worker.is_alive():
            rtnl.drain()
            assert lasting_routes() == 1000, "half a table"
            looks += 1
    finally:
        worker.join()
    rtnl.drain()
    assert sum(row.family == AF_INET and row.table == MAIN for row in rtnl.tables().routes) == 1002
    assert looks > 1
