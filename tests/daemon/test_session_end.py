"""The end of a running tunnel: whenever it comes, nothing is put into the tunnel's folder after it was removed."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from autovpn.core.actions import Action, Run, Write
from autovpn.core.driving import DriverEvent, Launch, Recovered
from autovpn.core.secret import Secret
from autovpn.daemon.session import Session
from autovpn.system import errands
from autovpn.system.channels import Channels
from tests.system.test_channels import KernelOfTest
from tests.tunnels.playing import UPLINK, launch


@dataclass
class WritingDriver:
    """A driver that writes some files, at its start or later."""

    files: int
    at_start: bool

    def start(self, launch: Launch, now: float) -> tuple[None, tuple[Action, ...]]:
        return None, self._writes() if self.at_start else ()

    def adopt(self, launch: Launch, recovered: Recovered, now: float) -> tuple[None, tuple[Action, ...]]:
        raise NotImplementedError

    def feed(self, state: None, event: DriverEvent, now: float) -> tuple[None, tuple[Action, ...]]:
        return None, self._writes()

    def farewell(self, launch: Launch) -> tuple[Run, ...]:
        return ()

    def _writes(self) -> tuple[Action, ...]:
        return tuple(Write(f"folder/{number}", Secret(b"content")) for number in range(self.files))


class Gate:
    """Holds one of several writes, inside its thread, until it is let go."""

    def __init__(self, held: int) -> None:
        self._held = held
        self._real: Callable[..., None] = errands._put
        self.reached, self.opened = threading.Event(), threading.Event()

    def put(self, *arguments: Any) -> None:  # noqa: ANN401 - passed on as they are
        self._held -= 1
        if self._held < 0:
            self.reached.set()
            assert self.opened.wait(100)
        self._real(*arguments)

    async def open_after(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        self.opened.set()


async def ended(directory: Path, driver: WritingDriver, gate: Gate, turns: int) -> list[Path]:
    """End a tunnel that is just writing a file; return what is left of its folder once every thread is done."""
    session = Session(
        driver,
        launch("tinc", directory=str(directory)),
        lambda report: Channels(directory, "nonce", "avtest0", KernelOfTest(), report),
        tell=lambda _: None,
        noted=lambda _: None,
        present={},
    )
    starting = asyncio.create_task(session.start())
    if not driver.at_start:
        await starting
        session.change_uplink(UPLINK, ())
    assert await asyncio.to_thread(gate.reached.wait, 20)

    async def end() -> None:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await session.stop()

    await asyncio.gather(end(), gate.open_after(turns))
    await asyncio.get_running_loop().shutdown_default_executor()
    return list(directory.parent.rglob("*"))


@settings(max_examples=25)
@given(data=st.data(), files=st.integers(1, 3), at_start=st.booleans(), turns=st.integers(0, 50))
def test_nothing_is_written_into_the_folder_of_a_tunnel_that_has_ended(
    data: st.DataObject, files: int, at_start: bool, turns: int
) -> None:
    gate = Gate(data.draw(st.integers(0, files - 1), label="held"))
    with tempfile.TemporaryDirectory() as folder, patch.object(errands, "_put", gate.put):
        assert asyncio.run(ended(Path(folder) / "t", WritingDriver(files, at_start), gate, turns)) == []
