"""What is shown of a station is what the kernel said last, whatever happens while it is being asked."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.network import Grade, Security, Wireless
from autovpn.errors import SystemFault
from autovpn.system import wireless as wireless_module
from autovpn.system.rtnl_dump import DumpInterrupted
from autovpn.system.station import Event, Happening
from autovpn.system.stations import Stations
from autovpn.system.wireless import WirelessWatch
from tests.system.air import (
    CAFE,
    HIDDEN,
    HOME,
    HOME_UPSTAIRS,
    MIXED,
    RSN_PSK,
    RSN_SAE,
    Air,
    FamilyTable,
    bss,
    elements,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from autovpn.system.station import Bss

WLAN0 = 3
WLAN1 = 4


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait for a person's time."""
    monkeypatch.setattr(wireless_module, "REOPEN_AFTER", (0.0,))
    monkeypatch.setattr(wireless_module, "READ_AGAIN_AFTER", 0.0)
    monkeypatch.setattr(wireless_module, "BREATH", 0.0)


@asynccontextmanager
async def watching(
    air: Air, families: FamilyTable | None = None, patience: tuple[float, ...] = (0.0, 0.0)
) -> AsyncIterator[WirelessWatch]:
    watch = WirelessWatch(families or FamilyTable(28), air.connect, patience)
    try:
        await watch.open()
        yield watch
    finally:
        await watch.close()
    assert air.opened == 0, "a socket was left open"


async def until(watch: WirelessWatch, holds: Callable[[], bool]) -> None:
    """Wait for a state, woken by nothing but the watch's own signal."""
    async with asyncio.timeout(60):
        while not holds():
            await watch.changed.wait()
            watch.changed.clear()


def on(watch: WirelessWatch, index: int = WLAN0) -> Wireless | None:
    return watch.associations.get(index)


def settled_on(watch: WirelessWatch, ssid: bytes, index: int = WLAN0) -> Callable[[], bool]:
    def holds() -> bool:
        association = on(watch, index)
        return association is not None and association.ssid == ssid and index not in watch.pending

    return holds


# ---------------------------------------------------------------------------- machines without Wi-Fi


async def test_a_kernel_without_nl80211_is_normal_and_quiet() -> None:
    air = Air({WLAN0: HOME})
    watch = WirelessWatch(FamilyTable(None), air.connect)
    assert await watch.open() is False
    await watch.refresh()
    assert (dict(watch.associations), watch.pending, watch.complete) == ({}, frozenset(), True)
    assert (watch.trouble, watch.resyncs, watch.changed.is_set()) == (None, 0, False)
    await watch.close()
    assert not air.read


async def test_a_stick_that_is_plugged_in_later_is_seen_and_its_removal_too() -> None:
    air, families = Air({WLAN0: HOME}), FamilyTable(None)
    async with watching(air, families) as watch:
        families.put(28)
        await until(watch, settled_on(watch, b"Home"))
        families.put(None)
        await until(watch, lambda: not watch.associations)


async def test_a_module_that_is_loaded_again_under_another_number_is_followed() -> None:
    air, families = Air({WLAN0: HOME}), FamilyTable(28)
    async with watching(air, families) as watch:
        air.associated = {WLAN1: CAFE}
        families.put(31)
        await until(watch, settled_on(watch, b"Free Cafe", WLAN1))
        assert WLAN0 not in watch.associations


async def test_another_family_that_comes_or_goes_disturbs_nothing() -> None:
    air, families = Air({WLAN0: HOME}, authorized={WLAN0}), FamilyTable(28)
    async with watching(air, families) as watch:
        families.put(28)
        while families.has_news:  # noqa: ASYNC110 (the loop reads it)
            await asyncio.sleep(0)
        assert settled_on(watch, b"Home")()
        await watch.refresh()
        assert air.connections == 1


# ---------------------------------------------------------------------------- what happens on the air


async def test_what_was_there_before_us_is_read_at_once_and_counts_for_the_weakest_that_is_offered() -> None:
    air = Air({WLAN0: MIXED, WLAN1: None}, authorized={WLAN0})
    async with watching(air) as watch:
        assert watch.complete
        assert not watch.pending
        assert on(watch, WLAN1) is None
        assert on(watch) == Wireless(
            b"Mix",
            "02:00:00:00:02:03",
            2412,
            -30.0,
            Security.PSK,
            frozenset({Security.PSK, Security.SAE}),
            authorized=True,
        )


