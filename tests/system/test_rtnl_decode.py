"""Raw messages become the right rows, and nonsense becomes a typed error."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface
from socket import AF_INET, AF_INET6

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import rtnl as pyroute2_rtnl
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from autovpn.system import rtnl_abi as abi
from autovpn.system.rtnl_decode import (
    MalformedMessage,
    address_row,
    attributes,
    link_row,
    neighbour_row,
    route_row,
    rule_row,
)
from autovpn.system.rtnl_dump import DumpSocket
from autovpn.system.rtnl_rows import AddressRow, LinkRow, NeighbourRow, NextHop, RouteRow, RuleRow
from tests.system.rtnl_messages import address, attribute, link, message, neighbour, route, rule, text, u32

DECODERS: dict[int, Callable[[bytes], object]] = {
    abi.RTM_GETLINK: lambda raw: link_row(raw, 1),
    abi.RTM_GETADDR: address_row,
    abi.RTM_GETROUTE: route_row,
    abi.RTM_GETRULE: rule_row,
    abi.RTM_GETNEIGH: neighbour_row,
}


def test_a_link_with_everything() -> None:
    info = attribute(abi.IFLA_LINKINFO, text(abi.IFLA_INFO_KIND, "vlan"))
    more = (
        info
        + attribute(abi.IFLA_OPERSTATE, b"\x06")
        + text(abi.IFLA_IFALIAS, "autovpn:1")
        + attribute(abi.IFLA_ADDRESS, bytes.fromhex("020000000001"))
        + attribute(abi.IFLA_PERM_ADDRESS, bytes.fromhex("020000000002"))
        + u32(abi.IFLA_LINK, 3)
        + u32(abi.IFLA_LINK_NETNSID, 0)
        + u32(abi.IFLA_MASTER, 9)
        + attribute(0x3ABC, b"of a later kernel")
    )
    assert link_row(link(7, "eth0.5", attributes=more), 4) == LinkRow(
        index=7,
        generation=4,
        name="eth0.5",
        kind="vlan",
        master=9,
        flags_up=True,
        operstate=abi.OperState.UP,
        carrier=True,
        alias="autovpn:1",
        mac="02:00:00:00:00:01",
        permanent_mac="02:00:00:00:00:02",
        mtu=1500,
        arphrd=1,
        lower=3,
        link_netnsid=0,
    )


def test_an_address_and_its_far_end() -> None:
    assert address_row(address(3, "10.0.0.1/32", peer="10.0.0.2")) == AddressRow(
        3, IPv4Interface("10.0.0.1/32"), 0, peer=IPv4Address("10.0.0.2")
    )


def test_the_flags_of_an_ipv6_address() -> None:
    flags = abi.IFA_F_TENTATIVE | abi.IFA_F_DADFAILED | abi.IFA_F_DEPRECATED | abi.IFA_F_TEMPORARY
    row = address_row(address(3, "fd00::1/64", flags=flags, extra=attribute(abi.IFA_PROTO, b"\x02")))
    assert row == AddressRow(
        3,
        IPv6Interface("fd00::1/64"),
        0,
        tentative=True,
        deprecated=True,
        dadfailed=True,
        temporary=True,
        protocol=2,
    )


def test_a_secondary_ipv4_address_is_not_a_temporary_one() -> None:
    """The two flags share a bit (if_addr.h)."""
    assert not address_row(address(3, "10.0.0.1/8", flags=abi.IFA_F_TEMPORARY)).temporary


def test_a_route_by_way_of_an_ipv6_neighbour() -> None:
    via = attribute(abi.RTA_VIA, struct.pack("=H", AF_INET6) + IPv6Address("fe80::1").packed)
    body = attribute(abi.RTA_DST, IPv4Address("10.1.0.0").packed) + via + u32(abi.RTA_OIF, 2) + u32(abi.RTA_TABLE, 700)
    assert route_row(route(AF_INET, 16, body=body)) == RouteRow(
        AF_INET, 700, IPv4Network("10.1.0.0/16"), IPv6Address("fe80::1"), 2, 0, 4, 0, 1
    )


def test_a_multipath_default_route() -> None:
    def hop(index: int, gateway: str, weight: int) -> bytes:
        inner = attribute(abi.RTA_GATEWAY, IPv4Address(gateway).packed)
        return abi.NEXT_HOP_HEADER.pack(8 + len(inner), 0, weight - 1, index) + inner

    body = attribute(abi.RTA_MULTIPATH, hop(2, "192.0.2.1", 1) + hop(3, "198.51.100.1", 5))
    row = route_row(route(AF_INET, body=body))
    assert row.dst is None
    assert row.nexthops == (NextHop(IPv4Address("192.0.2.1"), 2, 1), NextHop(IPv4Address("198.51.100.1"), 3, 5))


def test_a_rule_with_everything() -> None:
    body = (
        u32(abi.FRA_PRIORITY, 8700)
        + u32(abi.FRA_TABLE, 34560)
        + u32(abi.FRA_FWMARK, 5)
        + u32(abi.FRA_FWMASK, 0xFF)
        + text(abi.FRA_IIFNAME, "lan0")
        + text(abi.FRA_OIFNAME, "wlan0")
        + attribute(abi.FRA_IP_PROTO, b"\x11")
        + attribute(abi.FRA_DPORT_RANGE, struct.pack("=HH", 500, 500))
        + attribute(abi.FRA_PROTOCOL, b"\x57")
        + u32(abi.FRA_SUPPRESS_PREFIXLEN, 0xFFFFFFFF)
    )
    assert rule_row(rule(AF_INET, body=body)) == RuleRow(
        AF_INET,
        8700,
        34560,
        1,
        iif="lan0",
        oif="wlan0",
        fwmark=5,
        fwmask=0xFF,
        ipproto=17,
        dport=(500, 500),
        protocol=87,
    )


def test_a_neighbour_without_an_answer_has_no_mac() -> None:
    row = neighbour_row(neighbour(2, "192.0.2.1", None, state=1))
    assert row == NeighbourRow(2, IPv4Address("192.0.2.1"), None, 1)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(message(abi.RTM_NEWLINK, b"\0" * 5), id="cut off within the header"),
        pytest.param(link(1, "")[:40], id="an attribute longer than the message"),
        pytest.param(link(1, ""), id="no name"),
        pytest.param(link(1, attributes=attribute(abi.IFLA_LINK, b"\0\0")), id="a number with two bytes"),
        pytest.param(link(1, attributes=attribute(abi.IFLA_OPERSTATE, b"\x4d")), id="an unknown state"),
        pytest.param(link(1, attributes=struct.pack("=HH", 0, 4) + bytes(8)), id="an attribute of length 0"),
    ],
)
def test_a_link_that_makes_no_sense(raw: bytes) -> None:
    with pytest.raises(MalformedMessage):
        link_row(raw, 1)


def _real_messages() -> list[tuple[int, bytes]]:
    """What this machine's kernel says, so that the mutations start from the truth."""
    socket = DumpSocket()
    try:
        return [(kind, raw) for kind in DECODERS for raw in socket.dump(kind)[:8]]
    finally:
        socket.close()


