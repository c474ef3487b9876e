"""The vpnc driver, from what real runs of vpnc said."""

from __future__ import annotations

import shlex
from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network

import pytest

from autovpn.core.actions import Failed, LookAgainAt, Ready, Spawn
from autovpn.core.driving import Exited, LinkVanished, Recovered, Report, Tick
from autovpn.core.secret import Secret
from autovpn.core.tunnel import Facts, FailureClass, Health, HealthCheck
from autovpn.tunnels.vpnc import configuration, facts_of
from tests.tunnels.playing import DEVICES, PASSWORD, START, TIMEOUT, Play, launch, only, recovered, transcript

FACTS = Facts(
    device=DEVICES["vpnc"],
    addresses=(IPv4Interface("10.99.0.1/32"),),
    prefixes=(IPv4Network("10.20.0.0/24"),),
    dns=("10.20.0.53", "10.20.0.54"),
    search=("office.example",),
    overhead=88,
    banner="Welcome to the office",
    form="natt (ESP, or ESP in UDP where a NAT is on the way): vpnc's default",
    on_trial=True,
)
CONNECT = {"reason": "connect", "TUNDEV": "avtvpnc", "INTERNAL_IP4_ADDRESS": "10.99.0.1"}


def value_of(text: str, key: str) -> str | None:
    """Return the first value of a key, which is the one that vpnc takes; it looks at no case."""
    lines = text.splitlines()
    return next((line[len(key) :].strip() for line in lines if line.lower().startswith(key.lower())), None)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("wrong-group-secret", FailureClass.AUTH, "check group password!"),
        ("unknown-group", FailureClass.AUTH, "response was invalid [1]"),
        ("wrong-password", FailureClass.AUTH, "authentication unsuccessful"),
        ("no-password", FailureClass.AUTH, "missing Xauth password"),
        ("device-busy", FailureClass.LOCAL, "can't initialise tunnel interface"),
        ("refused", FailureClass.UNREACHABLE, "Connection refused"),
        ("silent", FailureClass.UNREACHABLE, "no response from target"),
    ],
)
def test_a_vpnc_that_ends_before_it_is_ready_says_why(name: str, kind: FailureClass, words: str) -> None:
    play = Play(launch("vpnc")).start()
    play.feed(*transcript(f"vpnc-{name}"))
    (failed,) = play.news
    assert isinstance(failed, Failed)
    assert failed.kind is kind
    assert words in failed.words


def test_it_is_ready_with_what_its_script_was_told() -> None:
    play = Play(launch("vpnc")).start()
    play.feed(*transcript("vpnc-ready"))
    assert play.news == [Ready(FACTS)]


def test_a_vpnc_that_ends_after_it_was_ready_is_lost() -> None:
    play = Play(launch("vpnc")).start()
    play.feed(*transcript("vpnc-server-stopped"))
    assert play.news == [Ready(FACTS), Failed(FailureClass.LOST, "receiving packet: Connection refused")]


def test_status_0_is_no_success_since_vpnc_ends_so_when_its_gateway_is_dead() -> None:
    play = Play(launch("vpnc")).start()
    play.feed(Report(CONNECT), Exited(0))
    assert play.news[1:] == [Failed(FailureClass.LOST, "vpnc ended with status 0")]


def test_a_gateway_that_gives_no_address_is_a_failure() -> None:
    play = Play(launch("vpnc")).start()
    play.feed(Report({"reason": "connect", "INTERNAL_IP4_ADDRESS": "0.0.0.0"}))
    assert [news.kind for news in play.news if isinstance(news, Failed)] == [FailureClass.UNREACHABLE]


def test_it_gives_up_when_the_time_is_over() -> None:
    play = Play(launch("vpnc")).start()
    assert only(LookAgainAt, play.actions).when == START + TIMEOUT
    assert play.feed(Tick()) == ()
    play.now = START + TIMEOUT
    play.feed(Tick())
    assert play.news == [Failed(FailureClass.UNREACHABLE, "no tunnel to vpn.example within 30 s")]


def test_a_tick_says_nothing_about_a_tunnel_that_is_up() -> None:
    play = Play(launch("vpnc")).start()
    play.now = START + TIMEOUT
    assert play.feed(Report(CONNECT), Tick()) == tuple(play.news)


def test_a_device_that_vanishes_without_a_word_is_lost() -> None:
    play = Play(launch("vpnc")).start()
    play.feed(Report(CONNECT), LinkVanished("avtvpnc"))
    play.now += 2
    play.feed(Tick())
    assert play.news[1:] == [Failed(FailureClass.LOST, "the device avtvpnc is gone")]


def test_a_running_vpnc_is_ready_at_once_with_its_facts() -> None:
    play = Play(launch("vpnc")).adopt(recovered("vpnc"))
    assert play.actions == [Ready(recovered("vpnc").facts or Facts())]


def test_a_vpnc_that_was_never_ready_is_not_adopted() -> None:
    play = Play(launch("vpnc")).adopt(Recovered(4711, "avtvpnc", None))
    assert [news.kind for news in play.news if isinstance(news, Failed)] == [FailureClass.LOST]


# -- its settings


def test_everything_goes_through_stdin() -> None:
    spawn = only(Spawn, Play(launch("vpnc")).start().actions)
    assert spawn.argv == ("vpnc", "-")
    assert spawn.stdin is not None


