"""Asking the kernel who a gateway is, so that a rule about its MAC address can be decided."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from autovpn.core.network import IPAddress
from autovpn.errors import SystemFault
from autovpn.system.netlink import ask, requests

NTF_USE = 0x01  # linux/neighbour.h
AF_INET, AF_INET6 = 2, 10


async def resolve(index: int, addresses: Iterable[IPAddress]) -> None:
    """Have the kernel resolve neighbours of a link (RTM_NEWNEIGH with NTF_USE); their entries come as events.

    A kernel that refuses leaves the rule undecided until its time is over, which is no fault of ours to raise.
    """
    async with requests() as kernel:
        for address in addresses:
            family = AF_INET if address.version == 4 else AF_INET6  # noqa: PLR2004 - the version of IP
            request = kernel.neigh("add", dst=str(address), ifindex=index, family=family, flags=NTF_USE, state=0)
            with suppress(SystemFault):
                await ask(f"the neighbour {address}", request)
