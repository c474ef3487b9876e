"""The reader when events are lost, cut off, forged, or make no sense."""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable
from typing import cast

import pytest

from autovpn.errors import SystemFault
from autovpn.system import rtnl_abi as abi
from autovpn.system.rtnl import Rtnl
from autovpn.system.rtnl_dump import DumpInterrupted, DumpSocket
from autovpn.system.rtnl_rows import Changes
from tests.system.rtnl_messages import address, attribute, link, message, route, u32

KERNEL = 0


class ScriptedMonitor:
    """A socket that gives what the test has put in: datagrams, or errors."""

    def __init__(self) -> None:
        self.queue: deque[tuple[bytes, int] | OSError] = deque()

    def recvfrom_into(self, buffer: bytearray, _size: int, flags: int) -> tuple[int, tuple[int, int]]:
        assert flags == socket.MSG_TRUNC
        if not self.queue:
            raise BlockingIOError(errno.EAGAIN, "nothing there")
        item = self.queue.popleft()
        if isinstance(item, OSError):
            raise item
        datagram, sender = item
        kept = datagram[: len(buffer)]
        buffer[: len(kept)] = kept
        return len(datagram), (sender, 1)

    def close(self) -> None:
        pass


class ScriptedKernel:
    """The tables as a dump gives them; `before_dump` is called first, to have things happen meanwhile."""

    def __init__(self) -> None:
        self.tables: dict[int, list[bytes]] = {abi.RTM_GETLINK: [link(1, "lo"), link(2)]}
        self.dumps = 0
        self.settled = False
        self.before_dump: Callable[[int], None] = lambda _: None

    def dump(self, kind: int) -> list[bytes]:
        self.dumps += 1
        self.before_dump(kind)
        return list(self.tables.get(kind, []))

    def wait_for_changes(self) -> None:
        self.settled = True

    def close(self) -> None:
        pass


class Fixture:
    def __init__(self) -> None:
        self.monitor, self.kernel = ScriptedMonitor(), ScriptedKernel()
        self.rtnl = Rtnl(cast("socket.socket", self.monitor), cast("DumpSocket", self.kernel))
        self.rtnl.resync()

    def put(self, *messages: bytes, sender: int = KERNEL) -> None:
        self.monitor.queue.extend((raw, sender) for raw in messages)

    def names(self) -> list[str]:
        return sorted(row.name for row in self.rtnl.tables().links.values())


@pytest.fixture
def machine() -> Fixture:
    return Fixture()


def test_an_event_changes_the_table_that_it_is_about(machine: Fixture) -> None:
    machine.put(link(3, "wlan0"))
    assert machine.rtnl.drain() == Changes.LINKS
    assert machine.names() == ["eth0", "lo", "wlan0"]
    assert not machine.rtnl.drain()


def test_several_messages_in_one_datagram_all_count(machine: Fixture) -> None:
    machine.put(link(3, "a") + link(4, "b"))
    machine.rtnl.drain()
    assert machine.names() == ["a", "b", "eth0", "lo"]


def test_what_another_process_sends_is_ignored(machine: Fixture) -> None:
    machine.put(link(2, "forged"), sender=4711)
    assert not machine.rtnl.drain()
    assert machine.names() == ["eth0", "lo"]


def test_a_drain_stops_at_its_budget_and_says_so(machine: Fixture) -> None:
    machine.put(*[link(2, f"n{number}") for number in range(10)])
    assert machine.rtnl.drain(budget=4) == Changes.LINKS | Changes.MORE
    assert machine.names() == ["lo", "n3"]


