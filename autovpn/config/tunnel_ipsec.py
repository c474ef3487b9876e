"""`type = "ipsec"`: IKEv2 or IKEv1 by strongSwan or libreswan."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PlainValidator, model_validator

from autovpn.config import tunnel_libreswan
from autovpn.config.context import Context
from autovpn.config.fields import FilePath, Prefix, Text, text
from autovpn.config.locate import KeyPath
from autovpn.config.report import quoted
from autovpn.config.tunnel import Reading, TunnelTable
from autovpn.core.settings import IpsecAuth, IpsecSettings, LibreswanSettings
from autovpn.core.tunnel import RouteMode

_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9._:-]*")
_PROPOSAL = re.compile(r"[a-z0-9_]+(?:-[a-z0-9_]+)*")

IKEV1, IKEV2 = 1, 2
AUTHS = {IKEV2: (IpsecAuth.EAP, IpsecAuth.CERTIFICATE, IpsecAuth.PSK), IKEV1: (IpsecAuth.XAUTH, IpsecAuth.PSK)}
_BY_CERTIFICATE = (IpsecAuth.EAP, IpsecAuth.CERTIFICATE)
_BY_USER = (IpsecAuth.EAP, IpsecAuth.XAUTH)


def host(value: object) -> str:
    """Return the name or address of a server."""
    written = text(value)
    if not _HOST.fullmatch(written):
        raise ValueError(f"{quoted(written)} is neither a host's name nor an address")
    return written


def proposal(value: object) -> str:
    """Return a proposal as swanctl.conf(5) writes it: algorithms joined by dashes."""
    written = text(value)
    if not _PROPOSAL.fullmatch(written):
        raise ValueError(f'{quoted(written)} is no proposal; write algorithms like "aes256-sha256-modp2048"')
    return written


def has_vici() -> bool:
    """Report whether the package is there that speaks to strongSwan."""
    return find_spec("vici") is not None


Host = Annotated[str, PlainValidator(host)]
Proposal = Annotated[str, PlainValidator(proposal)]


class IpsecTunnel(TunnelTable):
    """The keys of an IPsec tunnel."""

    joins_networks: ClassVar[bool] = True

    type: Literal["ipsec"]
    implementation: Literal["strongswan", "libreswan"] = "strongswan"
    server: Host
    version: Literal[1, 2] = 2
    auth: Literal["eap", "certificate", "psk", "xauth"]
    user: Text | None = None
    local_id: Text | None = None
    remote_id: Text | None = None
    ca: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None
    psk: FilePath | None = None
    aggressive: bool = False
    remote: list[Prefix] = Field(default_factory=list)
    virtual_address: bool | None = None
    mode: Literal["tunnel", "transport"] = "tunnel"
    protocol: Literal["esp", "ah"] = "esp"
    encap: bool = False
    ike_proposals: list[Proposal] = Field(default_factory=list)
    proposals: list[Proposal] = Field(default_factory=list)
    esp: Literal["auto", "kernel", "user"] = "auto"
    vici: FilePath | None = None
    charon: FilePath | None = None
    ipsec: FilePath | None = None

    @model_validator(mode="after")
    def _suits_its_implementation(self) -> IpsecTunnel:
        if self.implementation == tunnel_libreswan.NAME:
            if fault := tunnel_libreswan.fault(self):
                raise ValueError(fault)
        elif self.ipsec:
            raise ValueError("names the 'ipsec' of libreswan; add implementation = \"libreswan\" or drop it")
        return self

    @model_validator(mode="after")
    def _proves_who_it_is(self) -> IpsecTunnel:
        how = IpsecAuth(self.auth)
        if how not in AUTHS[self.version]:
            known = ", ".join(f'"{auth.value}"' for auth in AUTHS[self.version])
            raise ValueError(f"has auth = {quoted(self.auth)}, but IKEv{self.version} is built here with {known}")
        if how in _BY_CERTIFICATE and self.ca is None:
            raise ValueError("does not say which authority signs the server's certificate; add 'ca'")
        if (how is IpsecAuth.CERTIFICATE) != (self.certificate is not None and self.key is not None):
            raise ValueError('has to have "certificate" and "key" with auth = "certificate", and with no other')
        if (how in _BY_USER) != (self.user is not None):
            raise ValueError('has to have "user" with auth = "eap" or "xauth", and with no other')
        return self

    @model_validator(mode="after")
    def _has_its_secrets(self) -> IpsecTunnel:
        how = IpsecAuth(self.auth)
        if how is IpsecAuth.XAUTH and self.psk is None:
            raise ValueError("has no 'psk', a file with the secret of the group")
        if how in _BY_CERTIFICATE and self.psk is not None:
            raise ValueError('has a \'psk\', which is for auth = "psk" or "xauth"')
        if how is IpsecAuth.PSK and (self.psk is None) == (self.password is None):
            raise ValueError("needs its shared key once, as 'psk' or as 'password'")
        if how in _BY_USER and self.password is None:
            raise ValueError("has a 'user', but no 'password'")
        if how is IpsecAuth.CERTIFICATE and self.password is not None:
            raise ValueError("proves who it is by a certificate; drop 'password'")
        if self.aggressive and self.version != IKEV1:
            raise ValueError("is aggressive, which IKEv2 does not know; drop it or say version = 1")
        return self

    @model_validator(mode="after")
    def _can_carry_its_packets(self) -> IpsecTunnel:
        if self.esp == "user" and (self.mode == "transport" or self.protocol == "ah"):
            raise ValueError("wants the packets moved in user space, which knows ESP in tunnel mode alone")
        if self.vici and self.charon:
            raise ValueError("names a strongSwan that runs already and one to start; drop 'vici' or 'charon'")
        if self.esp == "user" and (self.device or self.vici):
            raise ValueError("wants the packets moved in user space, so it can have neither 'device' nor 'vici'")
        if self.protocol == "ah" and self.encap:
            raise ValueError("wants AH in UDP, which there isn't; drop 'encap'")
        if self.mode == "transport" and (self.remote or self.local or self.virtual_address or self.device):
            raise ValueError("is between two hosts alone; drop 'remote', 'local', 'virtual_address' and 'device'")
        if self.mode == "transport" and self.routes.mode in ("full", "split"):
            raise ValueError("is between two hosts alone, so nothing can be routed into it; drop 'routes'")
        return self

    def default_device(self, name: str) -> str:
        """Return the device of kind xfrm; transport mode has none."""
        if self.mode == "transport":
            return ""
        by_number = self.implementation == tunnel_libreswan.NAME
        return tunnel_libreswan.default_device(name) if by_number else super().default_device(name)

    def read(self, context: Context, key: KeyPath) -> Reading | None:
        """Check the files, and warn of what may not work out."""
        self._warn(context, key)
        paths = [self.ca, self.certificate, self.key, self.psk]
        ca, certificate, private, psk = (context.resolve(path) if path else None for path in paths)
        for name, path in (("ca", ca), ("certificate", certificate), ("key", private), ("psk", psk)):
            if path:
                context.check((*key, name), path, secret=name in ("key", "psk"))
        settings = self._settings(context, ca, certificate, private, psk)
        return Reading(
            settings,
            files=tuple(path for path in (private, psk) if path),
            watched=tuple(path for path in (ca, certificate) if path),
            mode=RouteMode.NONE if self.mode == "transport" else RouteMode.SPLIT,
        )

    def _settings(
        self, context: Context, ca: str | None, certificate: str | None, private: str | None, psk: str | None
    ) -> IpsecSettings | LibreswanSettings:
        if self.implementation == tunnel_libreswan.NAME:
            paths = (ca, certificate, private, psk)
            return tunnel_libreswan.settings(self, paths, virtual_address=self._wants_address())
        return IpsecSettings(
            server=self.server,
            auth=IpsecAuth(self.auth),
            version=self.version,
            aggressive=self.aggressive,
            user=self.user,
            local_id=self.local_id,
            remote_id=self.remote_id,
            ca=ca,
            certificate=certificate,
            key=private,
            psk=psk,
            remote=tuple(self.remote),
            virtual_address=self._wants_address(),
            mode=self.mode,
            protocol=self.protocol,
            encap=self.encap,
            ike_proposals=tuple(self.ike_proposals),
            proposals=tuple(self.proposals),
            esp=self.esp,
            vici=context.resolve(self.vici) if self.vici else None,
            charon=self.charon or "charon-systemd",
            implementation=self.implementation,
        )

    def _wants_address(self) -> bool:
        """Ask for an address unless the tunnel joins networks, or two hosts, that have theirs."""
        if self.virtual_address is not None:
            return self.virtual_address
        return self.mode == "tunnel" and not self.local

    def _warn(self, context: Context, key: KeyPath) -> None:
        if self.implementation == tunnel_libreswan.NAME:
            tunnel_libreswan.check_programs(self, context, key)
        else:
            self._check_strongswan(context, key)
        if self.protocol == "ah":
            meant = 'use protocol = "esp" unless both ends have addresses of their own on the way'
            context.warn((*key, "protocol"), "AH crosses no NAT: it signs the addresses of the packet", meant)
        if self.aggressive:
            what = "aggressive mode shows a digest of the shared key to whoever asks, which can be guessed at leisure"
            context.warn((*key, "aggressive"), what, "use it only where the server knows nothing else")

    def _check_strongswan(self, context: Context, key: KeyPath) -> None:
        if not has_vici():
            meant = "install autovpnd with its extra: pip install 'autovpnd[ipsec]'"
            context.warn((*key, "type"), "the Python package 'vici' is not installed", meant)
        if self.vici is None and self.charon is None:
            context.check_client((*key, "type"), "charon-systemd")
        elif self.charon:
            context.check_program((*key, "charon"), self.charon)
