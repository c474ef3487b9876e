"""A daemon with canned answers, served from a thread, and the real command."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.fake import Autovpn, FakeDaemon, run


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path / "run")
    ready, stop, loop = threading.Event(), asyncio.Event(), list[asyncio.AbstractEventLoop]()
    thread = threading.Thread(target=lambda: asyncio.run(fake.serve(ready, loop, stop)))
    thread.start()
    assert ready.wait(100)
    yield fake
    loop[0].call_soon_threadsafe(stop.set)
    thread.join(100)
    assert not thread.is_alive()


@pytest.fixture
def autovpn() -> Autovpn:
    return run
