"""The newest raw message of each link, address and neighbour, kept undecoded.

In a storm a message costs a look at its key and one copy; it is decoded only if it is still the newest when somebody
reads the tables. Routes and rules are not kept by their events, for which see `MessageTable.stale`.
"""

from __future__ import annotations

import struct
from enum import IntFlag
from itertools import count
from socket import AF_INET, AF_INET6, AF_UNSPEC
from typing import TYPE_CHECKING, Final

from autovpn.system import rtnl_abi as abi
from autovpn.system.rtnl_decode import MalformedMessage, attributes, link_row
from autovpn.system.rtnl_newest import Newest
from autovpn.system.rtnl_rows import Changes

if TYPE_CHECKING:
    from collections.abc import Callable

AddressKey = tuple[int, int, int, bytes | None, bytes | None]
NeighbourKey = tuple[int, bytes]

_LINK: Final = struct.Struct("=16xBBHiII")  # the message header, passed over, and struct ifinfomsg
_LINK_ATTRIBUTES: Final = _LINK.size
_ADDRESS: Final = struct.Struct("=16xBBBBI")
_ROUTE: Final = struct.Struct("=16xBBBBBBBBI")
_NEIGHBOUR: Final = struct.Struct("=16xBBHiHBB")
_FAMILY: Final = abi.MESSAGE_HEADER.size
_IP: Final = frozenset({AF_INET, AF_INET6})

_LINKS: Final = Changes.LINKS.value  # plain numbers: an enum's operators cost more than all the rest of a message
_ADDRESSES: Final = Changes.ADDRESSES.value
_ROUTES: Final = Changes.ROUTES.value
_RULES: Final = Changes.RULES.value
_NEIGHBOURS: Final = Changes.NEIGHBOURS.value
_WIRELESS: Final = Changes.WIRELESS.value


class Stale(IntFlag):
    """The tables that must be asked for again before they are read."""

    NOTHING = 0
    ROUTES = 1
    RULES = 2


class MessageTable:
    """The newest raw message per object, and what was touched since the rows were last made.

    `stale`: of routes and rules an event says only that the table changed, since the events don't say reliably what it
    holds now. The kernel drops the IPv4 routes of a link that goes down without a word, a route that was replaced or
    appended has the key of another, two rules may be equal, and the siblings of an IPv6 multipath route come one by
    one. A new dump is always right, and these tables are short.

    `route_devices`: the links that the routes of the last dump go out by, given by the reader.
    """

    def __init__(self, next_generation: Callable[[], int] | None = None) -> None:
        """Start empty; `next_generation` numbers the appearances of links, over all tables of one reader."""
        self.links: Newest[int] = Newest()
        self.addresses: Newest[AddressKey] = Newest()
        self.neighbours: Newest[NeighbourKey] = Newest()
        self.generations: dict[int, int] = {}
        self.stale = Stale.ROUTES | Stale.RULES
        self.route_devices: frozenset[int] = frozenset()
        self._next_generation = next_generation or count(1).__next__
        self._apply: dict[int, Callable[[bytes], int]] = {
            abi.RTM_NEWLINK: self._new_link,
            abi.RTM_DELLINK: self._del_link,
            abi.RTM_NEWADDR: self._new_address,
            abi.RTM_DELADDR: self._del_address,
            abi.RTM_NEWROUTE: self._route,
            abi.RTM_DELROUTE: self._route,
            abi.RTM_NEWRULE: self._rule,
            abi.RTM_DELRULE: self._rule,
            abi.RTM_NEWNEIGH: self._new_neighbour,
            abi.RTM_DELNEIGH: self._del_neighbour,
        }

    def apply(self, kind: int, message: bytes) -> int:
        """Take in one message of type `kind`; the bits of `Changes` that it may have caused."""
        take = self._apply.get(kind)
        if take is None:
            return 0
        try:
            return take(message)
        except (struct.error, IndexError) as error:
            raise MalformedMessage(f"an rtnetlink message of type {kind} has only {len(message)} bytes") from error

    def inherit_generations(self, before: MessageTable) -> None:
        """Give a link that looks the same as in `before` its generation, when the events between them were lost.

        An index is used again only by request (`ip link add index`, a move between namespaces), so the same index,
        kind, hardware type and permanent address are taken for the same link.
        """
        for index, message in self.links.messages.items():
            old = before.links.messages.get(index)
            if old is not None and _identity(old) == _identity(message):
                self.generations[index] = before.generations[index]

    def _new_link(self, message: bytes) -> int:
        family, _, _, index, flags, _ = _LINK.unpack_from(message)
        if family != AF_UNSPEC:
            return 0  # a bridge's view of its port: a few attributes only (net/bridge/br_netlink.c)
        if _is_wireless_event(message):
            return _WIRELESS
        before = self.links.put(index, message)
        if before is None:
            self.generations[index] = self._next_generation()
        elif index in self.route_devices and (_LINK.unpack_from(before)[4] ^ flags) & abi.IFF_UP:
            self.stale |= Stale.ROUTES
        return _LINKS

    def _del_link(self, message: bytes) -> int:
        family, _, _, index, _, _ = _LINK.unpack_from(message)
        if family != AF_UNSPEC:
            return 0  # a port left its bridge; the link itself is still there
        if self.links.drop(index) is None:
            return 0
        del self.generations[index]
        if index in self.route_devices:
            self.stale |= Stale.ROUTES
        return _LINKS

    def _new_address(self, message: bytes) -> int:
        self.addresses.put(_address_key(message), message)
        return _ADDRESSES

    def _del_address(self, message: bytes) -> int:
        # Before Linux 6.7 (4b2b606075e5) the routes with this preferred source vanished without an event.
        self.stale |= Stale.ROUTES
        return _ADDRESSES if self.addresses.drop(_address_key(message)) else 0

    def _new_neighbour(self, message: bytes) -> int:
        family, _, _, index, state, _, _ = _NEIGHBOUR.unpack_from(message)
        if family not in _IP or state & abi.NUD_NOARP:
            return 0  # a bridge's forwarding entry, or the made-up neighbour of a multicast address
        found = attributes(message, _NEIGHBOUR.size)
        key = (index, found.get(abi.NDA_DST, b""))
        before = self.neighbours.put(key, message)
        # The states come and go with the traffic; only what is known of the MAC is news.
        known = attributes(before, _NEIGHBOUR.size).get(abi.NDA_LLADDR) if before else None
        return _NEIGHBOURS if before is None or known != found.get(abi.NDA_LLADDR) else 0

    def _del_neighbour(self, message: bytes) -> int:
        index = _NEIGHBOUR.unpack_from(message)[3]
        key = (index, attributes(message, _NEIGHBOUR.size).get(abi.NDA_DST, b""))
        return _NEIGHBOURS if self.neighbours.drop(key) else 0

    def _route(self, message: bytes) -> int:
        if not route_matters(message):
            return 0
        self.stale |= Stale.ROUTES
        return _ROUTES

    def _rule(self, message: bytes) -> int:
        if not rule_matters(message):
            return 0
        self.stale |= Stale.RULES
        return _RULES


