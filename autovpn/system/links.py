"""Devices of ours: making, marking, addressing and deleting them.

A device is ours only if its index *and* its alias (`autovpn:<nonce>`, IFLA_IFALIAS) are those that we recorded.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from socket import AF_INET6
from typing import TYPE_CHECKING, Any, Final

from autovpn.core.orphans import MarkedDevice
from autovpn.errors import Refused, SystemFault, Unsupported
from autovpn.system.netlink import ask, requests
from autovpn.system.observe import ALIAS_PREFIX

if TYPE_CHECKING:
    from autovpn.core.network import IPAddress, IPInterface
    from autovpn.system.rtnl_rows import LinkRow, Tables

_LONGEST_NAME: Final = 15  # IFNAMSIZ less the NUL, linux/if.h
_TEMPORARY: Final = "av-"
_GONE: Final = frozenset({errno.ENODEV, errno.EADDRNOTAVAIL, errno.ENXIO})
_THERE: Final = frozenset({errno.EEXIST})
_IFA_F_NODAD: Final = 0x02  # linux/if_addr.h
_IPV6: Final = 6

# linux/if_tun.h
_TUNSETIFF: Final = 0x400454CA
_TUNSETPERSIST: Final = 0x400454CB
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_IFREQ: Final = struct.Struct("16sH22x")


def temporary_name(alias: str) -> str:
    """Return the name that a device has until its alias is set: made of the alias' nonce, so known to be ours."""
    return (_TEMPORARY + alias.rpartition(":")[2])[:_LONGEST_NAME]


def find_by_alias(tables: Tables, alias: str) -> LinkRow | None:
    """Return the device that was made with this alias, also when making it was cut short before the alias was set."""
    unmarked = temporary_name(alias)
    for row in tables.links.values():
        if row.alias == alias or (row.alias is None and row.name == unmarked):
            return row
    return None


def marked(tables: Tables) -> tuple[MarkedDevice, ...]:
    """Return every device that has an alias of ours, whoever made it."""
    return tuple(
        MarkedDevice(row.index, row.name, row.alias)
        for row in tables.links.values()
        if row.alias is not None and row.alias.startswith(ALIAS_PREFIX)
    )


async def create(kind: str, name: str, alias: str, if_id: int | None = None) -> int:
    """Make a device of a kernel kind ("wireguard", "tun", ...) with a name and our mark; its index.

    The kernel takes no alias for a device that it is only making (rtnl_create_link in net/core/rtnetlink.c). So the
    device comes into being under a name made of the nonce, is marked, and is then given its name: there is no moment at
    which a crash leaves a device that `find_by_alias` can't tell from another program's.

    Raises:
        Unsupported: the kernel has no such kind of device.
        SystemFault: the name is taken, or the kernel refuses for another reason; nothing is left behind.
    """
    unmarked = temporary_name(alias)
    async with requests() as kernel:
        if kind == "tun":
            _create_tun(unmarked)
        else:
            own = {} if if_id is None else {"xfrm_if_id": if_id}  # IFLA_XFRM_IF_ID of <linux/if_link.h>
            await ask(f"a device of kind {kind}", kernel.link("add", ifname=unmarked, kind=kind, **own))
        index = await _index_of(kernel, unmarked)
        try:
            await ask(f"the mark of {name}", kernel.link("set", index=index, ifalias=alias))
            await ask(f"the name {name} for a device of ours", kernel.link("set", index=index, ifname=name))
        except SystemFault:
            await ask(f"no device {unmarked}", kernel.link("del", index=index), fine=_GONE)
            raise
    return index


async def delete(index: int, alias: str) -> bool:
    """Delete a device of ours; whether it was still there.

    Raises:
        Refused: that index belongs to a device without this alias, so to somebody else.
        SystemFault: the kernel refuses.
    """
    async with requests() as kernel:
        found = await _link(kernel, index)
        if found is None:
            return False
        if found.get("ifalias") != alias and found.get("ifname") != temporary_name(alias):
            raise Refused(
                f"interface {found.get('ifname')}",
                f"its alias is {found.get('ifalias')!r} and not {alias!r}, so it is not ours any more",
                "delete it by hand if it is of no use",
            )
        return await ask(f"no device {found.get('ifname')}", kernel.link("del", index=index), fine=_GONE)


async def set_up(index: int) -> None:
    """Set a link up (IFF_UP); SystemFault if the kernel refuses."""
    async with requests() as kernel:
        await ask(f"interface {index} up", kernel.link("set", index=index, state="up"))


async def set_mtu(index: int, mtu: int) -> None:
    """Set the MTU in bytes; SystemFault if the kernel or the device's driver refuses it."""
    async with requests() as kernel:
        await ask(f"an MTU of {mtu} for interface {index}", kernel.link("set", index=index, mtu=mtu))


async def set_alias(index: int, alias: str) -> None:
    """Mark a device that a tunnel's program has made for us; SystemFault if the kernel refuses."""
    async with requests() as kernel:
        await ask(f"the alias {alias} for interface {index}", kernel.link("set", index=index, ifalias=alias))


async def add_address(index: int, address: IPInterface, peer: IPAddress | None = None) -> bool:
    """Give a link an address, and the far end's where it has one; false when it had it already.

    Raises:
        SystemFault: the kernel refuses.
    """
    async with requests() as kernel:
        fields = _address_fields(index, address, peer)
        return await ask(f"address {address} for interface {index}", kernel.addr("add", **fields), fine=_THERE)


async def remove_address(index: int, address: IPInterface, peer: IPAddress | None = None) -> bool:
    """Take an address away; false when it, or its link, was gone already.

    Raises:
        SystemFault: the kernel refuses.
    """
    async with requests() as kernel:
        fields = _address_fields(index, address, peer)
        return await ask(f"no address {address} on interface {index}", kernel.addr("del", **fields), fine=_GONE)


def _address_fields(index: int, address: IPInterface, peer: IPAddress | None) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "index": index,
        "prefixlen": address.network.prefixlen,
        "address": str(peer or address.ip),
    }
    if peer is not None:
        fields["local"] = str(address.ip)
    if address.version == _IPV6:
        # Nobody on a tunnel can have taken the address, so it needn't be tentative for a second (RFC 4862, 5.4).
        fields |= {"family": AF_INET6, "flags": _IFA_F_NODAD}
    return fields


async def _link(kernel: Any, index: int) -> Any:  # noqa: ANN401  pyroute2 has no types
    """What the kernel says of a link; None when there is none of that index."""
    answer: list[Any] = []

    async def get() -> None:
        answer.extend(await kernel.link("get", index=index))

    await ask(f"a look at interface {index}", get(), fine=_GONE)
    return answer[0] if answer else None


async def _index_of(kernel: Any, name: str) -> int:  # noqa: ANN401  pyroute2 has no types
    found = await kernel.link_lookup(ifname=name)
    if not found:
        raise SystemFault(f"the device {name} vanished while it was made")
    return int(found[0])


def _create_tun(name: str) -> None:
    """Make a TUN device that lasts until it is deleted; the kernel makes them by ioctl alone (tun_validate, tun.c)."""
    try:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise Unsupported(f"a TUN device: /dev/net/tun: {error.strerror}; load the module tun") from error
    try:
        fcntl.ioctl(device, _TUNSETIFF, _IFREQ.pack(name.encode(), _IFF_TUN | _IFF_NO_PI))
        fcntl.ioctl(device, _TUNSETPERSIST, 1)
    except OSError as error:
        raise SystemFault(f"a TUN device: {error.strerror}") from error
    finally:
        os.close(device)
