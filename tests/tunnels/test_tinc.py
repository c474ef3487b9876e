"""The tinc driver, from what real runs of tincd and its scripts said."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autovpn.core.actions import Failed, LookAgainAt, Ready, Signal, Spawn, Write
from autovpn.core.driving import Exited, Line, LinkVanished, Recovered, Report, Tick, UplinkChanged
from autovpn.core.settings import Endpoint, TincPeer
from autovpn.core.tunnel import Facts, FailureClass, Health, HealthCheck, PinnedEndpoint
from autovpn.tunnels import pushed
from autovpn.tunnels.tinc import LONGEST_SETTLE, PAUSE, RECONNECT, SETTLE, SIGALRM, SIGHUP
from tests.tunnels.playing import DEVICES, GATEWAY, START, TIMEOUT, UPLINK, Play, launch, only, recovered, transcript

if TYPE_CHECKING:
    from autovpn.core.driving import Launch

FACTS = Facts(
    device=DEVICES["tinc"],
    addresses=(IPv4Interface("10.94.0.2/24"),),
    prefixes=(ip_network("10.94.0.1/32"), ip_network("10.20.0.0/24")),
    overhead=86,
)


def script(event: str, node: str = "gateway", subnet: str = "") -> Report:
    """Return what a script of tincd's tells."""
    return Report({"ARGV_1": event, "ARGV_2": node, "ARGV_3": subnet})


def settle(play: Play, seconds: float = SETTLE) -> None:
    play.now += seconds
    play.feed(Tick())


def begun(made: Launch | None = None) -> Play:
    """Return a tunnel whose tincd has been started."""
    play = Play(made or launch("tinc")).start()
    settle(play, PAUSE)
    return play


def up(**changes: Any) -> Play:  # noqa: ANN401 - fields of the launch, or of its settings
    """Return a tunnel that is up, as the transcript has it."""
    play = begun(launch("tinc", **changes))
    play.feed(*transcript("tinc-ready"))
    settle(play)
    assert play.news == [Ready(FACTS)]
    return play


def folder(made: Launch) -> dict[str, str]:
    """Return the files that tincd gets, by name."""
    play = Play(made).start()
    return {action.name: action.content.reveal().decode() for action in play.actions if isinstance(action, Write)}


# -- connecting


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("refused", FailureClass.UNREACHABLE, "Connection refused"),
        ("silent", FailureClass.UNREACHABLE, "during authentication"),
        ("stranger", FailureClass.UNREACHABLE, "do the keys in hosts/gateway here and hosts/laptop there fit?"),
        ("wrong-server-key", FailureClass.UNREACHABLE, "do the keys in hosts/gateway here"),
        ("unknown", FailureClass.UNREACHABLE, "does not know us"),
        ("no-key", FailureClass.LOCAL, "RSA private key file"),
        ("port-busy", FailureClass.LOCAL, "Can't bind to 0.0.0.0 port 655/tcp: Address already in use"),
    ],
)
def test_a_tincd_that_does_not_connect_says_why(name: str, kind: FailureClass, words: str) -> None:
    play = begun()
    play.feed(*transcript(f"tinc-{name}"))
    (failed,) = play.news
    assert isinstance(failed, Failed)
    assert failed.kind is kind
    assert words in failed.words


def test_a_far_end_that_never_took_the_connection_is_not_suspected_of_another_key() -> None:
    play = begun()
    play.feed(*transcript("tinc-silent"))
    assert "keys" not in only(Failed, play.news).words


def test_an_answer_that_makes_no_sense_is_what_a_captive_portal_gives_too() -> None:
    play = begun()
    play.feed(Line("Connected to gateway (192.0.2.1 port 655)"))
    play.feed(Line("Bogus data received from gateway (192.0.2.1 port 655)"))
    play.feed(Line("Could not set up a meta connection to gateway"))
    assert only(Failed, play.news).kind is FailureClass.UNREACHABLE


def test_it_is_ready_once_a_node_is_up_and_its_subnets_have_stopped_coming() -> None:
    play = begun()
    play.feed(*transcript("tinc-ready"))
    settle(play, SETTLE / 2)
    assert play.news == []
    settle(play)
    assert play.news == [Ready(FACTS)]


def test_a_node_that_announces_without_end_is_not_waited_for() -> None:
    play = begun()
    play.feed(script("host-up"))
    for number in range(200):
        play.now += SETTLE / 4
        play.feed(script("subnet-up", subnet=f"10.20.{number}.0/24"), Tick())
        if play.news:
            break
    assert isinstance(play.news[0], Ready)
    assert play.now <= START + PAUSE + LONGEST_SETTLE + SETTLE


