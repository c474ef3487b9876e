"""A bus of the test's own, and services on it that answer as the test says."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import MessageType
from dbus_next.message import Message

if TYPE_CHECKING:
    from typing import Any

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow eavesdrop="true"/>
    <allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/>
  </policy>
</busconfig>
"""


@contextmanager
def bus_daemon(folder: Path) -> Iterator[Path]:
    """Run a dbus-daemon, and give its socket once it listens there."""
    socket, config = folder / "bus", folder / "bus.conf"
    config.write_text(CONFIG.format(socket=socket))
    command = ["dbus-daemon", "--nofork", "--nopidfile", "--print-address=1", f"--config-file={config}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as daemon:
        try:
            assert daemon.stdout
            assert daemon.stdout.readline()
            yield socket
        finally:
            daemon.kill()
            socket.unlink(missing_ok=True)


@asynccontextmanager
async def stray_bus(folder: Path, *says: bytes) -> AsyncIterator[Path]:
    """Give the socket of a bus that lets everybody in, and answers the first calls with `says`, others not at all."""
    guests: list[asyncio.Task[None]] = []

    async def let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"OK 1234deadbeef\r\n")
        await reader.readline()
        for said in says:
            await reader.read(1 << 16)
            writer.write(said)
        await reader.read()
        writer.close()
        await writer.wait_closed()

    def opened(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        guests.append(asyncio.create_task(let_in(reader, writer)))

    socket = folder / "stray-bus"
    server = await asyncio.start_unix_server(opened, socket)
    try:
        yield socket
    finally:
        server.close()
        await asyncio.gather(*guests, return_exceptions=True)


class FakeService:
    """A service by its name; `answer` gives the signature and body for a call, None for one that is never answered.

    Who waits for that one gives up at once, whatever its deadline, for the clock of the loop is put forward: so every
    deadline may be long, and no busy machine lets pass another one. What `answer` raises as `Error` is sent as such.
    `calls` holds what was asked, as member and body.
    """

    def __init__(self, name: str, answer: Callable[[Message], tuple[str, list[Any]] | None]) -> None:
        self.name = name
        self.answer = answer
        self.calls: list[tuple[str, list[Any]]] = []
        self._connection: MessageBus | None = None

    async def start(self, socket: Path) -> None:
        """Come onto the bus and take the name."""
        connection = MessageBus(bus_address=f"unix:path={socket}")
        connection.add_message_handler(self._handle)
        await connection.connect()
        await connection.request_name(self.name)
        self._connection = connection

    async def stop(self) -> None:
        """Leave the bus."""
        if self._connection:
            self._connection.disconnect()  # type: ignore[no-untyped-call]
            with suppress(Exception):  # the bus may have gone first
                await self._connection.wait_for_disconnect()  # type: ignore[no-untyped-call]
            self._connection._stream.close()
            self._connection._sock.close()

    def tell(self, path: str, interface: str, member: str, signature: str, *body: object) -> None:
        """Send a signal to everybody."""
        self.send(Message.new_signal(path, interface, member, signature, list(body)))

    def send(self, message: Message) -> None:
        """Send whatever it is."""
        assert self._connection
        self._connection.send(message)

    def _handle(self, message: Message) -> Message | bool | None:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        self.calls.append((message.member or "", list(message.body)))
        try:
            answer = self.answer(message)
        except Error as error:
            return Message.new_error(message, error.name, error.words)
        if answer is None:
            _let_deadlines_pass()
            return True
        return Message.new_method_return(message, *answer)


def _let_deadlines_pass() -> None:
    """Put the clock of the loop forward by an hour."""
    loop = asyncio.get_running_loop()
    now = loop.time
    loop.time = lambda: now() + 3600.0  # type: ignore[method-assign]


class Error(Exception):
    """An error that a service answers with."""

    def __init__(self, name: str, words: str = "no") -> None:
        super().__init__(name)
        self.name = name
        self.words = words


@asynccontextmanager
async def on_the_bus(socket: Path, *services: FakeService) -> AsyncIterator[None]:
    """Have services on the bus for a while."""
    for service in services:
        await service.start(socket)
    try:
        yield
    finally:
        await asyncio.gather(*(service.stop() for service in services), return_exceptions=True)
