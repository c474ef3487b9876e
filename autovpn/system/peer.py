"""Who is at the other end of a unix socket: one of a tunnel's own processes, or a stranger."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autovpn.system.process import Process

_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


def is_of_session(connection: socket.socket, leader: Process) -> bool:
    """Report whether the other end is a process of the leader's session.

    The kernel noted its pid when it connected or, of a server, when it began to listen (SO_PEERCRED of unix(7)).
    """
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, _, _ = _CREDENTIALS.unpack(raw)
    try:
        return os.getsid(pid) == leader.pid
    except (ProcessLookupError, PermissionError):
        return False