LOSSES = {
    "the socket was full": OSError(errno.ENOBUFS, "No buffer space available"),
    "a message was cut off": (bytes(1 << 18), KERNEL),
    "the kernel reports an overrun": (message(abi.NLMSG_OVERRUN, b""), KERNEL),
    "a length that can't be": (b"\xff" * 32, KERNEL),
    "a link without its header": (message(abi.RTM_NEWLINK, b""), KERNEL),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_after_a_loss_everything_is_dumped_anew(machine: Fixture, loss: tuple[bytes, int] | OSError) -> None:
    before = machine.rtnl.resyncs
    machine.kernel.tables[abi.RTM_GETLINK] = [link(1, "lo"), link(5, "new")]
    machine.monitor.queue.append(loss)
    machine.put(link(2, "what is older than the dump"))
    assert machine.rtnl.drain() & Changes.TABLES == Changes.TABLES
    assert machine.names() == ["lo", "new"]
    assert machine.rtnl.resyncs == before + 1


def test_events_during_the_dump_are_taken_in_before_the_tables_are_shown(machine: Fixture) -> None:
    machine.kernel.before_dump = lambda kind: machine.put(link(9, "late")) if kind == abi.RTM_GETNEIGH else None
    machine.rtnl.resync()
    assert "late" in machine.names()


def test_an_interrupted_dump_is_done_again(machine: Fixture) -> None:
    interruptions = iter([True, True, False])

    def interrupt(kind: int) -> None:
        if kind == abi.RTM_GETADDR and next(interruptions, False):
            raise DumpInterrupted("changed meanwhile")

    machine.kernel.before_dump = interrupt
    before = machine.rtnl.resyncs
    machine.rtnl.resync()
    assert machine.rtnl.resyncs == before + 3


def _interrupt(_: int) -> None:
    raise DumpInterrupted("changed meanwhile")


def test_while_no_dump_succeeds_the_tables_stay_as_they_were_and_the_next_drain_tries_again(machine: Fixture) -> None:
    before = machine.rtnl.tables()
    machine.kernel.tables[abi.RTM_GETLINK] = [link(7, "later")]
    machine.kernel.before_dump = _interrupt
    machine.monitor.queue.append(OSError(errno.ENOBUFS, "No buffer space available"))
    assert machine.rtnl.drain() & Changes.MORE
    assert machine.rtnl.tables() is before
    machine.kernel.before_dump = lambda _: None
    assert machine.rtnl.drain() == Changes.TABLES
    assert machine.names() == ["later"]


def test_interrupted_route_dumps_leave_the_tables_as_they_were(machine: Fixture) -> None:
    before = machine.rtnl.tables()
    machine.put(route(2), link(2, "renamed"))
    machine.rtnl.drain()
    machine.kernel.before_dump = _interrupt
    assert machine.rtnl.tables() is before
    machine.kernel.before_dump = lambda _: None
    assert machine.names() == ["lo", "renamed"]


def test_routes_and_rules_are_dumped_only_when_an_event_said_so(machine: Fixture) -> None:
    machine.rtnl.tables()
    dumps = machine.kernel.dumps
    machine.put(link(2), address(2, "10.0.0.1/8"))
    machine.rtnl.drain()
    machine.rtnl.tables()
    assert machine.kernel.dumps == dumps
    machine.kernel.tables[abi.RTM_GETROUTE] = [route(2, body=u32(abi.RTA_OIF, 2))]
    machine.put(route(2))
    machine.rtnl.drain()
    assert [row.oif for row in machine.rtnl.tables().routes] == [2]


def test_routes_are_dumped_only_after_the_change_that_was_announced(machine: Fixture) -> None:
    """A link is said to go down before its routes are dropped, and a dump in between would have them for ever."""
    order: list[bool] = []
    machine.kernel.before_dump = lambda kind: order.append(machine.kernel.settled) if kind == abi.RTM_GETROUTE else None
    machine.rtnl.tables()
    assert order == [True]


def test_a_link_is_the_same_after_a_resync(machine: Fixture) -> None:
    before = machine.rtnl.tables().links[2].id
    machine.rtnl.resync()
    assert machine.rtnl.tables().links[2].id == before


def test_an_object_that_makes_no_sense_is_asked_for_again_and_then_left_out(machine: Fixture) -> None:
    odd = link(2, attributes=attribute(abi.IFLA_LINK, b"\0\0"))
    machine.put(odd)
    machine.rtnl.drain()
    resyncs = machine.rtnl.resyncs
    assert machine.names() == ["eth0", "lo"]
    assert machine.rtnl.resyncs == resyncs + 1
    machine.kernel.tables[abi.RTM_GETLINK] = [link(1, "lo"), odd]
    machine.put(odd)
    machine.rtnl.drain()
    assert machine.names() == ["lo"]
    assert machine.rtnl.malformed == 1


def test_addresses_of_links_that_are_gone_are_not_shown(machine: Fixture) -> None:
    machine.put(address(2, "10.0.0.1/8"), address(3, "10.0.0.2/8"))
    machine.rtnl.drain()
    assert [row.index for row in machine.rtnl.tables().addresses] == [2]


def test_a_broken_socket_is_an_error_for_people(machine: Fixture) -> None:
    machine.monitor.queue.append(OSError(errno.EBADF, "Bad file descriptor"))
    with pytest.raises(SystemFault, match="netlink socket failed: Bad file descriptor"):
        machine.rtnl.drain()


def test_this_machine_is_read_without_any_privilege_and_without_blocking_the_loop() -> None:
    with Rtnl.open() as rtnl:
        tables = rtnl.tables()
    assert tables.links[1].name == "lo"
    assert {rule.table for rule in tables.rules} >= {254, 255}
    assert rtnl.malformed == 0


async def test_the_reader_may_be_used_inside_the_loop() -> None:
    with Rtnl.open() as rtnl:
        rtnl.drain()
        rtnl.resync()
        assert rtnl.tables().links
