"""No secret on disk after a crash: neither the daemon nor what it starts leaves a core dump (core(5))."""

from __future__ import annotations

import ctypes
import resource

_PR_SET_DUMPABLE = 4  # <linux/prctl.h>


def leave_no_core() -> None:
    """Have no memory of this process dumped, and none of its children's into a file.

    The limit alone is not enough: a kernel that pipes cores to a program passes it by. What a child may dump is for
    the child to say (execve(2) sets it anew), so for these the limit is all there is.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
