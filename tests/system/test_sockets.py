"""The sockets of a tunnel, against real servers: who is talked to, and when a conversation ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from autovpn.core.actions import Open, Send, ViciCall, ViciOpen
from autovpn.core.driving import DriverEvent, Opened, Received
from autovpn.core.secret import Secret
from autovpn.system.sockets import Sockets


class Program:
    """A tunnel's program that listens, greets whoever calls, and keeps what it is told."""

    def __init__(self) -> None:
        self.calls = 0
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        writer.write(f"call {self.calls}\n".encode())
        try:
            while data := await reader.read(100):
                self.heard.put_nowait(data)
        finally:
            self.heard.put_nowait(b"")
            writer.close()


class Driver:
    """What a driver hears of its sockets."""

    def __init__(self, *, ours: bool = True) -> None:
        self.news: asyncio.Queue[DriverEvent] = asyncio.Queue()
        self.judged = asyncio.Event()
        self.sockets = Sockets(self.news.put_nowait, self._is_ours(ours), lambda _: None)

    def _is_ours(self, ours: bool) -> Callable[[object], bool]:
        def judge(_: object) -> bool:
            self.judged.set()
            return ours

        return judge

    async def next(self) -> DriverEvent:
        async with asyncio.timeout(60):
            return await self.news.get()


@asynccontextmanager
async def listening(path: Path) -> AsyncIterator[Program]:
    program = Program()
    server = await asyncio.start_unix_server(program.answer, path)
    try:
        yield program
    finally:
        server.close()


async def test_a_channel_is_opened_told_and_heard(tmp_path: Path) -> None:
    path, driver = tmp_path / "s", Driver()
    async with listening(path) as program:
        driver.sockets.execute(Open("management", str(path)))
        assert await driver.next() == Opened("management")
        assert await driver.next() == Received("management", b"call 1\n")
        driver.sockets.execute(Send("management", Secret(b"status\n")))
        async with asyncio.timeout(60):
            assert await program.heard.get() == b"status\n"
            driver.sockets.close()
            assert await program.heard.get() == b""
    assert driver.news.empty(), "what we hang up ourselves is no news"


async def test_a_second_opening_of_a_channel_hangs_up_the_first(tmp_path: Path) -> None:
    path, driver = tmp_path / "s", Driver()
    async with listening(path) as program:
        for number in (1, 2):
            driver.sockets.execute(Open("management", str(path)))
            assert await driver.next() == Opened("management")
            assert await driver.next() == Received("management", f"call {number}\n".encode())
        async with asyncio.timeout(60):
            assert await program.heard.get() == b""
        driver.sockets.execute(Send("management", Secret(b"status\n")))
        async with asyncio.timeout(60):
            assert await program.heard.get() == b"status\n"
        driver.sockets.close()
        async with asyncio.timeout(60):
            assert await program.heard.get() == b""


async def test_a_server_that_is_not_the_tunnels_is_told_nothing(tmp_path: Path) -> None:
    path, driver = tmp_path / "s", Driver(ours=False)
    async with listening(path):
        driver.sockets.execute(Open("management", str(path)))
        driver.sockets.execute(Send("management", Secret(b"keys\n")))
        async with asyncio.timeout(60):
            await driver.judged.wait()
        driver.sockets.close()
    assert driver.news.empty()


async def test_what_is_said_on_a_channel_that_was_never_opened_goes_nowhere(tmp_path: Path) -> None:
    driver = Driver()
    driver.sockets.execute(Send("management", Secret(b"status\n")))
    driver.sockets.execute(ViciCall("version", "version"))
    driver.sockets.execute(ViciOpen(str(tmp_path / "nobody")))
    driver.sockets.execute(ViciCall("version", "version"))
    driver.sockets.close()
    assert driver.news.empty()
