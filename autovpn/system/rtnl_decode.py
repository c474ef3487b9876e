"""Raw rtnetlink messages into rows. Pure: bytes in, values out.

Unknown attributes are passed over, since every kernel release brings more. A length that can't be right is a
`MalformedMessage`: then the whole message is not to be believed.
"""

from __future__ import annotations

import struct
import sys
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, Final

from autovpn.errors import SystemFault
from autovpn.system import rtnl_abi as abi
from autovpn.system.rtnl_rows import AddressRow, LinkRow, NeighbourRow, NextHop, RouteRow, RuleRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autovpn.core.network import IPAddress, IPNetwork

Attributes = dict[int, bytes]

_MESSAGE: Final = abi.MESSAGE_HEADER.size
_ATTRIBUTE: Final = abi.ATTRIBUTE_HEADER.size
_U32: Final = struct.Struct("=I")
_PORT_RANGE: Final = struct.Struct("=HH")
_SUPPRESS_NOTHING: Final = 0xFFFF_FFFF  # -1, which the kernel reports for every rule that does not suppress
_ADDRESS_BITS: Final[dict[int, int]] = {AF_INET: 32, AF_INET6: 128}


class MalformedMessage(SystemFault):
    """A netlink message whose lengths contradict each other."""


def attributes(raw: bytes | memoryview, start: int) -> Attributes:
    """Walk the attributes of `raw` from `start` to its end; of a repeated one the last counts."""
    found: Attributes = {}
    end = len(raw)
    while start + _ATTRIBUTE <= end:
        length, kind = abi.ATTRIBUTE_HEADER.unpack_from(raw, start)
        if length < _ATTRIBUTE or start + length > end:
            raise MalformedMessage(f"an rtnetlink attribute {kind} claims {length} bytes of {end - start}")
        found[kind & abi.ATTRIBUTE_TYPE_MASK] = bytes(raw[start + _ATTRIBUTE : start + length])
        start += (length + 3) & ~3
    return found


def link_row(raw: bytes, generation: int) -> LinkRow:
    """Decode an RTM_NEWLINK message (rtnetlink(7), if_link.h)."""
    _, _, arphrd, index, flags, _ = _header(abi.LINK_HEADER, raw)
    found = attributes(raw, _MESSAGE + abi.LINK_HEADER.size)
    info = attributes(found.get(abi.IFLA_LINKINFO, b""), 0)
    operstate = found.get(abi.IFLA_OPERSTATE, b"\0")
    return LinkRow(
        index=index,
        generation=generation,
        name=_required_text(found, abi.IFLA_IFNAME),
        kind=_text(info, abi.IFLA_INFO_KIND),
        master=_u32(found, abi.IFLA_MASTER),
        flags_up=bool(flags & abi.IFF_UP),
        operstate=_operstate(operstate),
        carrier=bool(flags & abi.IFF_LOWER_UP),
        alias=_text(found, abi.IFLA_IFALIAS),
        mac=_mac(found.get(abi.IFLA_ADDRESS)),
        permanent_mac=_mac(found.get(abi.IFLA_PERM_ADDRESS)),
        mtu=_u32(found, abi.IFLA_MTU) or 0,
        arphrd=arphrd,
        lower=_u32(found, abi.IFLA_LINK) or None,
        link_netnsid=_u32(found, abi.IFLA_LINK_NETNSID),
    )


