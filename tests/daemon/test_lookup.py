"""Looking up far ends: one look-up an attempt, given up with it, and the last good answer where nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from itertools import combinations

import pytest

from autovpn.core.endpoint import Endpoint
from autovpn.core.network import IPAddress
from autovpn.core.settings import OpenvpnSettings, PptpSettings, Settings, VpncSettings
from autovpn.core.settings_zebedee import ZebedeeSettings
from autovpn.core.supervise import Broke, Resolved, TunnelEvent
from autovpn.core.tunnel import FailureClass, PinnedEndpoint, TunnelSpec
from autovpn.core.wanted import TunnelKey
from autovpn.daemon.lookup import Lookups
from autovpn.errors import SystemFault
from tests.core.builders import ssh

KEY = ("campus", "office")
SPEC = ssh("office", host="vpn.example")
BOTH = (ip_address("203.0.113.1"), ip_address("2001:db8::1"))


class Names:
    """A resolver that answers when it is let."""

    def __init__(self) -> None:
        self.answer: tuple[IPAddress, ...] | Exception = BOTH
        self.unknown: set[str] = set()
        self.asked: list[tuple[str, str, tuple[str, ...], float]] = []
        self.let = asyncio.Event()
        self.let.set()
        self.begun, self.cancelled = asyncio.Event(), asyncio.Event()
        self.told: asyncio.Queue[tuple[TunnelKey, str, int, TunnelEvent]] = asyncio.Queue()
        self.lookups = Lookups(self.resolve, self.servers, lambda *news: self.told.put_nowait(news))

    async def resolve(self, host: str, device: str, servers: Sequence[str], deadline: float) -> tuple[IPAddress, ...]:
        self.asked.append((host, device, tuple(servers), deadline))
        self.begun.set()
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if isinstance(self.answer, Exception):
            raise self.answer
        if host in self.unknown:
            raise SystemFault(f"{host}: there is no such name")
        return self.answer

    async def servers(self) -> tuple[str, ...]:
        return ("192.0.2.53",)

    async def ask(self, attempt: int = 1, spec: TunnelSpec = SPEC) -> TunnelEvent:
        """Ask for one attempt and return what it was told."""
        self.lookups.want([((KEY, "1-abc", attempt), spec, "wlan0")])
        key, instance, number, event = await self.told.get()
        assert (key, instance, number) == (KEY, "1-abc", attempt)
        return event


async def test_names_are_asked_through_the_uplink_and_its_own_resolvers() -> None:
    names = Names()

    assert await names.ask() == Resolved((PinnedEndpoint(BOTH[0], 22, "tcp"),))
    assert names.asked == [("vpn.example", "wlan0", ("192.0.2.53",), SPEC.connect_timeout / 2)]


async def test_every_attempt_takes_the_next_address_and_begins_again() -> None:
    names = Names()
    pins = [await names.ask(attempt) for attempt in (1, 2, 3)]

    assert [event.endpoints[0].address for event in pins if isinstance(event, Resolved)] == [BOTH[0], BOTH[1], BOTH[0]]


@pytest.mark.parametrize("settings", [PptpSettings("vpn.example", "alice"), ZebedeeSettings("vpn.example", ())])
async def test_a_tunnel_that_speaks_ipv4_alone_is_given_no_other_address(settings: Settings) -> None:
    spec = replace(SPEC, type="any", settings=settings)
    names = Names()
    for attempt in (1, 2):
        event = await names.ask(attempt, spec)
        assert isinstance(event, Resolved)
        assert {pin.address for pin in event.endpoints} == {BOTH[0]}
    names.answer = BOTH[1:]
    event = await names.ask(3, spec)
    assert isinstance(event, Broke)
    assert event.failure.kind is FailureClass.NAME
    assert "vpn.example has no address" in event.failure.words


async def test_every_far_end_of_a_tunnel_has_its_address_and_a_name_is_asked_for_once() -> None:
    spec = replace(SPEC, type="vpnc", settings=VpncSettings("x", "vpn.example"))
    names = Names()
    event = await names.ask(spec=spec)

    udp = tuple(PinnedEndpoint(BOTH[0], port, "udp") for port in (500, 4500, 10000))
    assert event == Resolved((*udp, PinnedEndpoint(BOTH[0], None, "esp")))
    assert len(names.asked) == 1


async def test_one_attempt_asks_once_however_often_the_loop_looks() -> None:
    names = Names()
    for _ in range(5):
        names.lookups.want([((KEY, "1-abc", 1), SPEC, "wlan0")])
    await names.told.get()
    names.lookups.want([((KEY, "1-abc", 1), SPEC, "wlan0")])
    await asyncio.sleep(0)

    assert len(names.asked) == 1


async def test_what_no_attempt_waits_for_is_given_up() -> None:
    names = Names()
    names.let.clear()
    names.lookups.want([((KEY, "1-abc", 1), SPEC, "wlan0")])
    await names.begun.wait()
    names.lookups.want([])
    await names.cancelled.wait()

    assert names.told.empty()


async def test_a_name_that_nobody_knows_breaks_the_attempt() -> None:
    names = Names()
    names.answer = SystemFault("vpn.example: no such name")
    event = await names.ask()

    assert isinstance(event, Broke)
    assert (event.failure.kind, event.failure.words) == (FailureClass.NAME, "vpn.example: no such name")
    assert 0.75 <= event.jitter <= 1.25


SEVERAL = tuple(Endpoint(name, 1194) for name in ("one.example", "two.example", "three.example"))


@pytest.mark.parametrize("unknown", [set(c) for n in range(4) for c in combinations((e.host for e in SEVERAL), n)])
async def test_names_without_an_address_are_named_and_the_others_tried_until_none_is_left(
    unknown: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    names = Names()
    names.unknown = unknown
    event = await names.ask(spec=replace(SPEC, type="openvpn", settings=OpenvpnSettings("x", SEVERAL)))

    assert len(names.asked) == len(SEVERAL)
    if len(unknown) == len(SEVERAL):
        assert isinstance(event, Broke)
        said = event.failure.words
    else:
        assert isinstance(event, Resolved)
        assert [pin.host for pin in event.endpoints] == [end.host for end in SEVERAL if end.host not in unknown]
        assert {pin.address for pin in event.endpoints} == {BOTH[0]}
        said = caplog.text
    assert {name for name in (end.host for end in SEVERAL) if f"{name}: there is no such name" in said} == unknown


async def test_where_nobody_answers_the_last_good_answer_holds() -> None:
    names = Names()
    first = await names.ask(1)
    names.answer = SystemFault("timed out")

    assert await names.ask(3) == first
