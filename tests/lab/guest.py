"""The inside of the lab: what its scenarios ask for, and how each case is reported to the host as it ends.

The guest's pytest loads this in place of every conftest.py, since importing is what takes its time.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.laptop import EmulatedLaptop
from tests.netns.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator


class Reporter:
    """Sends each report to the host, as a line of JSON."""

    def __init__(self, config: pytest.Config) -> None:
        """Open the port."""
        self._config = config
        self._port = Path(os.environ["LAB_REPORTS"]).open("w", buffering=1)  # noqa: SIM115 (open while pytest runs)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Send the outcome of a set-up, a case or its teardown."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._port.write(json.dumps(data) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Report to the host."""
    config.pluginmanager.register(Reporter(config))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Give a laptop, a gateway and an office, to all cases of a file."""
    with World(Path.home() / "lab") as made:
        yield made


@pytest.fixture(scope="module")
def laptop(world: World) -> EmulatedLaptop:
    """Give the world's laptop, whose daemons are born fast."""
    return EmulatedLaptop(world)
