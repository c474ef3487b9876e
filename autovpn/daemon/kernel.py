"""The ports for links and routes, on the real kernel."""

from __future__ import annotations

from collections.abc import Callable
from socket import AF_INET6

from autovpn.core.network import IPAddress, IPInterface
from autovpn.core.orphans import MarkedDevice
from autovpn.core.routing import RoutePlan
from autovpn.daemon.ports import Occupied
from autovpn.system import links, routes
from autovpn.system.rtnl_rows import Tables

_IPV6 = 6


class KernelRoutes:
    """Policy rules and routes; `look` returns the kernel's tables as they are now."""

    def __init__(self, look: Callable[[], Tables]) -> None:
        """Take the reader."""
        self._look = look

    async def occupied(self) -> Occupied:
        """Return the tables that anybody uses, and the priorities that others do."""
        tables = self._look()
        return Occupied(routes.tables_in_use(tables), routes.foreign_priorities(tables))

    async def apply(self, plan: RoutePlan) -> None:
        """Add what is not there yet."""
        await routes.apply(plan)

    async def amend(self, before: RoutePlan, after: RoutePlan) -> None:
        """Turn one plan into the other."""
        await routes.amend(before, after)

    async def remove(self, plan: RoutePlan) -> None:
        """Remove what is still there."""
        await routes.remove(plan)

    async def missing(self, plan: RoutePlan) -> RoutePlan:
        """Return what is not there although this kernel can have it."""
        tables = self._look()
        missing = plan - routes.present(tables)
        if any(rule.family == AF_INET6 for rule in tables.rules):
            return missing
        # A kernel without IPv6 (ipv6.disable=1) has not even the rules that every kernel begins with.
        return RoutePlan(
            tuple(rule for rule in missing.rules if rule.family != _IPV6),
            tuple(route for route in missing.routes if route.family != _IPV6),
        )

    async def marked(self) -> RoutePlan:
        """Return all that carries our protocol number."""
        return routes.present(self._look())


class KernelLinks:
    """Our devices; `look` returns the kernel's tables as they are now."""

    def __init__(self, look: Callable[[], Tables]) -> None:
        """Take the reader."""
        self._look = look

    async def index_of(self, name: str) -> int | None:
        """Return the index of the device that has this name now."""
        return next((row.index for row in self._look().links.values() if row.name == name), None)

    async def with_alias(self, alias: str) -> int | None:
        """Return the index of the device that was made with this alias."""
        row = links.find_by_alias(self._look(), alias)
        return row.index if row else None

    async def marked(self) -> tuple[MarkedDevice, ...]:
        """Return every device that has an alias of ours."""
        return links.marked(self._look())

    async def delete(self, index: int, alias: str) -> None:
        """Delete a device if it is still there and still ours."""
        await links.delete(index, alias)

    async def set_up(self, index: int, mtu: int) -> None:
        """Set a device's MTU and set it up, in this order, so that it never carries larger packets."""
        await links.set_mtu(index, mtu)
        await links.set_up(index)

    async def add_address(self, index: int, address: IPInterface, peer: IPAddress | None) -> None:
        """Give a device an address."""
        await links.add_address(index, address, peer)

    async def remove_address(self, index: int, address: IPInterface, peer: IPAddress | None) -> None:
        """Take an address away, if it is there."""
        await links.remove_address(index, address, peer)
