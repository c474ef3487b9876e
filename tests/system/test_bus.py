"""D-Bus: what is asked is answered within a deadline, whatever the service or the bus itself does."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from dbus_next._private.marshaller import Marshaller
from dbus_next.constants import MessageType
from dbus_next.message import Message
from dbus_next.signature import Variant

from autovpn.system import bus_wire
from autovpn.system.bus import (
    INCONSISTENT,
    NO_BUS,
    NO_REPLY,
    NOT_SUPPORTED,
    UNKNOWN_METHOD,
    Bus,
    BusFault,
    Remote,
    Signal,
)
from tests.system.private_bus import Error, FakeService, bus_daemon, on_the_bus, stray_bus

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


async def test_a_bus_that_does_not_answer_is_not_taken_for_a_service_that_does_not_run(tmp_path: Path) -> None:
    async with stray_bus(tmp_path) as socket:
        bus = Bus(socket, deadline=0.2)
        with pytest.raises(BusFault) as fault:
            await bus.has_owner(NAME)
        assert fault.value.name == NO_REPLY
        bus.close()


@pytest.mark.parametrize("says", [b"x" * 16, b"l\x02\x00\x01" + bytes(8) + b"\x08\x00\x00\x00" + b"\xff" * 8])
async def test_bytes_that_are_no_message_end_the_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, says: bytes
) -> None:
    async with stray_bus(tmp_path, says) as socket:
        bus = Bus(socket)
        with pytest.raises(BusFault, match="lost"):
            await bus.call(THERE, "Add")
        bus.close()
    del bus
    gc.collect()
    assert not caplog.records


def said(kind: MessageType, sender: str, serial: int, number: int) -> bytes:
    """Return a message that claims to answer the call of this serial; the library can't write another's sender."""
    fields = [
        [1, Variant("o", "/there")],
        [2, Variant("s", "example.There")],
        [3, Variant("s", "Said")],
        [5, Variant("u", serial)],
        [7, Variant("s", sender)],
        [8, Variant("g", "i")],
    ]
    header = Marshaller("yyyyuua(yv)", [ord("l"), kind.value, 0, 1, 4, 77, fields])  # type: ignore[no-untyped-call]
    header.marshall()  # type: ignore[no-untyped-call]
    header.align(8)  # type: ignore[no-untyped-call]
    return bytes(header.buffer) + number.to_bytes(4, "little")


async def test_a_signal_or_a_call_that_says_it_is_the_answer_is_none(tmp_path: Path) -> None:
    welcome = said(MessageType.METHOD_RETURN, "org.freedesktop.DBus", 1, 0)
    forged = said(MessageType.SIGNAL, ":1.66", 2, 666) + said(MessageType.METHOD_CALL, ":1.66", 2, 666)
    answer = said(MessageType.METHOD_RETURN, ":1.5", 2, 5)
    async with stray_bus(tmp_path, welcome, forged + answer) as socket:
        bus = Bus(socket, deadline=30.0)
        assert await bus.call(THERE, "Add", "ii", 2, 3) == [5]
        bus.close()


async def test_nobody_answers_for_the_bus_itself(tmp_path: Path) -> None:
    welcome = said(MessageType.METHOD_RETURN, "org.freedesktop.DBus", 1, 0)
    forged = said(MessageType.METHOD_RETURN, ":1.66", 2, 1)
    answer = said(MessageType.METHOD_RETURN, "org.freedesktop.DBus", 2, 0)
    async with stray_bus(tmp_path, welcome, forged + answer) as socket:
        bus = Bus(socket, deadline=30.0)
        assert not await bus.has_owner(NAME)
        bus.close()


@pytest.mark.parametrize(("signature", "body"), [("", []), ("i", [5]), ("ss", ["a", "b"])])
async def test_an_answer_that_makes_no_sense_is_a_fault(socket: Path, signature: str, body: list[object]) -> None:
    bus = Bus(socket)
    async with on_the_bus(socket, FakeService(NAME, lambda _message: (signature, body))):
        for ask in (bus.property(THERE, "One"), bus.properties(THERE)):
            with pytest.raises(BusFault, match=r"example\.Service: .*makes no sense") as fault:
                await ask
            assert fault.value.name == INCONSISTENT
    bus.close()


class TestLoading:
    """The library that knows D-Bus's messages is loaded by who connects first."""

    async def test_without_a_bus_it_is_not_loaded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bus_wire, "_library", lambda: pytest.fail("loaded for nothing"))

        assert not await Bus(tmp_path / "bus").has_owner(NAME)

    async def test_a_machine_that_lacks_it_has_a_bus_that_can_not_be_asked(
        self, socket: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def lacking() -> None:
            raise ImportError("No module named 'dbus_next'")

        monkeypatch.setattr(bus_wire, "_library", lacking)
        with pytest.raises(BusFault, match="No module named 'dbus_next'") as fault:
            await Bus(socket).has_owner(NAME)
        assert fault.value.name == NOT_SUPPORTED

    async def test_no_deadline_of_an_answer_holds_for_it(self, socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        loop, load = asyncio.get_running_loop(), bus_wire._library
        now = loop.time

        def slow() -> object:
            monkeypatch.setattr(loop, "time", lambda: now() + 3600.0)
            return load()

        monkeypatch.setattr(bus_wire, "_library", slow)
        bus = Bus(socket, deadline=30.0)
        async with on_the_bus(socket, FakeService(NAME, answer)):
            assert await bus.has_owner(NAME)
        bus.close()


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


async def test_what_nobody_listens_to_any_more_is_told_no_more(socket: Path) -> None:
    bus, service = Bus(socket), FakeService(NAME, answer)
    async with on_the_bus(socket, service):
        async with aclosing(bus.signals("member='Rang'")) as signals:
            await anext(signals)
        async with aclosing(bus.signals("member='Hummed'")) as signals:
            await anext(signals)
            service.tell("/there", "example.There", "Rang", "s", "now")
            service.tell("/there", "example.There", "Hummed", "s", "m")
            heard = await asyncio.wait_for(anext(signals), 10)
            assert heard
            assert heard.member == "Hummed"
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
