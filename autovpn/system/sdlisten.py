"""The service manager's end of sd_notify(3), for programs of a tunnel that tell in this way that they are ready."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from autovpn.core.driving import Notified
from autovpn.system.files import to_its_end
from autovpn.system.output import shown
from autovpn.system.peer import CREDENTIALS, in_session

if TYPE_CHECKING:
    from autovpn.system.process import Process

_log = logging.getLogger(__name__)

VARIABLE = "NOTIFY_SOCKET"
KNOWN = ("READY", "STATUS")
"""What is handed on of a message; the rest (WATCHDOG, MAINPID, FDSTORE) is a service manager's business."""

_LARGEST = 4096
_MOST_FILES = 16
_ROOM = socket.CMSG_SPACE(CREDENTIALS.size) + socket.CMSG_SPACE(_MOST_FILES * struct.calcsize("i"))


class SdListener:
    """A datagram socket that listens to the processes of one tunnel's session alone, by the kernel's word on each.

    The kernel notes the sender's pid with each message, and whoever has ended by the time it is read can't be told from
    a stranger. For that reason systemd-notify(1) waits until the descriptor that it sends behind its message
    (BARRIER=1) is closed, so all descriptors that come are closed at once.
    """

    def __init__(self, path: Path, report: Callable[[Notified], None]) -> None:
        """Listen later, when `listen` is awaited."""
        self._path = path
        self._report = report
        self._socket: socket.socket | None = None

    async def listen(self) -> None:
        """Open the socket (0600); one of a dead daemon is replaced."""
        self._socket = await to_its_end(_bound, self._path)

    def belongs_to(self, leader: Process) -> None:
        """Say whose processes may speak; what was said before this, the kernel has kept."""
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._read, self._socket, leader)

    def close(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _read(self, readable: socket.socket, leader: Process) -> None:
        """Take one message; the loop comes again for the next."""
        with suppress(BlockingIOError):
            message, ancillary, flags, _ = readable.recvmsg(_LARGEST, _ROOM, socket.MSG_CMSG_CLOEXEC)
            sender = _opened(ancillary)
            if flags & socket.MSG_TRUNC:
                _log.warning("%s: a message of more than %d bytes was turned away", self._path, _LARGEST)
            elif sender is None or not in_session(sender, leader):
                _log.warning("%s: a process that is not of this tunnel was turned away", self._path)
            elif values := notified_values(message):
                self._report(Notified(values))


def notified_values(message: bytes) -> dict[str, str]:
    """Return the known variables of a message, a line each, escaped and cut."""
    pairs = (line.partition(b"=") for line in message.split(b"\n"))
    return {name.decode(): shown(value) for name, _, value in pairs if name in map(str.encode, KNOWN)}


def _opened(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """Return the sender's pid, and close every descriptor that came along (unix(7))."""
    sender = None
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            for (descriptor,) in struct.iter_unpack("i", data[: len(data) // 4 * 4]):
                os.close(descriptor)
        elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            sender, _, _ = CREDENTIALS.unpack(data[: CREDENTIALS.size])
    return sender


def _bound(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    bound.bind(str(path))  # nobody can reach it between the two calls: the directory is root's alone
    path.chmod(0o600)
    return bound
