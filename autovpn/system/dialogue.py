"""One conversation with a tunnel's program over its own unix socket."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress

from autovpn.core.driving import Closed, Opened, Received
from autovpn.core.secret import Secret

_log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.25
_CHUNK = 64 * 1024

Report = Callable[[Opened | Received | Closed], None]


class Dialogue:
    """A stream socket that is connected to as soon as the tunnel's own program listens.

    The file alone proves nothing: a killed program leaves its socket behind, and a new one binds before it listens. So
    connecting is tried, at pauses that grow to a quarter of a second, and only while the tunnel is starting. Nor does a
    program that listens prove that it is ours: a name of root's that two programs chose is enough to hand one the keys
    of the other, so `is_ours` is asked about each server.
    """

    def __init__(self, channel: str, path: str, report: Report, is_ours: Callable[[socket.socket], bool]) -> None:
        """Begin to connect."""
        self._channel = channel
        self._path = path
        self._report = report
        self._is_ours = is_ours
        self._writer: asyncio.StreamWriter | None = None
        self._conversation = asyncio.get_running_loop().create_task(self._converse())

    def send(self, data: Secret) -> None:
        """Write, if the channel is open; what it says is not logged, since it may be a key."""
        if self._writer is None or self._writer.is_closing():
            _log.debug("%s is not open; what was to be sent is dropped", self._channel)
            return
        self._writer.write(data.reveal())

    def close(self) -> None:
        """Hang up, or give up connecting."""
        self._conversation.cancel()
        if self._writer is not None:
            self._writer.close()

    async def _converse(self) -> None:
        try:
            reader, self._writer = await self._connected()
            self._report(Opened(self._channel))
            while data := await reader.read(_CHUNK):
                self._report(Received(self._channel, data))
        except OSError as error:
            _log.info("%s: the connection to %s broke: %s", self._channel, self._path, error)
        if self._writer is not None:
            self._writer.close()
        self._report(Closed(self._channel))

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        pause = _FIRST_PAUSE
        warned = False
        while True:
            with suppress(FileNotFoundError, ConnectionRefusedError):
                reader, writer = await asyncio.open_unix_connection(self._path)
                if self._is_ours(writer.get_extra_info("socket")):
                    return reader, writer
                writer.close()
                if not warned:
                    _log.warning(
                        "%s: a program that is not this tunnel's listens there; it is told nothing", self._path
                    )
                warned = True
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
