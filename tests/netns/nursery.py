"""Where daemons are born fast, and die at a chosen record: real ones, forked off a process that has imported it all.

    nursery = Nursery(laptop)
    daemon = nursery.bear(records=7)  # it dies by SIGKILL right after the seventh record of its journal
    assert daemon.wait() == -signal.SIGKILL
    daemon.last_record                # what it had just written: ("Begin", "tunnel")

The interpreter and the imports take ten times as long as all the rest of a daemon's start. The kill is done by the
daemon itself, since a look from outside may come a record too late.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.netns.laptop import REPOSITORY
from tests.netns.namespace import SLOWNESS
from tests.netns.world import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.laptop import Laptop

SOCKET = "/run/nursery"

PROGRAM = """
import importlib, os, pkgutil, signal, socket, sys

import autovpn
from autovpn.cli.main import main
from autovpn.core.records import key_of
from autovpn.system.journal import Journal

for module in pkgutil.walk_packages(autovpn.__path__, "autovpn."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)


def live(parent, records):
    write = Journal._record

    async def write_and_die(journal, record):
        nonlocal records
        await write(journal, record)
        records -= 1
        if not records:
            parent.sendall(f"{type(record).__name__} {key_of(record)[0].value}\\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    Journal._record = write_and_die
    return main(["run"])


server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
while True:
    parent, _ = server.accept()
    records = int(parent.recv(16))
    child = os.fork()
    if not child:
        server.close()
        sys.exit(live(parent, records))
    parent.sendall(f"{child}\\n".encode())
    parent.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\\n".encode())
    parent.close()
"""


class Newborn:
    """One daemon of the nursery."""

    def __init__(self, nursery: socket.socket, records: int) -> None:
        """Have it forked."""
        self._nursery = nursery
        nursery.settimeout(30.0 * SLOWNESS)
        nursery.sendall(str(records).encode())
        self._lines = self._read()
        self.pid = int(next(self._lines))
        self._status: int | None = None
        self.last_record: tuple[str, str] | None = None

    def wait(self) -> int:
        """Return its exit status (negative: the signal it died of) once it has ended."""
        for line in self._lines:
            *record, last = line.split()
            if record:
                self.last_record = (record[0], last)
            else:
                self._status = int(last)
        assert self._status is not None
        return self._status

    def stop(self) -> int:
        """Stop it as a service manager does, if it is still there, and return its exit status."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    @property
    def is_dying(self) -> bool:
        """Report whether its end has come, without waiting for it."""
        return bool(select.select([self._nursery], [], [], 0.0)[0])

    def _read(self) -> Iterator[str]:
        with self._nursery, self._nursery.makefile() as lines:
            yield from lines


class Nursery:
    """Forks the laptop's daemons, one at a time."""

    def __init__(self, laptop: Laptop) -> None:
        """Import all that a daemon needs; for the laptop the nursery is its daemon, whose output it has."""
        self._laptop = laptop
        laptop.write("/etc/nursery.py", PROGRAM)
        laptop.daemon = laptop.namespace.spawn_private(
            "env", f"PYTHONPATH={REPOSITORY}", sys.executable, "/etc/nursery.py", SOCKET
        )
        wait_until(lambda: laptop.namespace.file(SOCKET).exists(), "the nursery to open", 30.0)

    def bear(self, records: int = 0) -> Newborn:
        """Start a daemon; with `records` it dies right after it has written as many."""
        nursery = socket.socket(socket.AF_UNIX)
        nursery.connect(str(self._laptop.namespace.file(SOCKET)))
        return Newborn(nursery, records)
