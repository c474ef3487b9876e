"""`type = "vpnc"`: a Cisco-style tunnel, described by vpnc's own file."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from autovpn.config.context import Context
from autovpn.config.fields import FilePath
from autovpn.config.health import OwnCheck
from autovpn.config.locate import KeyPath
from autovpn.config.report import quoted
from autovpn.config.tunnel import Reading, TunnelTable
from autovpn.core.escape import show_text
from autovpn.core.settings import VpncSettings
from autovpn.core.vpncfile import GATEWAY, OWNED, PASSWORDS, UDP_PORT, key_in, value_in

_HIGHEST_PORT = 65535
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9._:%-]*")


class VpncTunnel(TunnelTable):
    """The keys of a vpnc tunnel."""

    programs: ClassVar[tuple[str, ...]] = ("vpnc",)
    own_check: ClassVar[OwnCheck] = "dpd"

    type: Literal["vpnc"]
    config: FilePath

    def read(self, context: Context, key: KeyPath) -> Reading | None:
        """Read vpnc's file for the gateway that it names; it holds secrets, and nothing else of it is kept."""
        path = context.resolve(self.config)
        text = context.read((*key, "config"), path, secret=True)
        if text is None:
            return None
        gateway = None
        port = value_in(text, UDP_PORT)
        if port is not None and not (_PORT.fullmatch(port) and int(port) <= _HIGHEST_PORT):
            context.report.refuse(show_text(path), f"{quoted(port)} is no port", f"write '{UDP_PORT} 10000'")
            return None
        for number, line in enumerate(text.splitlines(), 1):
            place = f"{show_text(path)}:{number}"
            if owned := key_in(line, OWNED + (PASSWORDS if self.password else ())):
                context.report.note(place, f"'{owned}' is replaced by our own when the tunnel starts")
            elif key_in(line, (GATEWAY,)):
                gateway = line.strip()[len(GATEWAY) :].strip()
                if not _HOST.fullmatch(gateway):
                    context.report.refuse(place, f"{quoted(gateway)} is neither a host's name nor an address")
        if gateway is None:
            context.report.refuse(show_text(path), "names no gateway", "add a line 'IPSec gateway HOST'")
        settings = VpncSettings(path, gateway, int(port)) if port else VpncSettings(path, gateway)
        return Reading(settings, files=(path,))
