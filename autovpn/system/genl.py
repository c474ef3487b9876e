"""Whether the kernel has a generic netlink family, and a word when that changes (linux/genetlink.h).

The families are listed and never asked for by name: asking makes the kernel load the module of that name
(ctrl_getfamily in net/netlink/genetlink.c), and looking must not change the machine.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Final

from autovpn.errors import SystemFault
from autovpn.system import rtnl_abi as abi
from autovpn.system.rtnl_decode import MalformedMessage, attributes

NETLINK_GENERIC: Final = 16  # linux/netlink.h; Python has no name for it
GENL_ID_CTRL: Final = 16
GENL_HEADER: Final = struct.Struct("=BBH")  # struct genlmsghdr: command, version, reserved
CTRL_CMD_GETFAMILY: Final = 3
CTRL_ATTR_FAMILY_ID: Final = 1
CTRL_ATTR_FAMILY_NAME: Final = 2

_NOTIFY_GROUP: Final = 1 << (GENL_ID_CTRL - 1)  # the controller's only multicast group has the controller's number
_U16: Final = struct.Struct("=H")
_LARGEST: Final = 1 << 16


class FamilyWatch:
    """Tells when a generic netlink family may have come or gone: `fileno()` is readable, `consume`, `number` again."""

    def __init__(self, name: str) -> None:
        """Watch for `name`, as the kernel spells it.

        Raises:
            SystemFault: there is no generic netlink.
        """
        self._name = name.encode() + b"\0"
        self._socket = _open(_NOTIFY_GROUP)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def consume(self) -> None:
        """Take in what has arrived. What was lost (ENOBUFS) is no loss, since the next look sees it all."""
        while True:
            try:
                self._socket.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise SystemFault(f"the kernel's news of its families broke off: {error.strerror}") from error

    def number(self) -> int | None:
        """Return the family's message type, which changes when its module is loaded again; None without one.

        Raises:
            SystemFault: the kernel did not list its families.
        """
        with _open() as control:
            return _families(control).get(self._name)

    def close(self) -> None:
        """Stop watching."""
        self._socket.close()


def _open(groups: int = 0) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    try:
        control = socket.socket(socket.AF_NETLINK, kind, NETLINK_GENERIC)
        control.bind((0, groups))
    except OSError as error:
        raise SystemFault(f"the kernel's generic netlink could not be opened: {error.strerror}") from error
    return control


def _families(control: socket.socket) -> dict[bytes, int]:
    """List name and number of every family. The kernel answers within the calls, so nothing here waits for long."""
    body = GENL_HEADER.pack(CTRL_CMD_GETFAMILY, 1, 0)
    length = abi.MESSAGE_HEADER.size + len(body)
    header = abi.MESSAGE_HEADER.pack(length, GENL_ID_CTRL, abi.NLM_F_REQUEST | abi.NLM_F_DUMP, 1, 0)
    families: dict[bytes, int] = {}
    try:
        control.send(header + body)
        while _take(control.recv(_LARGEST), families):
            pass
    except OSError as error:
        raise SystemFault(f"the kernel did not list its generic netlink families: {error.strerror}") from error
    return families


def _take(answer: bytes, families: dict[bytes, int]) -> bool:
    """Add the families of one datagram; report whether there are more to come."""
    start = 0
    while start + abi.MESSAGE_HEADER.size <= len(answer):
        length, kind, *_ = abi.MESSAGE_HEADER.unpack_from(answer, start)
        if length < abi.MESSAGE_HEADER.size or start + length > len(answer):
            raise MalformedMessage(f"a netlink message claims {length} bytes of {len(answer) - start}")
        if kind == abi.NLMSG_DONE:
            return False
        _add(kind, answer[start : start + length], families)
        start += (length + 3) & ~3
    return True


def _add(kind: int, message: bytes, families: dict[bytes, int]) -> None:
    body = abi.MESSAGE_HEADER.size
    try:
        if kind == abi.NLMSG_ERROR:
            (number,) = struct.unpack_from("=i", message, body)
            raise OSError(-number, os.strerror(-number))
        found = attributes(message, body + GENL_HEADER.size)
        (families[found[CTRL_ATTR_FAMILY_NAME]],) = _U16.unpack(found[CTRL_ATTR_FAMILY_ID])
    except (KeyError, struct.error) as error:
        raise MalformedMessage("the kernel listed a generic netlink family without name or number") from error
