"""What the tests in network namespaces ask for."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.netns.laptop import Laptop
from tests.netns.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def trusted_path() -> Iterator[Path]:
    """Give a folder below root's home: what lies under the world-writable /tmp is refused as code and as secrets."""
    with tempfile.TemporaryDirectory(prefix=".autovpn-test-", dir=Path.home()) as folder:
        yield Path(folder)


@pytest.fixture
def world(trusted_path: Path) -> Iterator[World]:
    """Give a laptop, a gateway and an office of the test's own; nothing of them is left afterwards."""
    with World(trusted_path) as made:
        yield made


@pytest.fixture
def laptop(world: World) -> Laptop:
    """Give the world's laptop with a place for profiles and a daemon that is not started yet."""
    return Laptop(world)
