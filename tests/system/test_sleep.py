"""A jump of the clock and a sleep of the machine are noticed, and nothing else is."""

from __future__ import annotations

import errno
import os
import select
import time
from pathlib import Path

import pytest

from autovpn.errors import SystemFault
from autovpn.system import sleep
from autovpn.system.sleep import ClockWatch, slept_since_boot


def readable(watch: ClockWatch) -> bool:
    return bool(select.select([watch], [], [], 0)[0])


def test_a_clock_that_runs_evenly_wakes_nobody() -> None:
    with ClockWatch() as watch:
        assert not readable(watch)
        assert not watch.consume()


@pytest.mark.parametrize("number", [errno.ECANCELED, None])
def test_a_cancelled_timer_and_the_end_of_time_both_say_look_again(
    monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    def read(fd: int, size: int) -> bytes:
        if number is None:
            return b"\1" + bytes(7)
        raise OSError(number, os.strerror(number))

    with ClockWatch() as watch:
        monkeypatch.setattr(os, "read", read)
        assert watch.consume()


def test_a_broken_timer_is_a_fault_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(fd: int, size: int) -> bytes:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    with ClockWatch() as watch:
        monkeypatch.setattr(os, "read", read)
        with pytest.raises(SystemFault, match="clock could not be watched: Bad file descriptor"):
            watch.consume()


def test_each_sleep_is_told_once_and_for_its_own_length() -> None:
    slept = iter([100.0, 100.0, 3700.5, 3700.5, 3760.5])
    with ClockWatch(slept=lambda: next(slept)) as watch:
        assert [watch.suspended_for() for _ in range(4)] == [0.0, 3600.5, 0.0, 60.0]


def test_the_gap_between_reading_two_clocks_is_no_sleep() -> None:
    slept = iter([100.0, 100.0001, 99.9999])
    with ClockWatch(slept=lambda: next(slept)) as watch:
        assert watch.suspended_for() == 0.0
        assert watch.suspended_for() == 0.0


def test_the_kernel_never_slept_for_less_than_nothing() -> None:
    assert -sleep.SHORTEST_SLEEP < slept_since_boot() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_the_descriptor_is_closed_on_exec_and_never_blocks() -> None:
    with ClockWatch() as watch:
        assert not os.get_inheritable(watch.fileno())
        assert not os.get_blocking(watch.fileno())


def test_a_timer_that_the_kernel_refuses_leaves_no_descriptor_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(sleep, "TFD_TIMER_ABSTIME", 1 << 30)  # no flag of timerfd_settime(2)
    with pytest.raises(SystemFault, match="timerfd_settime: Invalid argument"):
        ClockWatch()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
