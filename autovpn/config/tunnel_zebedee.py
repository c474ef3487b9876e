"""`type = "zebedee"`: TCP ports that lead through a Zebedee server."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PlainValidator, model_validator

from autovpn.config.context import Context
from autovpn.config.fields import FilePath, Table, text
from autovpn.config.locate import KeyPath
from autovpn.config.report import quoted
from autovpn.config.sockets import HIGHEST_PORT, ListeningAt, Target, Word
from autovpn.config.tunnel import Reading, TunnelTable
from autovpn.core.escape import show_text
from autovpn.core.settings_zebedee import DEFAULT_PORT, ZebedeeForward, ZebedeeSettings
from autovpn.core.tunnel import RouteMode
from autovpn.core.zebedeefile import private_key

IPV4 = 4
STRONGEST = 576
"""Bits: what Zebedee's Blowfish takes at most."""

WEAKEST = 128

_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{40}")


def fingerprint(value: object) -> str:
    """Return the fingerprint of a key as `zebedee -P` prints it, without the name behind it."""
    written = text(value)
    if not _FINGERPRINT.fullmatch(written):
        raise ValueError(f"{quoted(written)} is no fingerprint; write the 40 digits that 'zebedee -P' prints first")
    return written.lower()


class ZebedeeForwardTable(Table):
    """One of `forwards`: connections to `listen` come out at `target` on the far side."""

    listen: ListeningAt
    target: Target


class ZebedeeTunnel(TunnelTable):
    """The keys of a Zebedee tunnel."""

    programs: ClassVar[tuple[str, ...]] = ("zebedee",)

    type: Literal["zebedee"]
    server: Word
    port: Annotated[int, Field(ge=1, le=HIGHEST_PORT)] = DEFAULT_PORT
    forwards: Annotated[list[ZebedeeForwardTable], Field(min_length=1)]
    key: FilePath | None = None
    server_id: Annotated[str, PlainValidator(fingerprint)] | None = None
    key_length: Annotated[int, Field(ge=WEAKEST, le=STRONGEST)] = WEAKEST

    @model_validator(mode="after")
    def _is_one_client(self) -> ZebedeeTunnel:
        listeners = [forward.listen for forward in self.forwards]
        if len({listener.address for listener in listeners}) > 1:
            raise ValueError("listens at several addresses, of which zebedee knows one; make it several tunnels")
        if any(listener.address.version != IPV4 for listener in listeners):
            raise ValueError("listens at an IPv6 address, but zebedee is run with IPv4 alone; use 127.0.0.1")
        if any(forward.target.startswith("[") for forward in self.forwards):
            raise ValueError("has an IPv6 target, which zebedee can't ask for; use a name or an IPv4 address")
        if len({listener.port for listener in listeners}) < len(listeners):
            raise ValueError("listens at one port twice; give each forward a port of its own")
        if self.device or self.mtu or self.routes.mode in ("full", "split"):
            raise ValueError(
                "carries ports alone, so that nothing can be routed into it; drop 'device', 'mtu', 'routes'"
            )
        return self

    def default_device(self, name: str) -> str:  # noqa: ARG002 (the types')
        """Return none: there are ports alone."""
        return ""

    def read(self, context: Context, key: KeyPath) -> Reading | None:
        """Check that the key is one, and say what Zebedee is worth."""
        if self.password:
            meant = "its users prove themselves by a key: zebedee -p > FILE"
            context.refuse((*key, "password"), "zebedee knows no passwords", meant)
        words = "Zebedee's cryptography is of 2005: Blowfish, and 1,024 bits of Diffie-Hellman; it can be broken"
        context.note((*key, "type"), words, "use openssh, which forwards ports too")
        if not self.server_id:
            words = "any server will do, also one of somebody in between"
            meant = "write as 'server_id' what 'zebedee -P -f server.key' prints on the server"
            context.note((*key, "type"), words, meant)
        path = context.resolve(self.key) if self.key else None
        if path and not self._check_key(context, (*key, "key"), path):
            return None
        settings = ZebedeeSettings(
            server=self.server,
            forwards=tuple(ZebedeeForward(forward.listen, forward.target) for forward in self.forwards),
            port=self.port,
            key=path,
            server_id=self.server_id,
            key_length=self.key_length,
        )
        return Reading(settings, files=(path,) if path else (), mode=RouteMode.NONE, reach=())

    def _check_key(self, context: Context, key: KeyPath, path: str) -> bool:
        content = context.read(key, path, secret=True)
        if content is None:
            return False
        if private_key(content) is None:
            context.refuse(key, f"{show_text(path)} has no line 'privatekey'", "make one: zebedee -p > FILE")
            return False
        return True