def address_row(raw: bytes) -> AddressRow:
    """Decode an RTM_NEWADDR message (if_addr.h): IFA_LOCAL is the address and IFA_ADDRESS the peer, where both are."""
    family, prefix, flags, scope, index = _header(abi.ADDRESS_HEADER, raw)
    found = attributes(raw, _MESSAGE + abi.ADDRESS_HEADER.size)
    flags = _u32(found, abi.IFA_FLAGS) or flags  # the header has room for the first eight only
    far = found.get(abi.IFA_ADDRESS)
    near = found.get(abi.IFA_LOCAL, far)
    if near is None or prefix > _address_bits(family):
        raise MalformedMessage(f"an address of interface {index} lacks the address, or its prefix is {prefix} long")
    address = _address(family, near)
    interface = IPv4Interface if isinstance(address, IPv4Address) else IPv6Interface
    return AddressRow(
        index=index,
        address=interface((address, prefix)),
        scope=scope,
        tentative=bool(flags & abi.IFA_F_TENTATIVE),
        deprecated=bool(flags & abi.IFA_F_DEPRECATED),
        dadfailed=bool(flags & abi.IFA_F_DADFAILED),
        temporary=family == AF_INET6 and bool(flags & abi.IFA_F_TEMPORARY),
        peer=_address(family, far) if far is not None and far != near else None,
        protocol=_u8(found, abi.IFA_PROTO),
        label=_text(found, abi.IFA_LABEL),
    )


def route_row(raw: bytes) -> RouteRow:
    """Decode an RTM_NEWROUTE message (rtnetlink.h)."""
    family, dst_length, _, _, table, protocol, scope, kind, _ = _header(abi.ROUTE_HEADER, raw)
    found = attributes(raw, _MESSAGE + abi.ROUTE_HEADER.size)
    wide_table = _u32(found, abi.RTA_TABLE)  # the header has room for the first 256 only
    prefsrc = found.get(abi.RTA_PREFSRC)
    return RouteRow(
        family=family,
        table=table if wide_table is None else wide_table,
        dst=_network(family, found.get(abi.RTA_DST), dst_length),
        gateway=_gateway(family, found),
        oif=_u32(found, abi.RTA_OIF),
        metric=_u32(found, abi.RTA_PRIORITY) or 0,
        protocol=protocol,
        scope=scope,
        type=kind,
        prefsrc=None if prefsrc is None else _address(family, prefsrc),
        nexthops=tuple(_next_hops(family, found.get(abi.RTA_MULTIPATH, b""))),
    )


def rule_row(raw: bytes) -> RuleRow:
    """Decode an RTM_NEWRULE message (fib_rules.h)."""
    family, dst_length, src_length, _, table, _, _, action, flags = _header(abi.RULE_HEADER, raw)
    found = attributes(raw, _MESSAGE + abi.RULE_HEADER.size)
    wide_table = _u32(found, abi.FRA_TABLE)
    suppress = _u32(found, abi.FRA_SUPPRESS_PREFIXLEN)
    return RuleRow(
        family=family,
        priority=_u32(found, abi.FRA_PRIORITY) or 0,
        table=table if wide_table is None else wide_table,
        action=action,
        src=_network(family, found.get(abi.FRA_SRC), src_length),
        dst=_network(family, found.get(abi.FRA_DST), dst_length),
        iif=_text(found, abi.FRA_IIFNAME),
        oif=_text(found, abi.FRA_OIFNAME),
        fwmark=_u32(found, abi.FRA_FWMARK),
        fwmask=_u32(found, abi.FRA_FWMASK),
        ipproto=_u8(found, abi.FRA_IP_PROTO),
        sport=_port_range(found.get(abi.FRA_SPORT_RANGE)),
        dport=_port_range(found.get(abi.FRA_DPORT_RANGE)),
        protocol=_u8(found, abi.FRA_PROTOCOL),
        suppress_prefixlength=None if suppress == _SUPPRESS_NOTHING else suppress,
        invert=bool(flags & abi.FIB_RULE_INVERT),
    )


def neighbour_row(raw: bytes) -> NeighbourRow:
    """Decode an RTM_NEWNEIGH message (neighbour.h)."""
    family, _, _, index, state, _, _ = _header(abi.NEIGHBOUR_HEADER, raw)
    found = attributes(raw, _MESSAGE + abi.NEIGHBOUR_HEADER.size)
    return NeighbourRow(index, _address(family, found.get(abi.NDA_DST, b"")), _mac(found.get(abi.NDA_LLADDR)), state)


def _header(layout: struct.Struct, raw: bytes) -> tuple[int, ...]:
    """The fixed part behind the message header."""
    try:
        return layout.unpack_from(raw, _MESSAGE)
    except struct.error as error:
        raise MalformedMessage(f"an rtnetlink message of {len(raw)} bytes is too short for its kind") from error


