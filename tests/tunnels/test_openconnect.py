"""The openconnect driver, from what real runs of openconnect said."""

from __future__ import annotations

import shlex
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

import pytest

from autovpn.core.actions import AskPerson, Failed, LookAgainAt, Ready, Run, Signal, Spawn
from autovpn.core.driving import Answered, Exited, Line, LinkVanished, Ran, Recovered, Report, Tick, UplinkChanged
from autovpn.core.secret import Secret
from autovpn.core.tunnel import Facts, FailureClass, Health, HealthCheck, PinnedEndpoint, RouteMode, RouteWish
from autovpn.tunnels.openconnect import RECONNECTION
from autovpn.tunnels.openconnect_facts import facts_of, form_in
from autovpn.tunnels.openconnect_login import session_in
from tests.tunnels.playing import GATEWAY, PASSWORD, TIMEOUT, UPLINK, Play, launch, only, recovered, transcript

FACTS = Facts(
    device="avtoc",
    addresses=(IPv4Interface("10.95.0.50/32"), IPv6Interface("2001:db8:95::58ef/128")),
    prefixes=(IPv4Network("10.20.0.0/24"), IPv6Network("2001:db8:20::/64"), IPv4Network("10.95.0.0/24")),
    dns=("10.20.0.53",),
    search=("office.example",),
    mtu=1434,
    overhead=86,
    banner="Welcome to the office",
    form="DTLS over UDP",
)
COOKIE = "webvpn=tea for two"
PIN = f"pin-sha256:{'A' * 43}="
CONNECT = {"reason": "connect", "TUNDEV": "avtoc", "INTERNAL_IP4_ADDRESS": "10.95.0.50", "CISCO_SPLIT_INC": "1",
           "CISCO_SPLIT_INC_0_ADDR": "10.20.0.0", "CISCO_SPLIT_INC_0_MASKLEN": "24"}  # fmt: skip
HERE = launch("openconnect", host="vpn.office.example")


def login(url: str = "https://vpn.example:4443/", cookie: str = COOKIE) -> Ran:
    """Return a login that succeeded."""
    text = f"COOKIE='{cookie}'\nHOST='192.0.2.1'\nCONNECT_URL='{url}'\nFINGERPRINT='{PIN}'\n"
    return Ran("login", 0, "", Secret(text.encode()))


def up() -> Play:
    """Return a tunnel that is up."""
    play = Play(launch("openconnect")).start()
    play.feed(login(), Report(CONNECT))
    assert isinstance(play.news[-1], Ready)
    return play


@pytest.mark.parametrize(
    ("name", "host", "kind", "words"),
    [
        ("wrong-password", "192.0.2.1", FailureClass.AUTH, "Login failed."),
        ("untrusted", "192.0.2.1", FailureClass.TRUST, "signer not found"),
        ("wrong-name", "other.example", FailureClass.TRUST, "certificate does not match hostname"),
        ("wrong-pin", "192.0.2.1", FailureClass.TRUST, "specified via --servercert"),
        ("other-certificate", "192.0.2.1", FailureClass.TRUST, "specified via --servercert"),
        ("missing-certificate", "192.0.2.1", FailureClass.LOCAL, "/nonexistent"),
        ("bad-cookie", "192.0.2.1", FailureClass.UNREACHABLE, "VPN service unavailable"),
        ("refused", "192.0.2.1", FailureClass.UNREACHABLE, "Connection refused"),
        ("silent", "192.0.2.1", FailureClass.UNREACHABLE, "no answer to the login from 192.0.2.1 within 30 s"),
    ],
)
def test_an_openconnect_that_fails_says_why(name: str, host: str, kind: FailureClass, words: str) -> None:
    play = Play(launch("openconnect", host=host)).start()
    play.feed(*transcript(f"openconnect-{name}"))
    (failed,) = play.news
    assert isinstance(failed, Failed)
    assert failed.kind is kind
    assert words in failed.words


def test_it_is_ready_with_what_its_script_was_told() -> None:
    play = Play(HERE).start()
    play.feed(*transcript("openconnect-ready"))
    assert play.news == [Ready(FACTS)]


def test_a_reconnection_that_changes_nothing_is_no_news() -> None:
    play = Play(launch("openconnect", host="192.0.2.1")).start()
    play.feed(*transcript("openconnect-reconnect"))
    assert play.news == [Ready(FACTS)]


