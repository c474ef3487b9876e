"""What every test gets: a tier by its folder, a loop that nothing may block, and repeatable generated cases."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

from tests.lab.boot import why_no_guest
from tests.lab.kernel import kernel
from tests.strikes import tally

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent

# In the order in which they run: the cheapest news first.
TIERS = ("unit", "system", "netns", "lab")
TIER_OF_FOLDER = {"system": "system", "dns": "system", "netns": "netns", "lab": "lab"}

# Seconds for a test that starts real programs, on a machine that is busy with others.
PATIENCE = 240

# A red run is red again on the same commit; HYPOTHESIS_PROFILE=explore looks for what nobody has met yet.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def tier_of(path: Path) -> str:
    """Return the tier of a test file: its folder's; a file at the top tests the whole and counts as system."""
    folder = path.relative_to(HERE).parts[0]
    return "system" if folder.endswith(".py") else TIER_OF_FOLDER.get(folder, "unit")


@functools.cache
def why_no_namespaces() -> str | None:
    """Return why this machine can't run the netns tier, or None when it can."""
    if os.geteuid() != 0:
        return "the netns tier needs root"
    if missing := [program for program in ("ip", "ping", "nft", "unshare", "nsenter") if not shutil.which(program)]:
        return f"the netns tier needs {', '.join(missing)}: make packages"
    probe = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, text=True, check=False)
    return f"no namespaces here: {probe.stderr.strip()}" if probe.returncode else None


@functools.cache
def why_not(marker: str) -> str | None:
    """Return why tests that carry this marker can't run here, or None when they can."""
    if marker == "netns":
        return why_no_namespaces()
    if marker == "lab":
        return why_no_guest() or (None if kernel() else "the lab needs a kernel: make lab-kernel")
    if marker == "dbus" and not shutil.which("dbus-daemon"):
        return "needs dbus-daemon: make packages"
    return None


@pytest.hookimpl(tryfirst=True)  # before -m chooses by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its tier, skip those that can't run here and say why, and run cheap tiers first."""
    for item in items:
        item.add_marker(tier_of(item.path))
        if tier_of(item.path) == "netns" and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(PATIENCE))
        if tier_of(item.path) == "lab":
            item.add_marker(pytest.mark.timeout(0))  # the guest keeps the time
        for marker in {mark.name for mark in item.iter_markers()}:
            if reason := why_not(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
    items.sort(key=lambda item: TIERS.index(tier_of(item.path)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many crashes and faults were generated, by kind."""
    for heading, kinds in sorted(tally.items()):
        each = ", ".join(f"{kind} {times}" for kind, times in sorted(kinds.items()))
        terminalreporter.write_line(f"{kinds.total()} {heading}: {each}")


@pytest.fixture(autouse=True, scope="session")
def nothing_blocks_the_loop() -> Iterator[None]:
    """Fail the test in which a call from autovpn's code blocks the running event loop."""
    with blockbuster_ctx("autovpn"):
        yield