async def test_what_was_negotiated_is_taken_from_the_association_request() -> None:
    air = Air({WLAN0: None})
    async with watching(air) as watch:
        air.join(WLAN0, MIXED, elements(b"Mix", RSN_SAE))
        await until(watch, settled_on(watch, b"Mix"))
        assert on(watch).security is Security.SAE  # type: ignore[union-attr]
        assert on(watch).evidence is Grade.SHARED_KEY  # type: ignore[union-attr]


async def test_an_open_twin_that_lists_a_key_in_its_beacon_is_still_open() -> None:
    air = Air({WLAN0: None})
    async with watching(air) as watch:
        air.join(WLAN0, CAFE, elements(b"Free Cafe"))
        await until(watch, settled_on(watch, b"Free Cafe"))
        air.associated[WLAN0] = bss(b"Free Cafe", RSN_PSK, CAFE.bssid)
        await watch.refresh()
        assert on(watch).evidence is Grade.HINT  # type: ignore[union-attr]


async def test_a_station_between_association_and_connect_is_pending_and_not_on_the_old_network() -> None:
    air = Air({WLAN0: HOME}, authorized={WLAN0})
    async with watching(air, patience=(60.0,)) as watch:
        air.leave(WLAN0)
        air.associated[WLAN0] = CAFE
        await until(watch, lambda: WLAN0 in watch.pending)
        assert on(watch) is None
        air.join(WLAN0, CAFE, elements(b"Free Cafe"))
        await until(watch, settled_on(watch, b"Free Cafe"))


async def test_a_driver_that_never_says_connect_is_believed_after_a_while() -> None:
    air = Air({WLAN0: HOME})
    async with watching(air) as watch:
        air.leave(WLAN0)
        air.associated[WLAN0] = MIXED
        await until(watch, settled_on(watch, b"Mix"))
        assert on(watch).security is Security.PSK  # type: ignore[union-attr]


async def test_a_handshake_that_ends_without_an_event_is_noticed_when_the_link_changes() -> None:
    air = Air({WLAN0: None})
    async with watching(air, patience=(60.0,)) as watch:
        air.join(WLAN0, HOME, elements(b"Home", RSN_PSK), authorized=False)
        await until(watch, settled_on(watch, b"Home"))
        assert on(watch).evidence is Grade.HINT  # type: ignore[union-attr]
        air.authorized.add(WLAN0)
        watch.look_again(WLAN0)
        await until(watch, lambda: on(watch).evidence is Grade.SHARED_KEY)  # type: ignore[union-attr]


async def test_a_handshake_that_ends_after_the_link_went_up_is_noticed_without_any_sign() -> None:
    air = Air({WLAN0: None})
    async with watching(air) as watch:
        air.join(WLAN0, HOME, elements(b"Home", RSN_PSK), authorized=False)
        await until(watch, settled_on(watch, b"Home"))
        air.authorized.add(WLAN0)
        await until(watch, lambda: on(watch).authorized)  # type: ignore[union-attr]


async def test_a_roam_changes_the_bssid_and_passes_through_nothing_else_than_not_associated() -> None:
    air = Air({WLAN0: HOME}, authorized={WLAN0})
    seen: set[tuple[bytes, str]] = set()
    async with watching(air) as watch:
        for ap in (HOME_UPSTAIRS, HOME):
            air.leave(WLAN0)
            air.join(WLAN0, ap, elements(b"Home", RSN_PSK))

            def arrived(bssid: str = ap.bssid) -> bool:
                association = on(watch)
                if association is None:
                    return False
                seen.add((association.ssid, association.bssid))
                return association.bssid == bssid and WLAN0 not in watch.pending

            await until(watch, arrived)
        assert seen == {(b"Home", HOME.bssid), (b"Home", HOME_UPSTAIRS.bssid)}


async def test_a_driver_that_roams_by_itself_is_followed() -> None:
    air = Air({WLAN0: HOME}, authorized={WLAN0})
    async with watching(air) as watch:
        air.join(WLAN0, HOME_UPSTAIRS, elements(b"Home", RSN_PSK))
        await until(watch, lambda: on(watch).bssid == HOME_UPSTAIRS.bssid)  # type: ignore[union-attr]


