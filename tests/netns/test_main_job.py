"""The main job, end to end: a network comes up, its profile is found and carried out, and all of it is undone."""

from __future__ import annotations

import re
import signal

import pytest

from tests.netns.every_server import SERVERS
from tests.netns.laptop import Laptop
from tests.netns.servers import Server, Sshd
from tests.netns.world import OFFICE, wait_until

MATCH = '[match]\ninterface = ["eth0"]\n'
DNS = '[dns]\nservers = ["10.20.0.53"]\nsearch = ["office.example"]\n'
EVENTS = ("preup", "postup", "predown", "postdown", "failup", "faildown", "roam")


def office_profile(laptop: Laptop, server: Server) -> None:
    """Write the profile that connects to the office on the laptop's cable."""
    laptop.profile(
        "10-office",
        f'tunnels = ["office"]\n{MATCH}{DNS}{server.tunnel_toml("office")}{laptop.hooks(*EVENTS)}',
    )


def moments(laptop: Laptop) -> list[str]:
    return [line.split()[0] for line in laptop.hook_log()]


@pytest.mark.parametrize("kind", SERVERS)
def test_a_network_brings_its_tunnel_up_and_takes_it_down(laptop: Laptop, kind: type[Server]) -> None:
    server = kind(laptop.world)
    office_profile(laptop, server)
    before = laptop.picture()
    assert not laptop.namespace.ping(OFFICE)

    laptop.start()
    laptop.wait_for("office", "up")

    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer")
    assert "nameserver 10.20.0.53" in laptop.resolv_conf
    assert moments(laptop) == ["preup", "postup"]

    assert laptop.stop() == 0
    assert laptop.picture() == before
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]
    assert "reason=stop alive=1" in laptop.hook_log()[2]


@pytest.mark.parametrize("kind", SERVERS)
def test_a_daemon_that_was_killed_is_followed_without_a_lost_packet(laptop: Laptop, kind: type[Server]) -> None:
    server = kind(laptop.world)
    office_profile(laptop, server)
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "up")
    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer")
    up = laptop.picture()
    pinging = laptop.namespace.spawn("ping", "-n", "-i", "0.05", OFFICE)

    laptop.kill()
    laptop.start()
    laptop.wait_for("office", "up")
    wait_until(lambda: pinging.output.count("bytes from") > 20, "some answers")
    pinging.stop(signal.SIGINT)

    answered = [int(number) for number in re.findall(r"icmp_seq=(\d+)", pinging.output)]
    assert sorted(answered) == list(range(1, max(answered) + 1)), pinging.output
    assert laptop.picture() == up
    assert moments(laptop) == ["preup", "postup"]

    laptop.stop()
    assert laptop.picture() == before
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]


@pytest.mark.parametrize("kind", SERVERS)
def test_recover_undoes_what_a_killed_daemon_left(laptop: Laptop, kind: type[Server]) -> None:
    server = kind(laptop.world)
    office_profile(laptop, server)
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "up")

    laptop.kill()
    code, said = laptop.ask("recover")

    assert code == 0, said
    assert laptop.picture() == before
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]


@pytest.mark.parametrize("kind", SERVERS)
def test_the_uplink_goes_and_comes_back_within_linger(laptop: Laptop, kind: type[Server]) -> None:
    laptop.configure('[daemon]\nlinger = "60s"\n')
    server = kind(laptop.world)
    office_profile(laptop, server)
    laptop.start()
    laptop.wait_for("office", "up")

    laptop.uplink_down()
    wait_until(lambda: (laptop.activation("office") or {})["lingering"], "the activation to linger")
    laptop.uplink_up()
    wait_until(lambda: not (laptop.activation("office") or {})["lingering"], "the activation to carry on")
    laptop.namespace.batch("route replace default via 192.0.2.1")

    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer again")
    assert moments(laptop) == ["preup", "postup"]


