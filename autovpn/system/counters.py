"""The byte counters of a link, by one rtnetlink question (RTM_GETLINK with IFLA_STATS64 in its answer)."""

from __future__ import annotations

import socket
import struct
from typing import Final

from autovpn.core.health import Traffic
from autovpn.system.rtnl_abi import IFLA_IFNAME, NLM_F_REQUEST, RTM_GETLINK, RTM_NEWLINK

IFLA_STATS64: Final = 23  # linux/if_link.h
_HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr
_LINK: Final = struct.Struct("=BxHiII")  # struct ifinfomsg
_ATTRIBUTE: Final = struct.Struct("=HH")  # struct rtattr
_STATS: Final = struct.Struct(
    "=QQQQ"
)  # the beginning of struct rtnl_link_stats64: packets in and out, bytes in and out
_ENOUGH: Final = 64 * 1024
_NAME_SIZE: Final = 16  # IFNAMSIZ


def link_traffic(device: str) -> Traffic | None:
    """Return what a link has received and sent in this network namespace; None where there is no such link.

    The kernel answers before `send` returns, so this doesn't wait. /sys/class/net would show the links of whichever
    namespace it was mounted in.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE) as kernel:
            kernel.send(_question(device))
            return traffic_in(kernel.recv(_ENOUGH))
    except OSError:
        return None


def traffic_in(answer: bytes) -> Traffic | None:
    """Return the counters in the kernel's answer; None where it refuses, or says nothing of them."""
    if len(answer) < _HEADER.size + _LINK.size or _HEADER.unpack_from(answer)[1] != RTM_NEWLINK:
        return None
    position = _HEADER.size + _LINK.size
    while position + _ATTRIBUTE.size <= len(answer):
        length, kind = _ATTRIBUTE.unpack_from(answer, position)
        if length < _ATTRIBUTE.size:
            return None
        if kind == IFLA_STATS64 and length >= _ATTRIBUTE.size + _STATS.size:
            _, _, received, sent = _STATS.unpack_from(answer, position + _ATTRIBUTE.size)
            return Traffic(received, sent)
        position += (length + 3) & ~3
    return None


def _question(device: str) -> bytes:
    name = device.encode("utf-8", "surrogateescape")[: _NAME_SIZE - 1] + b"\0"
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(name), IFLA_IFNAME) + name
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + attribute + b"\0" * (-len(attribute) % 4)
    return _HEADER.pack(_HEADER.size + len(body), RTM_GETLINK, NLM_F_REQUEST, 1, 0) + body