async def test_a_station_that_is_kicked_is_on_no_network() -> None:
    air = Air({WLAN0: HOME}, authorized={WLAN0})
    async with watching(air) as watch:
        air.leave(WLAN0)
        await until(watch, lambda: on(watch) is None)
        await watch.refresh()
        assert not watch.pending


async def test_a_hidden_name_is_taken_from_the_request() -> None:
    air = Air({WLAN0: None})
    async with watching(air) as watch:
        air.join(WLAN0, HIDDEN, elements(b"Secret", RSN_PSK))
        await until(watch, settled_on(watch, b"Secret"))


async def test_a_hidden_name_that_nobody_told_us_is_pending_and_then_known_to_be_unknown() -> None:
    air = Air({WLAN0: HIDDEN})
    async with watching(air, patience=(0.0, 0.1)) as watch:
        assert WLAN0 in watch.pending
        await until(watch, lambda: not watch.pending)
        assert on(watch).ssid == b""  # type: ignore[union-attr]


async def test_a_hidden_name_that_a_probe_reveals_is_seen() -> None:
    air = Air({WLAN0: HIDDEN})
    async with watching(air) as watch:
        air.associated[WLAN0] = bss(b"Secret", RSN_PSK, HIDDEN.bssid)
        await watch.refresh()
        assert settled_on(watch, b"Secret")()


@pytest.mark.parametrize(
    "ssid",
    [b"$(reboot)", b"a\nb\0c", b"\xff\xfe", b'"\\x41"', bytes(range(32)), bytes(range(224, 256)), b" "],
    ids=lambda ssid: ssid.hex(),
)
async def test_a_name_arrives_byte_for_byte(ssid: bytes) -> None:
    async with watching(Air({WLAN0: bss(ssid)})) as watch:
        assert on(watch).ssid == ssid  # type: ignore[union-attr]


async def test_interfaces_come_and_go() -> None:
    air = Air({WLAN0: HOME}, authorized={WLAN0})
    async with watching(air) as watch:
        air.associated[WLAN1] = CAFE
        air.tell(Happening.APPEARED, WLAN1)
        await until(watch, settled_on(watch, b"Free Cafe", WLAN1))
        del air.associated[WLAN0]
        air.tell(Happening.REMOVED, WLAN0)
        await until(watch, lambda: set(watch.associations) == {WLAN1})


async def test_a_station_that_becomes_an_access_point_is_no_station_any_more() -> None:
    air = Air({WLAN0: HOME, WLAN1: CAFE})
    async with watching(air) as watch:
        air.access_points = {WLAN0}
        air.tell(Happening.APPEARED, WLAN0)
        await until(watch, lambda: set(watch.associations) == {WLAN1})


async def test_an_interface_that_goes_while_it_is_read_is_forgotten() -> None:
    air = Air({WLAN0: HOME})
    async with watching(air) as watch:
        del air.associated[WLAN0]
        air.tell(Happening.CHANGED, WLAN0)
        await until(watch, lambda: not watch.associations)
        assert watch.resyncs == 0


# ---------------------------------------------------------------------------- looking


async def test_a_change_of_a_link_costs_no_reading_where_nothing_is_still_to_come() -> None:
    air = Air({WLAN0: HOME, WLAN1: None}, authorized={WLAN0})
    async with watching(air) as watch:
        asked = air.asked
        for index in (None, WLAN0, WLAN1, 1, 99):
            watch.look_again(index)
        for _ in range(10):
            await asyncio.sleep(0)
        assert air.asked == asked


@pytest.mark.parametrize("index", [None, WLAN0])
async def test_many_changes_are_one_reading_of_the_station_that_is_unfinished(index: int | None) -> None:
    air = Air({WLAN0: HOME, WLAN1: CAFE}, authorized={WLAN1})
    async with watching(air, patience=(60.0,)) as watch:
        air.read.clear()
        for _ in range(1000):
            watch.look_again(index)
        air.authorized.add(WLAN0)
        await until(watch, lambda: on(watch).authorized)  # type: ignore[union-attr]
        assert air.read == [WLAN0]


async def test_a_hidden_name_is_given_up_however_often_links_change() -> None:
    async with watching(Air({WLAN0: HIDDEN}), patience=(0.0, 0.0)) as watch:
        while WLAN0 in watch.pending:
            watch.look_again()
            await asyncio.sleep(0)


