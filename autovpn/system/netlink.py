"""Asking the kernel for a change: pyroute2's asyncio socket, and the kernel's refusals in words."""

from __future__ import annotations

import errno
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from autovpn.errors import SystemFault, Unsupported

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

_LACKING: Final = frozenset({errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})
_FORBIDDEN: Final = frozenset({errno.EPERM, errno.EACCES})


@asynccontextmanager
async def requests() -> AsyncIterator[Any]:
    """Open a socket for changes in the network namespace of the calling thread; pyroute2 has no types to tell.

    Raises:
        SystemFault: the kernel gives no netlink socket.
    """
    try:
        async with AsyncIPRoute() as route:
            yield route
    except OSError as error:
        raise SystemFault(f"the kernel's netlink could not be opened: {error.strerror}") from error


async def ask(what: str, request: Awaitable[Any], *, fine: frozenset[int] = frozenset()) -> bool:
    """Carry out one change; true when the kernel made it, false when it was made already (an errno in `fine`).

    Raises:
        Unsupported: the kernel lacks what is asked for.
        SystemFault: it refuses for another reason; `what` names the change.
    """
    try:
        await request
    except NetlinkError as error:
        if error.code in fine:
            return False
        raise _fault(what, error.code) from error
    return True


def _fault(what: str, number: int) -> SystemFault:
    if number in _LACKING:
        return Unsupported(f"{what}: this kernel has no support for it")
    if number in _FORBIDDEN:
        return SystemFault(f"{what}: {os.strerror(number)}; autovpn needs to be root (CAP_NET_ADMIN)")
    return SystemFault(f"{what}: {os.strerror(number)}")