def test_a_server_that_stopped_is_lost() -> None:
    play = Play(launch("openconnect", host="192.0.2.1")).start()
    play.feed(*transcript("openconnect-server-stopped"))
    assert isinstance(play.news[0], Ready)
    failed = play.news[1]
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOST
    assert "reconnect" in failed.words.lower()


# -- two steps


def test_the_password_goes_to_the_login_alone_and_the_cookie_to_the_tunnel_alone() -> None:
    play = Play(launch("openconnect")).start()
    run = only(Run, play.actions)
    assert run.confidential
    assert run.stdin
    assert run.stdin.reveal() == f"{PASSWORD}\n".encode()
    assert run.deadline == TIMEOUT
    spawn = only(Spawn, play.feed(login()))
    assert spawn.stdin
    assert spawn.stdin.reveal() == f"{COOKIE}\n".encode()
    assert COOKIE not in repr(play.actions) + repr(play.state)


def test_the_tunnel_takes_the_certificate_that_the_login_met_and_no_authority() -> None:
    play = Play(launch("openconnect")).start()
    argv = only(Spawn, play.feed(login())).argv
    assert "--no-system-trust" in argv
    assert f"--servercert={PIN}" in argv
    assert not any(argument.startswith("--cafile") for argument in argv)
    (script,) = [argument for argument in argv if argument.startswith("--script=")]
    assert shlex.split(script.removeprefix("--script=")) == list(launch("openconnect").notifier)


@pytest.mark.parametrize(
    ("changes", "judged"),
    [
        ({"ca": None}, []),
        ({"ca": "/ca"}, ["--no-system-trust", "--cafile=/ca"]),
        ({"ca": "/ca", "server_cert": PIN}, ["--no-system-trust", f"--servercert={PIN}"]),
    ],
)
def test_a_pin_counts_since_no_authority_is_asked_beside_it(changes: dict[str, str | None], judged: list[str]) -> None:
    argv = only(Run, Play(launch("openconnect", **changes)).start().actions).argv
    trust = ("--no-system-trust", "--cafile", "--servercert")
    assert [argument for argument in argv if argument.startswith(trust)] == judged


@pytest.mark.parametrize("protocol", ["anyconnect", "gp", "pulse", "nc", "f5", "fortinet"])
def test_both_steps_of_every_protocol_are_told_the_same_server(protocol: str) -> None:
    changes = {"protocol": protocol, "path": "/group", "authgroup": "Staff", "useragent": "Agent", "os": "win",
               "client_cert": "/c", "client_key": "/k"}  # fmt: skip
    play = Play(launch("openconnect", **changes)).start()
    first = only(Run, play.actions).argv
    second = only(Spawn, play.feed(login("https://vpn.example:4443/gateway"))).argv
    told = [f"--protocol={protocol}", "--no-proxy", f"--resolve=vpn.example:{GATEWAY}", "--certificate=/c",
            "--sslkey=/k", "--authgroup=Staff", "--useragent=Agent", "--os=win"]  # fmt: skip
    assert list(first[1:9]) == list(second[1:9]) == told
    assert first[-1] == "https://vpn.example:4443/group"
    assert second[-1] == "https://vpn.example:4443/gateway"


def test_an_address_is_not_resolved_and_udp_may_be_off() -> None:
    play = Play(launch("openconnect", host="2001:db8::1", port=443, udp_port=None)).start()
    assert only(Run, play.actions).argv[-1] == "https://[2001:db8::1]:443"
    argv = only(Spawn, play.feed(login("https://[2001:db8::1]/"))).argv
    assert "--no-dtls" in argv
    assert not any(argument.startswith("--resolve") for argument in argv)


@pytest.mark.parametrize("url", ["https://evil.example:4443/", "https://vpn.example/", "http://vpn.example", "x y"])
def test_a_cookie_for_another_place_goes_nowhere(url: str) -> None:
    play = Play(launch("openconnect")).start()
    (failed,) = play.feed(login(url))
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOCAL


@pytest.mark.parametrize(
    "printed",
    [b"", b"COOKIE='x'\n", b"COOKIE='x\n", b"COOKIE=''\nFINGERPRINT='%s'\n", b"COOKIE='x'\nFINGERPRINT='; id'"],
)
def test_a_login_that_prints_no_session_fails(printed: bytes) -> None:
    assert session_in(Secret(printed)) is None
    play = Play(launch("openconnect")).start()
    play.feed(Ran("login", 0, "", Secret(printed)))
    assert [news.kind for news in play.news if isinstance(news, Failed)] == [FailureClass.UNREACHABLE]


