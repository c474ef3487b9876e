"""Asking the kernel for whole tables: RTM_GET… with NLM_F_DUMP over a socket of its own (rtnetlink(7), netlink(7)).

The kernel answers within the system calls, from memory (netlink_dump in af_netlink.c): the first part is there when
`sendto` returns and each further one when the part before it has been read. So the socket does not block, and nothing
here waits for anything but the kernel's own lock.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from itertools import count
from typing import TYPE_CHECKING, Final

from autovpn.errors import SystemFault
from autovpn.system import rtnl_abi as abi
from autovpn.system.rtnl_decode import MalformedMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUFFER_BYTES: Final = 1 << 18  # eight times what the kernel puts into one part of a dump
_NUMBER: Final = struct.Struct("=i")
_EXT_MASK: Final = struct.Struct("=HHI").pack(8, abi.IFLA_EXT_MASK, abi.RTEXT_FILTER_SKIP_STATS)
_LOOPBACK: Final = 1  # the kernel's LOOPBACK_IFINDEX (net/flow.h), in every network namespace

# The body of the request for each table: all families, all devices, nothing else asked for.
_BODIES: Final = {
    abi.RTM_GETLINK: bytes(abi.LINK_HEADER.size) + _EXT_MASK,
    abi.RTM_GETADDR: bytes(abi.ADDRESS_HEADER.size),
    abi.RTM_GETROUTE: bytes(abi.ROUTE_HEADER.size),
    abi.RTM_GETRULE: bytes(abi.RULE_HEADER.size),
    abi.RTM_GETNEIGH: bytes(abi.NEIGHBOUR_HEADER.size),
}


class DumpInterrupted(SystemFault):
    """The table changed while it was dumped (NLM_F_DUMP_INTR), so what came is neither the old nor the new one."""


class DumpSocket:
    """A socket for requests alone, so that an answer never stands in a queue with events."""

    def __init__(self) -> None:
        """Open it in the network namespace of the calling thread; OSError if there is no netlink."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._buffer = bytearray(_BUFFER_BYTES)
        self._sequences = count(1)
        self._check_strictly()

    def _check_strictly(self) -> None:
        """Leave the route cache out of IPv4 dumps; kernels before 4.20 can't, so the reader passes it over as well."""
        try:
            self._socket.setsockopt(abi.SOL_NETLINK, abi.NETLINK_GET_STRICT_CHK, 1)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def dump(self, kind: int) -> list[bytes]:
        """Return every message of one table; `kind` is one of the RTM_GET… with a table.

        Raises:
            DumpInterrupted: the table changed meanwhile; ask again.
            SystemFault: the kernel refused, or did not answer.
        """
        sequence = self._send(kind, abi.NLM_F_DUMP, _BODIES[kind])
        messages: list[bytes] = []
        interrupted = 0
        for answer, flags, message in self._answers(sequence):
            interrupted |= flags & abi.NLM_F_DUMP_INTR
            if answer == abi.NLMSG_DONE:
                break
            messages.append(message)
        if interrupted:
            raise DumpInterrupted("a kernel table changed while it was read")
        return messages

    def wait_for_changes(self) -> None:
        """Return after the change that the kernel is in the middle of.

        The event that says that a link goes down, or loses an address, is sent before its routes are dropped
        (dev_close_many in net/core/dev.c), and since Linux 6.9 route dumps don't take the lock under which that
        happens. Asking for a single link does.
        """
        body = abi.LINK_HEADER.pack(socket.AF_UNSPEC, 0, 0, _LOOPBACK, 0, 0) + _EXT_MASK
        next(self._answers(self._send(abi.RTM_GETLINK, 0, body)))

    def _send(self, kind: int, flags: int, body: bytes) -> int:
        sequence = next(self._sequences) & 0xFFFF_FFFF
        length = abi.MESSAGE_HEADER.size + len(body)
        header = abi.MESSAGE_HEADER.pack(length, kind, abi.NLM_F_REQUEST | flags, sequence, 0)
        try:
            self._socket.sendto(header + body, (0, 0))
        except OSError as error:
            raise SystemFault(f"the kernel took no request for its tables: {error.strerror}") from error
        return sequence

    def _answers(self, sequence: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield type, flags and bytes of each message that answers the request, the final one included."""
        while True:
            size = self._receive()
            start = 0
            while start + abi.MESSAGE_HEADER.size <= size:
                length, kind, flags, number, _ = abi.MESSAGE_HEADER.unpack_from(self._buffer, start)
                if length < abi.MESSAGE_HEADER.size or start + length > size:
                    raise MalformedMessage(f"a netlink message claims {length} bytes of {size - start}")
                if number == sequence:
                    message = bytes(self._buffer[start : start + length])
                    _raise_error(kind, message)
                    yield kind, flags, message
                start += (length + 3) & ~3

    def _receive(self) -> int:
        """The size of the next datagram of the kernel's, which is in the buffer."""
        while True:
            try:
                size, (sender, _) = self._socket.recvfrom_into(self._buffer, 0, socket.MSG_TRUNC)
            except OSError as error:
                raise SystemFault(f"the kernel's tables could not be read: {error.strerror}") from error
            if size > len(self._buffer):
                raise SystemFault(f"the kernel answered with {size} bytes at once, where {len(self._buffer)} are room")
            if sender == 0:
                return size


def _raise_error(kind: int, message: bytes) -> None:
    """Raise what an error message, or the status at the end of a dump, says."""
    if kind not in (abi.NLMSG_ERROR, abi.NLMSG_DONE) or len(message) < abi.MESSAGE_HEADER.size + _NUMBER.size:
        return
    (number,) = _NUMBER.unpack_from(message, abi.MESSAGE_HEADER.size)
    if number < 0:
        raise SystemFault(f"the kernel did not give its tables: {os.strerror(-number)}")
