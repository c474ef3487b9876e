"""D-Bus: what is asked is answered within a deadline, whatever the service or the bus itself does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dbus_next.signature import Variant

from autovpn.system.bus import NO_BUS, NO_REPLY, UNKNOWN_METHOD, Bus, BusFault, Remote, Signal
from tests.system.private_bus import Error, FakeService, bus_daemon, on_the_bus

if TYPE_CHECKING:
    from dbus_next.message import Message

pytestmark = pytest.mark.dbus

NAME = "example.Service"
THERE = Remote(NAME, "/there", "example.There")


async def exhausted(signals: AsyncIterator[Signal | None]) -> None:
    async for _ in signals:
        pass


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    with bus_daemon(tmp_path) as path:
        yield path


def answer(message: Message) -> tuple[str, list[object]] | None:
    match message.member:
        case "Add":
            return "i", [sum(message.body)]
        case "Get":
            return "v", [Variant("s", "a value")]
        case "GetAll":
            return "a{sv}", [{"One": Variant("i", 1)}]
        case "Hang":
            return None
        case _:
            raise Error(UNKNOWN_METHOD, "what?")


async def test_a_call_and_a_property_are_answered(socket: Path) -> None:
    bus = Bus(socket)
    async with on_the_bus(socket, FakeService(NAME, answer)):
        assert await bus.call(THERE, "Add", "ii", 2, 3) == [5]
        assert await bus.property(THERE, "One") == "a value"
        assert await bus.properties(THERE) == {"One": 1}
    bus.close()


async def test_an_error_keeps_its_name(socket: Path) -> None:
    bus = Bus(socket)
    async with on_the_bus(socket, FakeService(NAME, answer)):
        with pytest.raises(BusFault, match=r"example\.Service Vanish: what\?") as fault:
            await bus.call(THERE, "Vanish")
    assert fault.value.name == UNKNOWN_METHOD
    bus.close()


async def test_a_service_that_hangs_is_given_up_at_the_deadline(socket: Path) -> None:
    bus = Bus(socket, deadline=30.0)
    async with on_the_bus(socket, FakeService(NAME, answer)):
        with pytest.raises(BusFault, match=r"Hang: no answer within 30 s") as fault:
            await bus.call(THERE, "Hang")
    assert fault.value.name == NO_REPLY
    bus.close()


async def test_without_a_bus_nobody_is_there(tmp_path: Path) -> None:
    bus = Bus(tmp_path / "bus")

    assert not await bus.answers(NAME)
    assert not await bus.has_owner(NAME)
    with pytest.raises(BusFault, match="there is no D-Bus") as fault:
        await bus.call(THERE, "Add")
    assert fault.value.name == NO_BUS


async def test_a_socket_at_which_nobody_listens_is_no_bus(tmp_path: Path) -> None:
    with bus_daemon(tmp_path) as socket:
        stale = socket.rename(tmp_path / "stale")
    with pytest.raises(BusFault) as fault:
        await Bus(stale).call(THERE, "Add")
    assert fault.value.name == NO_BUS


async def test_who_is_there_is_known(socket: Path) -> None:
    bus = Bus(socket)
    assert not await bus.has_owner(NAME)
    assert not await bus.answers(NAME)
    assert await bus.process_of(NAME) == 0
    async with on_the_bus(socket, FakeService(NAME, answer)):  # it knows no Ping, which is an answer too
        assert await bus.has_owner(NAME)
        assert await bus.answers(NAME)
        assert await bus.process_of(NAME) == os.getpid()
    bus.close()


async def test_signals_that_match_are_heard_from_the_first_word_on(socket: Path) -> None:
    bus, service = Bus(socket), FakeService(NAME, answer)
    async with on_the_bus(socket, service), aclosing(bus.signals(f"sender='{NAME}',member='Rang'")) as signals:
        assert await anext(signals) is None
        service.tell("/there", "example.There", "Hummed", "s", "m")
        service.tell("/there", "example.There", "Rang", "s", "now")
        heard = await asyncio.wait_for(anext(signals), 10)
        while heard and heard.member != "Rang":  # the bus tells everybody of names, too
            heard = await asyncio.wait_for(anext(signals), 10)
        assert heard
        assert (heard.path, heard.member, heard.body) == ("/there", "Rang", ("now",))
    bus.close()


async def test_a_bus_that_goes_away_is_told_to_who_listens_and_found_again_by_who_calls(tmp_path: Path) -> None:
    bus = Bus(tmp_path / "bus")
    with bus_daemon(tmp_path):
        signals = bus.signals(f"sender='{NAME}'")
        assert await anext(signals) is None
    with pytest.raises(BusFault, match="lost"):
        await asyncio.wait_for(exhausted(signals), 10)
    with bus_daemon(tmp_path) as socket:
        async with on_the_bus(socket, FakeService(NAME, answer)):
            assert await bus.call(THERE, "Add", "ii", 2, 3) == [5]
        bus.close()
