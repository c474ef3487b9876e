"""`type = "openssh"`: a layer 3 tunnel (`ssh -w`), or a SOCKS proxy and forwards alone (`-D`, `-L`)."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, ClassVar, Literal
from zlib import crc32

from pydantic import Field, model_validator

from autovpn.config.context import Context
from autovpn.config.fields import Address, FilePath, InterfaceAddress, Table
from autovpn.config.health import OwnCheck
from autovpn.config.locate import KeyPath
from autovpn.config.report import quoted
from autovpn.config.sockets import HIGHEST_PORT, Listening, Target, Word
from autovpn.config.ssh_config import Destination, destination
from autovpn.config.tunnel import Reading, TunnelTable
from autovpn.core.escape import show_text
from autovpn.core.settings import OpensshSettings, SshForward
from autovpn.core.tunnel import RouteMode

SSH_PORT = 22
HIGHEST_UNIT = 0x7FFFFFFD  # SSH_TUNID_MAX in OpenSSH's misc.h
_UNIT_NAME = re.compile(r"tun[0-9]{1,10}")


class ForwardTable(Table):
    """One of `forwards`: connections to `listen` come out at `target` on the far side."""

    listen: Listening
    target: Target


class OpensshTunnel(TunnelTable):
    """The keys of an OpenSSH tunnel."""

    programs: ClassVar[tuple[str, ...]] = ("ssh",)
    own_check: ClassVar[OwnCheck] = "dpd"

    type: Literal["openssh"]
    host: Word
    port: Annotated[int, Field(ge=1, le=HIGHEST_PORT)] | None = None
    user: Word | None = None
    identity: FilePath | None = None
    known_hosts: FilePath | None = None
    config: FilePath | None = None
    remote_unit: Annotated[int, Field(ge=0, le=HIGHEST_UNIT)] | None = None
    address: InterfaceAddress | None = None
    peer: Address | None = None
    socks: Listening | None = None
    forwards: list[ForwardTable] = Field(default_factory=list)

    @model_validator(mode="after")
    def _does_something(self) -> OpensshTunnel:
        if self.address is None:
            if self.socks is None and not self.forwards:
                raise ValueError("carries nothing; give it an 'address' (layer 3), 'socks' or 'forwards'")
            if self.peer is not None or self.remote_unit is not None or self.device is not None:
                raise ValueError("has 'peer', 'remote_unit' or 'device', but no 'address' to make it a layer 3 tunnel")
            if self.routes.mode in ("full", "split"):
                raise ValueError("has no 'address', so nothing can be routed into it; drop 'routes'")
        if self.device is not None and not _UNIT_NAME.fullmatch(self.device):
            raise ValueError(f"has the device {quoted(self.device)}, but ssh names its devices 'tun' and a number")
        return self

    def default_device(self, name: str) -> str:
        """Return the device: ssh takes a unit number only; a tunnel without layer 3 has none."""
        return f"tun{100_000 + crc32(name.encode()) % 900_000}" if self.address else ""

    def read(self, context: Context, key: KeyPath) -> Reading | None:
        """Check the files that ssh will read, and find where an alias leads."""
        if self.password:
            meant = "use a key without one ('identity'), for this tunnel alone"
            context.refuse((*key, "password"), "ssh can't be given a password or passphrase", meant)
        identity, known_hosts, config = (
            context.resolve(path) if path else None for path in (self.identity, self.known_hosts, self.config)
        )
        if identity:
            context.check((*key, "identity"), identity, secret=True)
        if known_hosts:
            context.check((*key, "known_hosts"), known_hosts)
        found = Destination()
        if config:
            # Its ProxyCommand and Match exec are code, so it is trusted like code or not at all.
            content = context.read((*key, "config"), config)
            if content is None:
                return None
            found = destination(content, self.host)
            for word_ in found.opaque:
                context.note(
                    (*key, "config"),
                    f"{show_text(config)} uses '{word_}', which is not followed",
                    "the tunnel's own packets are expected to go to 'host' and 'port'",
                )
        settings = OpensshSettings(
            host=self.host,
            port=self.port or found.port or SSH_PORT,
            user=self.user,
            identity=identity,
            known_hosts=known_hosts,
            config=config,
            remote_unit=self.remote_unit,
            address=self.address,
            peer=self.peer,
            socks=self.socks,
            forwards=tuple(SshForward(forward.listen, forward.target) for forward in self.forwards),
            endpoint_host=found.host,
        )
        return Reading(
            settings,
            watched=tuple(path for path in (identity, known_hosts, config) if path),
            mode=RouteMode.SPLIT if self.address else RouteMode.NONE,
            reach=tuple(ip_network(end) for end in (self.address and self.address.network, self.peer) if end),
        )
