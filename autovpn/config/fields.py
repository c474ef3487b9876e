"""The kinds of value that the configuration holds, each with a parser that says what was meant.

Every parser raises ValueError with a sentence for the user. None of them ever quotes a secret: secrets have no parser.
"""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import ip_address, ip_interface, ip_network
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainValidator

from autovpn.config.report import quoted
from autovpn.core.network import IPAddress, IPInterface, IPNetwork

LONGEST_SSID = 32  # bytes, IEEE 802.11-2020 9.4.2.2
LONGEST_DEVICE = 15  # bytes, IFNAMSIZ less the final NUL (linux/if.h)
LONGEST_TIME = timedelta(days=366).total_seconds()

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s?(ms|s|min|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})*")
_GLOB_SET = re.compile(rb"\[!?.[^\]]*\]", re.DOTALL)
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}")
_DOMAIN = re.compile(r"(?!.{254})[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Table(BaseModel):
    """A table of the configuration: unknown keys are errors, and nothing is converted on the quiet."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def text(value: object) -> str:
    """Return text without control characters, which no name, path or address has."""
    if not isinstance(value, str):
        raise ValueError("must be text in quotes")  # noqa: TRY004  # pydantic collects ValueError
    if not value:
        raise ValueError("is empty")
    if _CONTROL.search(value):
        raise ValueError(f"{quoted(value)} has a control character")
    return value


def argument(value: object) -> str:
    """Return one element of an argument list: any text that execve(2) can pass."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("must be a list of texts without NUL: program, argument, argument")
    return value


def duration(value: object) -> float:
    """Return a time in seconds from text such as "500ms", "5s", "2min", "1h"."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{quoted(value)} is no time; write a number and a unit, like "500ms", "5s", "2min", "1h"')
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > LONGEST_TIME:
        raise ValueError(f"{quoted(value)} is longer than a year")
    return seconds


def timeout(value: object) -> float:
    """Return a time in seconds that isn't zero."""
    seconds = duration(value)
    if not seconds:
        raise ValueError("is zero, so that nothing could ever finish in time")
    return seconds


def ssid(value: object) -> bytes:
    """Return the bytes of an SSID written as text; nothing in it has a special meaning."""
    if not isinstance(value, str):
        raise ValueError("must be text in quotes")  # noqa: TRY004
    return _named_ssid(value.encode(), value)


def ssid_hex(value: object) -> bytes:
    """Return the bytes of an SSID written as pairs of hexadecimal digits."""
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise ValueError(f'{quoted(value)} is not hexadecimal; write two digits for each byte, like "4361666522"')
    return _named_ssid(bytes.fromhex(value), value)


def ssid_glob(value: object) -> bytes:
    """Return the bytes of a pattern over SSIDs, with `*`, `?` and `[...]` as in fnmatch(3)."""
    pattern = text(value).encode()
    _fits_ssid(_GLOB_SET.sub(b"?", pattern).replace(b"*", b""), str(value))
    return pattern


def _named_ssid(content: bytes, value: str) -> bytes:
    if not content:
        raise ValueError("is empty; a hidden network does not show its name, but is joined by it: write that")
    return _fits_ssid(content, value)


def _fits_ssid(content: bytes, value: str) -> bytes:
    if len(content) > LONGEST_SSID:
        raise ValueError(f"{quoted(value)} is {len(content)} bytes long; an SSID has at most {LONGEST_SSID}")
    return content


def mac(value: object) -> str:
    """Return a hardware address in lower case with colons."""
    if not isinstance(value, str) or not _MAC.fullmatch(value):
        raise ValueError(f'{quoted(value)} is no hardware address; write it like "02:00:5e:10:00:01"')
    return value.lower().replace("-", ":")


def address(value: object) -> IPAddress:
    """Return an IP address."""
    written = text(value)
    try:
        return ip_address(written)
    except ValueError:
        raise ValueError(f"{quoted(value)} is no IP address") from None


def interface_address(value: object) -> IPInterface:
    """Return an IP address with its prefix length."""
    written = text(value)
    try:
        return ip_interface(written)
    except ValueError:
        raise ValueError(f'{quoted(value)} is no address with a prefix length, like "10.98.0.2/30"') from None


def prefix(value: object) -> IPNetwork:
    """Return a prefix; a bare address stands for itself alone."""
    written = text(value)
    try:
        return ip_network(written)
    except ValueError:
        pass
    try:
        wide = ip_network(written, strict=False)
    except ValueError:
        raise ValueError(f'{quoted(value)} is neither an IP address nor a prefix like "10.0.0.0/8"') from None
    raise ValueError(f"{quoted(value)} has bits set beyond its prefix length; did you mean '{wide}'?")


def domain(value: object) -> str:
    """Return a domain name in lower case, without dots at its ends."""
    name = text(value).strip(".").lower()
    try:
        ascii_name = name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        ascii_name = ""
    if not _DOMAIN.fullmatch(ascii_name):
        raise ValueError(f"{quoted(value)} is no domain name")
    return ascii_name


def device(value: object) -> str:
    """Return a name that the kernel accepts for a link (dev_valid_name in net/core/dev.c)."""
    name = text(value)
    if len(name.encode()) > LONGEST_DEVICE:
        raise ValueError(f"{quoted(name)} is too long for an interface; the kernel takes {LONGEST_DEVICE} bytes")
    if name in (".", "..") or any(char in "/:%" or char.isspace() for char in name):
        raise ValueError(f"{quoted(name)} is no name for an interface")
    return name


def name(value: object) -> str:
    """Return the name of a tunnel or a profile: it becomes part of paths, so it is plain."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"{quoted(value)} is no name; use letters, digits, '.', '_' and '-', at most 64")
    return value


def path(value: object) -> str:
    """Return a path; there is no shell that would expand `~` or a variable."""
    written = text(value)
    if written.startswith("~"):
        raise ValueError(f"{quoted(written)} can't be found: '~' has no meaning here; write the whole path")
    return written


def credential(value: object) -> str:
    """Return the name of a systemd credential, which is a file name (systemd.exec(5))."""
    written = text(value)
    if "/" in written or written in (".", ".."):
        raise ValueError(f"{quoted(written)} is no name of a credential; it has no folders")
    return written


Text = Annotated[str, PlainValidator(text)]
Argument = Annotated[str, PlainValidator(argument)]
Duration = Annotated[float, PlainValidator(duration)]
Timeout = Annotated[float, PlainValidator(timeout)]
Ssid = Annotated[bytes, PlainValidator(ssid)]
SsidHex = Annotated[bytes, PlainValidator(ssid_hex)]
SsidGlob = Annotated[bytes, PlainValidator(ssid_glob)]
Mac = Annotated[str, PlainValidator(mac)]
Address = Annotated[IPAddress, PlainValidator(address)]
InterfaceAddress = Annotated[IPInterface, PlainValidator(interface_address)]
Prefix = Annotated[IPNetwork, PlainValidator(prefix)]
Domain = Annotated[str, PlainValidator(domain)]
Device = Annotated[str, PlainValidator(device)]
Name = Annotated[str, PlainValidator(name)]
FilePath = Annotated[str, PlainValidator(path)]
Credential = Annotated[str, PlainValidator(credential)]
