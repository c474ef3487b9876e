"""The kernel's links, addresses, routes, rules and neighbours, read over netlink at the price of a C program.

Ours, and not pyroute2's reader, by measurement: that spends 400 µs a message and loses events in a storm. Here a
message that is out of date before anybody looks costs a copy (`rtnl_table`), the rest is decoded once (`rtnl_newest`).

Loss is normal: the kernel drops events when the socket is full (ENOBUFS, netlink(7)) and says so. Then, and whenever a
message is cut off or makes no sense, everything is dumped anew; until that has succeeded the tables stay as they were.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

from autovpn.errors import SystemFault
from autovpn.system import rtnl_abi as abi
from autovpn.system.rtnl_decode import (
    MalformedMessage,
    address_row,
    link_row,
    neighbour_row,
    route_row,
    rule_row,
)
from autovpn.system.rtnl_dump import DumpInterrupted, DumpSocket
from autovpn.system.rtnl_newest import Row, Rows
from autovpn.system.rtnl_rows import Changes, Tables
from autovpn.system.rtnl_table import MessageTable, Stale, route_matters, rule_matters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from autovpn.system.rtnl_rows import AddressRow, LinkRow, NeighbourRow, RouteRow, RuleRow
    from autovpn.system.rtnl_table import AddressKey, NeighbourKey

RECEIVE_BUFFER: Final = 16 << 20  # bytes; a limit and no reservation: some 4,000 link messages
BUDGET: Final = 4096  # messages of one drain, about 40 ms, so that a storm doesn't starve the loop
_CATCH_UP: Final = 200_000  # messages while a dump is brought up to date, before it is given up as too old
_ATTEMPTS: Final = 8
_LARGEST_MESSAGE: Final = 1 << 17
_GROUPS: Final = (
    abi.RTNLGRP_LINK,
    abi.RTNLGRP_NEIGH,
    abi.RTNLGRP_IPV4_IFADDR,
    abi.RTNLGRP_IPV4_ROUTE,
    abi.RTNLGRP_IPV4_RULE,
    abi.RTNLGRP_IPV6_IFADDR,
    abi.RTNLGRP_IPV6_ROUTE,
    abi.RTNLGRP_IPV6_RULE,
)
_DUMPED: Final = (
    (abi.RTM_GETLINK, abi.RTM_NEWLINK),
    (abi.RTM_GETADDR, abi.RTM_NEWADDR),
    (abi.RTM_GETNEIGH, abi.RTM_NEWNEIGH),
)


class EventsLost(SystemFault):
    """The kernel dropped events of ours: what is known is out of date."""


class Rtnl:
    """A live view of one network namespace. Watch `fileno()`, `drain()` when it is readable, read `tables()`."""

    def __init__(self, monitor: socket.socket, requests: DumpSocket) -> None:
        """Take over two open sockets; use `Rtnl.open`."""
        self.resyncs = 0
        """How often the whole state, or a table, had to be asked for again, since events or a dump were lost."""
        self.malformed = 0
        """How many objects were left out since the kernel's words on them made no sense, even when asked again."""
        self._monitor = monitor
        self._requests = requests
        self._buffer = bytearray(_LARGEST_MESSAGE)
        self._next_generation = count(1).__next__
        self._table = MessageTable(self._next_generation)
        self._behind = True
        self._forget_rows()
        self._routes: tuple[RouteRow, ...] = ()
        self._rules: tuple[RuleRow, ...] = ()
        self._tables = Tables()

    @classmethod
    def open(cls, receive_buffer: int = RECEIVE_BUFFER) -> Self:
        """Watch the network namespace of the calling thread; needs no privilege (a small buffer without any).

        Raises:
            SystemFault: the kernel has no rtnetlink for us, or never stood still enough to be read.
        """
        try:
            rtnl = cls(_monitor_socket(receive_buffer), DumpSocket())
        except OSError as error:
            raise SystemFault(f"the kernel's netlink could not be opened: {error.strerror}") from error
        rtnl.resync()
        if rtnl._behind:
            rtnl.close()
            raise SystemFault(
                "the kernel's tables change faster than they can be read; something adds and removes links"
            )
        rtnl.resyncs = 0
        return rtnl

    def __enter__(self) -> Self:
        """Close at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close both sockets."""
        self.close()

    def close(self) -> None:
        """Stop watching."""
        self._monitor.close()
        self._requests.close()

    def fileno(self) -> int:
        """The descriptor that is readable when `drain` has something to do."""
        return self._monitor.fileno()

    def drain(self, budget: int = BUDGET) -> Changes:
        """Take in what has arrived, `budget` messages at most; what may have changed. Never waits.

        Raises:
            SystemFault: the socket is broken, or the kernel refuses to list its state.
        """
        if not self._behind:
            with suppress(EventsLost, MalformedMessage):
                return Changes(self._read(self._table, budget))
        self.resync()
        return Changes.TABLES | (Changes.MORE if self._behind else Changes.NONE)

    def resync(self) -> None:
        """Read the whole state anew, a few times if it changes meanwhile; in vain, the next drain tries again.

        Raises:
            SystemFault: the socket is broken, or the kernel refuses to list its state.
        """
        self._behind = True
        for _ in range(_ATTEMPTS):
            self.resyncs += 1
            with suppress(EventsLost, MalformedMessage, DumpInterrupted):
                self._table = self._whole_state()
                self._forget_rows()
                self._behind = False
                return

    def tables(self) -> Tables:
        """Return the tables as of the last drain; those of the look before, while the newest can't be had.

        Raises:
            SystemFault: the kernel refuses to list its routes or rules.
        """
        if not self._behind and self._refresh():
            self.resync()  # what made no sense is asked for again; what still doesn't is left out
            if not self._behind:
                self.malformed += self._refresh()
        if not self._behind:
            with suppress(DumpInterrupted):  # what interrupted it has sent an event, which brings the caller back
                self._refresh_routes_and_rules()
                self._tables = self._assembled()
        return self._tables

    def _forget_rows(self) -> None:
        table = self._table
        self._links: Rows[int, LinkRow] = Rows(lambda index, message: link_row(message, table.generations[index]))
        self._addresses: Rows[AddressKey, AddressRow] = Rows(lambda _, message: address_row(message))
        self._neighbours: Rows[NeighbourKey, NeighbourRow] = Rows(lambda _, message: neighbour_row(message))

    def _refresh(self) -> int:
        """Decode what changed; how many objects made no sense."""
        table = self._table
        return (
            self._links.refresh(table.links)
            + self._addresses.refresh(table.addresses)
            + self._neighbours.refresh(table.neighbours)
        )

    def _assembled(self) -> Tables:
        links = self._links.by_key
        return Tables(
            links=MappingProxyType(dict(links)),
            addresses=tuple(row for row in self._addresses.by_key.values() if row.index in links),
            routes=self._routes,
            rules=self._rules,
            neighbours=tuple(row for row in self._neighbours.by_key.values() if row.index in links),
        )

    def _read(self, table: MessageTable, budget: int) -> int:
        """The hot path: datagrams into `table`, until there are none or the budget is spent; the bits of `Changes`."""
        buffer, view = self._buffer, memoryview(self._buffer)
        receive, apply = self._monitor.recvfrom_into, table.apply
        header, header_size = abi.MESSAGE_HEADER.unpack_from, abi.MESSAGE_HEADER.size
        changes = 0
        for _ in range(budget):
            try:
                size, (sender, _) = receive(buffer, 0, socket.MSG_TRUNC)
            except BlockingIOError:
                return changes
            except OSError as error:
                raise _receive_fault(error) from error
            if sender:
                continue  # another process may write to this socket; only the kernel is to be believed
            if size > len(buffer):
                raise EventsLost("a netlink message was cut off")
            start = 0
            while start + header_size <= size:
                length, kind, _, _, _ = header(buffer, start)
                if length < header_size or start + length > size:
                    raise MalformedMessage(f"a netlink message claims {length} bytes of {size - start}")
                if kind == abi.NLMSG_OVERRUN:
                    raise EventsLost("the kernel reports an overrun")
                changes |= apply(kind, bytes(view[start : start + length]))
                start += (length + 3) & ~3
        return changes | Changes.MORE.value

    def _whole_state(self) -> MessageTable:
        """Dump links, addresses and neighbours, then catch up with what happened meanwhile."""
        # A full socket goes on dropping without a word until it has been emptied once (netlink_overrun in
        # af_netlink.c), so it is emptied before the dump. What stays in it after that and is older than the dump is
        # followed by what is newer: taken in to the end, the order makes it right.
        with suppress(EventsLost, MalformedMessage):
            self._read(MessageTable(), _CATCH_UP)
        table = MessageTable(self._next_generation)
        for request, answer in _DUMPED:
            for message in self._requests.dump(request):
                table.apply(answer, message)
        table.inherit_generations(self._table)
        if self._read(table, _CATCH_UP) & Changes.MORE.value:
            raise EventsLost("the kernel's tables change faster than they can be read")
        return table

    def _refresh_routes_and_rules(self) -> None:
        table = self._table
        if table.stale & Stale.ROUTES:
            self._requests.wait_for_changes()
            self._routes = self._decoded(filter(route_matters, self._dump_again(abi.RTM_GETROUTE)), route_row)
            table.route_devices = _devices(self._routes)
            table.stale &= ~Stale.ROUTES
        if table.stale & Stale.RULES:
            self._rules = self._decoded(filter(rule_matters, self._dump_again(abi.RTM_GETRULE)), rule_row)
            table.stale &= ~Stale.RULES

    def _dump_again(self, request: int) -> list[bytes]:
        """Dump a table until it stood still meanwhile, a few times."""
        for _ in range(_ATTEMPTS - 1):
            with suppress(DumpInterrupted):
                return self._requests.dump(request)
            self.resyncs += 1
        return self._requests.dump(request)

    def _decoded(self, messages: Iterable[bytes], decode: Callable[[bytes], Row]) -> tuple[Row, ...]:
        """Decode each; one that makes no sense is left out, since it was asked for just now."""
        rows: list[Row] = []
        for message in messages:
            try:
                rows.append(decode(message))
            except MalformedMessage:
                self.malformed += 1
        return tuple(rows)


def _monitor_socket(receive_buffer: int) -> socket.socket:
    """Open a socket that is told of every change."""
    monitor = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    try:
        monitor.setsockopt(socket.SOL_SOCKET, abi.SO_RCVBUFFORCE, receive_buffer)
    except PermissionError:
        monitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)  # less: net.core.rmem_max
    monitor.bind((0, 0))
    for group in _GROUPS:
        monitor.setsockopt(abi.SOL_NETLINK, abi.NETLINK_ADD_MEMBERSHIP, group)
    return monitor


def _receive_fault(error: OSError) -> SystemFault:
    if error.errno == errno.ENOBUFS:
        return EventsLost("the kernel dropped events, since the netlink socket was full")
    return SystemFault(f"the netlink socket failed: {error.strerror}")


def _devices(routes: Iterable[RouteRow]) -> frozenset[int]:
    """The links that these routes go out by."""
    ways = (index for route in routes for index in (route.oif, *(hop.oif for hop in route.nexthops)))
    return frozenset(index for index in ways if index is not None)
