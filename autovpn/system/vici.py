"""The conversation with a strongSwan over its vici socket, in the protocol classes of the package `vici`.

The package's own session blocks, so only what it knows of the wire is used (README of src/libcharon/plugins/vici).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Mapping
from socket import socket
from typing import TYPE_CHECKING, Any

from autovpn.core.driving import Closed, DriverEvent, Opened, Received, ViciAnswer, ViciEvent, ViciReply
from autovpn.core.secret import Secret
from autovpn.system.dialogue import Dialogue
from autovpn.system.output import shown

if TYPE_CHECKING:
    from autovpn.core.actions import ViciCall, ViciMessage, ViciOpen

CHANNEL = "vici"
MISSING = "the Python package 'vici' is not installed; install autovpnd with its extra: pip install 'autovpnd[ipsec]'"

_LENGTH = struct.Struct("!I")
_LARGEST = 512 * 1024  # MAX_SEGMENT of the package's Transport
_LONGEST_VALUE = 4096
_UNKNOWN = {2: "strongSwan does not know this command", 6: "strongSwan does not know this event"}


class Vici:
    """A strongSwan that is asked one thing at a time: its answers name no question."""

    def __init__(
        self, opening: ViciOpen, report: Callable[[DriverEvent], None], is_ours: Callable[[socket], bool]
    ) -> None:
        """Begin to connect; `Opened` is reported once the events are promised."""
        self._report = report
        self._unread = b""
        self._events = opening.events
        self._waiting: deque[tuple[str, Secret]] = deque()
        self._asked: str | None = None
        self._dialogue: Dialogue | None = None
        if _protocol() is None:
            report(ViciAnswer(CHANNEL, MISSING))
            return
        self._dialogue = Dialogue(CHANNEL, opening.path, self._heard, is_ours)

    def call(self, action: ViciCall) -> None:
        """Ask for a command, once those before it are answered."""
        wire = _protocol()
        if wire is not None:
            message = wire.Message.serialize(_plain(action.message))
            self._put(action.name, wire.Packet.request(action.command, message))

    def close(self) -> None:
        """Hang up."""
        if self._dialogue is not None:
            self._dialogue.close()

    def _heard(self, event: Opened | Received | Closed) -> None:
        match event:
            case Opened():
                for name in self._events:
                    self._put("", _protocol().Packet.register_event(name))
                if not self._events:
                    self._report(event)
            case Received(data=data):
                self._read(data)
            case Closed():
                self._report(event)

    def _put(self, name: str, packet: bytes) -> None:
        self._waiting.append((name, Secret(_LENGTH.pack(len(packet)) + packet)))
        self._ask()

    def _ask(self) -> None:
        if self._asked is None and self._waiting and self._dialogue is not None:
            self._asked, packet = self._waiting.popleft()
            self._dialogue.send(packet)

    def _read(self, data: bytes) -> None:
        self._unread += data
        try:
            while (packet := self._packet()) is not None:
                self._take(packet)
        except (ValueError, struct.error, _protocol().DeserializationException):
            self.close()
            self._report(Closed(CHANNEL))

    def _packet(self) -> bytes | None:
        if len(self._unread) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._unread)
        if length > _LARGEST:
            msg = f"a message of {length} bytes"
            raise ValueError(msg)
        end = _LENGTH.size + length
        if len(self._unread) < end:
            return None
        packet, self._unread = self._unread[_LENGTH.size : end], self._unread[end:]
        return packet

    def _take(self, packet: bytes) -> None:
        wire = _protocol()
        parsed = wire.Packet.parse(packet)
        if parsed.response_type == wire.Packet.EVENT:
            self._report(ViciEvent(shown(parsed.event_type), _shown(wire.Message.deserialize(parsed.payload))))
            return
        words = _UNKNOWN.get(parsed.response_type, "")
        if parsed.response_type == wire.Packet.CMD_RESPONSE:
            words = _complaint(_shown(wire.Message.deserialize(parsed.payload)))
        self._answered(words)

    def _answered(self, words: str) -> None:
        name, self._asked = self._asked, None
        if name or words:
            self._report(ViciAnswer(name or CHANNEL, words))
        elif not self._waiting:
            self._report(Opened(CHANNEL))
        self._ask()


def _complaint(answer: ViciReply) -> str:
    if answer.get("success", "yes") == "yes":
        return ""
    words = answer.get("errmsg")
    return words if isinstance(words, str) and words else "strongSwan refused without a word"


def _plain(message: ViciMessage) -> dict[str, Any]:
    """Return a message as the package writes it, its secrets in the open."""
    return {name: _plain_value(value) for name, value in message.items()}


def _plain_value(value: str | Secret | tuple[str, ...] | ViciMessage) -> object:
    match value:
        case Secret():
            return value.reveal()
        case tuple():
            return list(value)
        case str():
            return value
        case _:
            return _plain(value)


def _shown(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as text that can be shown to people."""
    return {shown(name.encode()): _shown_value(value) for name, value in message.items()}


def _shown_value(value: object) -> object:
    match value:
        case bytes():
            return shown(value, _LONGEST_VALUE)
        case list():
            return tuple(shown(item, _LONGEST_VALUE) for item in value)
        case Mapping():
            return _shown(value)
        case _:
            return ""


def _protocol() -> Any:  # noqa: ANN401 (the package has no types)
    """Return the package's protocol, which only a tunnel of type ipsec needs; None where it isn't installed."""
    try:
        from vici import protocol  # noqa: PLC0415
    except ImportError:
        return None
    return protocol
