"""One connection to a D-Bus daemon: dbus-next's messages over asyncio's streams.

The library's own connection opens its socket by a call that blocks, and never closes it. So only what it does well is
taken from it: messages to bytes and back. Loading it takes a while, so it is loaded in a thread, by who connects first.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbus_next.message import Message

_FIXED_HEADER = 16
_ORDERS = {ord("l"): "little", ord("B"): "big"}
LARGEST = 1 << 20
"""Bytes of one message; what we ask for has a few hundred."""


class Wire:
    """Sends calls, matches the answers, and hands signals to all `listeners`; None tells them that it is over."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, library: SimpleNamespace) -> None:
        """Take a connection that has been let in."""
        self._reader = reader
        self._writer = writer
        self._library = library
        self._serials = count(1)
        self._answers: dict[int, asyncio.Future[Message]] = {}
        self.listeners: set[asyncio.Queue[Message | None]] = set()
        self._reading = asyncio.get_running_loop().create_task(self._read())

    @staticmethod
    async def open(socket: Path) -> Wire:
        """Connect and say who we are; raises OSError or EOFError where nobody lets us in."""
        library = await asyncio.to_thread(_library)
        reader, writer = await asyncio.open_unix_connection(socket)
        try:
            await _let_in(reader, writer)
            wire = Wire(reader, writer, library)
            await wire.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", "", ())
        except BaseException:
            writer.close()
            raise
        return wire

    @property
    def is_open(self) -> bool:
        """Tell whether the daemon is still there."""
        return not self._reading.done()

    async def call(
        self, destination: str, path: str, interface: str, member: str, signature: str, body: Sequence[object]
    ) -> Message:
        """Call a method; return the answer, be it an error. Raises EOFError when the connection ends before it."""
        if not self.is_open:
            raise EOFError("the connection is closed")
        serial = next(self._serials)
        message = self._library.Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
            serial=serial,
        )
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._answers[serial] = answer
        try:
            self._writer.write(bytes(message._marshall()))  # noqa: SLF001 (its fork's public way is this one, too)
            return await answer
        finally:
            del self._answers[serial]

    def close(self) -> None:
        """Hang up."""
        self._reading.cancel()
        self._writer.close()

    async def _read(self) -> None:
        try:
            while True:
                self._dispatch(await self._message())
        except (OSError, EOFError, ValueError):
            pass
        finally:
            self._writer.close()
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(EOFError("the connection was lost"))
            for listener in self.listeners:
                listener.put_nowait(None)

    async def _message(self) -> Message:
        """Read one message: the lengths of its header and of its body are in the first sixteen bytes."""
        start = await self._reader.readexactly(_FIXED_HEADER)
        order = _ORDERS[start[0]]
        body, header = (int.from_bytes(start[at : at + 4], order) for at in (4, 12))  # type: ignore[arg-type]
        rest = header + -header % 8 + body
        if rest > LARGEST:
            raise ValueError("a message that long is none of ours")
        data = start + await self._reader.readexactly(rest)
        message: Message = self._library.Unmarshaller(io.BytesIO(data)).unmarshall()
        return message

    def _dispatch(self, message: Message) -> None:
        if message.message_type.name == "SIGNAL":
            for listener in self.listeners:
                listener.put_nowait(message)
        answer = self._answers.get(message.reply_serial or 0)
        if answer and not answer.done():
            answer.set_result(message)


async def _let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say who we are by SASL's EXTERNAL: the daemon knows our user from the socket (D-Bus Specification)."""
    writer.write(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n")
    if not (await reader.readline()).startswith(b"OK "):
        raise EOFError("D-Bus doesn't let us in")
    writer.write(b"BEGIN\r\n")


def _library() -> SimpleNamespace:
    return SimpleNamespace(
        Message=importlib.import_module("dbus_next.message").Message,
        Unmarshaller=importlib.import_module("dbus_next._private.unmarshaller").Unmarshaller,
    )
