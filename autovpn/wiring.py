"""Where the layers meet: what the commands call. Each loads what it needs when it does, so that `check` is quick."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from autovpn.daemon.places import Directories, Observation, Recovery

if TYPE_CHECKING:
    from autovpn.config.load import Loaded

__all__ = [
    "Directories",
    "Observation",
    "Recovery",
    "left_behind",
    "load_configuration",
    "observe_once",
    "recover",
    "run_daemon",
]


def load_configuration(directory: Path) -> Loaded:
    """Read the configuration and return it with everything that is wrong with it."""
    from autovpn.config.load import load

    return load(directory)


def run_daemon(directories: Directories) -> int:
    """Be the daemon until told to stop; return the exit status.

    Raises:
        AlreadyRunning: another daemon holds the lock.
        ConfigError: the configuration holds no policy.
    """
    from autovpn.daemon.assembly import serve
    from autovpn.system.coredump import leave_no_core
    from autovpn.system.lock import DaemonLock

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    leave_no_core()
    with DaemonLock(*directories.locks):
        left = asyncio.run(serve(directories))
    for step in left:
        logging.getLogger(__name__).error("%s: could not be undone; 'autovpn recover' tries again", step)
    return 1 if left else 0


def observe_once(directories: Directories) -> Observation:
    """Look at the machine once and decide, without a daemon and without changing anything.

    Raises:
        ConfigError: the configuration holds no policy.
    """
    from autovpn.daemon.assembly import observe

    return asyncio.run(observe(directories))


def left_behind(directories: Directories) -> tuple[str, ...]:
    """Return the steps that a daemon which is gone has left on the machine, without changing anything.

    Raises:
        JournalError: its journal can't be read.
    """
    from autovpn.daemon import aftermath

    return asyncio.run(aftermath.left_behind(directories))


def recover(directories: Directories) -> Recovery:
    """Undo all that a dead daemon left behind.

    Raises:
        AlreadyRunning: a daemon holds the lock.
    """
    from autovpn.system.lock import DaemonLock

    with DaemonLock(*directories.locks):
        from autovpn.daemon import aftermath

        return asyncio.run(aftermath.recover(directories))