@pytest.mark.parametrize("password", [b"", b"\n", b"a\nb", b"a\0b", b"a\rb", b"x" * 1024])
def test_a_password_that_openconnect_cannot_be_given_is_refused_before_it_starts(password: bytes) -> None:
    (failed,) = Play(launch("openconnect", password=Secret(password))).start().actions
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOCAL


def test_a_server_without_an_address_is_not_tried() -> None:
    (failed,) = Play(launch("openconnect", endpoints=())).start().actions
    assert failed == Failed(FailureClass.NAME, "no address is known for vpn.example")


# -- a person


def test_what_the_profile_lacks_is_asked_and_the_login_begins_anew_with_it() -> None:
    play = Play(HERE).start()
    asked = only(AskPerson, play.feed(*transcript("openconnect-needs-code")))
    assert asked.prompt == "The server of the tunnel office asks: Please enter your OTP password. Password:"
    assert asked.hidden
    play.now += 1000  # a person takes as long as it takes
    assert play.feed(Tick()) == ()
    run = only(Run, play.feed(Answered(asked.name, Secret(b"123456"))))
    assert run.stdin
    assert run.stdin.reveal() == f"{PASSWORD}\n123456\n".encode()
    assert "--non-inter" not in run.argv
    assert run.deadline == TIMEOUT
    assert only(Spawn, play.feed(login("https://vpn.office.example:4443/"))).stdin


@pytest.mark.parametrize(
    ("answer", "words"), [(None, "needs a person"), (Secret(b""), "empty"), (Secret(b"a\nb"), "line")]
)
def test_without_an_answer_it_needs_a_person(answer: Secret | None, words: str) -> None:
    play = Play(HERE).start()
    asked = only(AskPerson, play.feed(*transcript("openconnect-no-password")))
    play.feed(Answered(asked.name, answer))
    (failed,) = play.news
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.AUTH
    assert words in failed.words


@pytest.mark.parametrize(
    ("trusts", "taken"),
    [
        ({"ca": None}, False),
        ({"ca": "/etc/ssl/office.crt"}, True),
        ({"ca": None, "server_cert": f"pin-sha256:{'B' * 43}="}, True),
    ],
)
def test_no_answer_can_be_taken_for_a_word_that_a_certificate_is_fine(trusts: dict[str, str], taken: bool) -> None:
    """With any fingerprint openconnect asks about none, and without one the answer does not reach it."""
    play = Play(launch("openconnect", **trusts)).start()
    asked = only(AskPerson, play.feed(*transcript("openconnect-needs-code")))
    actions = play.feed(Answered(asked.name, Secret(b"Yes")))
    if taken:
        assert any(argument.startswith("--servercert=") for argument in only(Run, actions).argv)
    else:
        assert "could take this answer" in only(Failed, actions).words


def test_a_server_that_asks_without_end_is_refused() -> None:
    play = Play(launch("openconnect", user=None)).start()
    more = Ran("login", 1, "POST https://x/\nUsername:***\nUser input required in non-interactive mode\n", Secret(b""))
    for _ in range(3):
        asked = only(AskPerson, play.feed(more))
        assert not asked.hidden
        play.feed(Answered(asked.name, Secret(b"alice")))
    (failed,) = play.feed(more)
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.AUTH


# -- once it is up


def test_another_uplink_has_it_connect_anew_and_the_same_one_does_not() -> None:
    play = up()
    endpoints = launch("openconnect").endpoints
    assert play.feed(UplinkChanged(UPLINK, endpoints)) == ()
    moved = replace(UPLINK, addresses=(IPv4Address("192.0.2.77"),))
    assert play.feed(UplinkChanged(moved, endpoints)) == (Signal(12),)
    assert play.feed(UplinkChanged(moved, endpoints)) == ()
    elsewhere = (PinnedEndpoint(IPv4Address("192.0.2.9"), 4443, "tcp"),)
    (failed,) = play.feed(UplinkChanged(moved, elsewhere))
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOST


def test_a_lost_connection_has_its_time_to_come_back() -> None:
    play = up()
    (look,) = play.feed(Report({"reason": "attempt-reconnect"}))
    assert look == LookAgainAt(play.now + RECONNECTION)
    play.feed(Report({**CONNECT, "reason": "reconnect"}))
    play.now += RECONNECTION
    assert play.feed(Tick()) == ()
    play.feed(Report({"reason": "attempt-reconnect"}))
    play.now += RECONNECTION
    (failed,) = play.feed(Tick())
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOST


