"""The one contact with D-Bus: raw messages without introspection, each answered within a deadline.

The library is loaded at the first call and only where there is a bus: a machine without D-Bus doesn't pay for it, and
neither does `autovpn recover`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autovpn.errors import SystemFault
from autovpn.system.bus_wire import BUS, Wire, library

if TYPE_CHECKING:
    from dbus_next.message import Message

T = TypeVar("T")

SYSTEM_BUS = Path("/run/dbus/system_bus_socket")
DEADLINE = 3.0
"""Seconds for one answer; a service that is started by being asked needs one or two."""

BUS_PATH = "/org/freedesktop/DBus"
PROPERTIES = "org.freedesktop.DBus.Properties"
_ERROR = "org.freedesktop.DBus.Error"
UNKNOWN_METHOD, NO_REPLY, INCONSISTENT = f"{_ERROR}.UnknownMethod", f"{_ERROR}.NoReply", f"{_ERROR}.InconsistentMessage"
NO_BUS, LOST, NOT_SUPPORTED = f"{_ERROR}.NoServer", f"{_ERROR}.Disconnected", f"{_ERROR}.NotSupported"
"""Errors by the names of <dbus/dbus-protocol.h>."""


class BusFault(SystemFault):
    """A call failed; `name` is the error's name in D-Bus."""

    def __init__(self, name: str, words: str) -> None:
        """Keep the name for who can make something of it."""
        super().__init__(words)
        self.name = name


@dataclass(frozen=True, slots=True)
class Remote:
    """An object of a service, and the interface by which it is spoken to."""

    service: str
    path: str
    interface: str


_DAEMON = Remote(BUS, BUS_PATH, BUS)


@dataclass(frozen=True, slots=True)
class Signal:
    """What a service told everybody."""

    path: str
    interface: str
    member: str
    body: tuple[Any, ...]


@contextmanager
def understood(service: str) -> Iterator[None]:
    """Take an answer apart; raises BusFault where it isn't made as the service's reference says."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
        raise BusFault(INCONSISTENT, f"{service}: its answer makes no sense ({error!r})") from error


class Bus:
    """A connection to the bus, made when it is needed, and made anew after it was lost."""

    def __init__(self, socket: Path = SYSTEM_BUS, deadline: float = DEADLINE) -> None:
        """Speak to the bus that listens at `socket`."""
        self._socket = socket
        self._deadline = deadline
        self._wire: Wire | None = None
        self._turn = asyncio.Lock()

    async def call(self, remote: Remote, member: str, signature: str = "", *body: object) -> list[Any]:
        """Call a method, and return what it answers.

        Raises:
            BusFault: it answered with an error, or not in time, or there is no bus.
        """
        what = f"{remote.service} {member}"
        wire = await self._connected(what)
        call = wire.call(remote.service, remote.path, remote.interface, member, signature, body)
        reply = await self._within(call, what)
        if reply.message_type.name == "ERROR":
            said = reply.body[0] if reply.body and isinstance(reply.body[0], str) else ""
            raise BusFault(reply.error_name or "", f"{what}: {said or reply.error_name}")
        return reply.body or []

    async def properties(self, remote: Remote) -> dict[str, Any]:
        """Return all properties of an object, by name."""
        target = Remote(remote.service, remote.path, PROPERTIES)
        answer = await self.call(target, "GetAll", "s", remote.interface)
        with understood(remote.service):
            (values,) = answer
            return {name: variant.value for name, variant in values.items()}

    async def property(self, remote: Remote, name: str) -> Any:  # noqa: ANN401 (whatever the service says it is)
        """Return one property of an object."""
        target = Remote(remote.service, remote.path, PROPERTIES)
        answer = await self.call(target, "Get", "ss", remote.interface, name)
        with understood(remote.service):
            (variant,) = answer
            return variant.value

    async def answers(self, service: str) -> bool:
        """Tell whether a service is there, or can be started by being asked."""
        try:
            await self.call(Remote(service, "/", "org.freedesktop.DBus.Peer"), "Ping")
        except BusFault as fault:
            return fault.name == UNKNOWN_METHOD  # it is there, though it doesn't know how to say so
        return True

    async def has_owner(self, service: str) -> bool:
        """Tell whether a service runs; unlike `answers` this starts none. Without a bus none does.

        Raises:
            BusFault: the bus is there and doesn't say.
        """
        try:
            answer = await self.call(_DAEMON, "NameHasOwner", "s", service)
        except BusFault as fault:
            if fault.name == NO_BUS:
                return False
            raise
        with understood(BUS):
            return bool(answer[0])

    async def process_of(self, service: str) -> int:
        """Return the process of a service that runs; 0 where that isn't known."""
        with suppress(BusFault), understood(BUS):
            return int((await self.call(_DAEMON, "GetConnectionUnixProcessID", "s", service))[0])
        return 0

    async def signals(self, *rules: str) -> AsyncGenerator[Signal | None, None]:
        """Yield None once the match rules hold, then each signal that comes.

        Raises:
            BusFault: the connection was lost; what was told meanwhile is lost too.
        """
        wire = await self._connected("AddMatch")
        heard: asyncio.Queue[Message | None] = asyncio.Queue()
        wire.listeners.add(heard)
        held: list[str] = []
        try:
            for rule in rules:
                held.append(f"type='signal',{rule}")
                await self.call(_DAEMON, "AddMatch", "s", held[-1])
            yield None
            while (message := await heard.get()) is not None:
                yield Signal(message.path or "", message.interface or "", message.member or "", tuple(message.body))
            raise BusFault(LOST, "the connection to D-Bus was lost")
        finally:
            wire.listeners.discard(heard)
            for rule in held:  # else the bus goes on to send what nobody listens to
                wire.tell(BUS, BUS_PATH, BUS, "RemoveMatch", "s", rule)

    def close(self) -> None:
        """Hang up."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    async def _connected(self, what: str) -> Wire:
        async with self._turn:
            if self._wire is None or not self._wire.is_open:
                self._wire = await self._open(what)
            return self._wire

    async def _open(self, what: str) -> Wire:
        """Connect; what it takes to load the library is no fault of who is to answer, so no deadline counts it."""
        reader, writer = await self._within(asyncio.open_unix_connection(self._socket), what)
        try:
            loaded = await library()
            return await self._within(Wire.open(reader, writer, loaded), what)
        except ImportError as error:
            writer.close()
            raise BusFault(NOT_SUPPORTED, f"{what}: {error}") from error
        except BaseException:
            writer.close()
            raise

    async def _within(self, work: Awaitable[T], what: str) -> T:
        try:
            async with asyncio.timeout(self._deadline):
                return await work
        except TimeoutError as error:
            raise BusFault(NO_REPLY, f"{what}: no answer within {self._deadline:g} s") from error
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise BusFault(NO_BUS, f"{self._socket}: there is no D-Bus") from error
        except (OSError, EOFError) as error:
            raise BusFault(LOST, f"{what}: {error}") from error
