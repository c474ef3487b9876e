"""The drivers by the type that a tunnel names in its profile."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from autovpn.tunnels.command import CommandDriver
from autovpn.tunnels.implementation import ChosenIpsec
from autovpn.tunnels.openconnect import OpenconnectDriver
from autovpn.tunnels.openssh import OpensshDriver
from autovpn.tunnels.openvpn import OpenvpnDriver
from autovpn.tunnels.pptp import PptpDriver
from autovpn.tunnels.tinc import TincDriver
from autovpn.tunnels.vpnc import VpncDriver
from autovpn.tunnels.wireguard import WireguardDriver
from autovpn.tunnels.zebedee import ZebedeeDriver

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autovpn.core.driving import Driver

# The state of a driver is its own affair: whoever runs it keeps it and hands it back.
DRIVERS: Mapping[str, Driver[Any]] = MappingProxyType(
    {
        "command": CommandDriver(),
        "zebedee": ZebedeeDriver(),
        "ipsec": ChosenIpsec(),
        "openconnect": OpenconnectDriver(),
        "openssh": OpensshDriver(),
        "openvpn": OpenvpnDriver(),
        "pptp": PptpDriver(),
        "tinc": TincDriver(),
        "vpnc": VpncDriver(),
        "wireguard": WireguardDriver(),
    }
)
