"""The tunnels' programs, as the machine sees them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.netns.namespace import Namespace


def tunnel_clients(namespace: Namespace) -> list[int]:
    """Return the processes that hold a tunnel, of whatever type; an ssh that only asks one something holds none."""
    listing = namespace.run("ip", "netns", "pids", namespace.name).stdout.split()
    return [int(pid) for pid in listing if _holds_a_tunnel(_command_line(pid))]


def _holds_a_tunnel(command_line: bytes) -> bool:
    return (
        b"\0-N\0" in command_line
        or b"\0nodetach\0" in command_line
        or b"\0--cookie-on-stdin\0" in command_line
        or command_line.startswith((b"wireguard-go\0", b"vpnc\0", b"tincd\0", b"charon-systemd\0", b"openvpn\0"))
    )


def _command_line(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended meanwhile
        return b""
