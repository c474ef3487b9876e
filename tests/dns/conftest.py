"""What the tests of the DNS back ends ask for."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.dns.scene import Scene

SHARED_MEMORY = Path("/dev/shm")  # fsync costs nothing there, and thousands of crashes are simulated


@pytest.fixture
def fast_path(tmp_path: Path) -> Iterator[Path]:
    """Give a folder in memory where there is one."""
    if not SHARED_MEMORY.is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(dir=SHARED_MEMORY, prefix="autovpn-test-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def scene_of(fast_path: Path) -> Callable[[str], Scene]:
    """Give a maker of scenes, each in a folder of its own."""
    count = iter(range(1_000_000))
    return lambda kind: Scene.made(fast_path / str(next(count)), kind)
