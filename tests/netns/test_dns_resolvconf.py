"""The back end of openresolv and Debian's resolvconf against the real ones, each in a mount namespace of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.netns.dns_resolvconf import SCENARIOS

ROOT = Path(__file__).parents[2]
PACKAGES = {"openresolv": "openresolv", "debian": "resolvconf"}


@pytest.mark.netns
@pytest.mark.parametrize("flavour", PACKAGES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_real_one_does_as_the_back_end_takes_it_to(scenario: str, flavour: str) -> None:
    """The property is the scenario's docstring; what it makes is gone with its namespace."""
    unpacked = ROOT / ".cache" / PACKAGES[flavour]
    if not unpacked.is_dir():
        pytest.skip(f"needs {PACKAGES[flavour]}, unpacked: make packages")
    command = [sys.executable, "-m", "tests.netns.dns_resolvconf", scenario, flavour, str(unpacked)]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert done.returncode == 0, f"{SCENARIOS[scenario].__doc__}\n{done.stdout}{done.stderr}"
