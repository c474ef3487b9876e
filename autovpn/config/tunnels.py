"""The table of tunnel types: a new one is one new file and one line in each of the two places here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from autovpn.config.tunnel import TunnelTable
from autovpn.config.tunnel_command import CommandTunnel
from autovpn.config.tunnel_ipsec import IpsecTunnel
from autovpn.config.tunnel_openconnect import OpenconnectTunnel
from autovpn.config.tunnel_openssh import OpensshTunnel
from autovpn.config.tunnel_openvpn import OpenvpnTunnel
from autovpn.config.tunnel_pptp import PptpTunnel
from autovpn.config.tunnel_tinc import TincTunnel
from autovpn.config.tunnel_vpnc import VpncTunnel
from autovpn.config.tunnel_wireguard import WireguardTunnel
from autovpn.config.tunnel_zebedee import ZebedeeTunnel

TYPES: Mapping[str, type[TunnelTable]] = {
    "wireguard": WireguardTunnel,
    "command": CommandTunnel,
    "zebedee": ZebedeeTunnel,
    "openssh": OpensshTunnel,
    "openvpn": OpenvpnTunnel,
    "vpnc": VpncTunnel,
    "tinc": TincTunnel,
    "ipsec": IpsecTunnel,
    "openconnect": OpenconnectTunnel,
    "pptp": PptpTunnel,
}
Tunnel = Annotated[
    WireguardTunnel
    | OpensshTunnel
    | OpenvpnTunnel
    | VpncTunnel
    | TincTunnel
    | IpsecTunnel
    | OpenconnectTunnel
    | PptpTunnel
    | CommandTunnel
    | ZebedeeTunnel,
    Field(discriminator="type"),
]