def _u32(found: Mapping[int, bytes], kind: int) -> int | None:
    value = found.get(kind)
    if value is None:
        return None
    if len(value) != _U32.size:
        raise MalformedMessage(f"an rtnetlink attribute {kind} has {len(value)} bytes where a number has four")
    return int.from_bytes(value, sys.byteorder)


def _u8(found: Mapping[int, bytes], kind: int) -> int | None:
    value = found.get(kind)
    if value is None:
        return None
    if len(value) != 1:
        raise MalformedMessage(f"an rtnetlink attribute {kind} has {len(value)} bytes where a small number has one")
    return value[0]


def _text(found: Mapping[int, bytes], kind: int) -> str | None:
    """A NUL-terminated string; names and aliases are bytes to the kernel, so odd ones are kept as os.fsdecode does."""
    value = found.get(kind)
    return None if value is None else value.partition(b"\0")[0].decode(errors="surrogateescape")


def _required_text(found: Mapping[int, bytes], kind: int) -> str:
    text = _text(found, kind)
    if not text:
        raise MalformedMessage("an interface without a name")
    return text


def _operstate(value: bytes) -> abi.OperState:
    try:
        return abi.OperState(value[0])
    except (ValueError, IndexError) as error:
        raise MalformedMessage(f"an operational state {value.hex()} that if.h does not know") from error


def _mac(value: bytes | None) -> str | None:
    return value.hex(":") if value else None


def _address_bits(family: int) -> int:
    try:
        return _ADDRESS_BITS[family]
    except KeyError:
        raise MalformedMessage(f"an address of family {family}, which is neither IPv4 nor IPv6") from None


def _address(family: int, value: bytes) -> IPAddress:
    if len(value) * 8 != _address_bits(family):
        raise MalformedMessage(f"an address of family {family} with {len(value)} bytes")
    return IPv4Address(value) if family == AF_INET else IPv6Address(value)


def _network(family: int, value: bytes | None, length: int) -> IPNetwork | None:
    """The prefix; None where its length is 0, which means everything."""
    if length == 0:
        return None
    if value is None:
        raise MalformedMessage(f"a prefix of length {length} without its address")
    address = _address(family, value)
    if length > address.max_prefixlen:
        raise MalformedMessage(f"a prefix of {address} with length {length}")
    if isinstance(address, IPv4Address):
        return IPv4Network((address, length), strict=False)
    return IPv6Network((address, length), strict=False)


def _gateway(family: int, found: Mapping[int, bytes]) -> IPAddress | None:
    """RTA_GATEWAY, or RTA_VIA: an IPv4 route by way of an IPv6 neighbour (RFC 5549) carries the family before it."""
    if abi.RTA_GATEWAY in found:
        return _address(family, found[abi.RTA_GATEWAY])
    via = found.get(abi.RTA_VIA)
    if via is None:
        return None
    return _address(int.from_bytes(via[:2], sys.byteorder), via[2:])


def _next_hops(family: int, value: bytes) -> list[NextHop]:
    """The struct rtnexthop list of RTA_MULTIPATH."""
    hops: list[NextHop] = []
    start = 0
    while start + abi.NEXT_HOP_HEADER.size <= len(value):
        length, _, weight, index = abi.NEXT_HOP_HEADER.unpack_from(value, start)
        if length < abi.NEXT_HOP_HEADER.size or start + length > len(value):
            raise MalformedMessage(f"a next hop claims {length} bytes of {len(value) - start}")
        inner = attributes(value[start : start + length], abi.NEXT_HOP_HEADER.size)
        hops.append(NextHop(_gateway(family, inner), index, weight + 1))
        start += (length + 3) & ~3
    return hops


def _port_range(value: bytes | None) -> tuple[int, int] | None:
    if value is None:
        return None
    if len(value) != _PORT_RANGE.size:
        raise MalformedMessage(f"a port range with {len(value)} bytes")
    first, last = _PORT_RANGE.unpack(value)
    return first, last
