"""`type = "openconnect"`: a TLS VPN of Cisco's, Palo Alto's, Pulse Secure's, Juniper's, F5's or Fortinet's make."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field, PlainValidator, model_validator

from autovpn.config.context import Context
from autovpn.config.fields import FilePath, Text, text
from autovpn.config.health import OwnCheck
from autovpn.config.locate import KeyPath
from autovpn.config.report import quoted
from autovpn.config.tunnel import Reading, TunnelTable
from autovpn.core.settings import OpenconnectSettings

HTTPS_PORT = 443
_HIGHEST_PORT = 65535

ESP_PORTS = {"gp": 4501, "nc": 4500, "pulse": 4500}
"""Where these protocols send ESP in UDP; the others send DTLS to the port that TLS uses, too."""

_SERVER = re.compile(
    r"(?:https://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9_.-]*)(?::([0-9]{1,5}))?(/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?"
)
_PIN = re.compile(r"pin-sha256:[A-Za-z0-9+/]{43}=|sha256:[0-9A-Fa-f]{64}")


class Server(NamedTuple):
    """Where a server is; `path` begins with a slash, or is empty."""

    host: str
    port: int
    path: str


def server(value: object) -> Server:
    """Return where a server is, written as HOST, HOST:PORT or an https URL."""
    written = text(value)
    match = _SERVER.fullmatch(written)
    if match is None or not 1 <= int(match[2] or HTTPS_PORT) <= _HIGHEST_PORT:
        raise ValueError(f'{quoted(written)} is no server; write "HOST", "HOST:PORT" or "https://HOST:PORT/PATH"')
    return Server(match[1].strip("[]"), int(match[2] or HTTPS_PORT), match[3] or "")


def pin(value: object) -> str:
    """Return the fingerprint of a certificate as openconnect takes it; SHA-1 is too weak to tell two apart."""
    written = text(value)
    if not _PIN.fullmatch(written):
        meant = "write what openconnect prints when it does not know the certificate: pin-sha256:BASE64"
        raise ValueError(f"{quoted(written)} is no fingerprint of a certificate; {meant}")
    return written


class OpenconnectTunnel(TunnelTable):
    """The keys of an openconnect tunnel."""

    programs: ClassVar[tuple[str, ...]] = ("openconnect",)
    own_check: ClassVar[OwnCheck] = "dpd"

    type: Literal["openconnect"]
    server: Annotated[Server, PlainValidator(server)]
    protocol: Literal["anyconnect", "gp", "pulse", "nc", "f5", "fortinet"] = "anyconnect"
    user: Text | None = None
    ca: FilePath | None = None
    server_cert: Annotated[str, PlainValidator(pin)] | None = None
    client_cert: FilePath | None = None
    client_key: FilePath | None = None
    authgroup: Text | None = None
    useragent: Text | None = None
    os: Literal["linux", "linux-64", "win", "mac-intel", "android", "apple-ios"] | None = None
    udp: bool = True
    udp_port: Annotated[int, Field(ge=1, le=_HIGHEST_PORT)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> OpenconnectTunnel:
        if self.client_key and not self.client_cert:
            raise ValueError("has a 'client_key', but no 'client_cert' that it belongs to")
        if self.udp_port and not self.udp:
            raise ValueError("has a 'udp_port', but udp = false")
        return self

    def read(self, context: Context, key: KeyPath) -> Reading | None:
        """Check the files that openconnect will read, and name what only a person could add."""
        ca, certificate, private = (
            context.resolve(path) if path else None for path in (self.ca, self.client_cert, self.client_key)
        )
        if ca:
            context.check((*key, "ca"), ca)
        if certificate:
            # Without a key of its own, the certificate's file holds the key as well.
            context.check((*key, "client_cert"), certificate, secret=private is None)
        if private:
            context.check((*key, "client_key"), private, secret=True)
        if not certificate and not (self.user and self.password):
            lacking = " and ".join(
                name for name, value in (("user", self.user), ("password", self.password)) if not value
            )
            context.note((*key, "type"), f"there is no '{lacking}'", "a person will be asked at each start")
        if self.ca and self.server_cert:
            context.note((*key, "ca"), "is not used, since 'server_cert' names the one right certificate")
        settings = OpenconnectSettings(
            host=self.server.host,
            port=self.server.port,
            path=self.server.path,
            protocol=self.protocol,
            udp_port=self._udp_port() if self.udp else None,
            user=self.user,
            ca=ca,
            server_cert=self.server_cert,
            client_cert=certificate,
            client_key=private,
            authgroup=self.authgroup,
            useragent=self.useragent,
            os=self.os,
        )
        return Reading(settings, watched=tuple(path for path in (ca, certificate, private) if path))

    def _udp_port(self) -> int:
        return self.udp_port or ESP_PORTS.get(self.protocol, self.server.port)
