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
from contextlib import suppress
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbus_next.message import Message

_FIXED_HEADER = 16
_ORDERS = {ord("l"): "little", ord("B"): "big"}
LARGEST = 1 << 20
"""Bytes of one message; what we ask for has a few hundred."""


BUS = "org.freedesktop.DBus"
"""The name of the bus itself; nobody else can send by it."""


async def library() -> SimpleNamespace:
    """Return what is used of the library; raises ImportError where the machine lacks it."""
    return await asyncio.to_thread(_library)


class Wire:
    """Sends calls, matches the answers, and hands signals to all `listeners`; None tells them that it is over."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, library: SimpleNamespace) -> None:
        """Take a connection that has been let in."""
        self._reader = reader
        self._writer = writer
        self._library = library
        self._serials = count(1)
        self._answers: dict[int, tuple[str, asyncio.Future[Message]]] = {}
        self.listeners: set[asyncio.Queue[Message | None]] = set()
        self._reading = asyncio.get_running_loop().create_task(self._read())

    @staticmethod
    async def open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, library: SimpleNamespace) -> Wire:
        """Say who we are to the daemon at the other end; raises OSError or EOFError where it doesn't let us in."""
        await _let_in(reader, writer)
        wire = Wire(reader, writer, library)
        await wire.call(BUS, "/org/freedesktop/DBus", BUS, "Hello", "", ())
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
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        serial = next(self._serials)
        self._answers[serial] = destination, answer
        try:
            self._send(serial, destination, path, interface, member, signature, body)
            return await answer
        finally:
            del self._answers[serial]

    def tell(self, destination: str, path: str, interface: str, member: str, signature: str, *body: object) -> None:
        """Call a method whose answer matters to nobody, and don't wait for it."""
        if self.is_open:
            self._send(next(self._serials), destination, path, interface, member, signature, body)

    def close(self) -> None:
        """Hang up."""
        self._reading.cancel()
        self._writer.close()

    def _send(
        self,
        serial: int,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: Sequence[object],
    ) -> None:
        message = self._library.Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
            serial=serial,
        )
        self._writer.write(bytes(message._marshall()))  # noqa: SLF001 (its fork's public way is this one, too)

    async def _read(self) -> None:
        try:
            with suppress(Exception):  # whatever the library finds wrong with bytes that are no message
                while True:
                    self._dispatch(await self._message())
        finally:
            self._writer.close()
            for _asked, answer in self._answers.values():
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
        match message.message_type.name:
            case "SIGNAL":
                for listener in self.listeners:
                    listener.put_nowait(message)
            case "METHOD_RETURN" | "ERROR":
                self._answered(message)
            case _:
                pass  # nobody has anything to ask of us

    def _answered(self, message: Message) -> None:
        """Hand an answer to who waits for it.

        The daemon lets an answer through from nobody but who was asked; a signal, which anybody may send with any
        REPLY_SERIAL, must not pass for one. For the bus itself we look: nobody else can send by its name.
        """
        asked, answer = self._answers.get(message.reply_serial or 0, ("", None))
        if answer and not answer.done() and (asked != BUS or message.sender == BUS):
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
