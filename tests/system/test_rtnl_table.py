"""What is kept of a stream of events."""

from __future__ import annotations

from ipaddress import IPv6Address
from socket import AF_INET, AF_INET6

import pytest

from autovpn.system import rtnl_abi as abi
from autovpn.system.rtnl_decode import MalformedMessage, link_row
from autovpn.system.rtnl_rows import Changes
from autovpn.system.rtnl_table import MessageTable, Stale, route_matters
from tests.system.rtnl_messages import address, attribute, link, message, neighbour, route, rule, text, wireless_event

AF_BRIDGE = 7
RTNL_FAMILY_IPMR = 128


@pytest.fixture
def table() -> MessageTable:
    made = MessageTable()
    made.stale = Stale.NOTHING
    return made


def apply(table: MessageTable, *messages: bytes) -> Changes:
    changes = 0
    for raw in messages:
        changes |= table.apply(int.from_bytes(raw[4:6], "little"), raw)
    return Changes(changes)


def test_the_newest_message_of_a_link_is_kept(table: MessageTable) -> None:
    assert apply(table, link(2, "old"), link(2, "new"), link(3)) == Changes.LINKS
    assert link_row(table.links.messages[2], 1).name == "new"


def test_an_index_that_is_used_again_gets_a_higher_generation(table: MessageTable) -> None:
    apply(table, link(2))
    first = table.generations[2]
    apply(table, link(2, kind=abi.RTM_DELLINK), link(2))
    assert table.generations[2] > first


def test_links_that_come_and_go_leave_nothing_behind(table: MessageTable) -> None:
    for index in range(10, 1010):
        apply(table, link(index), link(index, kind=abi.RTM_DELLINK))
    assert not table.links.messages
    assert not table.generations


def test_a_wireless_event_does_not_overwrite_the_state_of_its_link(table: MessageTable) -> None:
    apply(table, link(4, "wlan0"))
    assert apply(table, wireless_event(4)) == Changes.WIRELESS
    assert link_row(table.links.messages[4], 1).mtu == 1500


def test_a_port_that_leaves_its_bridge_is_not_gone(table: MessageTable) -> None:
    apply(table, link(4))
    assert not apply(table, link(4, kind=abi.RTM_DELLINK, family=AF_BRIDGE), link(4, "x", family=AF_BRIDGE))
    assert link_row(table.links.messages[4], 1).name == "eth0"


def test_two_addresses_of_a_link_are_two_and_one_that_changes_stays_one(table: MessageTable) -> None:
    apply(table, address(2, "10.0.0.1/24"), address(2, "10.0.0.2/24"))
    apply(table, address(2, "fd00::1/64", flags=abi.IFA_F_TENTATIVE), address(2, "fd00::1/64"))
    apply(table, address(2, "10.0.0.9/32", peer="10.0.0.8"), address(2, "10.0.0.9/32", peer="10.0.0.7"))
    assert len(table.addresses.messages) == 5
    assert apply(table, address(2, "fd00::1/64", kind=abi.RTM_DELADDR)) == Changes.ADDRESSES
    assert len(table.addresses.messages) == 4


def test_an_ipv6_address_whose_peer_changes_stays_one(table: MessageTable) -> None:
    apply(table, address(2, "fd00::1/128", peer="fd00::2"), address(2, "fd00::1/128", peer="fd00::3"))
    assert len(table.addresses.messages) == 1


def test_a_neighbour_is_news_when_its_mac_is(table: MessageTable) -> None:
    mac, other = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"
    assert apply(table, neighbour(2, "192.0.2.1", mac)) == Changes.NEIGHBOURS
    assert not apply(table, neighbour(2, "192.0.2.1", mac, abi.NUD_STALE))
    assert apply(table, neighbour(2, "192.0.2.1", other)) == Changes.NEIGHBOURS
    assert apply(table, neighbour(2, "192.0.2.1", other, kind=abi.RTM_DELNEIGH)) == Changes.NEIGHBOURS
    assert not table.neighbours.messages


def test_the_made_up_neighbours_of_multicast_are_nothing(table: MessageTable) -> None:
    assert not apply(table, neighbour(2, "ff02::1", b"\x33\x33\0\0\0\1", abi.NUD_NOARP))


def dst(prefix: str) -> bytes:
    return attribute(abi.RTA_DST, IPv6Address(prefix).packed)


@pytest.mark.parametrize(
    ("raw", "matters"),
    [
        (route(AF_INET), True),
        (route(AF_INET6), True),
        (route(AF_INET6, 64, body=dst("fd00::")), True),
        (route(AF_INET6, 64, body=dst("fe80::")), False),
        (route(AF_INET6, 8, body=dst("ff00::")), False),
        (route(AF_INET, table=abi.RT_TABLE_LOCAL), False),
        (route(AF_INET, flags=abi.RTM_F_CLONED), False),
        (route(RTNL_FAMILY_IPMR), False),
    ],
)
def test_only_routes_that_decisions_look_at_make_the_table_stale(
    table: MessageTable, raw: bytes, matters: bool
) -> None:
    assert route_matters(raw) is matters
    assert apply(table, raw) == (Changes.ROUTES if matters else Changes.NONE)
    assert table.stale == (Stale.ROUTES if matters else Stale.NOTHING)


def test_rules_are_asked_for_again_but_not_for_those_of_multicast_routing(table: MessageTable) -> None:
    assert not apply(table, rule(RTNL_FAMILY_IPMR))
    assert apply(table, rule(AF_INET6, kind=abi.RTM_DELRULE)) == Changes.RULES
    assert table.stale == Stale.RULES


@pytest.mark.parametrize("gone", [link(2, up=False), link(2, kind=abi.RTM_DELLINK)])
def test_routes_are_asked_for_again_when_their_link_goes_down(table: MessageTable, gone: bytes) -> None:
    """The kernel drops the IPv4 routes of such a link without an event."""
    apply(table, link(2), link(3))
    apply(table, link(3, up=False))
    assert not table.stale
    table.route_devices = frozenset({2})
    apply(table, gone)
    assert table.stale == Stale.ROUTES


def test_routes_are_asked_for_again_when_an_address_goes(table: MessageTable) -> None:
    apply(table, address(2, "10.0.0.1/24", kind=abi.RTM_DELADDR))
    assert table.stale == Stale.ROUTES


@pytest.mark.parametrize(
    "kind", [abi.RTM_NEWLINK, abi.RTM_NEWADDR, abi.RTM_NEWNEIGH, abi.RTM_NEWROUTE, abi.RTM_NEWRULE]
)
def test_a_message_without_its_header_is_refused(table: MessageTable, kind: int) -> None:
    with pytest.raises(MalformedMessage):
        table.apply(kind, message(kind, b""))


def test_a_link_that_looks_the_same_after_a_loss_keeps_its_generation() -> None:
    numbers = iter(range(1, 100))
    before, after = MessageTable(numbers.__next__), MessageTable(numbers.__next__)
    tun = attribute(abi.IFLA_LINKINFO, text(abi.IFLA_INFO_KIND, "tun"))
    apply(before, link(2), link(3, "tun0", attributes=tun))
    apply(after, link(2, "renamed"), link(3, "eth1"), link(4))
    after.inherit_generations(before)
    assert after.generations[2] == before.generations[2]
    assert after.generations[3] > before.generations[3]