REAL = [
    *_real_messages(),
    (abi.RTM_GETROUTE, route(AF_INET, body=attribute(abi.RTA_MULTIPATH, abi.NEXT_HOP_HEADER.pack(8, 0, 0, 1)))),
    (abi.RTM_GETNEIGH, neighbour(2, "192.0.2.1", b"\2\0\0\0\0\1")),
]


@given(st.data())
def test_whatever_a_message_was_changed_to_it_is_decoded_or_refused(data: st.DataObject) -> None:
    kind, raw = data.draw(st.sampled_from(REAL))
    changed = bytearray(raw[: data.draw(st.integers(16, len(raw)))])
    for _ in range(data.draw(st.integers(0, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with suppress(MalformedMessage):
        DECODERS[kind](bytes(changed))


@given(st.binary(max_size=64))
def test_a_walk_over_attributes_ends(raw: bytes) -> None:
    try:
        found = attributes(raw, 0)
    except MalformedMessage:
        return
    assert sum(map(len, found.values())) <= len(raw)


@pytest.mark.parametrize(
    ("prefix", "known"),
    [("IFLA_", ifinfmsg), ("IFA_", ifaddrmsg), ("RTA_", rtmsg), ("FRA_", fibmsg), ("NDA_", ndmsg)],
)
def test_our_attribute_numbers_are_those_of_pyroute2(prefix: str, known: type) -> None:
    theirs = {name: number for number, name in _numbers(known)}
    ours = {name: getattr(abi, name) for name in dir(abi) if name.startswith(prefix) and name in theirs}
    assert len(ours) >= 2
    assert ours == {name: theirs[name] for name in ours}


def _numbers(known: type) -> list[tuple[int, str]]:
    entries = known.nla_map  # type: ignore[attr-defined]
    return [entry[:2] if isinstance(entry[0], int) else (number, entry[0]) for number, entry in enumerate(entries)]


def test_our_message_types_and_groups_are_those_of_pyroute2() -> None:
    for name in (name for name in dir(abi) if name.startswith("RTM_") and name != "RTM_F_CLONED"):
        assert getattr(abi, name) == getattr(pyroute2_rtnl, name)
    for name in (name for name in dir(abi) if name.startswith("RTNLGRP_")):
        assert 1 << (getattr(abi, name) - 1) == getattr(pyroute2_rtnl, name.replace("RTNLGRP", "RTMGRP"))