def test_a_node_that_we_do_not_connect_to_makes_nothing_ready() -> None:
    play = begun()
    play.feed(script("host-up", "printer"))
    settle(play)
    assert play.news == []


def test_each_node_that_is_connected_to_is_tried_before_it_gives_up() -> None:
    peers = (TincPeer("gateway", (Endpoint("a", 655),)), TincPeer("backup", (Endpoint("b", 655),)))
    ends = (PinnedEndpoint(GATEWAY, 655, "tcp", "a"), PinnedEndpoint(IPv4Address("192.0.2.9"), 655, "tcp", "b"))
    play = begun(launch("tinc", peers=peers, endpoints=ends))
    play.feed(*transcript("tinc-refused"))
    assert play.news == []
    play.feed(Line("Could not set up a meta connection to backup"))
    assert "Connection refused" in only(Failed, play.news).words


def test_a_node_whose_name_has_no_address_is_not_waited_for() -> None:
    peers = (TincPeer("backup", (Endpoint("b", 655),)), TincPeer("gateway", (Endpoint("a", 655),)))
    made = launch("tinc", peers=peers, endpoints=(PinnedEndpoint(GATEWAY, 655, "tcp", "a"),))
    files = folder(made)
    assert files["hosts/gateway"].startswith(f"Address = {GATEWAY} 655\n")
    assert "Address" not in files["hosts/backup"]
    play = begun(made)
    play.feed(*transcript("tinc-refused"))
    assert "Connection refused" in only(Failed, play.news).words


def test_two_runs_never_begin_in_the_same_second() -> None:
    """The far end would take what the second says for what it has heard already: tinc numbers it by its start."""
    play = Play(launch("tinc")).start()
    settle(play, PAUSE - 0.1)
    assert [action for action in play.actions if isinstance(action, Spawn)] == []
    settle(play, 0.1)
    assert only(Spawn, play.actions).argv[0] == "tincd"
    assert PAUSE >= 1.0


def test_a_tincd_that_says_nothing_is_given_up_at_the_deadline() -> None:
    play = begun()
    assert play.actions[-1] == LookAgainAt(START + PAUSE + TIMEOUT)
    settle(play, TIMEOUT - 1)
    assert play.news == []
    settle(play, 1)
    assert play.news == [Failed(FailureClass.UNREACHABLE, "no connection to gateway within 30 s")]


def test_without_an_address_nothing_is_started() -> None:
    play = Play(launch("tinc", endpoints=())).start()
    assert play.actions == [Failed(FailureClass.NAME, "no address is known for gateway")]


def test_without_its_key_nothing_is_started() -> None:
    made = launch("tinc")
    play = Play(replace(made, spec=replace(made.spec, files=("/etc/tinc/office/other",)))).start()
    assert play.actions == [Failed(FailureClass.LOCAL, "/etc/tinc/office/other could not be read")]


# -- what it gets


def test_tincd_gets_a_folder_of_its_own_and_never_the_users() -> None:
    made = launch("tinc")
    spawn = only(Spawn, begun(made).actions)
    assert spawn.argv == ("tincd", "-D", "-d1", "-c", made.directory, f"--pidfile={made.directory}/tinc.pid")
    assert set(folder(made)) == {
        *("tinc.conf", "rsa_key.priv", "hosts/laptop", "hosts/gateway", "hosts/printer"),
        *("host-up", "host-down", "subnet-up", "subnet-down"),
    }


def test_the_settings_are_the_users_but_for_those_that_are_ours() -> None:
    settings = folder(launch("tinc"))["tinc.conf"].splitlines()
    assert "ConnectTo = gateway" in settings
    assert [line for line in settings if line.startswith("Interface")] == [f"Interface = {DEVICES['tinc']}"]
    assert "Hostnames = no" in settings
    assert "PingInterval = 20" in settings
    assert "ScriptsInterpreter = /bin/sh" in settings  # since none can be executed where /run is mounted noexec


def test_detection_of_a_dead_node_takes_the_interval_of_the_health() -> None:
    made = launch("tinc")
    health = Health(HealthCheck.DPD, interval=7.0)
    settings = folder(replace(made, spec=replace(made.spec, health=health)))["tinc.conf"]
    assert "PingInterval = 7\n" in settings


