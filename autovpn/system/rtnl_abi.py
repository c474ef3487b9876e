"""Numbers of the rtnetlink interface that the reader needs, by the kernel header (include/uapi/linux) that has them."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

# asm-generic/socket.h, netlink.h: socket options.
SO_RCVBUFFORCE: Final = 33
SOL_NETLINK: Final = 270  # include/linux/socket.h
NETLINK_ADD_MEMBERSHIP: Final = 1
NETLINK_GET_STRICT_CHK: Final = 12

# netlink.h: message header (length, type, flags, sequence, port), control messages and flags.
MESSAGE_HEADER: Final = struct.Struct("=IHHII")
ATTRIBUTE_HEADER: Final = struct.Struct("=HH")
ATTRIBUTE_TYPE_MASK: Final = 0x3FFF  # NLA_TYPE_MASK: without the flags "nested" and "network byte order"
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLMSG_OVERRUN: Final = 4
NLM_F_REQUEST: Final = 0x01
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_DUMP: Final = 0x300

# rtnetlink.h: message types.
RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_GETADDR: Final = 22
RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_GETROUTE: Final = 26
RTM_NEWNEIGH: Final = 28
RTM_DELNEIGH: Final = 29
RTM_GETNEIGH: Final = 30
RTM_NEWRULE: Final = 32
RTM_DELRULE: Final = 33
RTM_GETRULE: Final = 34

# rtnetlink.h: enum rtnetlink_groups.
RTNLGRP_LINK: Final = 1
RTNLGRP_NEIGH: Final = 3
RTNLGRP_IPV4_IFADDR: Final = 5
RTNLGRP_IPV4_ROUTE: Final = 7
RTNLGRP_IPV4_RULE: Final = 8
RTNLGRP_IPV6_IFADDR: Final = 9
RTNLGRP_IPV6_ROUTE: Final = 11
RTNLGRP_IPV6_RULE: Final = 19

# rtnetlink.h: struct ifinfomsg (family, pad, type, index, flags, change); if_link.h: its attributes; if.h: flags.
LINK_HEADER: Final = struct.Struct("=BBHiII")
IFLA_ADDRESS: Final = 1
IFLA_IFNAME: Final = 3
IFLA_MTU: Final = 4
IFLA_LINK: Final = 5
IFLA_MASTER: Final = 10
IFLA_WIRELESS: Final = 11
IFLA_OPERSTATE: Final = 16
IFLA_LINKINFO: Final = 18
IFLA_IFALIAS: Final = 20
IFLA_EXT_MASK: Final = 29
IFLA_LINK_NETNSID: Final = 37
IFLA_PERM_ADDRESS: Final = 54
IFLA_INFO_KIND: Final = 1
RTEXT_FILTER_SKIP_STATS: Final = 1 << 3  # rtnetlink.h
IFF_UP: Final = 0x1
IFF_LOWER_UP: Final = 0x10000

# if_addr.h: struct ifaddrmsg (family, prefix length, flags, scope, index) and its attributes.
ADDRESS_HEADER: Final = struct.Struct("=BBBBI")
IFA_ADDRESS: Final = 1
IFA_LOCAL: Final = 2
IFA_LABEL: Final = 3
IFA_FLAGS: Final = 8
IFA_PROTO: Final = 11
IFA_F_TEMPORARY: Final = 0x01
IFA_F_DADFAILED: Final = 0x08
IFA_F_DEPRECATED: Final = 0x20
IFA_F_TENTATIVE: Final = 0x40

# rtnetlink.h: struct rtmsg (family, dst_len, src_len, tos, table, protocol, scope, type, flags), struct rtnexthop
# (length, flags, hops, index), and the attributes.
ROUTE_HEADER: Final = struct.Struct("=BBBBBBBBI")
NEXT_HOP_HEADER: Final = struct.Struct("=HBBi")
RTA_DST: Final = 1
RTA_OIF: Final = 4
RTA_GATEWAY: Final = 5
RTA_PRIORITY: Final = 6
RTA_PREFSRC: Final = 7
RTA_MULTIPATH: Final = 9
RTA_TABLE: Final = 15
RTA_VIA: Final = 18
RTM_F_CLONED: Final = 0x200
RT_TABLE_LOCAL: Final = 255

# fib_rules.h: struct fib_rule_hdr (family, dst_len, src_len, tos, table, two reserved, action, flags), the attributes.
RULE_HEADER: Final = struct.Struct("=BBBBBBBBI")
FRA_DST: Final = 1
FRA_SRC: Final = 2
FRA_IIFNAME: Final = 3
FRA_PRIORITY: Final = 6
FRA_FWMARK: Final = 10
FRA_SUPPRESS_PREFIXLEN: Final = 14
FRA_TABLE: Final = 15
FRA_FWMASK: Final = 16
FRA_OIFNAME: Final = 17
FRA_PROTOCOL: Final = 21
FRA_IP_PROTO: Final = 22
FRA_SPORT_RANGE: Final = 23
FRA_DPORT_RANGE: Final = 24
FIB_RULE_INVERT: Final = 0x2

# neighbour.h: struct ndmsg (family, two pads, index, state, flags, type) and the attributes.
NEIGHBOUR_HEADER: Final = struct.Struct("=BBHiHBB")
NDA_DST: Final = 1
NDA_LLADDR: Final = 2
NUD_REACHABLE: Final = 0x02
NUD_STALE: Final = 0x04
NUD_NOARP: Final = 0x40


class OperState(IntEnum):
    """The operational state of a link (if.h, RFC 2863 as read by Documentation/networking/operstates.rst)."""

    UNKNOWN = 0
    NOT_PRESENT = 1
    DOWN = 2
    LOWER_LAYER_DOWN = 3
    TESTING = 4
    DORMANT = 5
    UP = 6
