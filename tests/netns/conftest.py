"""What the tests in network namespaces ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.netns.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Give a laptop, a gateway and an office of the test's own; nothing of them is left afterwards."""
    with World(tmp_path) as made:
        yield made
