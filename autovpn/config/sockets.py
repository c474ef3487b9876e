"""Places on the network as a configuration names them: hosts, ports, endpoints."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated

from pydantic import PlainValidator

from autovpn.config.fields import text
from autovpn.config.report import quoted
from autovpn.core.endpoint import Endpoint, Listener

HIGHEST_PORT = 65535

_WORD = re.compile(r"[A-Za-z0-9_.:%\[\]][A-Za-z0-9_.:%\[\]@-]*")
_SOCKET = re.compile(r"(?:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):)?([0-9]{1,5})")
_WITH_PORT = frozenset({"tcp", "udp"})
_WITHOUT_PORT = frozenset({"gre", "esp", "ah"})


def word(value: object) -> str:
    """Return a host or a user: nothing that a program could take for an option."""
    written = text(value)
    if not _WORD.fullmatch(written):
        raise ValueError(f"{quoted(written)} has a character that no host and no user has")
    return written


def listening(value: object) -> str:
    """Return where to listen, as ADDRESS:PORT; a bare port is one of this machine alone."""
    host, port = _socket(value)
    return f"{host or '127.0.0.1'}:{port}"


def listener(value: object) -> Listener:
    """Return where somebody listens; a bare port is one of this machine alone."""
    host, port = _socket(value)
    try:
        return Listener(ip_address((host or "127.0.0.1").strip("[]")), port)
    except ValueError:
        raise ValueError(f'{quoted(value)} names no address; write "PORT", "ADDRESS:PORT" or "[IPV6]:PORT"') from None


def target(value: object) -> str:
    """Return where a forward comes out, as HOST:PORT."""
    host, port = _socket(value)
    if host is None:
        raise ValueError(f"{quoted(value)} names no host; write HOST:PORT")
    return f"{host}:{port}"


def endpoint(value: object) -> Endpoint:
    """Return the far end of a tunnel, from HOST:PORT/tcp, HOST:PORT/udp, or HOST/gre and the like."""
    place, _, protocol = text(value).rpartition("/")
    if protocol in _WITH_PORT:
        return Endpoint(*_split(target(place)), protocol)
    if protocol in _WITHOUT_PORT and _WORD.fullmatch(place):
        return Endpoint(place.strip("[]"), None, protocol)
    raise ValueError(f'{quoted(value)} is no endpoint; write "HOST:PORT/udp", "HOST:PORT/tcp", or "HOST/gre" (esp, ah)')


def _split(place: str) -> tuple[str, int]:
    host, _, port = place.rpartition(":")
    return host.strip("[]"), int(port)


def _socket(value: object) -> tuple[str | None, int]:
    match = _SOCKET.fullmatch(text(value))
    if match is None or not 1 <= int(match[2]) <= HIGHEST_PORT:
        raise ValueError(f'{quoted(value)} is no port; write "PORT", "HOST:PORT" or "[IPV6]:PORT"')
    return match[1], int(match[2])


Word = Annotated[str, PlainValidator(word)]
Listening = Annotated[str, PlainValidator(listening)]
ListeningAt = Annotated[Listener, PlainValidator(listener)]
Target = Annotated[str, PlainValidator(target)]
FarEnd = Annotated[Endpoint, PlainValidator(endpoint)]
