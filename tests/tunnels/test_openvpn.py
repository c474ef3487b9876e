"""The openvpn driver, from what real runs of openvpn said."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

import pytest

from autovpn.core.actions import Action, AskPerson, Failed, LookAgainAt, Open, Ready, Send, Spawn
from autovpn.core.driving import (
    Answered,
    Closed,
    Exited,
    LinkVanished,
    Opened,
    Received,
    Recovered,
    Tick,
    Uplink,
    UplinkChanged,
)
from autovpn.core.secret import Secret
from autovpn.core.settings import SecretRef
from autovpn.core.snapshot import LinkId
from autovpn.core.tunnel import Facts, FailureClass, Health, HealthCheck, PinnedEndpoint, RouteMode, RouteWish
from autovpn.tunnels.openvpn_configuration import configuration
from autovpn.tunnels.openvpn_offer import facts_of, redirects, taken
from tests.tunnels.playing import DEVICES, GATEWAY, PASSWORD, TIMEOUT, Play, launch, only, recovered, transcript

FACTS = Facts(
    DEVICES["openvpn"],
    (IPv4Interface("10.96.0.2/32"), IPv6Interface("2001:db8:96::1000/128")),
    prefixes=(
        IPv4Network("10.96.0.0/24"),
        IPv6Network("2001:db8:96::/64"),
        IPv4Network("10.20.0.0/24"),
        IPv6Network("2001:db8:20::/64"),
    ),
    dns=("10.20.0.53",),
    search=("office.example",),
    overhead=100,
)
CONNECTED = "STATE:1,CONNECTED,SUCCESS,10.96.0.2,192.0.2.1,1194,,,"
LOCAL = {"ifconfig_local": "10.96.0.2", "ifconfig_netmask": "255.255.255.0"}
TWO = (PinnedEndpoint(GATEWAY, 1194, "udp"), PinnedEndpoint(GATEWAY, 443, "tcp"))


def says(*lines: str) -> Received:
    return Received("management", "".join(f"{line}\r\n" for line in lines).encode())


def said_to(actions: tuple[Action, ...] | list[Action]) -> list[str]:
    """Return what OpenVPN was told."""
    return [action.data.reveal().decode().strip() for action in actions if isinstance(action, Send)]


def begun(**changes: object) -> Play:
    play = Play(launch("openvpn", **changes)).start()
    play.feed(Opened("management"))
    return play


def up(**changes: object) -> Play:
    play = begun(**changes)
    play.feed(says(">UPDOWN:ENV,ifconfig_local=10.96.0.2", f">{CONNECTED}"))
    assert isinstance(play.news[0], Ready)
    return play


def failed(play: Play) -> Failed:
    (news,) = [news for news in play.news if isinstance(news, Failed)]
    return news


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("wrong-password", FailureClass.AUTH, "AUTH_FAILED"),
        ("wrong-server-name", FailureClass.TRUST, "VERIFY X509NAME ERROR"),
        ("wrong-authority", FailureClass.TRUST, "VERIFY ERROR"),
        ("refused", FailureClass.UNREACHABLE, "Connection refused"),
        ("tcp-refused", FailureClass.UNREACHABLE, "Connection refused"),
        ("options-error", FailureClass.LOCAL, "Options error: Unrecognized option"),
        ("missing-file", FailureClass.LOCAL, "No such file"),
        ("dynamic-challenge-unanswered", FailureClass.AUTH, "Your code, please; it needs a person"),
    ],
)
def test_an_openvpn_that_does_not_connect_says_why(name: str, kind: FailureClass, words: str) -> None:
    play = Play(launch("openvpn")).start()
    play.feed(*transcript(f"openvpn-{name}"))
    assert failed(play).kind is kind
    assert words in failed(play).words
    assert "MANAGEMENT" not in failed(play).words


@pytest.mark.parametrize("name", ["ready", "tcp-ready", "static-challenge", "dynamic-challenge"])
def test_it_is_ready_with_what_was_pushed(name: str) -> None:
    play = Play(launch("openvpn")).start()
    play.feed(*transcript(f"openvpn-{name}"))
    assert play.news == [Ready(FACTS)]


@pytest.mark.parametrize(
    ("name", "words"),
    [("server-stopped", "Connection reset command was pushed"), ("server-silent", "Inactivity timeout")],
)
def test_a_connection_that_breaks_is_lost_and_never_made_anew_behind_our_back(name: str, words: str) -> None:
    play = Play(launch("openvpn")).start()
    play.feed(*transcript(f"openvpn-{name}"))
    assert play.news[0] == Ready(FACTS)
    assert failed(play).kind is FailureClass.LOST
    assert words in failed(play).words
    assert said_to(play.actions).count('hold "release"') == 1


@pytest.mark.parametrize(("name", "advice"), [("wrong-certificate", "certificate"), ("silent", "")])
def test_a_server_that_goes_no_further_is_told_from_one_that_is_silent(name: str, advice: str) -> None:
    play = Play(launch("openvpn")).start()
    play.feed(*transcript(f"openvpn-{name}"))
    play.now += TIMEOUT
    play.feed(Tick())
    assert failed(play).kind is FailureClass.UNREACHABLE
    assert failed(play).words.startswith("no tunnel to 192.0.2.1 port 1194 within 30 s")
    assert ("certificate" in failed(play).words) is bool(advice)


def test_a_status_of_0_is_no_success() -> None:
    play = begun()
    play.feed(Exited(0))
    assert failed(play) == Failed(FailureClass.UNREACHABLE, "openvpn ended with status 0")


@pytest.mark.parametrize("event", [LinkVanished("avtovpn"), Closed("management")])
def test_what_is_gone_gives_openvpn_the_last_word(event: LinkVanished | Closed) -> None:
    play = up()
    play.feed(event)
    play.now += 2
    play.feed(Tick())
    assert failed(play).kind is FailureClass.LOST


@pytest.mark.parametrize(
    ("changes", "kind"), [({"files": {}}, FailureClass.LOCAL), ({"endpoints": ()}, FailureClass.NAME)]
)
def test_what_is_missing_is_said_before_anything_starts(changes: dict[str, object], kind: FailureClass) -> None:
    assert failed(Play(launch("openvpn", **changes)).start()).kind is kind


def test_a_file_that_openvpn_would_read_otherwise_is_not_given_to_it() -> None:
    given = launch("openvpn")
    files = {path: Secret(content.reveal() + b"# \0plugin evil.so\n") for path, content in given.files.items()}
    play = Play(replace(given, files=files)).start()
    assert failed(play).kind is FailureClass.LOCAL
    assert not [action for action in play.actions if isinstance(action, Spawn)]


def test_a_server_without_an_address_for_us_is_a_failure() -> None:
    play = begun()
    play.feed(says(f">{CONNECTED}"))
    assert failed(play).kind is FailureClass.UNREACHABLE


# -- names, passwords and codes


def test_name_and_password_go_over_the_socket_with_all_that_has_to_be_escaped() -> None:
    play = begun(password=Secret(b'won"der\\ land\n'))
    actions = play.feed(says(">PASSWORD:Need 'Auth' username/password"))
    assert said_to(actions) == ['username "Auth" "alice"', 'password "Auth" "won\\"der\\\\ land"']


def test_a_static_challenge_is_asked_and_answered_with_the_password() -> None:
    play = begun()
    question = only(AskPerson, play.feed(says(">PASSWORD:Need 'Auth' username/password SC:1,Token?")))
    assert not question.hidden
    assert "Token?" in question.prompt
    actions = play.feed(Answered(question.name, Secret(b"123456\n")))
    assert said_to(actions)[1] == 'password "Auth" "SCRV1:d29uZGVyIGxhbmQ=:MTIzNDU2"'


def test_a_dynamic_challenge_is_answered_instead_of_the_password() -> None:
    play = begun()
    play.feed(says(">PASSWORD:Need 'Auth' username/password"))
    play.feed(says(">PASSWORD:Verification Failed: 'Auth' ['CRV1:R:st4te:Ym9i:Code']"))
    question = only(AskPerson, play.feed(says(">STATE:1,RECONNECTING,auth-failure,,", ">HOLD:1",
                                              ">PASSWORD:Need 'Auth' username/password")))  # fmt: skip
    assert question.hidden
    told = said_to(play.feed(Answered(question.name, Secret(b"7"))))
    assert told == ['username "Auth" "bob"', 'password "Auth" "CRV1::st4te::7"']


def test_a_question_after_the_login_is_answered_while_openvpn_prints_no_commands() -> None:
    play = begun()
    question = only(AskPerson, play.feed(says(">INFOMSG:CR_TEXT:R,E:Code")))
    told = said_to(play.feed(Answered(question.name, Secret(b"Hallo Welt"))))
    assert told == ['verb "2"', 'cr-response "SGFsbG8gV2VsdA=="', 'verb "3"']


@pytest.mark.parametrize("text", ["CR_TEXT::Look at your phone", "SOMETHING"])
def test_what_needs_no_answer_is_let_be(text: str) -> None:
    assert begun().feed(says(f">INFOMSG:{text}")) == ()


def test_a_login_in_a_browser_needs_more_than_we_can() -> None:
    play = begun()
    play.feed(says(">INFOMSG:WEB_AUTH::https://vpn.example/login"))
    assert failed(play).kind is FailureClass.AUTH
    assert "browser" in failed(play).words


def test_what_nobody_has_said_is_asked_one_thing_after_the_other_and_without_a_deadline() -> None:
    play = begun(username=None, password=None)
    name = only(AskPerson, play.feed(says(">PASSWORD:Need 'Auth' username/password")))
    play.now += 10 * TIMEOUT
    assert play.feed(Tick()) == ()
    password = only(AskPerson, play.feed(Answered(name.name, Secret(b"bob"))))
    assert (name.hidden, password.hidden) == (False, True)
    assert play.feed(Answered("code", None), Answered("code", Secret(b"not asked for"))) == ()
    actions = play.feed(Answered(password.name, Secret(b"x")))
    assert said_to(actions) == ['username "Auth" "bob"', 'password "Auth" "x"']
    assert only(LookAgainAt, actions).when == play.now + TIMEOUT


def test_where_nobody_answers_the_words_say_that_a_person_is_needed() -> None:
    play = begun(password=None)
    question = only(AskPerson, play.feed(says(">PASSWORD:Need 'Auth' username/password")))
    play.feed(Answered(question.name, None))
    assert failed(play).kind is FailureClass.AUTH
    assert "'autovpn up'" in failed(play).words


def test_the_password_of_the_key_is_given_and_its_refusal_told() -> None:
    play = begun(secrets={"key_password": Secret(b"open sesame\n")})
    assert said_to(play.feed(says(">PASSWORD:Need 'Private Key' password"))) == ['password "Private Key" "open sesame"']
    play.feed(says(">PASSWORD:Verification Failed: 'Private Key'"))
    assert failed(play) == Failed(FailureClass.AUTH, "the password of the private key was refused")


@pytest.mark.parametrize("password", [b"a\nsignal SIGTERM", b"x" * 256])
def test_a_password_that_openvpn_does_not_take_is_never_sent_and_never_shown(password: bytes) -> None:
    play = begun(password=Secret(password))
    play.feed(says(">PASSWORD:Need 'Auth' username/password"))
    assert failed(play).kind is FailureClass.LOCAL
    assert password.decode() not in failed(play).words


def test_an_error_is_not_shown_since_it_may_repeat_the_password() -> None:
    play = begun()
    play.feed(says("ERROR: Options error: Parameter is too long: hunter2"), Exited(1))
    assert "hunter2" not in failed(play).words


# -- several servers


def test_the_next_server_is_tried_when_one_refuses_and_the_last_one_s_words_are_told() -> None:
    play = begun(endpoints=TWO)
    refused = ">LOG:1,N,read UDPv4 [ECONNREFUSED]: Connection refused (fd=5,code=111)"
    assert said_to(play.feed(says(refused))) == ['signal "SIGUSR1"']
    told = said_to(play.feed(says(">STATE:1,RECONNECTING,SIGUSR1,,,,,", ">HOLD:Waiting for hold release:1")))
    assert told == ['hold "release"']
    assert play.news == []
    play.feed(says(">STATE:1,RECONNECTING,connection-failed,,,,,"))
    assert failed(play).kind is FailureClass.UNREACHABLE


def test_which_of_several_servers_it_is_shows_in_the_facts() -> None:
    play = begun(endpoints=TWO)
    play.feed(says(">UPDOWN:ENV,ifconfig_local=10.96.0.2", ">STATE:1,CONNECTED,SUCCESS,10.96.0.2,192.0.2.1,443,,,"))
    (ready,) = play.news
    assert isinstance(ready, Ready)
    assert ready.facts.form == "TCP to 192.0.2.1 port 443"


# -- a daemon that was killed, and a network that changes


def test_a_running_openvpn_is_adopted_when_its_socket_says_that_it_is_connected() -> None:
    play = Play(launch("openvpn", password=None)).adopt(recovered("openvpn"))
    assert only(Open, play.actions).path.endswith("/management.sock")
    play.feed(Opened("management"), says(CONNECTED.removeprefix("STATE:"), "END"))
    assert play.news == [Ready(recovered("openvpn").facts or Facts())]


@pytest.mark.parametrize(
    "line", ["1,RECONNECTING,ping-restart,,,,,", ">STATE:1,RECONNECTING,ping-restart,,,,,"],
)  # fmt: skip
def test_one_that_is_not_connected_any_more_is_lost(line: str) -> None:
    play = Play(launch("openvpn")).adopt(recovered("openvpn"))
    play.feed(Opened("management"), says(">HOLD:Waiting for hold release:1", line))
    assert failed(play).kind is FailureClass.LOST
    assert 'hold "release"' not in said_to(play.actions)


@pytest.mark.parametrize("found", [Recovered(4711, "avtovpn", None), Recovered(None, "avtovpn", Facts())])
def test_one_that_was_never_up_is_not_adopted(found: Recovered) -> None:
    assert failed(Play(launch("openvpn")).adopt(found)).kind is FailureClass.LOST


def test_one_that_does_not_answer_is_lost_when_the_time_is_up() -> None:
    play = Play(launch("openvpn")).adopt(recovered("openvpn"))
    play.now += TIMEOUT
    play.feed(Tick())
    assert failed(play).kind is FailureClass.LOST


def test_an_adopted_one_that_asks_for_what_only_a_start_reads_is_made_anew() -> None:
    made = launch("openvpn", password=None)
    play = Play(replace(made, spec=replace(made.spec, password=SecretRef(file="x")))).adopt(recovered("openvpn"))
    play.feed(Opened("management"), says(CONNECTED.removeprefix("STATE:")))
    play.feed(says(">PASSWORD:Need 'Auth' username/password"))
    assert failed(play).kind is FailureClass.LOST


MOVED = UplinkChanged(Uplink(LinkId(3), "wlan0", (IPv4Address("198.51.100.7"),)), ())


def test_a_tcp_connection_is_made_anew_when_the_uplink_s_address_is_another() -> None:
    play = up(endpoints=(PinnedEndpoint(GATEWAY, 1194, "tcp"),))
    assert said_to(play.feed(MOVED)) == ['signal "SIGUSR1"']
    assert play.feed(MOVED) == ()
    told = said_to(play.feed(says(">STATE:1,RECONNECTING,SIGUSR1,,,,,", ">HOLD:Waiting for hold release:1")))
    assert told == ['hold "release"']
    play.feed(says(f">{CONNECTED}"))
    assert len(play.news) == 1
    play.feed(says(">STATE:1,RECONNECTING,connection-reset,,,,,"))
    assert failed(play).kind is FailureClass.LOST


def test_over_udp_the_server_follows_by_itself() -> None:
    assert up().feed(MOVED) == ()


def test_a_change_before_it_is_up_is_only_remembered() -> None:
    assert begun(endpoints=(PinnedEndpoint(GATEWAY, 1194, "tcp"),)).feed(MOVED) == ()


# -- its settings


def test_everything_goes_through_stdin_and_ours_holds() -> None:
    spawn = only(Spawn, begun().actions)
    assert spawn.argv == ("openvpn", "--cd", "/etc/openvpn", "--config", "stdin")
    assert spawn.stdin
    text = spawn.stdin.reveal().decode()
    lines = text.splitlines()
    assert "/bin/evil" not in text
    assert "old.txt" not in text
    assert "vpn.example" not in text
    assert PASSWORD not in text
    assert "group secret" in text
    for line in ("dev avtovpn", "script-security 0", "remote 192.0.2.1 1194 udp", "auth-user-pass", "persist-tun"):
        assert lines.count(line) == 1
    assert lines.index("script-security 0") > lines.index("</key>")


def test_each_of_several_servers_has_its_share_of_the_time() -> None:
    text = configuration(launch("openvpn", endpoints=TWO)).reveal().decode()
    assert "server-poll-timeout 15\n" in text
    assert text.index("remote 192.0.2.1 1194 udp") < text.index("remote 192.0.2.1 443 tcp-client")


def test_without_a_user_of_the_profile_the_file_s_own_login_stands() -> None:
    text = configuration(launch("openvpn", username=None, password=None)).reveal().decode()
    assert "auth-user-pass old.txt\n" in text


def test_a_server_is_found_dead_as_the_profile_wants_it() -> None:
    made = launch("openvpn")
    health = Health(HealthCheck.DPD, interval=5.0, fail_after=3)
    text = configuration(replace(made, spec=replace(made.spec, health=health))).reveal().decode()
    assert text.rindex("ping-restart 15") > text.index("ping-restart 60")
    assert 'pull-filter ignore "ping"' in text


# -- what a hostile server says


def test_a_default_route_is_refused_in_a_split_profile_and_taken_for_granted_in_a_full_one() -> None:
    reply = "PUSH: Received control message: 'PUSH_REPLY,redirect-gateway def1 ipv6,ifconfig 10.96.0.2 255.255.255.0'"
    made = launch("openvpn")
    facts = facts_of(LOCAL, redirects(reply), made)
    assert facts
    assert facts.prefixes == (IPv4Network("10.96.0.0/24"),)
    assert [reason.split(" is ")[0] for reason in facts.refused] == ["route 0.0.0.0/0", "route ::/0"]
    full = replace(made, spec=replace(made.spec, routes=RouteWish(RouteMode.FULL)))
    assert facts_of(LOCAL, redirects(reply), full) == replace(facts, refused=())


@pytest.mark.parametrize(
    ("flags", "count"), [("redirect-gateway", 1), ("redirect-gateway !ipv4 ipv6", 1), ("redirect-private def1", 0)]
)
def test_what_a_server_redirects_is_read(flags: str, count: int) -> None:
    assert len(redirects(f"'PUSH_REPLY,{flags},route 10.0.0.0 255.0.0.0'")) == count


def test_routes_past_the_tunnel_and_servers_on_odd_ports_are_refused() -> None:
    facts = facts_of(
        {
            **LOCAL,
            "route_vpn_gateway": "10.96.0.1",
            "route_net_gateway": "192.0.2.254",
            "route_network_1": "203.0.113.0",
            "route_netmask_1": "255.255.255.0",
            "route_gateway_1": "192.0.2.254",
            "route_network_2": "10.30.0.7",
            "dns_server_1_address_1": "10.20.0.54",
            "dns_server_1_port_1": "5353",
            "dns_server_0_address_1": "10.20.0.53",
            "dns_search_domain_1": "corp.example",
            "foreign_option_1": "dhcp-option DOMAIN-SEARCH office.example",
            "foreign_option_2": "dhcp-option WINS 10.20.0.1",
            "tun_mtu": "1400",
        },
        (),
        launch("openvpn"),
    )
    assert facts
    assert facts.prefixes == (IPv4Network("10.96.0.0/24"), IPv4Network("10.30.0.7/32"))
    assert facts.dns == ("10.20.0.53",)
    assert facts.search == ("corp.example", "office.example")
    assert facts.mtu == 1400
    assert any("203.0.113.0" in reason and "past the tunnel" in reason for reason in facts.refused)
    assert any("5353" in reason for reason in facts.refused)


def test_the_other_end_of_a_tunnel_between_two_machines_is_reached_through_it() -> None:
    facts = facts_of({"ifconfig_local": "10.8.0.6", "ifconfig_remote": "10.8.0.5"}, (), launch("openvpn"))
    assert facts
    assert facts.prefixes == (IPv4Network("10.8.0.5/32"),)


def test_ten_thousand_variables_are_cut_and_what_is_not_ours_is_not_kept() -> None:
    values = taken({}, (f"route_network_{number}=10.0.0.0" for number in range(10_000)))
    assert len(values) == 8192
    assert taken({}, ["X509_0_CN=x", "common_name=x", "dev=tun0", "broken"]) == {"dev": "tun0"}
    assert len(taken(values, ["dev=tun0"])) == 8192
