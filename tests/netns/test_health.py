"""Tunnels that are up and dead, by real programs: noticed by their health, made anew, and they pass packets again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.netns.servers import Charon, Server, Sshd, Wireguard
from tests.netns.test_failures import first, leaves_nothing, profile, rests, started
from tests.netns.world import OFFICE, wait_until

if TYPE_CHECKING:
    from tests.netns.laptop import Laptop

PING = f'health = {{ check = "ping", address = "{OFFICE}", interval = "1s", fail_after = 3 }}\n'
PATIENCE = 30.0
"""Seconds for three checks that get no answer, and for another attempt."""


def tunnel(laptop: Laptop) -> dict[str, Any]:
    activation = laptop.activation("office")
    assert activation
    found: dict[str, Any] = activation["tunnels"][0]
    return found


def is_well(laptop: Laptop) -> bool:
    health = tunnel(laptop)["health"]
    return health["watched"] and health["last_good"] is not None and not health["failed"]


def connected(laptop: Laptop, server: Server, health: str = PING) -> None:
    """Bring the tunnel up, and return after its first sign of life."""
    profile(laptop, first(server, health))
    laptop.start()
    laptop.wait_for("office", "up")
    wait_until(lambda: is_well(laptop), "a sign of life", PATIENCE)


def made_anew(laptop: Laptop, words: str) -> None:
    """Return when the tunnel was lost for this reason and is up and well again."""
    assert laptop.daemon
    wait_until(lambda: started(laptop, "first") > 1, "another attempt", PATIENCE)
    wait_until(lambda: laptop.state("office") == "up" and is_well(laptop), "the tunnel to be well again", PATIENCE)
    assert words in laptop.daemon.output
    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer")


def delete_child(server: Charon) -> None:
    server.gateway.run_private("swanctl", "--terminate", "--child", "office", "--uri", "unix:///run/charon.vici")


def test_a_vpnc_whose_server_deleted_only_the_child_sa_is_made_anew(laptop: Laptop) -> None:
    before = laptop.picture()
    server = Charon(laptop.world)
    connected(laptop, server)

    delete_child(server)

    made_anew(laptop, f"no answer from {OFFICE} through vpn-first")
    assert tunnel(laptop)["form"].endswith("as the file says")
    leaves_nothing(laptop, before)


@pytest.mark.parametrize(
    ("mode", "health", "words"),
    [
        ("none", PING, f"no answer from {OFFICE} through vpn-first"),
        ("cisco-udp", "", "no answer from the DNS server 10.20.0.53 through vpn-first"),
    ],
)
def test_a_vpnc_that_connects_and_passes_nothing_takes_its_next_form_and_says_so(
    laptop: Laptop, mode: str, health: str, words: str
) -> None:
    """It is found by the health that the profile has, and without any by asking the DNS server that was pushed."""
    server = Charon(laptop.world)
    text = server.config.read_text()
    server.config.write_text(text.replace("NAT Traversal Mode force-natt", f"NAT Traversal Mode {mode}"))
    profile(laptop, first(server, health))
    laptop.start()

    assert laptop.daemon
    wait_until(lambda: started(laptop, "first") > 1, "another attempt", PATIENCE)
    wait_until(lambda: laptop.state("office") == "up", "the tunnel to be up again", PATIENCE)
    assert words in laptop.daemon.output
    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer")
    form = f"natt (ESP, or ESP in UDP where a NAT is on the way): {mode} came up and passed nothing"
    assert tunnel(laptop)["form"] == form
    assert form in " ".join(laptop.ask("status")[1].split())
    assert form in " ".join(laptop.ask("explain")[1].split())


def test_a_wireguard_server_that_forgets_the_client_is_noticed_and_found_again(laptop: Laptop) -> None:
    server = Wireguard(laptop.world)
    connected(laptop, server)

    server.forget_client()
    wait_until(lambda: started(laptop, "first") > 1, "another attempt", PATIENCE)
    server.stop()
    server.start()

    made_anew(laptop, f"no answer from {OFFICE} through vpn-first")


def test_an_idle_wireguard_is_left_alone_by_its_handshake_check_and_so_is_the_processor(laptop: Laptop) -> None:
    profile(laptop, first(Wireguard(laptop.world), 'health = { check = "handshake", interval = "1s" }\n'))
    laptop.start()
    laptop.wait_for("office", "up")
    wait_until(lambda: tunnel(laptop)["health"]["watched"], "the watch")
    rests(laptop)
    assert tunnel(laptop)["health"]["failed"] == 0
    assert started(laptop, "first") == 1


def test_an_ssh_tunnel_whose_far_end_takes_no_packets_is_noticed_by_a_connection(laptop: Laptop) -> None:
    server = Sshd(laptop.world)
    port = 'health = { check = "tcp", address = "10.98.0.1", port = 9, interval = "1s", fail_after = 3 }\n'
    connected(laptop, server, port)  # nobody listens there: a refusal is an answer too

    server.gateway.run("nft", "-f", "-", stdin=DEAF)
    wait_until(lambda: started(laptop, "first") > 1, "another attempt", PATIENCE)
    server.gateway.run("nft", "delete", "table", "inet", "deaf")

    made_anew(laptop, "no connection to 10.98.0.1 port 9 through tun")


DEAF = 'table inet deaf { chain input { type filter hook input priority 0; iifname "tun0" drop\n}\n}\n'


def test_while_the_uplink_is_gone_nothing_is_checked_and_nothing_is_made_anew(laptop: Laptop) -> None:
    laptop.configure('[daemon]\nsettle_trusted = "200ms"\nlinger = "60s"\ndecide_timeout = "2s"\n')
    connected(laptop, Sshd(laptop.world))

    laptop.uplink_down()
    wait_until(lambda: not tunnel(laptop)["health"]["watched"], "the watch to end")
    assert tunnel(laptop)["phase"] == "up"

    laptop.uplink_up()
    wait_until(lambda: is_well(laptop), "the watch to begin anew", PATIENCE)
    assert started(laptop, "first") == 1


def test_a_tunnel_that_was_taken_over_is_watched_too_and_a_reload_changes_how(laptop: Laptop) -> None:
    server = Charon(laptop.world)
    connected(laptop, server)
    laptop.restart()
    wait_until(lambda: is_well(laptop), "a sign of life", PATIENCE)
    assert started(laptop, "first") == 0

    profile(laptop, first(server, PING.replace("1s", "20s")))
    assert laptop.ask("reload")[0] == 0
    wait_until(lambda: tunnel(laptop)["health"]["interval"] == 20.0, "the new interval")
    assert started(laptop, "first") == 0
    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer")
