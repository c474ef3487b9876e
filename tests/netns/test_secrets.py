"""Secrets are seen by nobody but the program that needs them, from a tunnel's beginning to its end."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest

from tests.netns.every_server import SERVERS
from tests.netns.laptop import Laptop
from tests.netns.servers import Server
from tests.netns.test_main_job import office_profile
from tests.netns.world import wait_until


class Onlooker:
    """Whoever can read what is in the open: arguments, environments, what is written down and what is said."""

    def __init__(self, laptop: Laptop, secrets: tuple[str, ...]) -> None:
        self._laptop = laptop
        self._needles = [secret.encode() for secret in secrets]

    def look_at_processes(self) -> None:
        """Look at every process of the laptop, down to each short one that runs just now."""
        for pid in self._laptop.namespace.run("ip", "netns", "pids", self._laptop.namespace.name).stdout.split():
            for part in ("cmdline", "environ"):
                with suppress(OSError):  # it has ended meanwhile
                    self.read(Path(f"/proc/{pid}/{part}").read_bytes(), f"{part} of {pid}")

    def look_at_files(self) -> None:
        """Look at the journal and the memory; the folder of a tunnel is only its own program's."""
        for folder in ("/run/autovpn", "/var/lib/autovpn"):
            root = self._laptop.namespace.file(folder)
            for path in root.rglob("*"):
                if path.is_file() and not path.is_relative_to(root / "tunnels"):
                    self.read(path.read_bytes(), str(path))

    def listen(self) -> None:
        """Read the daemon's log and its answers."""
        assert self._laptop.daemon
        self.read(self._laptop.daemon.output.encode(), "the log")
        for command in ("status", "explain", "plan"):
            self.read(json.dumps(self._laptop.request(command)).encode(), command)

    def read(self, content: bytes, where: str) -> None:
        for needle in self._needles:
            assert needle not in content, where


READ_BY_THE_PROGRAM = {"sshd", "command"}
"""Whose only secret is a key file, which ssh reads by itself."""


@pytest.mark.parametrize("kind", [kind for kind in SERVERS if kind.label not in READ_BY_THE_PROGRAM])
def test_a_secret_is_nowhere_to_be_seen(laptop: Laptop, kind: type[Server]) -> None:
    server = kind(laptop.world)
    assert server.secrets
    office_profile(laptop, server)
    onlooker = Onlooker(laptop, server.secrets)
    laptop.start()

    def is_up() -> bool:
        onlooker.look_at_processes()
        return laptop.state("office") == "up"

    wait_until(is_up, "the tunnel")
    onlooker.look_at_files()
    onlooker.listen()
    laptop.kill()
    laptop.start()
    wait_until(is_up, "the tunnel to be taken over")
    onlooker.look_at_files()
    onlooker.listen()
    laptop.stop()
    onlooker.look_at_files()
    assert laptop.daemon
    onlooker.read(laptop.daemon.output.encode(), "the log")
