"""Watching: what the kernel says wakes the loop, once, whoever reads it first."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any

import pytest

from autovpn.core.network import Wireless
from autovpn.core.profile import Policy
from autovpn.core.snapshot import LinkType
from autovpn.daemon.watching import Watch
from autovpn.system.rtnl_abi import OperState
from autovpn.system.rtnl_rows import Changes, LinkRow, Tables

RELEVANT = [Changes.LINKS, Changes.ADDRESSES, Changes.ROUTES, Changes.NEIGHBOURS]


class Readable:
    """Something with a descriptor that is readable while it has news."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK)
        self.news: list[Changes] = []
        self.closed = False

    def say(self, *news: Changes) -> None:
        self.news.extend(news)
        os.write(self.writer, b"!")

    def fileno(self) -> int:
        return self.reader

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self.reader)
            os.close(self.writer)


class FakeRtnl(Readable):
    """A monitor socket: each drain takes one batch of news."""

    resyncs, malformed = 3, 4
    drains = 0

    def drain(self) -> Changes:
        self.drains += 1
        found = self.news.pop(0) if self.news else Changes.NONE
        if not self.news:
            _empty(self.reader)
        return found | (Changes.MORE if self.news else Changes.NONE)

    def tables(self) -> Tables:
        row = LinkRow(2, 1, "wlan0", None, None, True, OperState.UP, True, None, None, None, 1500, 1)
        ours = LinkRow(9, 1, "av0", "tun", None, True, OperState.UP, True, "autovpn:x", None, None, 1500, 1)
        return Tables({2: row, 9: ours})


class FakeClock(Readable):
    """A clock that jumps when there is news, and only ever because the machine slept."""

    def consume(self) -> bool:
        _empty(self.reader)
        return bool(self.news and self.news.pop())

    def suspended_for(self) -> float:
        return 1.0


class FakeWireless:
    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.associations: dict[int, Wireless | None] = {2: None}
        self.pending: frozenset[int] = frozenset()
        self.complete = True
        self.resyncs = 5
        self.asked = 0

    def look_again(self) -> None:
        self.asked += 1


def _empty(descriptor: int) -> None:
    with suppress(BlockingIOError):
        os.read(descriptor, 4096)


class Watched:
    """A watch on fakes, and how often it woke the loop."""

    def __init__(self) -> None:
        self.rtnl, self.clock, self.wireless = FakeRtnl(), FakeClock(), FakeWireless()
        self.watch = Watch(self.rtnl, self.wireless, self.clock)  # type: ignore[arg-type]
        self.woken = 0
        self.watch.start(self.wake)

    def wake(self) -> None:
        self.woken += 1


@pytest.fixture
async def watched() -> Any:  # noqa: ANN401 - a generator of one
    made = Watched()
    yield made
    if not made.rtnl.closed:
        made.watch.stop()


async def turn() -> None:
    """Let the loop take what is readable now."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize("changes", RELEVANT)
async def test_what_a_decision_may_rest_on_wakes_the_loop(watched: Watched, changes: Changes) -> None:
    watched.rtnl.say(changes)
    await turn()

    assert watched.woken == 1


@pytest.mark.parametrize("changes", [Changes.RULES, Changes.NONE, Changes.WIRELESS])
async def test_anything_else_does_not(watched: Watched, changes: Changes) -> None:
    watched.rtnl.say(changes)
    await turn()

    assert watched.woken == 0


@pytest.mark.parametrize(("changes", "asked"), [(Changes.LINKS, 1), (Changes.WIRELESS, 1), (Changes.ROUTES, 0)])
async def test_a_changed_link_has_the_stations_looked_at(watched: Watched, changes: Changes, asked: int) -> None:
    watched.rtnl.say(changes)
    await turn()

    assert watched.wireless.asked == asked


async def test_a_look_takes_in_all_and_needs_no_other(watched: Watched) -> None:
    watched.rtnl.say(Changes.ROUTES, Changes.LINKS, Changes.ADDRESSES)
    links = watched.watch.links(Policy(), None)
    await turn()

    assert [(link.name, link.type) for link in links] == [("wlan0", LinkType.WIFI)]
    assert watched.watch.indexes() == {"wlan0": 2, "av0": 9}
    assert watched.woken == 0
    assert watched.wireless.asked == 1, "whoever reads the news passes them on"


async def test_news_that_somebody_else_reads_still_wake_the_loop(watched: Watched) -> None:
    watched.rtnl.say(Changes.RULES, Changes.LINKS)
    tables = watched.watch.tables()
    await turn()

    assert tables.links.keys() == {2, 9}
    assert watched.woken == 1
    assert watched.rtnl.news == []


async def test_reading_what_is_no_news_wakes_nobody(watched: Watched) -> None:
    watched.watch.tables()

    assert watched.woken == 0


async def test_while_paused_the_socket_is_left_alone_and_heard_afterwards(watched: Watched) -> None:
    with watched.watch.paused():
        for _ in range(5):
            watched.rtnl.say(Changes.LINKS)
            await turn()
        assert (watched.woken, watched.rtnl.drains) == (0, 0)
    await turn()

    assert watched.woken > 0


@pytest.mark.parametrize("jumped", [True, False])
async def test_a_resume_is_told_once(watched: Watched, *, jumped: bool) -> None:
    watched.clock.say(Changes.LINKS if jumped else Changes.NONE)
    await turn()

    assert watched.woken == int(jumped)
    assert watched.watch.has_resumed() is jumped
    assert watched.watch.has_resumed() is False


async def test_a_changed_association_wakes_the_loop(watched: Watched) -> None:
    for count in (1, 2):
        watched.wireless.changed.set()
        await turn()
        assert watched.woken == count


async def test_what_was_lost_is_counted(watched: Watched) -> None:
    assert watched.watch.counters() == {"netlink_resyncs": 3, "netlink_malformed": 4, "wireless_resyncs": 5}


async def test_after_stopping_nothing_is_heard(watched: Watched) -> None:
    watched.rtnl.say(Changes.LINKS)
    watched.watch.stop()
    await turn()

    assert watched.woken == 0
    assert watched.rtnl.closed
    assert watched.clock.closed
