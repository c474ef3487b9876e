"""What is said to systemd-resolved over D-Bus: org.freedesktop.resolve1(5), by raw messages."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from ipaddress import ip_address

from autovpn.core.resolvedlink import LinkSettings, link_path
from autovpn.errors import Refused, StepFailed
from autovpn.system.bus import UNKNOWN_METHOD, Bus, BusFault, Remote, understood

SERVICE = "org.freedesktop.resolve1"
MANAGER = Remote(SERVICE, "/org/freedesktop/resolve1", f"{SERVICE}.Manager")
LINK = f"{SERVICE}.Link"
LINK_BUSY, NO_SUCH_LINK = f"{SERVICE}.LinkBusy", f"{SERVICE}.NoSuchLink"
_UNKNOWN_OBJECT = "org.freedesktop.DBus.Error.UnknownObject"

PATIENCE, PAUSE = 2.0, 0.05
"""Seconds for systemd-resolved to learn of a link that was made a moment ago."""


class Resolve1:
    """The calls; each raises StepFailed, or Refused where a link is somebody else's."""

    def __init__(self, bus: Bus) -> None:
        """Speak over `bus`."""
        self._bus = bus

    async def set_link(self, index: int, name: str, settings: LinkSettings) -> tuple[str, ...]:
        """Give a link its settings; return what could not be said to this version.

        Domains and the default route come first: servers alone already draw questions (docs/RESOLVED-VPNS.md).
        """
        notes: tuple[str, ...] = ()
        await self._known(index, name, "SetLinkDomains", "ia(sb)", [list(domain) for domain in settings.domains])
        try:
            await self._call(name, "SetLinkDefaultRoute", "ib", index, settings.default_route)
        except BusFault as fault:
            if fault.name != UNKNOWN_METHOD:
                raise _failed(name, fault) from fault
            notes = ("systemd-resolved is older than version 240 and knows no default route; its guess is as good",)
        servers = [[family, address] for family, address in settings.servers]
        try:
            await self._call(name, "SetLinkDNS", "ia(iay)", index, servers)
        except BusFault as fault:
            raise _failed(name, fault) from fault
        return notes

    async def revert_link(self, index: int, name: str) -> None:
        """Take back all that was set on a link; one that is gone has nothing to take back."""
        try:
            await self._call(name, "RevertLink", "i", index)
        except BusFault as fault:
            if fault.name != NO_SUCH_LINK:
                raise _failed(name, fault) from fault

    async def link(self, index: int) -> LinkSettings | None:
        """Return the settings of a link; None where systemd-resolved doesn't know it."""
        try:
            return await self._link(Remote(SERVICE, link_path(index), LINK))
        except BusFault as fault:
            if fault.name in (_UNKNOWN_OBJECT, UNKNOWN_METHOD, NO_SUCH_LINK):
                return None
            raise StepFailed("dns", str(fault)) from fault

    async def _link(self, link: Remote) -> LinkSettings:
        found = await self._bus.properties(link)
        with understood(SERVICE):
            domains = tuple((name, routes) for name, routes in found.get("Domains", ()))
            return LinkSettings(
                servers=tuple((family, bytes(address)) for family, address in found.get("DNS", ())),
                domains=domains,
                default_route=found.get("DefaultRoute", (".", True) in domains),
            )

    async def servers(self, without: Collection[int]) -> tuple[str, ...]:
        """Return whom it asks itself, in its order, but for the servers of these links."""
        try:
            found = await self._bus.property(MANAGER, "DNS")
            with understood(SERVICE):
                return tuple(str(ip_address(bytes(given))) for index, _family, given in found if index not in without)
        except BusFault as fault:
            raise StepFailed("dns", str(fault)) from fault

    async def search(self, without: Collection[int]) -> tuple[str, ...]:
        """Return the ends that it tries for a name without dots, in its order, but for those of these links."""
        try:
            found = await self._bus.property(MANAGER, "Domains")
            with understood(SERVICE):
                return tuple(
                    dict.fromkeys(name for index, name, routes in found if not routes and index not in without)
                )
        except BusFault as fault:
            raise StepFailed("dns", str(fault)) from fault

    async def flush(self) -> None:
        """Have it forget the answers of the servers before; it matters little if it doesn't."""
        with suppress(BusFault):
            await self._bus.call(MANAGER, "FlushCaches")

    async def is_running(self) -> bool:
        """Tell whether there is somebody to talk to: not on a bus that doesn't say so, either."""
        with suppress(BusFault):
            return await self._bus.has_owner(SERVICE)
        return False

    async def _known(self, index: int, name: str, member: str, signature: str, value: object) -> None:
        """Make the first call about a link, again while systemd-resolved has yet to learn of it."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            try:
                return await self._call(name, member, signature, index, value)
            except BusFault as fault:
                if fault.name != NO_SUCH_LINK or asyncio.get_running_loop().time() > deadline:
                    raise _failed(name, fault) from fault
            await asyncio.sleep(PAUSE)

    async def _call(self, name: str, member: str, signature: str, *body: object) -> None:
        try:
            await self._bus.call(MANAGER, member, signature, *body)
        except BusFault as fault:
            if fault.name == LINK_BUSY:
                raise Refused(
                    name,
                    "it is managed by systemd-networkd",
                    "add '[Link] Unmanaged=yes' to a .network file that matches it",
                ) from fault
            raise


def _failed(name: str, fault: BusFault) -> StepFailed:
    return StepFailed("dns", f"{name}: {fault}")
