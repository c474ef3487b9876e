"""A control socket with canned answers, and the real command as a process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autovpn.errors import ControlError
from autovpn.system.control import ControlServer, Reply, Request

ROOT = Path(__file__).parent.parent.parent


@dataclass
class FakeDaemon:
    """A control server in a thread of its own.

    `answers` holds the replies by command, unless a `script` makes them; `asked` is what came.
    """

    directory: Path
    answers: dict[str, Reply] = field(default_factory=dict)
    asked: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)
    script: Callable[[Request], Reply] | None = None

    async def answer(self, request: Request) -> Reply:
        self.asked.append((request.command, request.arguments))
        if self.script:
            return self.script(request)
        if request.command not in self.answers:
            raise ControlError(f"there is no {request.command}")
        return self.answers[request.command]

    async def serve(self, ready: threading.Event, loop: list[asyncio.AbstractEventLoop], stop: asyncio.Event) -> None:
        server = ControlServer(self.directory / "control.sock", self.answer, privileged=frozenset({os.geteuid()}))
        await server.start()
        loop.append(asyncio.get_running_loop())
        ready.set()
        await stop.wait()
        await server.stop()


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str


Autovpn = Callable[..., Ran]


def run(*arguments: str, **environment: str) -> Ran:
    """Run the real command line as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "autovpn", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONUTF8": "1", **environment},
        timeout=100,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
