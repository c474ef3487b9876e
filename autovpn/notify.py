"""The notifier: a program that a tunnel's client runs as its script, and that only tells the daemon what it was told.

It stands alone (`python -I -S notify.py`), changes nothing itself, and always succeeds: without a daemon the client
goes on as it was. It returns once the daemon has answered, since vpnc lets packets flow only after its script. A
tunnel waits for it, so it imports next to nothing: `socket`, `re` and `contextlib` would treble its time.
"""

from __future__ import annotations

import _socket
import os
import sys

SOCKET_VARIABLE = "AUTOVPN_NOTIFY"
"""The environment variable that names the daemon's socket."""

PATIENCE = 10.0
"""Seconds for each step of the conversation; vpnc's server waits longer than this for the first packet."""

LARGEST = 64 * 1024
"""Bytes that a report may have."""

NAMES = frozenset((b"reason", b"TUNDEV", b"DNS1", b"DNS2", b"PLUTO_VERB", b"PLUTO_MY_SOURCEIP"))
PREFIXES = (b"INTERNAL_IP4_", b"INTERNAL_IP6_", b"CISCO_", b"PLUTO_DNS", b"PLUTO_PEER_")
"""The variables of vpnc(8) and openconnect(8), two of which ssh's LocalCommand has too; DNS1 and DNS2 are pppd(8)'s,
PLUTO_VERB and PLUTO_DNS4_1 those of strongSwan's updown scripts, PLUTO_PEER_DNS_INFO of libreswan's."""

LONGEST_VALUE = 4096
"""Bytes of a value that are sent: a server's greeting may be as long as the server likes."""


def is_known(name: bytes) -> bool:
    """Report whether a driver may want this variable. Others are neither sent nor taken: they may hold secrets."""
    return name in NAMES or (name.startswith(PREFIXES) and name.replace(b"_", b"").isalnum())


def message(arguments: list[bytes], environment: dict[bytes, bytes]) -> bytes:
    """Return the report: each argument as `A` text NUL, each known variable as `E` name `=` value NUL.

    The numbered ones come last and in order, since a server may name so many routes that not all of them fit.
    """
    report = b"".join(b"A" + argument + b"\0" for argument in arguments)
    for name in sorted(filter(is_known, environment), key=place_in_list):
        item = b"E" + name + b"=" + environment[name][:LONGEST_VALUE] + b"\0"
        if len(report) + len(item) > LARGEST:
            break
        report += item
    return report


def place_in_list(name: bytes) -> int:
    """Return the number in a name such as CISCO_SPLIT_INC_2_ADDR, or -1."""
    return next((int(part) for part in name.split(b"_") if part.isdigit()), -1)


def tell(path: bytes, report: bytes) -> None:
    """Send the report to the daemon's socket, and wait for the answer."""
    daemon = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    daemon.settimeout(PATIENCE)
    daemon.connect(path)
    daemon.sendall(report)
    daemon.shutdown(_socket.SHUT_WR)
    daemon.recv(1)


def main() -> None:
    """Tell the daemon; one that isn't there, or doesn't listen, is no failure."""
    path = os.environb.get(SOCKET_VARIABLE.encode())
    if not path:
        return
    arguments = [os.fsencode(argument) for argument in sys.argv[1:]]
    try:  # noqa: SIM105 (contextlib takes longer to import than all of this to run)
        tell(path, message(arguments, dict(os.environb)))
    except OSError:
        pass


if __name__ == "__main__":
    main()