@pytest.mark.parametrize("kind", SERVERS)
def test_the_uplink_that_stays_away_ends_the_activation(laptop: Laptop, kind: type[Server]) -> None:
    server = kind(laptop.world)
    office_profile(laptop, server)
    laptop.start()
    laptop.wait_for("office", "up")

    laptop.uplink_down()
    laptop.wait_for("office", None)

    assert "reason=uplink-lost" in laptop.hook_log()[2]
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]
    assert "192.0.2.1" in laptop.resolv_conf


@pytest.mark.parametrize("kind", SERVERS)
def test_a_silent_server_is_said_and_comes_back(laptop: Laptop, kind: type[Server]) -> None:
    server = kind(laptop.world)
    server.silence()
    office_profile(laptop, server)
    text = laptop.namespace.file("/etc/autovpn/profiles/10-office.toml").read_text()
    laptop.profile("10-office", text.replace("[tunnel.office]\n", '[tunnel.office]\nconnect_timeout = "5s"\n'))
    laptop.start()

    wait_until(lambda: laptop.failure("office"), "a first failed attempt")
    server.unsilence()
    laptop.wait_for("office", "up")

    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer")
    assert moments(laptop) == ["preup", "postup"]


@pytest.mark.parametrize("kind", SERVERS)
def test_stopping_while_connecting_leaves_nothing(laptop: Laptop, kind: type[Server]) -> None:
    server = kind(laptop.world)
    server.silence()
    office_profile(laptop, server)
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "connecting")
    wait_until(lambda: moments(laptop) == ["preup"], "preup")

    assert laptop.stop() == 0
    assert laptop.picture() == before
    assert moments(laptop) == ["preup", "postdown"]


def test_down_by_hand_holds_until_up(laptop: Laptop) -> None:
    office_profile(laptop, Sshd(laptop.world))
    laptop.start()
    laptop.wait_for("office", "up")

    code, said = laptop.ask("down")
    assert code == 0, said
    assert laptop.state("office") is None
    assert not laptop.namespace.ping(OFFICE)

    code, said = laptop.ask("up", "office")
    assert code == 0, said
    assert laptop.state("office") == "up"
    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer")


def test_a_second_daemon_names_the_first(laptop: Laptop) -> None:
    laptop.start()
    assert laptop.daemon
    code, said = laptop.ask("run")

    assert code == 1
    assert f"process {laptop.daemon.pid}" in said


def test_the_hooks_of_one_network_end_before_those_of_the_next_begin(laptop: Laptop) -> None:
    server = Sshd(laptop.world)
    laptop.profile(
        "10-office",
        'tunnels = ["office"]\n[match]\naddress = ["192.0.2.0/24"]\n'
        + server.tunnel_toml("office")
        + laptop.hooks(*EVENTS),
    )
    trust = '[trust]\nrequire = "hint"\n'
    laptop.profile("20-other", f'[match]\naddress = ["203.0.113.0/24"]\n{trust}{laptop.hooks(*EVENTS)}')
    laptop.start()
    laptop.wait_for("office", "up")

    laptop.namespace.run("ip", "address", "flush", "dev", "eth0")
    laptop.namespace.batch("addr add 203.0.113.9/24 dev eth0", "route add default via 203.0.113.1")
    laptop.wait_for("other", "up")

    assert [" ".join(line.split()[:2]) for line in laptop.hook_log()] == [
        "preup office",
        "postup office",
        "predown office",
        "postdown office",
        "preup other",
        "postup other",
    ]


def test_a_configuration_that_broke_after_a_crash_does_not_keep_what_is_left(laptop: Laptop) -> None:
    """Nobody else may come to undo it: a service manager gives up on a daemon that does not start."""
    office_profile(laptop, Sshd(laptop.world))
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "up")

    laptop.kill()
    laptop.profile("10-office", "tunnels = [\n")
    code, said = laptop.ask("run")

    assert code == 1
    assert "/etc/autovpn/profiles/10-office.toml" in said
    assert laptop.picture() == before


def test_an_interface_that_is_no_uplink_keeps_nobody_waiting(laptop: Laptop) -> None:
    laptop.start()

    reply = laptop.request("hook", event="postup", interface="lo", wait=30.0)

    assert reply["message"] == "lo does not count as an uplink, so there is nothing to do"
