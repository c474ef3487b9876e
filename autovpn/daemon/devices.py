"""The devices of tunnels, on the real kernel: the port that their channels use."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from autovpn.errors import Refused, SystemFault
from autovpn.system import links
from autovpn.system.rtnl_rows import Tables


class KernelDevices:
    """Makes, marks and deletes devices; `look` returns the kernel's tables as they are now."""

    def __init__(self, look: Callable[[], Tables]) -> None:
        """Take the reader."""
        self._look = look

    async def index_of(self, name: str) -> int | None:
        """Return the index of the link that has this name now."""
        return next((row.index for row in self._look().links.values() if row.name == name), None)

    async def create(self, kind: str, name: str, alias: str, if_id: int | None = None) -> int:
        """Make a device with this alias and return its index."""
        return await links.create(kind, name, alias, if_id)

    async def mark(self, index: int, alias: str) -> None:
        """Give a device that the tunnel's program made its alias."""
        await links.set_alias(index, alias)

    async def set_up(self, name: str) -> None:
        """Set a device up."""
        index = await self.index_of(name)
        if index is None:
            raise SystemFault(f"there is no device {name}")
        await links.set_up(index)

    async def delete(self, index: int, alias: str) -> None:
        """Delete a device that is still ours; one that has become another's is left alone."""
        with suppress(Refused):
            await links.delete(index, alias)
