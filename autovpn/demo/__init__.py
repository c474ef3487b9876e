"""`autovpn demo`: the real daemon does its whole job on a stage of network namespaces, and every claim is checked.

    here       main(): says what is missing, raises the curtain, and takes the stage away again
    stage      process 1 of a PID namespace with an /etc, /run and /var/lib of its own
    director   tells the story there, beside everything that the story starts

The kernel removes the stage with its last process, and kills every process of it with process 1, which ends with
whoever started it. So nothing is left behind, also when the demo is killed; nothing here has to clean up.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from select import select

from autovpn.demo.needs import SOURCE, SYSTEM_FOLDERS, found, missing

HELD, BROKEN, UNABLE = 0, 1, 2
"""The exit statuses: every claim held; one did not; the demo can't be given here."""

BY_SIGNAL = 128
"""The exit status after a signal is this and its number, as shells have it."""

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(*, as_json: bool = False) -> int:
    """Give the demo, as text or as lines of JSON, and return its exit status."""
    if lacking := missing():
        sys.stdout.flush()
        sys.stderr.write("autovpn demo can't be given here:\n" + "".join(f"  - {line}\n" for line in lacking))
        return UNABLE
    sys.stdout.flush()
    return _perform(("--json",) if as_json else ())


def _perform(options: tuple[str, ...]) -> int:
    """Start the stage and wait for its end, or for a signal, which ends it."""
    arrived, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    # The handlers do nothing: no exception may come between a start and the note of what was started.
    before = {number: signal.signal(number, lambda *_: None) for number in STOPPING}
    awake = signal.set_wakeup_fd(wakeup)
    try:
        return _watch(_raise_curtain(options), arrived)
    finally:
        signal.set_wakeup_fd(awake)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(arrived)
        os.close(wakeup)


def _raise_curtain(options: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Start process 1 of the stage; it ends when nobody holds the other end of its standard input any more."""
    stage = (*interpreter(), "autovpn.demo.stage", *options)
    return subprocess.Popen(
        (found("unshare"), "--mount", "--net", "--pid", "--fork", "--mount-proc", *stage),
        stdin=subprocess.PIPE,
        env=environment(),
        start_new_session=True,  # the terminal's Ctrl-C is for us alone
    )


def _watch(stage: subprocess.Popen[bytes], arrived: int) -> int:
    ended = os.pidfd_open(stage.pid)
    try:
        select([ended, arrived], [], [])
    finally:
        os.close(ended)
    caught = _signal_in(arrived)
    stage.communicate()  # closes its input, and so ends it, and waits for that
    if caught:
        with suppress(OSError):  # the terminal may be gone
            sys.stderr.write("\ninterrupted; the stage is gone, and nothing of it is left\n")
        return BY_SIGNAL + caught
    return HELD if stage.returncode == HELD else BROKEN


def _signal_in(arrived: int) -> int:
    """Return the first signal that asked us to stop, or 0."""
    try:
        numbers = os.read(arrived, 64)
    except BlockingIOError:
        return 0
    return next((number for number in numbers if number in STOPPING), 0)


def interpreter() -> tuple[str, ...]:
    """Return how a module of this very autovpn is run, whatever lies in the current directory."""
    return (sys.executable, "-P", "-m")


def environment() -> dict[str, str]:
    """Return our environment, in which this autovpn and the system's programs are found."""
    python_path = [str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])]
    path = [*filter(None, [os.environ.get("PATH")]), *SYSTEM_FOLDERS]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(python_path), "PATH": os.pathsep.join(path)}
