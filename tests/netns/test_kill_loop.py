"""A daemon that is killed over and over, wherever it happens to be: what it left is adopted or undone, never half."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.netns.clients import tunnel_clients
from tests.netns.every_server import SERVERS
from tests.netns.laptop import AUTOVPN, REPOSITORY, Laptop
from tests.netns.servers import Server, Sshd
from tests.netns.world import OFFICE, wait_until
from tests.strikes import count

ROUNDS = 5
MOST_LINES = 20
"""A daemon that comes up writes more lines than this, to its log and its journal."""

# Whoever sends is told that it must not (EPERM), which wireguard-go and vpnc print, packet by packet, and then live on.
UNSENDABLE = """table inet unsendable {
    chain output { type filter hook output priority 0; udp dport { 500, 4500, 51820 } drop; }
}
"""

# Every few pings the keys are exchanged anew, and ssh writes a line about each step of it.
TALKATIVE = "RekeyLimit 16K\n"


class Victim:
    """The laptop with its daemon, watched so closely that it can be killed between any two lines that it writes."""

    def __init__(self, laptop: Laptop, kind: type[Server]) -> None:
        server = kind(laptop.world)
        config = laptop.write("/etc/autovpn/ssh_config", TALKATIVE)
        assert config.exists()
        tunnel = server.tunnel_toml("office")
        if kind is Sshd:
            tunnel = tunnel.replace("[tunnel.office]\n", '[tunnel.office]\nconfig = "/etc/autovpn/ssh_config"\n')
        laptop.profile(
            "10-office",
            f'tunnels = ["office"]\n[match]\ninterface = ["eth0"]\n[dns]\nservers = ["10.20.0.53"]\n'
            f"{tunnel}{laptop.hooks('preup', 'postup', 'predown', 'postdown')}",
        )
        self.laptop = laptop
        self.has_uplink = True

    def start(self) -> None:
        """Start a daemon without waiting for it."""
        self.laptop.daemon = self.laptop.namespace.spawn_private("env", f"PYTHONPATH={REPOSITORY}", *AUTOVPN, "run")

    def kill_after(self, lines: int) -> tuple[bool, list[int]]:
        """Kill it after so many lines, or once it is settled; return whether it was, and the clients of the moment."""
        laptop = self.laptop
        assert laptop.daemon is not None
        first = self.lines()
        settled = False
        end = time.monotonic() + 60.0
        while self.lines() - first < lines and not settled:
            assert time.monotonic() < end, f"it does not settle:\n{laptop.daemon.output}"
            quiet = self.lines()
            for _ in range(50):  # it is asked only when it seems to have nothing to say, which takes it time
                if self.lines() != quiet:
                    break
            else:
                settled = self.is_settled()
        os.kill(laptop.daemon.pid, signal.SIGSTOP)  # so that nothing happens between the count and the kill
        clients = tunnel_clients(laptop.namespace)
        laptop.kill()
        return settled, clients

    def lines(self) -> int:
        """Return how many lines the daemon has written: into its log and into both volumes of its journal."""
        assert self.laptop.daemon is not None
        volumes = map(self.laptop.namespace.file, ("/run/autovpn/journal", "/var/lib/autovpn/journal"))
        return sum(path.read_bytes().count(b"\n") for path in (self.laptop.daemon.log, *volumes) if path.exists())

    def is_settled(self) -> bool:
        """Report whether the daemon has reached what this network asks for."""
        try:
            status, plan = self.laptop.request("status"), self.laptop.request("plan")
        except (OSError, json.JSONDecodeError):
            return False
        states = [activation["state"] for activation in status["activations"]]
        return not status["undoing"] and not plan["changes"] and states == (["up"] if self.has_uplink else [])

    def printed(self) -> int:
        """Return how much the client has printed into its file."""
        folder = self.laptop.namespace.file("/run/autovpn/tunnels")
        return sum(file.stat().st_size for file in folder.glob("*/*") if file.is_file())

    def provoke(self) -> None:
        """Have the client print something, on its way to a far end that it can't send to for as long as that takes."""
        namespace = self.laptop.namespace
        before = self.printed()
        for client in self.laptop.processes("openconnect", "pppd"):
            os.kill(client, signal.SIGUSR1)  # openconnect, which sends by TCP too, prints counters; pppd its packets
        for client in self.laptop.processes("openvpn", "tincd"):
            os.kill(client, signal.SIGUSR2)  # which print their statistics
        for client in self.laptop.processes("charon-systemd"):
            os.kill(client, signal.SIGHUP)  # which says that it reads its settings again
        namespace.run("nft", "-f", "-", stdin=UNSENDABLE)
        wait_until(lambda: self.printed() != before, "the client to print something")
        namespace.run("nft", "delete", "table", "inet", "unsendable")

    def toggle_uplink(self) -> None:
        """Pull the cable, or plug it in again."""
        self.has_uplink = not self.has_uplink
        (self.laptop.uplink_up if self.has_uplink else self.laptop.uplink_down)()


@dataclass
class Toll:
    """How many daemons were killed, how many of their tunnels were then taken over, and how many died halfway."""

    killed: int = 0
    adopted: int = 0
    halfway: int = 0


def kill_at_random(victim: Victim, chance: random.Random, goes_on: Callable[[Toll], bool]) -> Toll:
    """Kill daemon after daemon at moments that the dice choose, with and without an uplink, while this `goes_on`."""
    laptop = victim.laptop
    toll = Toll()
    standing: list[int] | None = None
    pinging = laptop.namespace.spawn("ping", "-n", "-q", "-i", "0.01", "-s", "1000", OFFICE)

    while goes_on(toll):
        if chance.random() < 0.25:
            victim.toggle_uplink()
            standing = None
        victim.start()
        settled, clients = victim.kill_after(
            chance.choice([chance.randrange(MOST_LINES), chance.randrange(MOST_LINES), 1000])
        )

        assert len(clients) <= 1, "never both"
        if standing is not None:
            assert clients == standing, "what was whole and still wanted is adopted"
            toll.adopted += 1
        toll.killed += 1
        toll.halfway += not settled
        if settled and not victim.has_uplink:
            assert clients == [], "what is not wanted is undone"
        elif settled:
            standing = clients
        if standing is not None:
            victim.provoke()
            assert tunnel_clients(laptop.namespace) == standing, (
                "the client survives its daemon's death while it prints"
            )

    pinging.stop()
    return toll


def all_is_well_with_the_last(victim: Victim, before: str) -> None:
    """Hold what a daemon that nobody kills makes of all that against what it should."""
    laptop = victim.laptop
    if not victim.has_uplink:
        victim.toggle_uplink()
    victim.start()
    wait_until(victim.is_settled, "the tunnel to be up at last")
    assert len(tunnel_clients(laptop.namespace)) == 1
    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer")

    assert laptop.stop() == 0
    assert laptop.picture() == before
    assert laptop.hook_log()[-1].startswith("postdown ")


@pytest.mark.parametrize("kind", SERVERS)
def test_a_daemon_killed_at_random_moments_leaves_nothing_twice_and_nothing_half(
    laptop: Laptop, kind: type[Server]
) -> None:
    victim = Victim(laptop, kind)
    before = laptop.picture()

    toll = kill_at_random(victim, random.Random(389), lambda toll: toll.killed < ROUNDS)

    all_is_well_with_the_last(victim, before)
    assert toll.adopted, "the seed should show an adoption"
    assert toll.halfway, "the seed should show a kill in the middle of something"
    count("kills of a real daemon at random moments", kind.__name__, toll.killed)