def test_our_keys_replace_the_user_s_and_the_rest_stands() -> None:
    text = configuration(launch("vpnc")).reveal().decode()
    assert value_of(text, "IPSec gateway ") == "192.0.2.1"
    assert shlex.split(value_of(text, "Script ") or "") == [*launch("vpnc").notifier]
    assert value_of(text, "Debug ") == "0"
    assert value_of(text, "Xauth password ") == PASSWORD
    assert value_of(text, "IPSec secret ") == "group secret"
    assert text.count("Script ") == 1
    assert "an old one" not in text


def test_a_password_in_the_user_s_file_is_used_where_the_profile_has_none() -> None:
    text = configuration(launch("vpnc", password=None)).reveal().decode()
    assert value_of(text, "Xauth password ") == "an old one"


@pytest.mark.parametrize("line", ["SCRIPT /bin/evil", "script /bin/evil", "Password helper /bin/evil"])
def test_no_program_of_the_user_s_file_is_run(line: str) -> None:
    files = {"/etc/vpnc/office.conf": Secret(f"IPSec ID x\r\n{line}\r\n".encode())}
    assert b"/bin/evil" not in configuration(launch("vpnc", files=files)).reveal()


def test_a_gateway_that_dies_is_noticed_soon_unless_the_user_says_otherwise() -> None:
    key = "DPD idle timeout (our side) "
    assert value_of(configuration(launch("vpnc")).reveal().decode(), key) == "20"
    files = {"/etc/vpnc/office.conf": Secret(f"{key}300\n".encode())}
    assert value_of(configuration(launch("vpnc", files=files)).reveal().decode(), key) == "300"


@pytest.mark.parametrize("password", [b"", b"\n", b" x", b"x ", b"a\nScript /bin/evil", b"a\0b", b"a\rb"])
def test_a_password_that_vpnc_cannot_be_given_is_refused_before_it_starts(password: bytes) -> None:
    play = Play(launch("vpnc", password=Secret(password))).start()
    (failed,) = play.actions
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOCAL


@pytest.mark.parametrize(
    ("changes", "kind"), [({"files": {}}, FailureClass.LOCAL), ({"endpoints": ()}, FailureClass.NAME)]
)
def test_what_is_missing_is_said_before_anything_starts(changes: dict[str, object], kind: FailureClass) -> None:
    (failed,) = Play(launch("vpnc", **changes)).start().actions
    assert isinstance(failed, Failed)
    assert failed.kind is kind


@pytest.mark.parametrize(("interval", "seconds"), [(30.0, "30"), (2.0, "10"), (1e6, "86400")])
def test_the_profile_s_detection_of_a_dead_peer_takes_the_place_of_the_file_s(interval: float, seconds: str) -> None:
    key = "DPD idle timeout (our side) "
    files = {"/etc/vpnc/office.conf": Secret(f"{key}300\n".encode())}
    health = Health(HealthCheck.DPD, interval=interval)
    first = launch("vpnc", files=files)
    text = configuration(replace(first, spec=replace(first.spec, health=health))).reveal().decode()
    assert value_of(text, key) == seconds


# -- what a hostile server says


def test_a_hundred_servers_and_a_thousand_prefixes_are_cut() -> None:
    facts = facts_of(
        {
            **CONNECT,
            "INTERNAL_IP4_DNS": " ".join(f"10.0.0.{n}" for n in range(1, 101)),
            "CISCO_SPLIT_INC": "99999",
            **{f"CISCO_SPLIT_INC_{n}_ADDR": f"10.{n % 250}.{n // 250}.0" for n in range(1000)},
            **{f"CISCO_SPLIT_INC_{n}_MASKLEN": "24" for n in range(1000)},
        },
        launch("vpnc"),
    )
    assert facts is not None
    assert len(facts.dns) == 8
    assert facts.refused == (
        "1000 routes are too many; the first 256 are used",
        "100 DNS servers are too many; the first 8 are used",
    )
    assert len(facts.prefixes) == 256


@pytest.mark.parametrize(
    ("base", "length"),
    [("0.0.0.0", "0"), ("0.0.0.0", "1"), ("128.0.0.0", "1"), ("127.0.0.0", "8"), ("224.0.0.0", "8"), ("10.0.0.0", "33"),
     ("10.0.0.0", "-1"), ("10.0.0.0", "255.0.0.0 "), ("x", "8"), ("", ""), ("169.254.169.254", "32")],
)  # fmt: skip
def test_a_prefix_that_takes_everything_or_nothing_sensible_is_left_out(base: str, length: str) -> None:
    pushed = {"CISCO_SPLIT_INC": "1", "CISCO_SPLIT_INC_0_ADDR": base, "CISCO_SPLIT_INC_0_MASKLEN": length}
    facts = facts_of({**CONNECT, **pushed}, launch("vpnc"))
    assert facts is not None
    assert facts.prefixes == ((IPv4Network("10.0.0.0/8"),) if length.startswith("255") else ())


def test_control_characters_reach_neither_the_banner_nor_the_names() -> None:
    odd = {"CISCO_BANNER": "a\x1b[2Jb\nc\0", "CISCO_DEF_DOMAIN": "ok.example bad\x1b.example $(x)", "TUNDEV": "a/b"}
    facts = facts_of({**CONNECT, **odd}, launch("vpnc"))
    assert facts is not None
    assert facts.banner == "a [2Jb c"
    assert facts.search == ("ok.example",)
    assert facts.device == "avtvpnc"
