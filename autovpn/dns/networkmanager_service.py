"""NetworkManager on the system bus: what it says of its DNS, and how it is told to read its configuration again.

The names are those of NetworkManager's D-Bus reference (org.freedesktop.NetworkManager and below it).
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from itertools import chain
from typing import Any

from autovpn.core.dnsfacts import NetworkManagerFacts
from autovpn.core.resolvconf import ResolvConf
from autovpn.errors import StepFailed, SystemFault
from autovpn.system.bus import UNKNOWN_METHOD, Bus, BusFault, Remote, understood

NAME, PATH = "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"
_MANAGER = Remote(NAME, PATH, NAME)
_DNS = Remote(NAME, f"{PATH}/DnsManager", f"{NAME}.DnsManager")

CONFIGURATION, RESOLV_CONF = 0x1, 0x2
"""Flags of `Reload`: read the configuration; write resolv.conf anew, even where it should not have changed."""

_NOTHING = "/"


class NetworkManagerService:
    """NetworkManager; each call raises SystemFault where it does not answer."""

    def __init__(self, bus: Bus) -> None:
        """Speak to it over `bus`."""
        self._bus = bus

    async def is_running(self) -> bool:
        """Tell whether it has its name on the bus; it is not started by being asked. Without a bus it does not run."""
        return await self._bus.has_owner(NAME)

    async def about(self) -> NetworkManagerFacts:
        """Return its version and what it says of its DNS."""
        dns = await self._bus.properties(_DNS)
        return NetworkManagerFacts(
            answers=True,
            version=await self._bus.property(_MANAGER, "Version"),
            mode=dns.get("Mode", ""),
            rc_manager=dns.get("RcManager", ""),
        )

    async def reload(self) -> None:
        """Have it read its configuration and write resolv.conf; it answers when it has."""
        try:
            await self._bus.call(_MANAGER, "Reload", "u", CONFIGURATION | RESOLV_CONF)
        except BusFault as fault:
            if fault.name != UNKNOWN_METHOD:
                raise
            raise StepFailed("dns", "NetworkManager can't be told to reload; that needs its version 1.22") from fault

    async def uplinks_dns(self) -> ResolvConf:
        """Return the servers and search domains of its primary connection; raises SystemFault where it doesn't run."""
        if not await self.is_running():
            raise SystemFault("NetworkManager does not run, so it can't say whom it asks")
        with understood(NAME):
            primary = await self._bus.property(_MANAGER, "PrimaryConnection")
            if primary == _NOTHING:
                return ResolvConf()
            active = Remote(NAME, primary, f"{NAME}.Connection.Active")
            found = [
                await self._bus.properties(Remote(NAME, path, f"{NAME}.{kind}"))
                for name, kind in (("Ip4Config", "IP4Config"), ("Ip6Config", "IP6Config"))
                if (path := await self._bus.property(active, name)) != _NOTHING
            ]
            servers = chain.from_iterable(map(_servers, found))
            search = chain.from_iterable((*one.get("Searches", ()), *one.get("Domains", ())) for one in found)
            return ResolvConf(tuple(dict.fromkeys(servers)), tuple(dict.fromkeys(search)))


def _servers(configuration: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the servers of an IP4Config, which has them as text, or of an IP6Config, which has them as bytes."""
    if "NameserverData" in configuration:
        return tuple(data["address"].value for data in configuration["NameserverData"])
    return tuple(str(ip_address(bytes(server))) for server in configuration.get("Nameservers", ()))
