"""The outside of the lab: each scenario file runs in a guest of its own, and its cases are told here one by one.

pytest collects the files as it does any other. Where it would run a case, the reports of the guest's own pytest are
replayed in its place, so a case has its outcome, its time and its traceback from inside. Two guests run side by side.
"""

from __future__ import annotations

import compileall
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.boot import Guest
from tests.lab.kernel import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
GUESTS = 2

# How much longer than on the host everything may take, and the seconds after which a case is stuck.
SLOWNESS = 12
CASE_DEADLINE = 450

# The plug-ins and conftest.py files that other tiers need take longer to import than most cases take to run.
ENVIRONMENT = (
    "env",
    f"--chdir={REPOSITORY}",
    f"PYTHONPATH={REPOSITORY}",
    f"AUTOVPN_TEST_SLOWNESS={SLOWNESS}",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1",
)
PYTEST = (
    "--config-file=/dev/null",
    f"--rootdir={REPOSITORY}",
    "--noconftest",
    "--import-mode=importlib",
    "-pno:cacheprovider",
    "-ppytest_timeout",
    "-ptests.lab.guest",
    "-ofilterwarnings=error",
    f"-otimeout={CASE_DEADLINE}",
    "-vv",  # differences are told whole
)


class Scenario:
    """One file of cases and the guest that runs them."""

    def __init__(self, config: pytest.Config, cases: list[str]) -> None:
        """Boot the guest."""
        self._config = config
        found = kernel()
        assert found is not None
        self.guest = Guest(found, (*ENVIRONMENT, sys.executable, "-m", "pytest", *PYTEST, *cases))
        self._messages = iter(self.guest)
        self._reports: dict[str, list[pytest.TestReport]] = defaultdict(list)

    def reports(self, item: pytest.Item) -> Iterator[pytest.TestReport]:
        """Yield the reports of a case as they come; of one that the guest did not bring to its end, that it failed."""
        for report in self._of(item.nodeid):
            yield report
            if report.when == "teardown":
                return
        words = f"the guest ended without a word about this case\n{self.guest.last_words}"
        yield pytest.TestReport(item.nodeid, item.location, item.keywords, "failed", words, "call")

    def _of(self, case: str) -> Iterator[pytest.TestReport]:
        yield from self._reports.pop(case, ())
        for message in self._messages:
            report = self._revive(message)
            if report.nodeid == case:
                yield report
            else:
                self._reports[report.nodeid].append(report)

    def _revive(self, message: dict[str, Any]) -> pytest.TestReport:
        if isinstance(message["longrepr"], list):
            message["longrepr"] = tuple(message["longrepr"])  # where a case was skipped; JSON has no tuples
        report = self._config.hook.pytest_report_from_serializable(config=self._config, data=message)
        assert isinstance(report, pytest.TestReport)
        return report


class Lab:
    """The guests of this run, the next one booting while the present one works."""

    def __init__(self, session: pytest.Session) -> None:
        """Find out which cases there are to run."""
        self._config = session.config
        self._cases: dict[Path, list[str]] = defaultdict(list)
        for item in session.items:
            if runs_in_a_guest(item):
                self._cases[item.path].append(item.nodeid)
        self.scenarios: dict[Path, Scenario] = {}
        compileall.compile_dir(REPOSITORY / "autovpn", quiet=1)  # or each guest does it for itself, slowly

    def scenario(self, path: Path) -> Scenario:
        """Return the scenario of a file, which runs from now on, as do those after it for which there is room."""
        for other in (path, *self._cases):
            running = [s for s in self.scenarios.values() if s.guest.seconds is None]
            if other not in self.scenarios and (other == path or len(running) < GUESTS):
                self.scenarios[other] = Scenario(self._config, self._cases[other])
        return self.scenarios[path]


LAB = pytest.StashKey[Lab]()


def runs_in_a_guest(item: pytest.Item) -> bool:
    """Report whether this case is one of the lab's and can run."""
    return HERE in item.path.parents and item.get_closest_marker("skip") is None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Replay what the guest reports of this case."""
    if not runs_in_a_guest(item):
        return None
    if LAB not in item.config.stash:
        item.config.stash[LAB] = Lab(item.session)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in item.config.stash[LAB].scenario(item.path).reports(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how long each guest took, and how many boots died of the emulator and were repeated."""
    if LAB not in config.stash:
        return
    terminalreporter.section("lab")
    for path, scenario in config.stash[LAB].scenarios.items():
        guest = scenario.guest
        guest.end()
        booted = "never booted" if guest.boot_seconds is None else f"booted in {guest.boot_seconds:.1f} s"
        again = f", {guest.failed_boots} boots died before" if guest.failed_boots else ""
        terminalreporter.write_line(f"{path.name}: {guest.seconds:.0f} s, {booted}{again}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave no guest behind, also when the run was stopped halfway."""
    if LAB in config.stash:
        for scenario in config.stash[LAB].scenarios.values():
            scenario.guest.end()
