"""The laptop of the end-to-end tests: its profiles, its daemon, and what its user would ask and see."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.netns.world import wait_until

if TYPE_CHECKING:
    from tests.netns.namespace import Namespace, Program
    from tests.netns.world import World

AUTOVPN = (sys.executable, "-m", "autovpn")
REPOSITORY = Path(__file__).parents[2]


class Laptop:
    """A network namespace with a file system of its own, in which a real daemon runs."""

    def __init__(self, world: World) -> None:
        """Begin without profiles and without a daemon."""
        self.world = world
        self.namespace: Namespace = world.laptop
        self.daemon: Program | None = None
        self.log = self.namespace.file("/run/hooks.log")
        self.write("/etc/resolv.conf", "# the laptop's own\nnameserver 192.0.2.1\nsearch home.example\n")
        self.configure('[daemon]\nsettle_trusted = "200ms"\nlinger = "1s"\ndecide_timeout = "2s"\n')

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        """Write a file of the laptop's own file system."""
        file = self.namespace.file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_symlink() or file.exists():
            file.unlink()
        file.write_text(text)
        file.chmod(mode)
        return file

    def configure(self, text: str) -> None:
        """Write autovpn.toml."""
        self.write("/etc/autovpn/autovpn.toml", text)

    def profile(self, name: str, text: str) -> None:
        """Write a profile."""
        self.write(f"/etc/autovpn/profiles/{name}.toml", text)

    def hooks(self, *events: str) -> str:
        """Return hooks that log each of these events with what they are told."""
        script = (
            "#!/bin/sh\n"
            'echo "$AUTOVPN_EVENT $AUTOVPN_PROFILE $IFACE'
            ' reason=$AUTOVPN_REASON alive=$AUTOVPN_ALIVE" >> /run/hooks.log\n'
        )
        self.write("/etc/autovpn/log-event", script, 0o755)
        return "".join(f'[[hooks]]\non = "{event}"\nrun = ["/etc/autovpn/log-event"]\n' for event in events)

    def hook_log(self) -> list[str]:
        """Return what the hooks have logged, a line each."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    # -- the daemon

    def start(self, program: tuple[str, ...] = AUTOVPN, deadline: float = 40.0) -> None:
        """Start the daemon, and return when it answers, which it does once it has undone what a dead one left."""
        self.daemon = self.namespace.spawn_private("env", f"PYTHONPATH={REPOSITORY}", *program, "run")
        try:
            wait_until(self._answers, "the daemon to answer", deadline)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.daemon.output}\n{self.ask('status')}") from None

    def _answers(self) -> bool:
        assert self.daemon is not None
        assert self.daemon.process.poll() is None, f"the daemon ended: {self.daemon.output}"
        try:
            return bool(self.request("status"))
        except (OSError, json.JSONDecodeError):
            return False

    def stop(self) -> int:
        """Stop the daemon as a service manager does, and return its exit status."""
        assert self.daemon is not None
        return self.daemon.stop(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the daemon without a word; what it started goes on."""
        assert self.daemon is not None
        os.kill(self.daemon.pid, signal.SIGKILL)
        self.daemon.process.wait()

    def restart(self) -> None:
        """Have the daemon end with everything in place, and start another."""
        assert self.daemon is not None
        self.daemon.stop(signal.SIGUSR2)
        self.start()

    def ask(self, *arguments: str) -> tuple[int, str]:
        """Run a command of the user's; return its exit status and all that it printed."""
        done = self.namespace.run_private("env", f"PYTHONPATH={REPOSITORY}", *AUTOVPN, *arguments, check=False)
        return done.returncode, done.stdout + done.stderr

    def request(self, command: str, **arguments: object) -> dict[str, Any]:
        """Ask the daemon directly, at the cost of a socket instead of a program."""
        with socket.socket(socket.AF_UNIX) as daemon:
            daemon.settimeout(60.0)
            daemon.connect(str(self.namespace.file("/run/autovpn/control.sock")))
            daemon.sendall(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
            with daemon.makefile() as reply:
                answer: dict[str, Any] = json.loads(reply.readline())
        assert answer["ok"], answer
        return answer

    def status(self) -> dict[str, Any]:
        """Return what `status --json` says."""
        return self.request("status")

    def activation(self, name: str) -> dict[str, Any] | None:
        """Return how an activation stands."""
        return next((found for found in self.status()["activations"] if found["profile"] == name), None)

    def failure(self, name: str) -> dict[str, Any] | None:
        """Return why the tunnel of an activation failed last."""
        activation = self.activation(name)
        return (
            next((t["last_failure"] for t in activation["tunnels"] if t["last_failure"]), None) if activation else None
        )

    @property
    def said(self) -> str:
        """Return what the daemon has logged since it was started."""
        return self.daemon.output if self.daemon else ""

    def failures(self, name: str) -> list[tuple[str, str]]:
        """Return class and words of each failed attempt of an activation's tunnels, in order.

        They are read from the log: in `status` the next attempt may have taken their place already.
        """
        logged = rf"tunnel\.(?:backoff|failed) activation={name} .* class=(\S+) words=(.*)"
        return re.findall(logged, self.said)

    def first_failure(self, name: str, deadline: float = 40.0) -> tuple[str, str]:
        """Wait until a tunnel of an activation fails; return class and words of the first time."""
        wait_until(lambda: self.failures(name), "a tunnel to fail", deadline)
        return self.failures(name)[0]

    def state(self, name: str) -> str | None:
        """Return the state of an activation in one word."""
        activation = self.activation(name)
        return activation["state"] if activation else None

    def wait_for(self, name: str, state: str | None, deadline: float = 40.0) -> None:
        """Wait until an activation is in a state; None: until it is gone and nothing of it is being undone."""

        def reached() -> bool:
            if state is not None:
                return self.state(name) == state
            status = self.status()
            return not any(a["profile"] == name for a in status["activations"]) and not status["undoing"]

        try:
            wait_until(reached, f"{name} to be {state}", deadline)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.ask('status')[1]}\n{self.said}") from None

    # -- the machine

    @property
    def resolv_conf(self) -> str:
        """Return the text of the laptop's resolv.conf."""
        return self.namespace.file("/etc/resolv.conf").read_text()

    def processes(self, *names: str) -> list[int]:
        """Return the laptop's processes of programs with these names."""
        listing = self.namespace.run("ip", "netns", "pids", self.namespace.name).stdout.split()
        return [int(pid) for pid in listing if _name(pid) in names]

    def picture(self) -> str:
        """Return all of the machine that must be as before: kernel state, resolv.conf as an object, processes."""
        path = self.namespace.file("/etc/resolv.conf")
        facts = path.lstat()
        kept = (facts.st_ino, facts.st_mode, facts.st_uid, facts.st_gid, facts.st_size)
        beside = sorted(name.name for name in path.parent.iterdir() if "resolv.conf" in name.name)
        listing = self.namespace.run("ip", "netns", "pids", self.namespace.name).stdout.split()
        ours = {str(self.daemon.pid)} if self.daemon else set()
        programs = sorted(_name(pid) for pid in listing if pid not in ours)
        return "\n".join(
            [self.namespace.snapshot(), f"resolv.conf {kept} {path.read_bytes()!r}", *beside, "processes", *programs]
        )

    def uplink_down(self) -> None:
        """Take the carrier away, at the far end as a pulled cable would."""
        self.world.gateway.run("ip", "link", "set", "eth0", "down")

    def uplink_up(self) -> None:
        """Give the carrier back."""
        self.world.gateway.run("ip", "link", "set", "eth0", "up")


def _name(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
