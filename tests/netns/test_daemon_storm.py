"""A storm of link changes around a daemon with a tunnel up: the decision is right in the end, the tunnel untouched."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from tests.netns.clients import tunnel_clients
from tests.netns.laptop import Laptop
from tests.netns.servers import Sshd
from tests.netns.world import OFFICE, wait_until

CHANGES = 100_000
BATCH = 10_000
TOYS = tuple(f"{side}{number}" for number in range(4) for side in ("left", "right"))
MOST_GROWTH = 16 << 10
"""KiB that the daemon may have grown by after the storm."""


def make_toys(laptop: Laptop) -> None:
    """Give the laptop links that are no uplinks: pairs of veths without a default route."""
    laptop.namespace.write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")  # so that flags move no addresses
    laptop.namespace.batch(*(f"link add left{number} type veth peer name right{number}" for number in range(4)))


def weather(laptop: Laptop) -> None:
    """Change alias, MTU and flags of all the toys, `CHANGES` times in all, as fast as ip(8) can."""
    for start in range(0, CHANGES, BATCH):
        lines = [f"link set {TOYS[number % len(TOYS)]} {_change(number)}" for number in range(start, start + BATCH)]
        laptop.namespace.run("ip", "-batch", "-", stdin="\n".join(lines))


def _change(number: int) -> str:
    match number // len(TOYS) % 3:
        case 0:
            return f"mtu {1280 + number % 200}"
        case 1:
            return f"alias number-{number}"
        case _:
            return "up" if number // len(TOYS) % 2 else "down"


def resident(pid: int) -> int:
    """Return the KiB of memory that a process has (VmRSS of proc(5))."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def records(laptop: Laptop) -> int:
    """Return how many records there are in the journal: each plan writes some."""
    journal = laptop.namespace.file("/run/autovpn/journal")
    return journal.read_bytes().count(b"\n")


def test_a_storm_of_other_links_leaves_the_tunnel_and_the_decision_alone(laptop: Laptop) -> None:
    make_toys(laptop)
    server = Sshd(laptop.world)
    laptop.profile(
        "10-office",
        f'tunnels = ["office"]\n[match]\ninterface = ["eth0"]\n{server.tunnel_toml("office")}'
        f"{laptop.hooks('preup', 'postup', 'predown', 'postdown')}",
    )
    laptop.start()
    laptop.wait_for("office", "up")
    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer")
    wait_until(lambda: not laptop.request("plan")["changes"], "the daemon to rest")
    assert laptop.daemon is not None
    before = laptop.status()
    memory, written, clients = resident(laptop.daemon.pid), records(laptop), tunnel_clients(laptop.namespace)
    pinging = laptop.namespace.spawn("ping", "-n", "-i", "0.2", OFFICE)

    weather(laptop)

    after = laptop.status()
    assert {(u["name"], u["profile"], u["outcome"]) for u in after["uplinks"]} == {
        (u["name"], u["profile"], u["outcome"]) for u in before["uplinks"]
    }
    assert laptop.state("office") == "up"
    assert records(laptop) == written, "links that are no uplinks run no plan"
    assert tunnel_clients(laptop.namespace) == clients
    assert resident(laptop.daemon.pid) - memory < MOST_GROWTH
    pinging.stop(signal.SIGINT)
    # The last one may have been on its way when ping was told to end.
    answered = [int(number) for number in re.findall(r"bytes from .* icmp_seq=(\d+)", pinging.output)]
    assert sorted(answered) == list(range(1, max(answered) + 1)), pinging.output
    assert [line.split()[0] for line in laptop.hook_log()] == ["preup", "postup"]

    laptop.uplink_down()
    wait_until(lambda: laptop.state("office") is None, "the daemon still to see what matters")
    assert laptop.stop() == 0
