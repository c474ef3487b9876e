"""The environment of a hook: netifrc's variables, for functions that move here, and our own."""

from __future__ import annotations

import re
from dataclasses import dataclass

EVENT_VARIABLE = "AUTOVPN_EVENT"
"""What tells a process of a hook from one of a tunnel: no tunnel has it in its environment."""

_NOT_OF_A_VARIABLE = re.compile(rb"[^A-Za-z0-9_]")


@dataclass(frozen=True, slots=True)
class HookContext:
    """What a hook is told about the moment at which it runs.

    `event` is the moment's name, `ssid` the raw bytes (None on a wire), `network` a description for people, `device`
    the tunnel's; `alive` says that the tunnel passes packets, which a predown after its loss must know.
    """

    event: str
    profile: str
    uplink: str
    ssid: bytes | None = None
    bssid: str | None = None
    network: str = ""
    tunnel: str | None = None
    device: str | None = None
    addresses: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    reason: str = ""
    alive: bool = False


def hook_environment(context: HookContext) -> dict[str, str]:
    """Return the variables of a hook; those of ours are always set, empty where there is nothing to tell.

    A hook may be a shell script that quotes badly, and SSID is a stranger's choice: it is set only where it is UTF-8
    without control characters, so whoever needs every network reads SSID_HEX. SSID and SSIDVAR are unset without a
    name, as netifrc has them on a wire.
    """
    return {
        "IFACE": _plain(context.uplink),
        "IFVAR": variable_name(context.uplink.encode("utf-8", "surrogateescape")),
        **_ssid_variables(context.ssid or b""),
        EVENT_VARIABLE: context.event,
        "AUTOVPN_PROFILE": _plain(context.profile),
        "AUTOVPN_UPLINK": _plain(context.uplink),
        "AUTOVPN_NETWORK": _plain(context.network),
        "AUTOVPN_BSSID": _plain(context.bssid or ""),
        "AUTOVPN_TUNNEL": _plain(context.tunnel or ""),
        "AUTOVPN_DEVICE": _plain(context.device or ""),
        "AUTOVPN_ADDRESS": _plain(" ".join(context.addresses)),
        "AUTOVPN_DNS": _plain(" ".join(context.dns)),
        "AUTOVPN_REASON": _plain(context.reason),
        "AUTOVPN_ALIVE": "1" if context.alive else "0",
    }


def variable_name(raw: bytes) -> str:
    """Return bytes as netifrc makes the end of a variable's name of them: one `_` for each that no name may hold.

    Several inputs give one result, so it is for looking up a user's own settings, never for deciding.
    """
    return _NOT_OF_A_VARIABLE.sub(b"_", raw).decode("ascii")


def _ssid_variables(ssid: bytes) -> dict[str, str]:
    name = _printable(ssid)
    named = {"SSID": name, "SSIDVAR": variable_name(ssid)} if name else {}
    return {**named, "SSID_HEX": ssid.hex()}


def _printable(raw: bytes) -> str | None:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if any(map(_is_control, text)) else text


def _is_control(character: str) -> bool:
    """Report whether it is of Unicode's category Cc: C0, DEL or C1."""
    return character < " " or "\x7f" <= character <= "\x9f"


def _plain(text: str) -> str:
    """Escape what can't be in an environment or forges lines of a log; bytes that were not UTF-8 (PEP 383) stay."""
    return "".join(_escaped(char) if _is_control(char) or _is_lone_surrogate(char) else char for char in text)


def _is_lone_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff" and not "\udc80" <= character <= "\udcff"


def _escaped(character: str) -> str:
    return f"\\x{ord(character):02x}"
