"""Devices of ours are marked from their first moment, and nobody else's is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface

import pytest

from autovpn.core.network import IPAddress, IPInterface
from autovpn.errors import Refused, SystemFault, Unsupported
from autovpn.system import links
from autovpn.system.rtnl import Rtnl
from autovpn.system.rtnl_rows import LinkRow, Tables
from tests.netns.world import World, wait_until

ALIAS = "autovpn:0123456789abcdef"


@pytest.fixture
def rtnl(world: World) -> Iterator[Rtnl]:
    with world.laptop.enter(), Rtnl.open() as opened:
        yield opened


def now(rtnl: Rtnl) -> Tables:
    rtnl.drain()
    return rtnl.tables()


def names(rtnl: Rtnl) -> set[str]:
    return {row.name for row in now(rtnl).links.values()}


@pytest.mark.parametrize("kind", ["tun", "bridge"])
async def test_a_device_is_made_marked_used_and_deleted(rtnl: Rtnl, kind: str) -> None:
    before = names(rtnl)
    index = await links.create(kind, "vpn0", ALIAS)
    await links.set_mtu(index, 1380)
    await links.set_up(index)
    row = now(rtnl).links[index]
    assert (row.name, row.alias, row.kind, row.mtu, row.flags_up) == ("vpn0", ALIAS, kind, 1380, True)
    assert links.find_by_alias(now(rtnl), ALIAS) == row
    assert await links.delete(index, ALIAS)
    assert not await links.delete(index, ALIAS)
    assert names(rtnl) == before


async def test_a_name_that_is_taken_leaves_nothing_behind(rtnl: Rtnl) -> None:
    before = names(rtnl)
    with pytest.raises(SystemFault, match="the name eth0 for a device of ours: File exists"):
        await links.create("tun", "eth0", ALIAS)
    assert names(rtnl) == before


async def test_a_kind_that_the_kernel_lacks_is_named(rtnl: Rtnl) -> None:
    with pytest.raises(Unsupported, match="kind nosuchkind"):
        await links.create("nosuchkind", "vpn0", ALIAS)


async def test_a_crash_before_the_mark_is_set_leaves_a_device_that_is_found_and_deleted(
    rtnl: Rtnl, monkeypatch: pytest.MonkeyPatch
) -> None:
    index: list[int] = []

    async def crash(_kernel: object, name: str) -> int:
        index.append(next(row.index for row in now(rtnl).links.values() if row.name == name))
        raise KeyboardInterrupt

    monkeypatch.setattr(links, "_index_of", crash)
    with pytest.raises(KeyboardInterrupt):
        await links.create("bridge", "vpn0", ALIAS)
    found = links.find_by_alias(now(rtnl), ALIAS)
    assert isinstance(found, LinkRow)
    assert found.index == index[0]
    assert await links.delete(found.index, ALIAS)
    assert links.find_by_alias(now(rtnl), ALIAS) is None


async def test_the_device_of_another_is_not_deleted(world: World, rtnl: Rtnl) -> None:
    index = await links.create("tun", "vpn0", ALIAS)
    await links.set_alias(index, "somebody else's")
    with pytest.raises(Refused, match="not ours any more; delete it by hand"):
        await links.delete(index, ALIAS)
    assert "vpn0" in names(rtnl)


async def test_addresses_are_added_and_removed_twice_without_complaint(rtnl: Rtnl) -> None:
    index = await links.create("tun", "vpn0", ALIAS)
    await links.set_up(index)
    cases = [
        (ip_interface("10.98.0.2/30"), None),
        (ip_interface("10.98.1.2/32"), ip_address("10.98.1.1")),
        (ip_interface("fd98::2/64"), None),
        (ip_interface("fd98:1::2/128"), ip_address("fd98:1::1")),
    ]
    for address, peer in cases:
        assert await links.add_address(index, address, peer)
        assert not await links.add_address(index, address, peer)

    def usable() -> set[tuple[IPInterface, IPAddress | None]]:
        rows = [row for row in now(rtnl).addresses if row.index == index and not row.tentative]
        return {(row.address, row.peer) for row in rows if not row.address.ip.is_link_local}

    # The kernel tells of an IPv6 address when its work queue comes to it (addrconf_dad_work in net/ipv6/addrconf.c).
    await asyncio.to_thread(wait_until, lambda: usable() == set(cases), "the addresses to be usable")
    for address, peer in cases:
        assert await links.remove_address(index, address, peer)
        assert not await links.remove_address(index, address, peer)
    await links.delete(index, ALIAS)
    assert not await links.remove_address(index, cases[0][0])


async def test_a_link_that_is_gone_is_an_error_in_words(rtnl: Rtnl) -> None:
    with pytest.raises(SystemFault, match="an MTU of 1400 for interface 4711: No such device"):
        await links.set_mtu(4711, 1400)


def test_a_temporary_name_fits_into_the_kernels_limit() -> None:
    assert links.temporary_name(ALIAS) == "av-0123456789ab"
    assert len(links.temporary_name(ALIAS)) == 15
