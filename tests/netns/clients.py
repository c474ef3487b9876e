"""The tunnels' programs, as the machine sees them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.netns.namespace import Namespace


def ssh_clients(namespace: Namespace) -> list[int]:
    """Return the processes of ssh that hold a tunnel (`-N`); those that only ask one something are none."""
    listing = namespace.run("ip", "netns", "pids", namespace.name).stdout.split()
    return [int(pid) for pid in listing if b"\0-N\0" in _command_line(pid)]


def _command_line(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended meanwhile
        return b""
