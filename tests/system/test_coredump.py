"""What is left of a process that crashes."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import ctypes, resource, subprocess, sys
from autovpn.system.coredump import leave_no_core

resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
PR_GET_DUMPABLE = 3
print(ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))
leave_no_core()
print(ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))
print(subprocess.run([sys.executable, "-c", "import resource; print(resource.getrlimit(resource.RLIMIT_CORE)[0])"],
                     capture_output=True, text=True).stdout)
"""


def test_no_memory_is_dumped_of_the_daemon_nor_of_what_it_starts() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=100)

    assert done.stdout.split() == ["1", "0", "0"]