@pytest.mark.parametrize(("address", "line"), [("192.0.2.1", "192.0.2.1 655"), ("2001:db8::1", "2001:db8::1 655")])
def test_tincd_gets_addresses_and_looks_no_name_up(address: str, line: str) -> None:
    end = PinnedEndpoint(IPv6Address(address) if ":" in address else IPv4Address(address), 655, "tcp", "vpn.example")
    gateway = folder(launch("tinc", endpoints=(end,)))["hosts/gateway"]
    assert gateway.startswith(f"Address = {line}\n")
    assert "vpn.example" not in gateway
    assert gateway.endswith("-----BEGIN RSA PUBLIC KEY-----\ntheirs\n")


def test_our_address_and_the_networks_behind_us_are_announced_once() -> None:
    made = launch("tinc", addresses=(IPv4Interface("10.94.0.2/24"), IPv4Interface("10.94.1.2/24")))
    local = (ip_network("10.30.0.0/24"),)
    own = folder(replace(made, spec=replace(made.spec, local=local)))["hosts/laptop"]
    assert own == "Subnet = 10.94.1.2\nSubnet = 10.30.0.0/24\nSubnet = 10.94.0.2/32\nours\n"


def test_a_script_tells_its_event_its_node_and_its_subnet(tmp_path: Path) -> None:
    telling = tmp_path / "not ify.py"
    telling.write_text("import sys; print(sys.argv[1:])\n")
    made = launch("tinc", notifier=(sys.executable, "-I", str(telling)))
    path = tmp_path / "subnet-up"
    path.write_text(folder(made)["subnet-up"])
    environment = {"NODE": "gateway", "SUBNET": "10.20.0.0/24", "NAME": "laptop"}
    told = subprocess.run(["/bin/sh", path], env=environment, capture_output=True, text=True, check=True).stdout
    assert told == "['subnet-up', 'gateway', '10.20.0.0/24']\n"


# -- what it is told while it is up


def test_hostile_subnets_are_left_out_and_said() -> None:
    made = launch("tinc")
    play = begun(replace(made, spec=replace(made.spec, local=(ip_network("10.30.0.0/24"),))))
    play.feed(*transcript("tinc-hostile"))
    settle(play)
    facts = only(Ready, play.news).facts
    expected = ("10.94.0.1/32", "10.20.0.0/24", "2001:db8:20::/64")
    assert facts.prefixes == tuple(map(ip_network, expected))
    assert [words.split(" is left out")[0] for words in facts.refused] == [
        "route 10.30.0.0/25 of gateway",
        "route 127.0.0.0/8",
        "route 0.0.0.0/0",
        "route ::/0",
    ]


def test_a_flood_of_subnets_is_cut_off_and_costs_tincd_no_more_scripts() -> None:
    play = begun()
    play.feed(script("host-up"))
    for number in range(1000):
        play.feed(script("subnet-up", subnet=f"10.{number // 250}.{number % 250}.0/24"))
    settle(play, LONGEST_SETTLE)
    facts = only(Ready, play.news).facts
    assert len(facts.prefixes) == pushed.MAX_PREFIXES
    assert facts.refused == ("257 routes are too many; the first 256 are used",)
    last = [action for action in play.actions if isinstance(action, Write)][-1]
    assert (last.name, last.content.reveal()) == ("subnet-up", b"#!/bin/true\n")


def test_what_is_learned_later_is_told_again_and_what_goes_away_too() -> None:
    play = up()
    play.feed(script("subnet-up", "printer", "10.94.0.3"))
    settle(play)
    assert play.news[1:] == [Ready(replace(FACTS, prefixes=(*FACTS.prefixes, ip_network("10.94.0.3/32"))))]
    play.feed(script("subnet-down", "printer", "10.94.0.3"))
    settle(play)
    assert play.news[2:] == [Ready(FACTS)]


def test_a_subnet_that_two_nodes_have_stays_until_both_are_gone() -> None:
    play = up()
    play.feed(script("subnet-up", "printer", "10.20.0.0/24"), script("subnet-down", "gateway", "10.20.0.0/24"))
    settle(play)
    assert play.news == [Ready(FACTS)]


def test_our_own_subnets_are_no_way_into_the_tunnel() -> None:
    play = up()
    play.feed(script("subnet-up", "laptop", "10.30.0.0/24"))
    settle(play)
    assert play.news == [Ready(FACTS)]


# -- going away and coming back


def test_a_node_that_is_gone_is_tried_at_once_and_lost_when_it_does_not_come_back() -> None:
    play = begun()
    play.feed(*transcript("tinc-ready"))
    settle(play)
    rest = transcript("tinc-server-stopped")[len(transcript("tinc-ready")) - 1 :]
    actions = play.feed(*rest)
    assert actions == (Signal(SIGALRM), LookAgainAt(play.now + RECONNECT))
    settle(play, RECONNECT)
    failed = play.news[-1]
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOST
    assert "Connection refused" in failed.words


