"""A storm of changes ends in the right table, also when the socket is much too small for it."""

from __future__ import annotations

import resource
import select
import socket
import struct
import threading
from collections.abc import Iterator
from itertools import cycle

import pytest

from autovpn.system import rtnl_abi as abi
from autovpn.system.rtnl import Rtnl
from tests.netns.namespace import Namespace
from tests.netns.world import World

CHANGES = 100_000
LINKS = 8
NLM_F_ACK = 0x4


class Storm(threading.Thread):
    """A thread that changes MTU, alias and flags of the given links, `CHANGES` times in all, as fast as it can."""

    def __init__(self, namespace: Namespace, indexes: list[int]) -> None:
        super().__init__()
        with namespace.enter():
            self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self.indexes = indexes
        self.errors: set[int] = set()

    def run(self) -> None:
        with self.socket:
            for number, index in zip(range(CHANGES), cycle(self.indexes), strict=False):
                self.change(number, index)
            for index in self.indexes:
                self.set(index, _u32(abi.IFLA_MTU, 1300 + index))
                self.set(index, _text(abi.IFLA_IFALIAS, f"last of {index}"))
                self.set(index, b"", up=True)

    def change(self, number: int, index: int) -> None:
        match number // LINKS % 3:
            case 0:
                self.set(index, _u32(abi.IFLA_MTU, 1280 + number % 200))
            case 1:
                self.set(index, _text(abi.IFLA_IFALIAS, f"number {number}"))
            case _:
                self.set(index, b"", up=bool(number // LINKS % 2))

    def set(self, index: int, attributes: bytes, *, up: bool | None = None) -> None:
        change = 0 if up is None else abi.IFF_UP
        body = abi.LINK_HEADER.pack(0, 0, 0, index, abi.IFF_UP if up else 0, change) + attributes
        header = abi.MESSAGE_HEADER.pack(16 + len(body), abi.RTM_NEWLINK, abi.NLM_F_REQUEST | NLM_F_ACK, 1, 0)
        self.socket.send(header + body)
        (error,) = struct.unpack_from("=i", self.socket.recv(4096), 16)
        self.errors.add(error)


def _u32(kind: int, value: int) -> bytes:
    return struct.pack("=HHI", 8, kind, value)


def _text(kind: int, text: str) -> bytes:
    value = text.encode() + b"\0"
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


@pytest.fixture
def stormy(world: World) -> Namespace:
    """A namespace of its own, whose addresses do not come and go with the flags."""
    namespace = world.namespace("stormy")
    namespace.write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")
    for number in range(LINKS // 2):
        namespace.run("ip", "link", "add", f"a{number}", "type", "veth", "peer", "name", f"b{number}")
    return namespace


@pytest.fixture
def opened(request: pytest.FixtureRequest, stormy: Namespace) -> Iterator[Rtnl]:
    with stormy.enter():
        rtnl = Rtnl.open(request.param)
    with rtnl:
        yield rtnl


def weather(rtnl: Rtnl, storm: Storm) -> None:
    """Drain until the storm is over and nothing is left in the socket."""
    storm.start()
    while storm.is_alive():
        if select.select([rtnl], [], [], 0.05)[0]:
            rtnl.drain()
    storm.join()
    while rtnl.drain():
        pass


@pytest.mark.parametrize("opened", [pytest.param(16 << 20, id="16 MiB"), pytest.param(4096, id="4 KiB")], indirect=True)
def test_a_storm_ends_in_the_right_table_within_bounded_memory(
    stormy: Namespace, opened: Rtnl, request: pytest.FixtureRequest
) -> None:
    indexes = [index for index, row in opened.tables().links.items() if row.kind == "veth"]
    storm = Storm(stormy, indexes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    weather(opened, storm)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10, "KiB of memory for 9 links"
    assert storm.errors == {0}
    rows = opened.tables().links
    assert {(row.mtu, row.alias, row.flags_up) for row in rows.values() if row.kind == "veth"} == {
        (1300 + index, f"last of {index}", True) for index in indexes
    }
    if request.node.callspec.id == "4 KiB":
        assert opened.resyncs > 0


def test_links_that_come_and_go_by_the_hundred_leave_nothing(stormy: Namespace) -> None:
    with stormy.enter():
        rtnl = Rtnl.open()
    with rtnl:
        before = rtnl.tables().links
        lines = [line for _ in range(100) for line in ("link add x0 type veth peer name x1", "link del x0")]
        churn = threading.Thread(target=stormy.batch, args=lines)
        churn.start()
        while churn.is_alive():
            if select.select([rtnl], [], [], 0.05)[0]:
                rtnl.drain()
                rtnl.tables()
        churn.join()
        while rtnl.drain():
            pass
        assert {index: row.name for index, row in rtnl.tables().links.items()} == {
            index: row.name for index, row in before.items()
        }
        assert rtnl.malformed == 0
