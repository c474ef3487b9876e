"""The zebedee driver: its configuration, the connection that proves the way, and what the errors mean."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from autovpn.core.actions import Dial, Failed, LookAgainAt, Ready, Spawn, Write
from autovpn.core.driving import Dialled, DialOutcome, Exited, Line, Recovered, Tick
from autovpn.core.secret import Secret
from autovpn.core.tunnel import Facts, FailureClass, PinnedEndpoint
from autovpn.core.zebedeefile import private_key
from autovpn.tunnels.zebedee import ZebedeeDriver
from tests.tunnels.playing import START, TIMEOUT, ZEBEDEE_KEY, Play, launch, only

LISTENS = Line("zebedee(7/1):  Listening on local port 8080")
ESTABLISHED = Line("zebedee(7/2):  tunnel established to 192.0.2.1 port 80")
PROBE = Dial("probe", IPv4Address("127.0.0.1"), 8080, hold=10.0)
CLOSED = Dialled("probe", DialOutcome.CLOSED)
UNREACHED = "can't connect to 192.0.2.1 port 11965: (Connection refused)"
NO_TARGET = "server refused request for redirection to 10.20.0.2:80"
FOUND = Recovered(7, None, Facts())


def error(text: str) -> Line:
    return Line(f"zebedee(7/3): ERROR: {text}")


def up() -> Play:
    play = Play(launch("zebedee")).start()
    play.feed(LISTENS, ESTABLISHED, CLOSED)
    return play


def tick(play: Play, later: float) -> None:
    play.now += later
    play.feed(Tick())


def test_the_configuration_and_the_key_go_to_its_standard_input() -> None:
    play = Play(launch("zebedee")).start()
    spawn = only(Spawn, play.actions)
    assert spawn.argv == ("zebedee", "-f", "/dev/stdin")
    assert spawn.stdin is not None
    assert spawn.stdin.reveal().decode().splitlines() == [
        *("server false", "detached false", "multiuse true", "verbosity 1", "ipv4only true", "listenip 127.0.0.1"),
        *("serverhost 192.0.2.1", "serverport 11965", "keylength 128", "minkeylength 128"),
        *("tunnel 8080:10.20.0.2:80", 'checkidfile "/run/autovpn/t/server.id"', f'privatekey "{ZEBEDEE_KEY}"'),
    ]
    written = only(Write, play.actions)
    assert (written.name, written.content.reveal()) == ("server.id", b"0123456789" * 4 + b" server\n")


def test_without_key_and_fingerprint_neither_is_in_it() -> None:
    play = Play(launch("zebedee", key=None, server_id=None)).start()
    content = only(Spawn, play.actions).stdin
    assert content is not None
    assert b"privatekey" not in content.reveal()
    assert b"checkidfile" not in content.reveal()
    assert not any(isinstance(action, Write) for action in play.actions)


def test_of_the_key_s_file_only_the_digits_are_taken() -> None:
    assert private_key("# mine\ncommand 'rm -rf /'\n  PrivateKey '0a1B' # x\n") == "0a1B"
    assert private_key('privatekey "xyz"\n') is None
    files = {"/etc/zebedee/client.key": Secret(b"nothing")}
    play = Play(launch("zebedee", files=files)).start()
    assert play.news == [Failed(FailureClass.LOCAL, "/etc/zebedee/client.key holds no private key")]
    assert Play(launch("zebedee", files={})).start().news == play.news


def test_a_server_needs_an_ipv4_address() -> None:
    endpoints = (PinnedEndpoint(IPv6Address("2001:db8::1"), 11965, "tcp"),)
    play = Play(launch("zebedee", endpoints=endpoints)).start()
    assert play.news == [Failed(FailureClass.NAME, "no IPv4 address is known for vpn.example")]


def test_a_port_that_listens_says_nothing_but_is_connected_to() -> None:
    play = Play(launch("zebedee")).start()
    assert play.feed(Line("waiting"), ESTABLISHED) == (), "nobody of ours has connected yet"
    assert play.feed(LISTENS) == (PROBE, LookAgainAt(START + TIMEOUT))
    assert play.news == []


def test_it_is_not_connected_to_before_all_ports_listen() -> None:
    made = launch("zebedee")
    forwards = made.spec.settings.forwards * 2  # type: ignore[union-attr]
    play = Play(launch("zebedee", forwards=forwards)).start()
    assert play.feed(LISTENS) == ()
    assert play.feed(LISTENS) == (PROBE, LookAgainAt(START + TIMEOUT))


@pytest.mark.parametrize("sign", [ESTABLISHED, Dialled("probe", DialOutcome.SPOKE)])
def test_a_connection_that_gets_through_is_the_sign(sign: Line | Dialled) -> None:
    play = Play(launch("zebedee")).start()
    play.feed(LISTENS, Dialled("probe", DialOutcome.STOOD))
    assert play.news == [], "it stands with a silent server too"
    play.feed(sign)
    assert play.news == [Ready(Facts())]
    tick(play, TIMEOUT)
    assert play.feed(CLOSED, ESTABLISHED) == ()


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("failed to read challenge from server", FailureClass.AUTH),
        ("server's identity not found in '/run/autovpn/t/server.id'", FailureClass.TRUST),
        ("server key length too small (40 < 128)", FailureClass.TRUST),
        (UNREACHED, FailureClass.UNREACHABLE),
        (NO_TARGET, FailureClass.UNREACHABLE),
    ],
)
def test_the_error_of_our_connection_is_the_tunnel_s(words: str, kind: FailureClass) -> None:
    play = Play(launch("zebedee")).start()
    play.feed(LISTENS, error(words))
    assert play.news == [Failed(kind, words)]
    assert play.feed(CLOSED) == ()


def test_an_error_before_it_listens_waits_for_the_end_that_it_announces() -> None:
    play = Play(launch("zebedee")).start()
    words = "can't create listener socket: (Address already in use)"
    assert play.feed(error(words)) == ()
    play.feed(Exited(1))
    assert play.news == [Failed(FailureClass.LOCAL, words)]


@pytest.mark.parametrize(
    ("dialled", "words"),
    [
        (CLOSED, "zebedee closed the connection"),
        (Dialled("probe", DialOutcome.REFUSED, "Connection refused"), "zebedee's own port: Connection refused"),
    ],
)
def test_a_connection_that_ends_without_a_reason_fails_a_moment_later(dialled: Dialled, words: str) -> None:
    play = Play(launch("zebedee")).start()
    play.feed(LISTENS, dialled)
    tick(play, 0.5)
    assert play.news == []
    tick(play, 0.5)
    assert play.news == [Failed(FailureClass.UNREACHABLE, words)]


def test_a_silent_server_is_unreachable_when_the_time_is_up() -> None:
    play = Play(launch("zebedee")).start()
    play.feed(LISTENS)
    tick(play, TIMEOUT)
    assert play.news == [Failed(FailureClass.UNREACHABLE, "no connection through vpn.example within 30 s")]


# -- up


def test_the_error_of_another_s_connection_leads_to_one_of_our_own_whose_end_counts() -> None:
    lost = up()
    assert lost.feed(error(UNREACHED)) == (PROBE, LookAgainAt(START + 10.0))
    lost.feed(error(UNREACHED))
    assert lost.news[1:] == [Failed(FailureClass.LOST, f"{UNREACHED}; {UNREACHED}")]
    well = up()
    well.feed(error("failed communicating with remote server"), ESTABLISHED)
    tick(well, TIMEOUT)
    assert well.news == [Ready(Facts())]


def test_a_server_that_swallows_our_own_connection_is_lost() -> None:
    play = up()
    play.feed(error("failed communicating with remote server"))
    tick(play, 10.0)
    assert play.news[1:] == [Failed(FailureClass.LOST, "failed communicating with remote server")]


def test_a_target_that_is_down_is_no_loss() -> None:
    play = up()
    assert play.feed(error(NO_TARGET)) == ()
    play.feed(error("failed communicating with remote server"), error(NO_TARGET))
    tick(play, TIMEOUT)
    assert play.news == [Ready(Facts())]


def test_its_end_is_a_loss() -> None:
    play = up()
    play.feed(Exited(0))
    assert play.news[1:] == [Failed(FailureClass.LOST, "zebedee ended with status 0")]


# -- adopted


def test_one_that_was_not_up_is_not_taken_over() -> None:
    for found in (replace(FOUND, pid=None), replace(FOUND, facts=None)):
        assert Play(launch("zebedee")).adopt(found).news == [
            Failed(FailureClass.LOST, "zebedee was not up when its daemon ended")
        ]


def test_one_that_is_taken_over_is_connected_to_first() -> None:
    play = Play(launch("zebedee")).adopt(FOUND)
    assert play.actions == [PROBE, LookAgainAt(START + TIMEOUT)]
    play.feed(LISTENS, ESTABLISHED)
    assert play.news == [Ready(Facts())]


def test_one_through_which_nothing_gets_any_more_is_lost() -> None:
    refused = Play(launch("zebedee")).adopt(FOUND)
    refused.feed(error(UNREACHED))
    assert refused.news == [Failed(FailureClass.LOST, UNREACHED)]
    silent = Play(launch("zebedee")).adopt(FOUND)
    tick(silent, TIMEOUT)
    assert silent.news == [Failed(FailureClass.LOST, "no connection gets through any more")]


def test_a_tunnel_of_another_type_is_our_own_fault() -> None:
    with pytest.raises(TypeError, match="not of type zebedee"):
        ZebedeeDriver().start(launch("vpnc"), START)
