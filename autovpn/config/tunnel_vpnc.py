"""`type = "vpnc"`: a Cisco-style tunnel, described by vpnc's own file."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from autovpn.config.context import Context
from autovpn.config.fields import FilePath
from autovpn.config.locate import KeyPath
from autovpn.config.report import quoted
from autovpn.config.tunnel import Reading, TunnelTable
from autovpn.core.escape import show_text
from autovpn.core.tunnel import VpncSettings

OWNED = (
    "Script",
    "Pidfile",
    "No Detach",
    "Noninteractive",
    "Interface name",
    "Interface mode",
    "Local Port",
    "Password helper",
    "Debug",
)
XAUTH = ("Xauth password", "Xauth obfuscated password")  # they give way to the profile's own password
_GATEWAY = "ipsec gateway"
_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9._:%-]*")


class VpncTunnel(TunnelTable):
    """The keys of a vpnc tunnel."""

    programs: ClassVar[tuple[str, ...]] = ("vpnc",)

    type: Literal["vpnc"]
    config: FilePath

    def read(self, context: Context, key: KeyPath) -> Reading | None:
        """Read vpnc's file for the gateway that it names; it holds secrets, and nothing else of it is kept."""
        path = context.resolve(self.config)
        text = context.read((*key, "config"), path, secret=True)
        if text is None:
            return None
        gateway = None
        for number, line in enumerate(text.splitlines(), 1):
            place = f"{show_text(path)}:{number}"
            if owned := _starts_with(line, OWNED + (XAUTH if self.password else ())):
                context.report.note(place, f"'{owned}' is replaced by our own when the tunnel starts")
            elif _starts_with(line, (_GATEWAY,)):
                gateway = line.strip()[len(_GATEWAY) :].strip()
                if not _HOST.fullmatch(gateway):
                    context.report.refuse(place, f"{quoted(gateway)} is neither a host's name nor an address")
        if gateway is None:
            context.report.refuse(show_text(path), "names no gateway", "add a line 'IPSec gateway HOST'")
        return Reading(VpncSettings(config=path, gateway=gateway), files=(path,))


def _starts_with(line: str, keys: tuple[str, ...]) -> str | None:
    """Return the key that a line sets: vpnc compares the beginning, without regard to case (config.c)."""
    stripped = line.strip().lower()
    for key in keys:
        rest = stripped.removeprefix(key.lower())
        if rest != stripped and (not rest or rest[0].isspace()):
            return key
    return None
