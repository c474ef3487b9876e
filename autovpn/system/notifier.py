"""The daemon's end of the notifier: one socket per tunnel, which listens to that tunnel's own processes alone."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from autovpn.core.driving import Report
from autovpn.errors import SystemFault
from autovpn.notify import LARGEST, is_known
from autovpn.system.files import to_its_end
from autovpn.system.output import shown
from autovpn.system.peer import is_of_session

if TYPE_CHECKING:
    from autovpn.system.process import Process

_log = logging.getLogger(__name__)

_DEADLINE = 5.0
_MOST_AT_ONCE = 16
_LONGEST_VALUE = 4096
_LONGEST_PATH = 107  # sun_path of unix(7), less its NUL


class Notifier:
    """Listens for what the scripts of one tunnel tell, while the tunnel is connecting or up.

    A caller must belong to the session of the tunnel's program: nobody else may speak for it, not even another
    process of root's. The program may call before `belongs_to` is told, so callers wait for that.
    """

    def __init__(self, path: Path, report: Callable[[Report], None]) -> None:
        """Listen later, when `listen` is awaited."""
        self.path = path
        self._report = report
        self._leader: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
        self._server: asyncio.Server | None = None
        self._callers: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Make the directory (0700) and open the socket in it (0600); one of a dead daemon is replaced."""
        listening = await to_its_end(_listening_socket, self.path)
        self._server = await asyncio.start_unix_server(self._called, sock=listening, limit=LARGEST)

    def belongs_to(self, leader: Process) -> None:
        """Say whose scripts may call."""
        if not self._leader.done():
            self._leader.set_result(leader)

    def close(self) -> None:
        """Stop listening: scripts that are waiting go on, later ones find nobody."""
        if self._server is not None:
            self._server.close()
        self._leader.cancel()
        for caller in self._callers:
            caller.cancel()

    async def _called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._callers) >= _MOST_AT_ONCE:
            writer.close()
            return
        self._callers.add(task)
        try:
            # A call that is cancelled here was cut off by `close`; asyncio would log it as lost.
            with suppress(OSError, TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(_DEADLINE):
                    await self._listen_to(reader, writer)
        finally:
            self._callers.discard(task)
            writer.close()

    async def _listen_to(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        leader = await asyncio.shield(self._leader)
        peer = writer.get_extra_info("socket")
        if not is_of_session(peer, leader):
            _log.warning("%s: a process that is not of this tunnel was turned away", self.path)
            return
        data = await _whole(reader)
        if data is None:
            _log.warning("%s: a report of more than %d bytes was turned away", self.path, LARGEST)
            return
        self._report(Report(report_values(data)))
        writer.write(b".")
        await writer.drain()


def report_values(message: bytes) -> dict[str, str]:
    """Return the known variables of a report, escaped, and its arguments as ARGV_1, ARGV_2 and so on."""
    values: dict[str, str] = {}
    arguments = 0
    for item in message.split(b"\0"):
        name, _, value = item[1:].partition(b"=")
        if item.startswith(b"A"):
            arguments += 1
            values[f"ARGV_{arguments}"] = shown(item[1:], _LONGEST_VALUE)
        elif item.startswith(b"E") and is_known(name):
            values[name.decode()] = shown(value, _LONGEST_VALUE)
    return values


async def _whole(reader: asyncio.StreamReader) -> bytes | None:
    data = b""
    while chunk := await reader.read(LARGEST):
        data += chunk
        if len(data) > LARGEST:
            return None
    return data


def _listening_socket(path: Path) -> socket.socket:
    if (excess := len(os.fsencode(path)) - _LONGEST_PATH) > 0:
        msg = f"{path}: too long for a socket, by {excess} bytes; choose a shorter --run-dir"
        raise SystemFault(msg)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)  # whatever the umask, or whoever made it before
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))  # nobody can reach it between the two calls: the directory is root's alone
    path.chmod(0o600)
    return listening