def route_matters(message: bytes) -> bool:
    """Report whether a route is one that decisions look at.

    Not those of the table `local` or of the cache, and not the link-local and multicast routes that IPv6 gives to every
    link: a host of containers makes and unmakes thousands of them.
    """
    family, length, _, _, table, _, _, _, flags = _ROUTE.unpack_from(message)
    if family not in _IP or table == abi.RT_TABLE_LOCAL or flags & abi.RTM_F_CLONED:
        return False
    if family == AF_INET or length == 0:
        return True
    prefix = attributes(message, _ROUTE.size).get(abi.RTA_DST, b"")
    return not prefix.startswith((b"\xff", b"\xfe\x80"))


def rule_matters(message: bytes) -> bool:
    """Report whether a rule is one of IPv4 or IPv6: a dump brings those of multicast routing too."""
    return message[_FAMILY] in _IP


def _is_wireless_event(message: bytes) -> bool:
    """Report whether this RTM_NEWLINK is a Wireless Extensions event: a name and the event, without the link's state.

    The kernel writes IFLA_WIRELESS straight behind the name (rtnetlink_ifinfo_prep in net/wireless/wext-core.c).
    """
    (length, _) = abi.ATTRIBUTE_HEADER.unpack_from(message, _LINK_ATTRIBUTES)
    second = _LINK_ATTRIBUTES + ((length + 3) & ~3)
    return bool(abi.ATTRIBUTE_HEADER.unpack_from(message, second)[1] == abi.IFLA_WIRELESS)


def _identity(message: bytes) -> tuple[str | None, int, str | None] | None:
    """What a link keeps for life; None when its message makes no sense, which must not stop the others."""
    try:
        row = link_row(message, 0)
    except MalformedMessage:
        return None
    return row.kind, row.arphrd, row.permanent_mac


def _address_key(message: bytes) -> AddressKey:
    """What tells an address from the others: the peer counts for IPv4, where IPv6 lets it change."""
    family, prefix, _, _, index = _ADDRESS.unpack_from(message)
    found = attributes(message, _ADDRESS.size)
    near, far = found.get(abi.IFA_LOCAL), found.get(abi.IFA_ADDRESS)
    if family == AF_INET6:
        near, far = near or far, None
    return index, family, prefix, near, far
