"""Noticing that the machine slept, or that somebody set its clock: two reasons to look again at everything.

A timer on CLOCK_REALTIME with TFD_TIMER_CANCEL_ON_SET is cancelled by every jump of that clock, and waking up is one:
the wall clock went on while the monotonic one stood still (timerfd_create(2); systemd notices clock changes in the same
way, `time_change_fd` in src/basic/time-util.c). No polling, and no D-Bus, which may not be there.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from typing import TYPE_CHECKING, Final, Self

from autovpn.errors import SystemFault

if TYPE_CHECKING:
    from collections.abc import Callable

# <sys/timerfd.h>; os.timerfd_create came with Python 3.13.
TFD_CLOEXEC: Final = os.O_CLOEXEC
TFD_NONBLOCK: Final = os.O_NONBLOCK
TFD_TIMER_ABSTIME: Final = 1
TFD_TIMER_CANCEL_ON_SET: Final = 2

NEVER: Final = (1 << (8 * ctypes.sizeof(ctypes.c_long) - 1)) - 1  # the latest time_t
SHORTEST_SLEEP: Final = 0.1  # seconds; the two clocks are not read at the same instant

_libc = ctypes.CDLL(None, use_errno=True)


class _Itimerspec(ctypes.Structure):
    """`struct itimerspec`: interval and first expiry, each in seconds and nanoseconds."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("value_seconds", ctypes.c_long),
        ("value_nanoseconds", ctypes.c_long),
    )


def slept_since_boot() -> float:
    """Return for how many seconds this machine has been suspended since it booted (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


class ClockWatch:
    """Tells of a resume and of a clock that was set: `fileno()` is readable; then `consume`, and ask `suspended_for`.

    Raises SystemFault when the kernel gives no timer.
    """

    def __init__(self, slept: Callable[[], float] = slept_since_boot) -> None:
        """Arm the timer; `slept` tells the seconds of sleep since boot."""
        self._slept = slept
        self._known = slept()
        self._fd = _checked(_libc.timerfd_create(time.CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC), "timerfd_create")
        try:
            self._arm()
        except SystemFault:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Close at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the timer."""
        self.close()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._fd

    def close(self) -> None:
        """Stop watching."""
        os.close(self._fd)

    def consume(self) -> bool:
        """Report whether the clock jumped since the last call. Never waits, and the timer stays armed."""
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise SystemFault(f"the clock could not be watched: {error.strerror}") from error
        return True

    def suspended_for(self) -> float:
        """Return for how many seconds the machine slept since the last call, 0.0 when it did not."""
        before, self._known = self._known, self._slept()
        return slept if (slept := self._known - before) >= SHORTEST_SLEEP else 0.0

    def _arm(self) -> None:
        """Wait for the end of time. ECANCELED says that the clock was set just now; the timer is armed all the same."""
        flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET
        spec = _Itimerspec(0, 0, NEVER, 0)
        _checked(_libc.timerfd_settime(self._fd, flags, ctypes.byref(spec), None), "timerfd_settime")


def _checked(result: int, call: str) -> int:
    if result < 0 and (number := ctypes.get_errno()) != errno.ECANCELED:
        raise SystemFault(f"the clock can't be watched: {call}: {os.strerror(number)}")
    return result