def test_facts_may_change_with_a_reconnection_but_not_vanish() -> None:
    play = up()
    (ready,) = play.feed(Report({**CONNECT, "reason": "reconnect", "INTERNAL_IP4_DNS": "10.20.0.54"}))
    assert isinstance(ready, Ready)
    assert ready.facts.dns == ("10.20.0.54",)
    (failed,) = play.feed(Report({"reason": "reconnect"}))
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOST


def test_it_gives_up_when_the_time_is_over_or_there_is_no_address() -> None:
    play = Play(launch("openconnect")).start()
    play.feed(login())
    play.now += TIMEOUT
    play.feed(Tick())
    assert play.news == [Failed(FailureClass.UNREACHABLE, "no tunnel to vpn.example within 30 s")]
    play = Play(launch("openconnect")).start()
    play.feed(login(), Report({"reason": "connect"}))
    assert [news.kind for news in play.news if isinstance(news, Failed)] == [FailureClass.UNREACHABLE]


def test_a_tick_says_nothing_of_a_tunnel_that_is_up() -> None:
    play = up()
    play.now += 10 * TIMEOUT
    assert play.feed(Tick()) == ()


@pytest.mark.parametrize("end", [Exited(0), Exited(1), LinkVanished("avtoc")])
def test_any_end_is_a_loss(end: Exited | LinkVanished) -> None:
    play = up()
    play.feed(Line("Failed to write incoming packet: Input/output error"), end)
    play.now += 2
    play.feed(Tick())
    failed = play.news[1]
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOST
    assert "incoming" not in failed.words


def test_a_running_openconnect_is_adopted_if_it_was_up() -> None:
    known = recovered("openconnect")
    assert Play(launch("openconnect")).adopt(known).actions == [Ready(known.facts or Facts())]
    (failed,) = Play(launch("openconnect")).adopt(Recovered(1, "avtoc", None)).actions
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOST


def test_the_profile_s_detection_of_a_dead_peer_holds() -> None:
    made = launch("openconnect")
    for health, seconds in [(None, 10), (Health(HealthCheck.DPD, interval=25.0), 25), (Health(HealthCheck.PING), 10)]:
        play = Play(replace(made, spec=replace(made.spec, health=health))).start()
        assert f"--force-dpd={seconds}" in only(Spawn, play.feed(login())).argv


# -- what a server says


@pytest.mark.parametrize(
    ("end", "form"),
    [
        ("connected and DTLS connected", "DTLS over UDP"),
        ("+ lzs connected and ESP established", "ESP over UDP"),
        ("connected and ESP in progress", "TLS over TCP, until ESP over UDP is answered"),
        ("connected and DTLS disabled", "TLS over TCP, since the server offers nothing over UDP"),
        ("connected", ""),
    ],
)
def test_the_form_of_the_packets_is_told(end: str, form: str) -> None:
    assert form_in(f"Configured as 10.95.0.50, with SSL {end}", wants_udp=True) == form


def test_what_is_not_followed_is_said() -> None:
    values = {
        **CONNECT,
        "CISCO_SPLIT_INC_0_ADDR": "0.0.0.0",
        "CISCO_SPLIT_INC_0_MASKLEN": "0",
        "CISCO_SPLIT_EXC": "2",
        "CISCO_IPV6_SPLIT_EXC": "1",
        "CISCO_SPLIT_DNS": "a.example\x1b,b.example",
        "INTERNAL_IP4_MTU": "99999",
        "INTERNAL_IP6_DNS": "::1",
        "CISCO_DEF_DOMAIN": "-bad-",
    }
    facts = facts_of(values, HERE.spec)
    assert facts is not None
    said = " | ".join(facts.refused)
    for words in ("3 networks", "a.example", "routes.mode", "MTU of 99999", "::1", "-bad-"):
        assert words in said
    assert said.isprintable()
    assert (facts.prefixes, facts.mtu, facts.dns, facts.search) == ((), None, (), ())


def test_a_server_that_names_no_routes_wants_everything_which_the_profile_has_to_say() -> None:
    values = {"INTERNAL_IP6_ADDRESS": "2001:db8::7", "INTERNAL_IP6_NETMASK": "2001:db8::7/64"}
    split = facts_of(values, HERE.spec)
    assert split is not None
    assert "everything" in split.refused[0]
    assert split.prefixes == (IPv6Network("2001:db8::/64"),)
    full = facts_of(values, replace(HERE.spec, routes=RouteWish(RouteMode.FULL)))
    assert full is not None
    assert full.refused == ()
