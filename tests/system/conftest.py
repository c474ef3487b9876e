"""What the tests of the machine's contacts ask for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from autovpn.system.procfs import find_by_nonce
from tests.system.test_channels import Tunnel


@pytest.fixture
async def tunnel(tmp_path: Path) -> AsyncIterator[Tunnel]:
    """Give a tunnel of which nothing is left afterwards."""
    made = Tunnel(tmp_path / "tunnel")
    yield made
    await made.channels.stop()
    assert not await asyncio.to_thread(find_by_nonce, made.nonce)
    assert not await asyncio.to_thread(made.directory.exists)
