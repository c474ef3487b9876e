"""The laptop: its profiles, its daemon, and all of it that has to be as before in the end."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autovpn.cli.client import RUN_DIRECTORY, ask
from autovpn.demo import interpreter
from autovpn.demo.namespaces import CAMPUS, Networks, await_that
from autovpn.demo.servers import LAPTOP_FILES, Server
from autovpn.demo.stage import SCRATCH
from autovpn.errors import ControlError, SystemFault

PROFILES = LAPTOP_FILES / "profiles"
RESOLV_CONF = Path("/etc/resolv.conf")
OWN_RESOLV_CONF = "# the laptop's own\nnameserver 192.0.2.53\nsearch campus.example\n"
HOOK_LOG = SCRATCH / "hooks.log"
DAEMON_LOG = SCRATCH / "daemon.log"
EVENTS = ("preup", "postup", "predown", "postdown", "failup", "faildown")

SETTINGS = """
[daemon]
linger         = "1s"        # 15 s by default: an audience has less patience than a train has tunnels
settle_trusted = "200ms"
"""

HOOK = f"""#!/bin/sh
echo "$AUTOVPN_PROFILE $AUTOVPN_EVENT $IFACE ${{AUTOVPN_DEVICE:-none}} $AUTOVPN_REASON" >>{HOOK_LOG}
"""

CAMPUS_PROFILE = f"""
tunnels = ["office"]

[match]
gateway_mac = ["{CAMPUS.mac}"]

[dns]
servers = ["10.20.0.53"]
search  = ["office.example"]
"""

ELSEWHERE_PROFILE = """
default = true
tunnels = ["everything"]

[dns]
servers = ["10.20.0.54"]
"""


class Laptop:
    """The laptop's files and its daemon."""

    def __init__(self, networks: Networks, server: Server) -> None:
        """Write its resolv.conf, its profiles and its hooks."""
        self.namespace = networks.laptop
        self._daemon: subprocess.Popen[bytes] | None = None
        _write(RESOLV_CONF, OWN_RESOLV_CONF)
        hook = LAPTOP_FILES / "note"
        _write(hook, HOOK, 0o755)
        hooks = "".join(f'\n[[hooks]]\non  = "{event}"\nrun = ["{hook}"]\n' for event in EVENTS)
        _write(LAPTOP_FILES / "autovpn.toml", SETTINGS)
        self._campus = f"{CAMPUS_PROFILE}\n{server.tunnel('office')}"
        _write(PROFILES / "10-campus.toml", self._campus + hooks)
        _write(PROFILES / "90-elsewhere.toml", f"{ELSEWHERE_PROFILE}\n{server.tunnel('everything')}{hooks}")

    def profile(self) -> tuple[str, list[str]]:
        """Return where the campus profile is, and its lines without the hooks."""
        return f"{PROFILES}/10-campus.toml", [*self._campus.strip().splitlines(), "", "[[hooks]] ..."]

    # -- the daemon

    @property
    def pid(self) -> int:
        """The daemon's process."""
        return self._daemon.pid if self._daemon else 0

    def start(self) -> None:
        """Start the daemon and return once it answers."""
        self._daemon = self.namespace.spawn(*interpreter(), "autovpn", "run", log=DAEMON_LOG)
        await_that(self._answers, "the daemon to answer")

    def end(self, number: signal.Signals) -> int:
        """Send the daemon a signal that ends it, and return its exit status (negative: the signal it died of)."""
        if self._daemon is None:
            raise SystemFault("there is no daemon to end")
        self._daemon.send_signal(number)
        try:
            return self._daemon.wait(10.0)
        except subprocess.TimeoutExpired:
            raise SystemFault("the daemon was told to end and goes on") from None

    def status(self) -> Mapping[str, Any]:
        """Return what `autovpn status --json` says."""
        return ask(RUN_DIRECTORY, "status", {})

    def _answers(self) -> bool:
        if self._daemon is None or self._daemon.poll() is not None:
            raise SystemFault("the daemon has ended")
        try:
            return bool(self.status()["pid"] == self.pid)
        except ControlError:
            return False

    # -- what is there

    def hooks(self) -> list[list[str]]:
        """Return what the hooks have noted: profile, event, uplink, device and reason of each."""
        return [line.split(maxsplit=4) for line in HOOK_LOG.read_text().splitlines()] if HOOK_LOG.exists() else []

    def processes(self) -> dict[int, str]:
        """Return the processes in the laptop's network, without the daemon: number and name."""
        listing = self.namespace.run("ip", "netns", "pids", "laptop")
        return {pid: _name(pid) for pid in map(int, listing.split()) if pid != self.pid and _name(pid)}

    def picture(self) -> list[str]:
        """Return all that has to be as before, as lines to compare byte for byte."""
        kernel = [
            line
            for command in (
                "ip -details -oneline link",
                "ip -oneline address",
                "ip -4 rule",
                "ip -6 rule",
                "ip -4 -details route show table all",
                "ip -6 -details route show table all",
                "nft --stateless list ruleset",
            )
            for line in (f"$ {command}", *self.namespace.run(*command.split()).splitlines())
        ]
        facts = RESOLV_CONF.lstat()
        names = sorted(path.name for path in RESOLV_CONF.parent.iterdir() if "resolv.conf" in path.name)
        return [
            *kernel,
            f"resolv.conf: inode {facts.st_ino}, mode {facts.st_mode:o}, owner {facts.st_uid}:{facts.st_gid}",
            f"resolv.conf: {RESOLV_CONF.read_bytes()!r}",
            f"beside it: {names}",
            f"processes: {sorted(self.processes().values())}",
        ]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.lstrip())
    path.chmod(mode)
