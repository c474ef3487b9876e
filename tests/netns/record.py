"""What a run of the tests has seen of each type of tunnel, a line of JSON each, for the table in docs/tunnels.md."""

from __future__ import annotations

import json
import os
from pathlib import Path

from autovpn.core.actions import Failed, Ready

RECORD = "AUTOVPN_TUNNEL_RECORD"
"""The variable that names the file; without it nothing is written."""


def note(kind: str, seconds: float, session: int | None, news: Ready | Failed) -> None:
    """Note what came of an attempt that began `seconds` ago; `session` is that of the tunnel's program."""
    path = os.environ.get(RECORD)
    if not path:
        return
    line: dict[str, object] = {"type": kind}
    if isinstance(news, Ready):
        line |= {"seconds": seconds, "resident": resident(session) if session else None}
    else:
        line |= {"class": news.kind.value, "words": news.words}
    with Path(path).open("a") as file:
        file.write(json.dumps(line) + "\n")


def resident(session: int) -> int:
    """Return the resident memory of all processes of a session, in KiB (VmRSS in proc_pid_status(5))."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if int((status.parent / "stat").read_text().rpartition(")")[2].split()[3]) != session:
                continue
            facts = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except (OSError, ProcessLookupError):
            continue
        total += int(facts.get("VmRSS", "0 kB").split()[0])
    return total
