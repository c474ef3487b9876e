"""The file back end on mount points, each scenario in a mount namespace of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.netns.dns_mounts import SCENARIOS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_mount_point_is_rewritten_and_given_back(tmp_path: Path, scenario: str) -> None:
    """The property is the scenario's docstring; what it makes is gone with its namespace."""
    command = [sys.executable, "-m", "tests.netns.dns_mounts", scenario, str(tmp_path)]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert done.returncode == 0, f"{SCENARIOS[scenario].__doc__}\n{done.stdout}{done.stderr}"