async def test_a_reading_that_changes_nothing_wakes_nobody() -> None:
    air = Air({WLAN0: HOME}, authorized={WLAN0})
    async with watching(air) as watch:
        watch.changed.clear()
        air.associated[WLAN0] = bss(b"Home", RSN_PSK, signal=-71.0)
        await watch.refresh()
        assert on(watch).signal == -71.0  # type: ignore[union-attr]
        assert not watch.changed.is_set()


async def test_what_happens_during_a_reading_makes_that_reading_void() -> None:
    air = Air({WLAN0: HOME}, authorized={WLAN0})
    async with watching(air) as watch:
        air.gate = asyncio.Event()
        air.read.clear()
        refreshed = asyncio.create_task(watch.refresh())
        while not air.read:  # noqa: ASYNC110 (the fake's own step: it has looked, and its answer is held back)
            await asyncio.sleep(0)
        air.leave(WLAN0)
        await until(watch, lambda: on(watch) is None)
        air.gate.set()
        await refreshed
        assert on(watch) is None
        assert air.read == [WLAN0, WLAN0]


async def test_an_association_is_not_missed_by_a_reading_that_began_before_it() -> None:
    air = Air({WLAN0: None})
    async with watching(air, patience=(60.0,)) as watch:
        air.gate = asyncio.Event()
        air.read.clear()
        refreshed = asyncio.create_task(watch.refresh())
        while not air.read:  # noqa: ASYNC110 (the fake's own step: it has looked, and its answer is held back)
            await asyncio.sleep(0)
        air.join(WLAN0, MIXED, elements(b"Mix", RSN_SAE))
        await until(watch, lambda: WLAN0 in watch.pending)
        air.gate.set()
        await refreshed
        assert settled_on(watch, b"Mix")()
        assert on(watch).security is Security.SAE  # type: ignore[union-attr]


# ---------------------------------------------------------------------------- losses


async def test_lost_events_mean_that_everything_is_read_again_and_counted() -> None:
    air = Air({WLAN0: MIXED}, authorized={WLAN0})
    async with watching(air) as watch:
        air.associated = {WLAN0: CAFE}
        air.lose(SystemFault("the kernel's nl80211 lost events: No buffer space available"))
        await until(watch, settled_on(watch, b"Free Cafe"))
        await watch.refresh()
        assert (watch.resyncs, watch.trouble) == (1, None)


async def test_after_a_loss_the_request_is_not_believed_any_more() -> None:
    air = Air({WLAN0: None})
    async with watching(air) as watch:
        air.join(WLAN0, MIXED, elements(b"Mix", RSN_SAE))
        await until(watch, settled_on(watch, b"Mix"))
        air.lose(SystemFault("lost"))
        await until(watch, lambda: settled_on(watch, b"Mix")() and on(watch).security is Security.PSK)  # type: ignore[union-attr]


async def test_while_nothing_can_be_read_what_was_known_is_shown_as_pending() -> None:
    air = Air({WLAN0: HOME}, authorized={WLAN0})
    async with watching(air) as watch:
        air.breaks = [SystemFault("no socket to be had")] * 3
        air.lose(SystemFault("lost"))
        await until(watch, lambda: WLAN0 in watch.pending)
        assert on(watch) is not None
        assert not watch.complete
        await until(watch, settled_on(watch, b"Home"))
        assert watch.resyncs == 4


async def test_an_interrupted_dump_is_read_again_and_never_decided_on() -> None:
    air = Air({WLAN0: HOME}, authorized={WLAN0}, breaks=[])
    async with watching(air) as watch:
        air.associated[WLAN0] = CAFE
        air.breaks = [DumpInterrupted("the list changed")] * 3
        await watch.refresh()
        assert settled_on(watch, b"Free Cafe")()
        assert watch.resyncs == 3


async def test_reading_anew_casts_no_doubt_on_what_is_no_station() -> None:
    air = Air({WLAN0: HOME}, authorized={WLAN0}, breaks=[])
    async with watching(air) as watch:
        air.breaks = [DumpInterrupted("the list changed")] * 3
        reading = asyncio.ensure_future(watch.refresh())
        while not reading.done():
            assert watch.complete
            await asyncio.sleep(0)


async def test_a_station_that_an_event_names_first_is_pending_until_it_is_listed() -> None:
    air = Air({WLAN0: HOME}, authorized={WLAN0})
    async with watching(air) as watch:
        air.associated[WLAN1] = CAFE
        air.tell(Happening.APPEARED, WLAN1)
        await until(watch, lambda: WLAN1 in watch.pending)
        assert watch.complete
        await until(watch, settled_on(watch, b"Free Cafe", WLAN1))


