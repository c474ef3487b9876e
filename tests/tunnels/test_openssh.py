"""The openssh driver, from what real runs of ssh said."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from itertools import pairwise

import pytest

from autovpn.core.actions import Failed, LookAgainAt, Ready, Run, Spawn
from autovpn.core.driving import Exited, Line, LinkVanished, Ran, Recovered, Report, Tick
from autovpn.core.secret import Secret
from autovpn.core.settings import SshForward
from autovpn.core.tunnel import Facts, FailureClass, Health, HealthCheck
from tests.tunnels.playing import DEVICES, PASSWORD, START, TIMEOUT, Play, launch, only, recovered, transcript

DEVICE = DEVICES["openssh"]
FACTS = Facts(DEVICE, (IPv4Interface("10.98.0.2/30"),), IPv4Address("10.98.0.1"))
REPORT = Report({"reason": "connect", "TUNDEV": DEVICE})
ESTABLISHED = Line("debug1: ssh_tun_confirm: tunnel forward established, id=0")


def argv(**changes: object) -> tuple[str, ...]:
    return only(Spawn, Play(launch("openssh", **changes)).start().actions).argv


def options(arguments: tuple[str, ...]) -> dict[str, str]:
    pairs = [after.partition("=") for flag, after in pairwise(arguments) if flag == "-o"]
    return {name: value for name, _, value in pairs}


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("wrong-key", FailureClass.AUTH, "Permission denied (publickey)"),
        ("passphrase", FailureClass.AUTH, "Permission denied (publickey)"),
        ("wrong-host-key", FailureClass.TRUST, "has changed and you have requested strict checking"),
        ("unknown-host-key", FailureClass.TRUST, "No ED25519 host key is known"),
        ("no-identity", FailureClass.LOCAL, "not accessible: No such file or directory"),
        ("device-busy", FailureClass.LOCAL, "Tunnel device open failed"),
        ("port-busy", FailureClass.LOCAL, "Address already in use"),
        ("refused", FailureClass.UNREACHABLE, "Connection refused"),
        ("silent", FailureClass.UNREACHABLE, "Connection timed out"),
        ("tunnel-refused", FailureClass.UNREACHABLE, "Tunnel forwarding failed"),
    ],
)
def test_an_ssh_that_ends_before_it_is_ready_says_why(name: str, kind: FailureClass, words: str) -> None:
    play = Play(launch("openssh")).start()
    play.feed(*transcript(f"openssh-{name}"))
    (failed,) = play.news
    assert isinstance(failed, Failed)
    assert failed.kind is kind
    assert words in failed.words
    assert "debug1" not in failed.words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("server-stopped", "Connection to 192.0.2.1 closed by remote host."),
        ("silent-later", "Timeout, server 192.0.2.1 not responding."),
    ],
)
def test_an_ssh_that_ends_after_it_was_ready_is_lost(name: str, words: str) -> None:
    play = Play(launch("openssh")).start()
    play.feed(*transcript(f"openssh-{name}"))
    assert play.news == [Ready(FACTS), Failed(FailureClass.LOST, words)]


def test_it_is_ready_when_the_server_has_agreed_and_not_before() -> None:
    play = Play(launch("openssh")).start()
    *before, agreed, _after = transcript("openssh-ready")
    assert agreed == ESTABLISHED
    play.feed(*before)
    assert play.news == []
    play.feed(agreed)
    assert play.news == [Ready(FACTS)]


def test_a_banner_that_looks_like_the_sign_is_none_before_the_user_is_authenticated() -> None:
    play = Play(launch("openssh")).start()
    play.feed(ESTABLISHED)
    assert play.news == []


def test_with_ports_alone_it_is_ready_when_they_are_open() -> None:
    play = Play(launch("openssh", address=None, peer=None, socks="127.0.0.1:1080")).start()
    play.feed(*transcript("openssh-ports-ready"))
    assert play.news == [Ready(Facts())]


def test_an_ssh_with_another_wording_is_asked_by_its_control_socket() -> None:
    play = Play(launch("openssh")).start()
    assert only(LookAgainAt, play.feed(REPORT)).when < START + TIMEOUT
    play.now += 5
    assert only(Run, play.feed(Tick())).argv[-4:] == ("-O", "check", "--", "vpn.example")
    assert play.feed(Ran("check", 255)) == ()
    assert play.feed(Ran("check", 0)) == (Ready(FACTS),)


def test_it_gives_up_when_the_time_is_over() -> None:
    play = Play(launch("openssh")).start()
    assert only(LookAgainAt, play.actions).when == START + TIMEOUT
    play.now = START + TIMEOUT
    play.feed(Line("Warning: something is odd"), Tick())
    words = "no tunnel to vpn.example port 2222 within 30 s; Warning: something is odd"
    assert play.news == [Failed(FailureClass.UNREACHABLE, words)]


def test_a_device_that_vanishes_gives_ssh_a_moment_to_say_why() -> None:
    play = Play(launch("openssh")).start()
    play.feed(REPORT, ESTABLISHED)
    patience = only(LookAgainAt, play.feed(LinkVanished(DEVICE))).when
    play.feed(LinkVanished("other"), Line("Tunnel forwarding failed"), Exited(255))
    assert play.news[1:] == [Failed(FailureClass.LOST, "Tunnel forwarding failed")]
    assert START < patience <= START + 2


def test_a_device_that_vanishes_without_a_word_is_lost() -> None:
    play = Play(launch("openssh")).start()
    play.feed(REPORT, ESTABLISHED, LinkVanished(DEVICE))
    assert only(LookAgainAt, play.feed(Tick())).when > play.now
    play.now += 2
    play.feed(Tick())
    assert play.news[1:] == [Failed(FailureClass.LOST, f"the device {DEVICE} is gone")]


def test_a_tunnel_whose_device_is_gone_is_not_ready_any_more() -> None:
    play = Play(launch("openssh")).start()
    play.feed(REPORT, LinkVanished(DEVICE), ESTABLISHED)
    assert play.news == []


def test_a_missing_ssh_is_a_local_failure() -> None:
    play = Play(launch("openssh")).start()
    play.feed(Exited(127))
    assert play.news == [Failed(FailureClass.LOCAL, "ssh can't be started; is it installed?")]


def test_a_killed_ssh_is_named_with_its_signal() -> None:
    play = Play(launch("openssh")).start()
    play.feed(Exited(-9))
    assert play.news == [Failed(FailureClass.UNREACHABLE, "ssh was killed by signal 9")]


def test_a_password_is_refused_with_a_reason_since_ssh_takes_none_from_a_pipe() -> None:
    play = Play(launch("openssh", password=Secret(PASSWORD.encode()))).start()
    (failed,) = play.news
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOCAL
    assert play.actions == [failed]


def test_without_an_address_of_the_host_nothing_is_started() -> None:
    play = Play(launch("openssh", endpoints=())).start()
    assert play.actions == [Failed(FailureClass.NAME, "no address is known for vpn.example")]


def test_a_folder_that_is_too_long_for_a_socket_is_said_before_ssh_trips_over_it() -> None:
    fitting, too_long = ("/run/" + "x" * length for length in (81, 82))
    only(Spawn, Play(launch("openssh", directory=fitting)).start().actions)
    (failed,) = Play(launch("openssh", directory=too_long)).start().actions
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOCAL
    assert "shorten the tunnel's name by 1" in failed.words


# -- adoption


def test_a_running_ssh_that_answers_is_ready_again_with_its_facts() -> None:
    play = Play(launch("openssh")).adopt(recovered("openssh"))
    assert "/run/autovpn/t/ctl" in only(Run, play.actions).argv
    play.feed(Ran("check", 0))
    assert play.news == [Ready(recovered("openssh").facts or Facts())]


@pytest.mark.parametrize("status", [255, None])
def test_a_running_ssh_that_does_not_answer_is_lost(status: int | None) -> None:
    play = Play(launch("openssh")).adopt(recovered("openssh"))
    play.feed(Ran("check", status))
    assert [news.kind for news in play.news if isinstance(news, Failed)] == [FailureClass.LOST]


def test_an_ssh_that_was_never_ready_is_not_adopted() -> None:
    play = Play(launch("openssh")).adopt(Recovered(4711, DEVICE, None))
    assert [news.kind for news in play.news if isinstance(news, Failed)] == [FailureClass.LOST]


# -- the command line


def test_the_host_is_not_resolved_again_and_its_key_is_looked_up_by_its_name() -> None:
    arguments = argv()
    assert arguments[-1] == "vpn.example"
    assert options(arguments)["HostName"] == "192.0.2.1"
    assert options(arguments)["HostKeyAlias"] == "[vpn.example]:2222"
    assert options(argv(port=22))["HostKeyAlias"] == "vpn.example"
    assert options(argv(port=22, host="office", endpoint_host="vpn.example"))["HostKeyAlias"] == "vpn.example"


def test_no_option_is_given_twice_since_ssh_takes_the_first() -> None:
    arguments = argv()
    assert len(options(arguments)) == arguments.count("-o")


def test_only_a_configuration_that_the_user_names_is_read() -> None:
    assert argv()[:3] == ("ssh", "-F", "none")
    assert argv(config="/etc/ssh/office")[:3] == ("ssh", "-F", "/etc/ssh/office")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("-w", "712345:0")),
        ({"remote_unit": None}, ("-w", "712345:any")),
        ({"address": None, "socks": "127.0.0.1:1080"}, ("-D", "127.0.0.1:1080")),
        ({"forwards": (SshForward("127.0.0.1:80", "web:80"),)}, ("-L", "127.0.0.1:80:web:80")),
        ({"user": "alice"}, ("-l", "alice")),
    ],
)
def test_what_is_asked_for_is_on_the_command_line(changes: dict[str, object], expected: tuple[str, str]) -> None:
    arguments = argv(**changes)
    assert expected in set(pairwise(arguments))


def test_a_device_that_ssh_cannot_name_is_left_to_ssh() -> None:
    made = launch("openssh")
    other = replace(made, spec=replace(made.spec, device="vpn0"))
    assert "any:0" in only(Spawn, Play(other).start().actions).argv


def test_ports_alone_make_no_device() -> None:
    assert "-w" not in argv(address=None, socks="127.0.0.1:1080")


def test_the_notifier_survives_the_shell_and_the_percent_signs_of_ssh() -> None:
    tokens = {"T": DEVICE, "%": "%"}  # as ssh expands them; any other would end it
    command = re.sub("%(.)", lambda found: tokens[found[1]], options(argv())["LocalCommand"])
    *assignments, run, python, isolated, script = shlex.split(command)
    assert assignments == ["reason=connect", f"TUNDEV={DEVICE}"]
    assert (run, python, isolated, script) == ("exec", "/usr/bin/python3", "-I", "/opt/auto vpn/100%/notify.py")


@pytest.mark.parametrize(
    ("health", "interval", "count"),
    [
        (None, "5", "3"),
        (Health(HealthCheck.DPD, interval=20.0, fail_after=2), "20", "2"),
        (Health(HealthCheck.PING, interval=20.0, fail_after=2), "5", "3"),
    ],
)
def test_ssh_detects_a_dead_peer_as_the_profile_says(health: Health | None, interval: str, count: str) -> None:
    plain = launch("openssh")
    spawn = only(Spawn, Play(replace(plain, spec=replace(plain.spec, health=health))).start().actions)
    assert f"ServerAliveInterval={interval}" in spawn.argv
    assert f"ServerAliveCountMax={count}" in spawn.argv