def test_a_node_that_comes_back_in_time_is_as_if_it_had_never_gone() -> None:
    play = up()
    down = [script("subnet-down", subnet=str(prefix)) for prefix in FACTS.prefixes]
    back = [script("subnet-up", subnet=str(prefix)) for prefix in FACTS.prefixes]
    play.feed(script("host-down"), *down, Tick())
    play.now += RECONNECT - 1
    play.feed(Tick(), script("host-up"), *back)
    settle(play)
    settle(play, RECONNECT)
    assert play.news == [Ready(FACTS)]


def test_another_node_that_is_reached_holds_the_tunnel() -> None:
    peers = (TincPeer("gateway", (Endpoint("a", 655),)), TincPeer("backup", (Endpoint("b", 655),)))
    ends = (PinnedEndpoint(GATEWAY, 655, "tcp", "a"), PinnedEndpoint(IPv4Address("192.0.2.9"), 655, "tcp", "b"))
    play = up(peers=peers, endpoints=ends)
    play.feed(script("host-up", "backup"))
    settle(play)
    assert play.feed(script("host-down")) == ()
    settle(play, 10 * RECONNECT)
    assert play.news == [Ready(FACTS)]


def test_a_new_uplink_has_the_connection_made_anew_from_it() -> None:
    play = up()
    there = PinnedEndpoint(IPv4Address("192.0.2.9"), 655, "tcp", "vpn.example")
    moved = replace(UPLINK, addresses=(IPv4Address("192.0.2.77"),))
    gateway, hangup, alarm = play.feed(UplinkChanged(moved, (there,)))
    assert isinstance(gateway, Write)
    assert gateway.content.reveal().startswith(b"Address = 192.0.2.9 655\n")
    assert (hangup, alarm) == (Signal(SIGHUP), Signal(SIGALRM))


def test_an_uplink_that_looks_otherwise_only_ends_tincds_pauses() -> None:
    play = up()
    other = replace(UPLINK, mtu=1400)
    assert play.feed(UplinkChanged(other, play.launch.endpoints)) == (Signal(SIGALRM),)


def test_a_tincd_that_is_killed_is_lost() -> None:
    play = up()
    play.feed(Exited(-9))
    assert play.news[-1] == Failed(FailureClass.LOST, "tincd was killed by signal 9")


def test_a_device_that_vanishes_is_a_loss_with_tincds_last_words() -> None:
    play = up()
    play.feed(LinkVanished("other"), LinkVanished(DEVICES["tinc"]), Line("Terminating"))
    settle(play, 2.0)
    assert play.news[-1] == Failed(FailureClass.LOST, f"the device {DEVICES['tinc']} is gone")


# -- taken over


def test_a_running_tincd_is_taken_over_and_told_to_say_what_is_gone() -> None:
    play = Play(launch("tinc", files={})).adopt(recovered("tinc"))
    facts = recovered("tinc").facts
    assert facts
    assert play.actions == [Signal(SIGALRM), Ready(facts)]
    play.feed(Line("Could not set up a meta connection to gateway"))
    settle(play, RECONNECT)
    assert only(Failed, play.news).kind is FailureClass.LOST


def test_a_tincd_that_was_taken_over_keeps_its_subnets_until_they_go() -> None:
    play = Play(launch("tinc", files={})).adopt(Recovered(1, DEVICES["tinc"], FACTS))
    play.feed(script("subnet-down", subnet="10.94.0.1/32"))
    settle(play)
    assert play.news[-1] == Ready(replace(FACTS, prefixes=FACTS.prefixes[1:]))


def test_a_tincd_that_was_taken_over_keeps_its_files_when_it_moves() -> None:
    play = Play(launch("tinc", files={})).adopt(recovered("tinc"))
    moved = replace(UPLINK, addresses=(IPv4Address("192.0.2.77"),))
    assert play.feed(UplinkChanged(moved, play.launch.endpoints)) == (Signal(SIGALRM),)


@pytest.mark.parametrize("found", [recovered("tinc", pid=None), Recovered(1, None, FACTS), Recovered(1, "x", None)])
def test_an_unfinished_tincd_is_not_taken_over(found: Recovered) -> None:
    play = Play(launch("tinc")).adopt(found)
    assert only(Failed, play.news).kind is FailureClass.LOST


def test_settings_of_another_type_are_our_own_fault() -> None:
    made = launch("tinc")
    with pytest.raises(TypeError, match="not of type tinc"):
        Play(replace(made, spec=replace(made.spec, settings=launch("vpnc").spec.settings))).start()