async def test_a_mistake_of_ours_is_told_and_leaves_nothing_that_looks_known() -> None:
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    air = Air({WLAN0: HOME})
    async with watching(air) as watch:
        air.lose(ZeroDivisionError("a mistake"))
        await until(watch, lambda: WLAN0 in watch.pending)
        assert "mistake in autovpn" in (watch.trouble or "")
        assert told[0]["message"] == watch.trouble


# ---------------------------------------------------------------------------- every order of things

NETWORKS = {
    "home": (HOME, elements(b"Home", RSN_PSK), Security.PSK),
    "cafe": (CAFE, elements(b"Free Cafe"), Security.OPEN),
    "mixed": (MIXED, elements(b"Mix", RSN_SAE), Security.SAE),
}
STEPS = st.lists(
    st.sampled_from([*NETWORKS, "leave", "finish", "deliver", "look", "begin", "end", "time"]), max_size=40
)


class Kernel:
    """One station of a kernel whose news and answers wait in one socket, in the order in which it wrote them."""

    def __init__(self) -> None:
        self.stations = Stations(patience=(1.0,) * 1000)
        self.stations.listed([WLAN0])
        self.now: str | None = None
        self.complete = False
        self.queue: list[Event] = []
        self.answer: Bss | None = None
        self.reading = False
        self.news_before_the_answer = 0
        self.end_of_a_reading_of(None)

    def end_of_a_reading_of(self, found: Bss | None) -> None:
        self.stations.next_to_read()
        self.stations.read(WLAN0, found, authorized=True)

    def step(self, step: str) -> None:
        if step in NETWORKS:
            if self.now is not None:
                self.step("leave")
            self.now, self.complete = step, False
        elif step == "finish" and self.now is not None and not self.complete:
            self.complete = True
            self.queue.append(Event(Happening.CONNECTED, WLAN0, NETWORKS[self.now][1]))
        elif step == "leave" and self.now is not None:
            self.now = None
            self.queue.append(Event(Happening.DISCONNECTED, WLAN0))
        else:
            self.our_step(step)
        self.stations.publish()

    def our_step(self, step: str) -> None:
        if step == "deliver" and self.queue:
            self.stations.take(self.queue.pop(0))
            self.news_before_the_answer -= 1
        elif step == "look":
            self.stations.listed([WLAN0])
        elif step == "begin" and not self.reading and self.stations.next_to_read() is not None:
            self.reading, self.answer, self.news_before_the_answer = True, self.bss, len(self.queue)
        elif step == "end" and self.reading:
            while self.news_before_the_answer > 0:
                self.step("deliver")
            self.reading = False
            self.stations.read(WLAN0, self.answer, authorized=True)
        elif step == "time" and WLAN0 in self.stations.delays:
            self.stations.retry(WLAN0)

    @property
    def bss(self) -> Bss | None:
        return None if self.now is None else NETWORKS[self.now][0]

    @property
    def shown(self) -> tuple[bytes, Security | None] | None:
        association = self.stations.associations[WLAN0]
        return None if association is None else (association.ssid, association.security)

    def come_to_rest(self) -> None:
        self.step("finish")
        while self.queue:
            self.step("deliver")
        self.step("end")
        for _ in range(2):
            self.step("begin")
            self.step("end")


@given(STEPS)
def test_in_whatever_order_things_happen_the_end_is_the_truth(steps: list[str]) -> None:
    kernel = Kernel()
    for step in steps:
        kernel.step(step)
    kernel.come_to_rest()
    if kernel.now is None:
        assert kernel.shown is None
    else:
        ap, request, security = NETWORKS[kernel.now]
        assert kernel.shown == (ap.elements[2 : 2 + ap.elements[1]], security), request
    assert WLAN0 not in kernel.stations.pending


@given(STEPS)
def test_no_moment_shows_a_network_with_the_protection_of_another(steps: list[str]) -> None:
    kernel = Kernel()
    true = {(ap.elements[2 : 2 + ap.elements[1]], security) for ap, _, security in NETWORKS.values()}
    for step in steps:
        kernel.step(step)
        if kernel.shown is not None and WLAN0 not in kernel.stations.pending:
            assert kernel.shown in true
