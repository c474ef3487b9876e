"""Channels with real programs and devices: they survive their daemon while they log, and are ended whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from autovpn.system.process import identify, recover
from autovpn.system.procfs import find_by_nonce
from tests.netns.world import World, wait_until

pytestmark = pytest.mark.netns

DEVICE = f"avt{os.getpid()}"  # its control socket is the machine's, not the namespace's
ROOT = Path(__file__).parent.parent.parent

# A daemon that starts a program by its channels, tells its receipt, and waits for its death.
DAEMON = """
import asyncio, json, sys
from pathlib import Path
from autovpn.core.actions import Spawn
from autovpn.system.channels import Channels

class NoDevices:
    async def index_of(self, name):
        return None

async def main():
    directory, nonce, argv = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    channels = Channels(directory, nonce, "avt0", NoDevices(), lambda event: None)
    await channels.execute(Spawn(tuple(argv), (("LOG_LEVEL", "verbose"),)))
    print(json.dumps(channels.receipt()), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def start(world: World, directory: Path, nonce: str, argv: tuple[str, ...]) -> subprocess.Popen[str]:
    command = (sys.executable, "-c", DAEMON, str(directory), nonce, json.dumps(argv))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(world.laptop.command(*command), stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.skipif(not shutil.which("wireguard-go"), reason="needs wireguard-go: make packages")
def test_wireguard_go_survives_its_daemon_while_it_logs_and_is_then_ended_with_its_device(
    world: World, tmp_path: Path
) -> None:
    """It dies of SIGPIPE where its output is a pipe of the daemon's; each change of its link is a line of its log."""
    directory, nonce = tmp_path / "tunnel", uuid.uuid4().hex
    daemon = start(world, directory, nonce, ("wireguard-go", "-f", DEVICE))
    assert daemon.stdout is not None
    try:
        receipt = json.loads(daemon.stdout.readline())
        wait_until(lambda: not world.laptop.run("ip", "link", "show", DEVICE, check=False).returncode, "the device")
        daemon.kill()
        daemon.wait()
        before = (directory / "output").stat().st_size
        for state in ("up", "down") * 5:
            world.laptop.run("ip", "link", "set", DEVICE, state)
        wait_until(lambda: (directory / "output").stat().st_size > before, "its log")
        running = identify(receipt["pid"], receipt["start_time"])
        assert running is not None
        running.release()
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stdout.close()
        recover(nonce)
    assert not find_by_nonce(nonce)
    assert world.laptop.run("ip", "link", "show", DEVICE, check=False).returncode != 0
    assert not Path("/var/run/wireguard", f"{DEVICE}.sock").exists()
