"""`type = "pptp"`: a PPTP tunnel, for servers that offer nothing better."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import PlainValidator, model_validator

from autovpn.config.context import Context
from autovpn.config.fields import text
from autovpn.config.locate import KeyPath
from autovpn.config.report import quoted
from autovpn.config.tunnel import Reading, TunnelTable
from autovpn.core.settings import Mppe, PptpSettings

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
_LONGEST_USER = 255  # MAXNAMELEN in pppd.h, less the NUL

BROKEN = (
    "PPTP's authentication (MS-CHAPv2) is broken: whoever records one connection finds the password's hash in a day at "
    "most, and with it everything that the tunnel carries"
)


def host(value: object) -> str:
    """Return a host's name or IPv4 address, the only ones that PPTP knows."""
    written = text(value)
    if ":" in written:
        raise ValueError(f"{quoted(written)} is an IPv6 address, and PPTP speaks IPv4 alone")
    if not _HOST.fullmatch(written):
        raise ValueError(f"{quoted(written)} is neither a host's name nor an IPv4 address")
    return written


def user(value: object) -> str:
    r"""Return a user as the server knows him; one of Windows may be DOMAIN\USER."""
    written = text(value)
    if not written.isprintable() or len(written.encode()) > _LONGEST_USER:
        raise ValueError(f"{quoted(written)} is no user: it is too long or holds control characters")
    return written


class PptpTunnel(TunnelTable):
    """The keys of a PPTP tunnel."""

    programs: ClassVar[tuple[str, ...]] = ("pppd", "pptp")

    type: Literal["pptp"]
    host: Annotated[str, PlainValidator(host)]
    user: Annotated[str, PlainValidator(user)]
    mppe: Literal["required", "any", "off"] = "required"
    ask_dns: bool = True

    @model_validator(mode="after")
    def _has_password(self) -> PptpTunnel:
        if self.password is None:
            raise ValueError('has no password; put it into a file and write password = { file = "NAME" }')
        return self

    def read(self, context: Context, key: KeyPath) -> Reading | None:
        """Return the settings, and say what PPTP is worth."""
        context.note((*key, "type"), BROKEN, "use another type where the server has one, and protect nothing by this")
        if self.mppe == "any":
            context.warn((*key, "mppe"), "40-bit keys are allowed, which a laptop breaks in hours", 'mppe = "required"')
        if self.mppe == "off":
            context.warn((*key, "mppe"), "nothing in this tunnel is encrypted", 'use mppe = "required"')
        if self.routes.mode in (None, "split") and not self.routes.include:
            what = "PPTP pushes no routes, so only the server's own end is reached through the tunnel"
            context.note((*key, "routes"), what, 'name the networks in routes.include, or use routes.mode = "full"')
        return Reading(PptpSettings(self.host, self.user, Mppe(self.mppe), self.ask_dns))
