"""What the channels of a tunnel need of the machine's links."""

from __future__ import annotations

from typing import Protocol

from autovpn.errors import SystemFault


class Devices(Protocol):
    """The changes to links that a tunnel needs. A device is ours only if index and alias agree.

    All raise SystemFault when the kernel refuses, Unsupported when it lacks the kind.
    """

    async def index_of(self, name: str) -> int | None:
        """Return the index of the link that has this name now."""
        ...

    async def create(self, kind: str, name: str, alias: str, if_id: int | None = None) -> int:
        """Make a device with this alias and return its index; `if_id` is that of one of kind xfrm."""
        ...

    async def mark(self, index: int, alias: str) -> None:
        """Give a device that the tunnel's program made its alias."""
        ...

    async def set_up(self, name: str) -> None:
        """Set a device up."""
        ...

    async def delete(self, index: int, alias: str) -> None:
        """Delete a device if it is still there and still has this alias."""
        ...


async def refuse_taken_name(devices: Devices, name: str) -> None:
    """Raise SystemFault where a link has a tunnel's name: a program could join it, or be taken for its owner."""
    if name and await devices.index_of(name) is not None:
        msg = (
            f"there is an interface {name} already, which is not this tunnel's;"
            f" remove it (ip link delete {name}) or give the tunnel another 'device'"
        )
        raise SystemFault(msg)
