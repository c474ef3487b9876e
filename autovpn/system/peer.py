"""Who is at the other end of a unix socket: one of a tunnel's own processes, or a stranger."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

from autovpn.system.procfs import facts_of

if TYPE_CHECKING:
    from autovpn.system.process import Process

CREDENTIALS = struct.Struct("3i")
"""struct ucred of unix(7): pid, uid, gid."""


def is_of_session(connection: socket.socket, leader: Process) -> bool:
    """Report whether the other end is a process of the leader's session.

    The kernel noted its pid when it connected or, of a server, when it began to listen (SO_PEERCRED of unix(7)).
    """
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, _, _ = CREDENTIALS.unpack(raw)
    return in_session(pid, leader)


def in_session(pid: int, leader: Process) -> bool:
    """Report whether a process, if there still is one of this number, belongs to the leader's session.

    So does one that the leader has started in a session of its own, as pppd does with its scripts.
    """
    facts = facts_of(pid)
    return facts is not None and leader.pid in (facts.session, facts.parent)


def roots_session(connection: socket.socket) -> tuple[int, int] | None:
    """Return the leader (pid, start time) of the session of a server that is root's, or our own user's; else None."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, user, _ = CREDENTIALS.unpack(raw)
    server = facts_of(pid)
    if server is None or user not in (0, os.geteuid()):
        return None
    leader = facts_of(server.session) or server
    return leader.pid, leader.start_time
