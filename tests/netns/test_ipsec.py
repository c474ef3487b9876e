"""Tunnels of strongSwan's that end before their time: each is made anew, and nothing of the old one is left."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from autovpn.tunnels.charon import ROUTING_PRIORITY
from tests.netns.server_ipsec import Ipsec
from tests.netns.test_failures import first, leaves_nothing, profile, started
from tests.netns.world import OFFICE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.netns.laptop import Laptop

RULES = f"{ROUTING_PRIORITY}:"


def kill_charon(laptop: Laptop, server: Ipsec) -> None:
    (charon,) = laptop.processes("charon-systemd")
    os.kill(charon, signal.SIGKILL)


def delete_child(laptop: Laptop, server: Ipsec) -> None:
    server.swanctl("--terminate", "--child", "office")


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (kill_charon, "charon-systemd was killed by signal 9"),
        (delete_child, "the server ended the tunnel (there is no child SA any more)"),
    ],
)
def test_a_tunnel_that_ends_is_made_anew_and_leaves_no_rule_of_charon_s(
    laptop: Laptop, end: Callable[[Laptop, Ipsec], None], words: str
) -> None:
    before = laptop.picture()
    server = Ipsec(laptop.world)
    profile(laptop, first(server))
    laptop.start()
    laptop.wait_for("office", "up")
    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer")
    assert RULES in laptop.namespace.run("ip", "rule").stdout, "charon has no rule that could stay"

    end(laptop, server)

    assert laptop.first_failure("office") == ("lost", words)
    wait_until(lambda: started(laptop, "first") == 2, "another attempt")
    laptop.wait_for("office", "up")
    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer again")
    leaves_nothing(laptop, before)


def test_a_charon_that_is_killed_with_its_daemon_leaves_no_rule(laptop: Laptop) -> None:
    before = laptop.picture()
    server = Ipsec(laptop.world)
    profile(laptop, first(server))
    laptop.start()
    laptop.wait_for("office", "up")

    laptop.kill()
    kill_charon(laptop, server)
    assert RULES in laptop.namespace.run("ip", "rule").stdout, "charon has no rule that could stay"
    assert laptop.ask("recover")[0] == 0

    wait_until(lambda: laptop.picture() == before, "nothing to be left")
