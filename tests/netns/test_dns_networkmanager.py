"""The back end of NetworkManager against the real one, in namespaces of the test's own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.netns.dns_networkmanager import SCENARIOS

ROOT = Path(__file__).parents[2]
UNPACKED = ROOT / ".cache" / "networkmanager"


@pytest.mark.netns
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_real_one_does_as_the_back_end_takes_it_to(scenario: str) -> None:
    """The property is the scenario's docstring; what it makes is gone with its namespaces."""
    if not UNPACKED.is_dir() or not shutil.which("dbus-daemon"):
        pytest.skip("needs network-manager, unpacked, and dbus-daemon: make packages")
    command = [sys.executable, "-m", "tests.netns.dns_networkmanager", scenario, str(UNPACKED)]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "--net", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert done.returncode == 0, f"{SCENARIOS[scenario][1].__doc__}\n{done.stdout}{done.stderr}"
