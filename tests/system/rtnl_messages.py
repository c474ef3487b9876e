"""Rtnetlink messages as the kernel writes them, for tests that need one of a kind."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_interface
from socket import AF_INET6

from autovpn.system import rtnl_abi as abi


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def message(kind: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def link(
    index: int,
    name: str = "eth0",
    *,
    up: bool = True,
    kind: int = abi.RTM_NEWLINK,
    family: int = 0,
    attributes: bytes = b"",
) -> bytes:
    flags = abi.IFF_UP | abi.IFF_LOWER_UP if up else 0
    header = abi.LINK_HEADER.pack(family, 0, 1, index, flags, 0)
    return message(kind, header + text(abi.IFLA_IFNAME, name) + u32(abi.IFLA_MTU, 1500) + attributes)


def wireless_event(index: int, name: str = "wlan0") -> bytes:
    header = abi.LINK_HEADER.pack(0, 0, 1, index, 0, 0)
    event = attribute(abi.IFLA_WIRELESS, bytes(12))
    return message(abi.RTM_NEWLINK, header + text(abi.IFLA_IFNAME, name) + event)


def address(
    index: int, cidr: str, *, peer: str | None = None, flags: int = 0, kind: int = abi.RTM_NEWADDR, extra: bytes = b""
) -> bytes:
    interface = ip_interface(cidr)
    family = 2 if interface.version == 4 else AF_INET6
    near = interface.ip.packed
    far = ip_address(peer).packed if peer else near
    local = attribute(abi.IFA_LOCAL, near) if peer or family == 2 else b""
    header = abi.ADDRESS_HEADER.pack(family, interface.network.prefixlen, flags & 0xFF, 0, index)
    body = header + attribute(abi.IFA_ADDRESS, far) + local + u32(abi.IFA_FLAGS, flags) + extra
    return message(kind, body)


def route(
    family: int, length: int = 0, *, table: int = 254, flags: int = 0, kind: int = abi.RTM_NEWROUTE, body: bytes = b""
) -> bytes:
    return message(kind, abi.ROUTE_HEADER.pack(family, length, 0, 0, min(table, 255), 4, 0, 1, flags) + body)


def rule(family: int, *, kind: int = abi.RTM_NEWRULE, body: bytes = b"") -> bytes:
    return message(kind, abi.RULE_HEADER.pack(family, 0, 0, 0, 254, 0, 0, 1, 0) + body)


def neighbour(
    index: int, host: str, mac: bytes | None, state: int = abi.NUD_REACHABLE, *, kind: int = abi.RTM_NEWNEIGH
) -> bytes:
    far = ip_address(host)
    header = abi.NEIGHBOUR_HEADER.pack(2 if far.version == 4 else AF_INET6, 0, 0, index, state, 0, 1)
    body = attribute(abi.NDA_DST, far.packed) + (attribute(abi.NDA_LLADDR, mac) if mac else b"")
    return message(kind, header + body)
