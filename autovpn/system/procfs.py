"""What /proc tells about processes (proc(5)), read so that neither a dying nor a just starting process is misjudged."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from autovpn.core.escape import show_text
from autovpn.core.hookenv import EVENT_VARIABLE
from autovpn.core.orphans import MarkedProcess

NONCE_VARIABLE = "AUTOVPN_NONCE"
"""The environment variable by which everything that descends from one spawn is found again."""

_KERNEL_THREAD = 0x0020_0000
"""PF_KTHREAD of `<linux/sched.h>`."""

_EXEC_PATIENCE = 1.0
_EXEC_PAUSE = 0.001


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """One process: `start_time` is in clock ticks after boot and tells it from a later one with the same pid."""

    pid: int
    state: str
    session: int
    start_time: int
    is_starting: bool
    parent: int

    @property
    def has_ended(self) -> bool:
        """Report whether nothing of it runs any more, though its parent may not have asked for its status yet."""
        return self.state in "ZXx"


def facts_of(pid: int) -> ProcessFacts | None:
    """Return what the kernel knows of a process, or None when there is none with this number."""
    try:
        text = _read(f"/proc/{pid}/stat")
    except OSError:
        return None
    # The name in parentheses may hold blanks and parentheses, so count from its end: state is field 3 of proc(5).
    fields = text.rpartition(b")")[2].split()
    state, is_kernel, env_end = fields[0].decode(), int(fields[6]) & _KERNEL_THREAD, int(fields[48])
    starting = not is_kernel and env_end == 0 and state not in "ZXx"
    return ProcessFacts(
        pid, state, session=int(fields[3]), start_time=int(fields[19]), is_starting=starting, parent=int(fields[1])
    )


def find_by_nonce(nonce: str) -> tuple[int, ...]:
    """Return the processes, other than this one, whose environment carries the nonce.

    It finds what was spawned but never journalled: whoever recovers holds the daemon's lock, the lock's descriptor is
    closed on exec, and the nonce is in the environment from exec on. So no child that still lacks it can be running.
    May wait for a process that is between the two moments, so not for the event loop.
    """
    return tuple(pid for pid in process_ids() if carries_nonce(pid, nonce))


def find_marked(namespace: int) -> tuple[MarkedProcess, ...]:
    """Return the processes of tunnels in a network namespace (an inode): all that carry any nonce and are no hook's.

    What a hook left running is meant to be there (docs/hooks.md). May wait as `find_by_nonce` does.
    """
    found = []
    for pid in process_ids():
        environment = _environment(pid) if _is_in(pid, namespace) else []
        variables = {name: value for name, _, value in (line.partition(b"=") for line in environment)}
        nonce = variables.get(NONCE_VARIABLE.encode())
        if nonce is not None and EVENT_VARIABLE.encode() not in variables:
            found.append(MarkedProcess(pid, _name_of(pid), os.fsdecode(nonce)))
    return tuple(found)


def process_ids() -> tuple[int, ...]:
    """Return the numbers of all processes other than this one."""
    with os.scandir("/proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdecimal()]
    return tuple(pid for pid in pids if pid != os.getpid())


def carries_nonce(pid: int, nonce: str) -> bool:
    """Report whether a process was started with the nonce in its environment."""
    return f"{NONCE_VARIABLE}={nonce}".encode() in _environment(pid)


def _environment(pid: int) -> list[bytes]:
    """Return the environment that a process was started with; nothing when it has ended."""
    deadline = time.monotonic() + _EXEC_PATIENCE
    while True:
        try:
            environment = _read(f"/proc/{pid}/environ")
        except OSError:
            return []
        if environment:
            return environment.split(b"\0")
        # exec closes descriptors first and shows the new environment only after the program is loaded.
        facts = facts_of(pid)
        if facts is None or not facts.is_starting or time.monotonic() > deadline:
            return []
        time.sleep(_EXEC_PAUSE)


def _is_in(pid: int, namespace: int) -> bool:
    """Report whether a process is in a network namespace; one that has ended is in none."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino == namespace
    except OSError:
        return False


def _name_of(pid: int) -> str:
    """Return the name that the program has given itself, made fit to be shown."""
    try:
        return show_text(_read(f"/proc/{pid}/comm").rstrip(b"\n"))
    except OSError:
        return "that has ended"


def _read(path: str) -> bytes:
    """Return a file of /proc, which never waits; small enough for the event loop."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return b"".join(iter(lambda: os.read(descriptor, 64 * 1024), b""))
    finally:
        os.close(descriptor)
