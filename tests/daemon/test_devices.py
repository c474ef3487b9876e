"""The devices of tunnels: found by name as they are now, and left alone once they are another's."""

from __future__ import annotations

import pytest

from autovpn.daemon import devices
from autovpn.daemon.devices import KernelDevices
from autovpn.errors import Refused, SystemFault
from autovpn.system.rtnl_abi import OperState
from autovpn.system.rtnl_rows import LinkRow, Tables

ROW = LinkRow(9, 1, "av0", "tun", None, False, OperState.DOWN, False, "autovpn:x", None, None, 1500, 65534)


class Changes:
    """The changes to links, written down instead of made."""

    def __init__(self) -> None:
        self.made: list[tuple[object, ...]] = []
        self.refuses = False

    async def create(self, kind: str, name: str, alias: str, if_id: int | None = None) -> int:
        self.made.append(("create", kind, name, alias))
        return 9

    async def set_alias(self, index: int, alias: str) -> None:
        self.made.append(("alias", index, alias))

    async def set_up(self, index: int) -> None:
        self.made.append(("up", index))

    async def delete(self, index: int, alias: str) -> None:
        if self.refuses:
            raise Refused("av0", "is not ours")
        self.made.append(("delete", index, alias))


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> Changes:
    made = Changes()
    monkeypatch.setattr(devices, "links", made)
    return made


async def test_each_change_is_made_to_the_device_that_is_meant(changes: Changes) -> None:
    kernel = KernelDevices(lambda: Tables({9: ROW}))

    assert await kernel.create("wireguard", "av0", "autovpn:x") == 9
    await kernel.mark(9, "autovpn:x")
    await kernel.set_up("av0")
    await kernel.delete(9, "autovpn:x")
    assert changes.made == [
        ("create", "wireguard", "av0", "autovpn:x"),
        ("alias", 9, "autovpn:x"),
        ("up", 9),
        ("delete", 9, "autovpn:x"),
    ]


async def test_a_device_that_is_not_there_cannot_be_set_up(changes: Changes) -> None:
    with pytest.raises(SystemFault, match="there is no device av1"):
        await KernelDevices(lambda: Tables({9: ROW})).set_up("av1")


async def test_a_device_that_has_become_anothers_is_left_alone(changes: Changes) -> None:
    changes.refuses = True

    await KernelDevices(Tables).delete(9, "autovpn:x")
    assert changes.made == []
