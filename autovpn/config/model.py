"""The shape of `autovpn.toml` and of a profile's file, as pydantic models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from autovpn.config.fields import (
    Address,
    Argument,
    Device,
    Domain,
    Duration,
    FilePath,
    Mac,
    Name,
    Prefix,
    Ssid,
    SsidGlob,
    SsidHex,
    Table,
    Text,
    Timeout,
)
from autovpn.config.tunnels import Tunnel


class UplinksTable(Table):
    """`[daemon] uplinks`: links that count as uplinks, or don't, whatever their kind says."""

    include: list[Device] = Field(default_factory=list)
    exclude: list[Device] = Field(default_factory=list)


class DaemonTable(Table):
    """`[daemon]`: the daemon's times."""

    settle_trusted: Duration = 5.0
    linger: Duration = 15.0
    decide_timeout: Timeout = 10.0
    hook_timeout: Timeout = 30.0
    uplinks: UplinksTable = UplinksTable()


class MachineDnsTable(Table):
    """`[dns]` of `autovpn.toml`: how the machine's DNS is changed."""

    backend: Literal["auto", "resolved", "networkmanager", "resolvconf", "file"] = "auto"
    on_conflict: Literal["reapply", "yield"] = "reapply"


class MainFile(Table):
    """The whole of `autovpn.toml`."""

    daemon: DaemonTable = DaemonTable()
    dns: MachineDnsTable = MachineDnsTable()


class ConditionsTable(Table):
    """The conditions of `[match]` and of `[match.not]`: one list for each key of `core.profile.Key`."""

    interface: Annotated[list[Device], Field(min_length=1)] | None = None
    interface_glob: Annotated[list[Text], Field(min_length=1)] | None = None
    interface_type: Annotated[list[Literal["wifi", "ethernet", "wwan", "any"]], Field(min_length=1)] | None = None
    ssid: Annotated[list[Ssid], Field(min_length=1)] | None = None
    ssid_hex: Annotated[list[SsidHex], Field(min_length=1)] | None = None
    ssid_glob: Annotated[list[SsidGlob], Field(min_length=1)] | None = None
    bssid: Annotated[list[Mac], Field(min_length=1)] | None = None
    security: Annotated[list[Literal["open", "wep", "owe", "psk", "sae", "eap"]], Field(min_length=1)] | None = None
    gateway_mac: Annotated[list[Mac], Field(min_length=1)] | None = None
    gateway: Annotated[list[Prefix], Field(min_length=1)] | None = None
    address: Annotated[list[Prefix], Field(min_length=1)] | None = None
    dns_suffix: Annotated[list[Domain], Field(min_length=1)] | None = None
    dns_server: Annotated[list[Address], Field(min_length=1)] | None = None


class MatchTable(ConditionsTable):
    """`[match]`: every key must hold, and none of `[match.not]`."""

    not_: ConditionsTable | None = Field(default=None, alias="not")


class TrustTable(Table):
    """`[trust]`: how much evidence a profile needs that lowers protection."""

    require: Literal["proof", "shared-key", "hint"] = "proof"


class ProfileDnsTable(Table):
    """`[dns]` of a profile; `servers` absent means what the tunnel pushes."""

    servers: list[Address] | None = None
    search: list[Domain] = Field(default_factory=list)
    domains: list[Domain] = Field(default_factory=list)
    file: FilePath | None = None


class HookTable(Table):
    """One `[[hooks]]`: a program to run at a moment; `timeout` absent means `[daemon] hook_timeout`."""

    on: Literal["preup", "postup", "predown", "postdown", "failup", "faildown", "roam", "portal"]
    run: Annotated[list[Argument], Field(min_length=1)]
    timeout: Timeout | None = None
    user: Text | None = None
    on_fail: Literal["default", "ignore", "abort"] = "default"


class ProfileFile(Table):
    """The whole of a profile's file."""

    action: Literal["connect", "disconnect", "ignore"] = "connect"
    default: bool = False
    tunnels: list[Name] = Field(default_factory=list)
    match: MatchTable | None = None
    trust: TrustTable = TrustTable()
    dns: ProfileDnsTable = ProfileDnsTable()
    hooks: list[HookTable] = Field(default_factory=list)
    tunnel: dict[Name, Tunnel] = Field(default_factory=dict)
