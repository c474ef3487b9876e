"""The lab's machines: a boot that dies of the emulator is repeated once and counted, what runs in a guest never is."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.lab import boot
from tests.lab.kernel import Kernel

BEGUN, CASE, ENDED = ("echo '{\"begun\": 1}'", "echo '{\"case\": 1}'", "echo '{\"ended\": 0}'")
DIES = "exit 1"


class Emulated(boot.Guest):
    """A guest whose machine is a script, a further one for each boot."""

    def __init__(self, *scripts: str) -> None:
        self.scripts = list(scripts)
        super().__init__(Kernel("none", Path("/nowhere"), Path("/nowhere")), ("true",))

    def _qemu(self) -> tuple[str, ...]:
        return ("sh", "-c", self.scripts.pop(0))

    def _share_files(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(("sleep", "60"))


@pytest.mark.parametrize(
    ("scripts", "heard", "failed_boots", "status"),
    [
        ([f"{BEGUN}; {CASE}; {ENDED}"], [{"case": 1}], 0, 0),
        ([DIES, f"{BEGUN}; {CASE}; {ENDED}"], [{"case": 1}], 1, 0),
        ([DIES, DIES, f"{BEGUN}; {ENDED}"], [], 2, None),
        ([f"{BEGUN}; {CASE}; {DIES}", f"{BEGUN}; {CASE}; {ENDED}"], [{"case": 1}], 0, None),
    ],
    ids=["a good one", "a second boot", "no third boot", "a scenario that died"],
)
def test_only_a_boot_is_repeated_and_only_once(
    scripts: list[str], heard: list[dict[str, Any]], failed_boots: int, status: int | None
) -> None:
    guest = Emulated(*scripts)

    assert list(guest) == heard
    assert (guest.failed_boots, guest.status) == (failed_boots, status)
    assert guest.seconds is not None
