"""What holds for every driver, whatever its program, its server or the kernel does."""

from __future__ import annotations

from base64 import b64decode
from ipaddress import IPv4Address
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core import driving
from autovpn.core.actions import Failed, Ready, Run, Send, Spawn, Write
from autovpn.core.driving import Ran, Recovered, Report
from autovpn.core.secret import Secret
from autovpn.core.tunnel import Facts, PinnedEndpoint
from autovpn.tunnels.drivers import DRIVERS
from tests.tunnels.playing import DEVICES, KINDS, SECRETS, TYPE_OF, UPLINK, Play, launch, news_in, recovered, transcript

LINES = [
    "debug1: ssh_tun_confirm: tunnel forward established, id=0",
    "Host key verification failed.",
    "vpnc: no response from target",
    "local  IP address 10.99.0.100",
    "remote IP address 10.99.0.1",
    "",
    "\\x1b[2J",
]
ANSWERS = [
    b"errno=0\n\n",
    b"errno=-22\n\n",
    b"listen_port=1\nlast_handshake_time_sec=0\nerrno=0\n\n",
    b"listen_port=1\nlast_handshake_time_sec=1795000000\nerrno=0\n\n",
    b"last_handshake",
    b"\xff\n\n",
    b"errno=x\n\n",
]
OPENVPN = [
    b">HOLD:Waiting for hold release:0\r\n",
    b">PASSWORD:Need 'Auth' username/password\r\n",
    b">PASSWORD:Need 'Auth' username/password SC:1,Token\r\n",
    b">PASSWORD:Verification Failed: 'Auth' ['CRV1:R,E:s:YWxpY2U=:Code']\r\n",
    b">PASSWORD:Need 'Private Key' password\r\n>INFOMSG:CR_TEXT:R:Code\r\n",
    b">UPDOWN:UP\r\n>UPDOWN:ENV,ifconfig_local=10.96.0.2\r\n>UPDOWN:ENV,END\r\n",
    b">STATE:1,CONNECTED,SUCCESS,10.96.0.2,192.0.2.1,1194,,,\r\n",
    b"1,CONNECTED,SUCCESS,10.96.0.2,192.0.2.1,1194,,,\r\nEND\r\n",
    b">STATE:1,RECONNECTING,ping-restart,,,,,\r\n",
    b">STATE:1,RECONNECTING,SIGUSR1,,,,,\r\n",
    b">LOG:1,N,read UDPv4 [ECONNREFUSED]: Connection refused\r\n",
    b">STATE\r\n>LOG\r\n>FATAL:\xff\r\n",
]
CHILD: driving.ViciReply = {"name": "autovpn-office", "state": "INSTALLED", "remote-ts": ("10.20.0.0/24", "x", "::/0")}
SAS: list[driving.ViciReply] = [
    {"autovpn-office": {"local-vips": ("10.96.0.1", "x"), "child-sas": {"autovpn-office-1": CHILD}}},
    {"autovpn-office": {"child-sas": {"autovpn-office-1": {"state": "DELETING"}}}},
    {"autovpn-office": "x"},
    {"up": "yes", "autovpn-office": {}},
    {"msg": "ignore malformed INFORMATIONAL request"},
    {"msg": ("x",)},
    {},
]
channels = st.sampled_from(["uapi", "management", "vici", "x"])
NAMES = [*DEVICES.values(), "other", ""]
REPORTED = ["PLUTO_VERB", "PLUTO_DNS4_1",
            "reason", "TUNDEV", "INTERNAL_IP4_ADDRESS", "INTERNAL_IP4_DNS", "INTERNAL_IP4_MTU", "CISCO_SPLIT_INC",
            "CISCO_SPLIT_INC_0_ADDR", "CISCO_SPLIT_INC_0_MASKLEN", "CISCO_DEF_DOMAIN", "CISCO_BANNER", "ARGV_4",
            "ARGV_6", "DNS1"]  # fmt: skip
VALUES = st.sampled_from(
    [
        "connect",
        "disconnect",
        "10.99.0.1",
        "autovpn:0123456789abcdef",
        "10.0.0.0",
        "24",
        "0",
        "-1",
        "9" * 40,
        "١٢",
        "tun712345",
        "a b",
        "\x1b]0;",
        "\0",
        "",
    ]
)

LOGINS = ["", "Password:***\nUser input required in non-interactive mode\n", "Login failed.\n"]
TRAFFIC = '006 #2: "autovpn-office"[1] 192.0.2.1, type=ESP\n'
COOKIES = st.sampled_from([b"", b"COOKIE='webvpn=wonder land'\nFINGERPRINT='pin-sha256:x='\n"]).map(Secret)

TOLD_BY_TINC = st.fixed_dictionaries(
    {
        "ARGV_1": st.sampled_from(["host-up", "host-down", "subnet-up", "subnet-down"]),
        "ARGV_2": st.sampled_from(["gateway", "laptop", "printer", ""]),
        "ARGV_3": st.sampled_from(["10.20.0.0/24", "0.0.0.0/0", "fd00:0:0:0:0:0:0:0/8", "10.9.9.9", "x", ""]),
    }
)
TOLD_AGAIN = {"tinc"}
"""The types whose facts may change while they are up."""

names = st.sampled_from(NAMES)
STRATEGIES: dict[type[object], st.SearchStrategy[driving.DriverEvent]] = {
    driving.Exited: st.builds(driving.Exited, st.sampled_from([-9, 0, 1, 2, 127, 255])),
    driving.Line: st.builds(driving.Line, st.sampled_from(LINES)),
    driving.Report: st.builds(Report, st.dictionaries(st.sampled_from(REPORTED), VALUES, max_size=4) | TOLD_BY_TINC),
    driving.Opened: st.builds(driving.Opened, channels),
    driving.Received: st.builds(driving.Received, channels, st.sampled_from([*ANSWERS, *OPENVPN])),
    driving.Closed: st.builds(driving.Closed, channels),
    driving.Ran: st.builds(
        Ran,
        st.sampled_from(["check", "login", "traffic"]),
        st.sampled_from([0, 255, None]),
        st.sampled_from([*LOGINS, TRAFFIC]),
        COOKIES,
    ),
    driving.Dialled: st.builds(driving.Dialled, names, st.sampled_from(driving.DialOutcome), st.sampled_from(LINES)),
    driving.Notified: st.builds(driving.Notified, st.sampled_from([{"READY": "1"}, {"STATUS": "half way"}, {}])),
    driving.ViciAnswer: st.builds(
        driving.ViciAnswer, st.sampled_from(["xauth", "initiate", "list"]), st.sampled_from(["", "failed"])
    ),
    driving.ViciEvent: st.builds(
        driving.ViciEvent, st.sampled_from(["control-log", "list-sa", "child-updown"]), st.sampled_from(SAS)
    ),
    driving.DeviceCreated: st.builds(driving.DeviceCreated, names),
    driving.DeviceRefused: st.builds(driving.DeviceRefused, names, st.booleans(), st.just("File exists")),
    driving.WireguardStatus: st.builds(
        driving.WireguardStatus, st.sampled_from([None, 0.0, 200.0, -5.0]), st.just(0), st.just(0)
    ),
    driving.LinkAppeared: st.builds(driving.LinkAppeared, names, st.just(9)),
    driving.LinkVanished: st.builds(driving.LinkVanished, names),
    driving.UplinkChanged: st.builds(
        driving.UplinkChanged,
        st.just(UPLINK),
        st.sampled_from([(), (PinnedEndpoint(IPv4Address("192.0.2.9"), 7, "udp"),)]),
    ),
    driving.Tick: st.just(driving.Tick()),
    driving.Answered: st.builds(driving.Answered, names, st.none() | st.builds(Secret, st.binary(max_size=20))),
}
Played = list[tuple[driving.DriverEvent, float]]
steps = st.lists(st.tuples(st.one_of(*STRATEGIES.values()), st.sampled_from([0.0, 0.5, 40.0])), max_size=12)
beginnings = st.sampled_from([None, *(recovered("vpnc", pid=pid) for pid in (None, 1))])


def begun(kind: str, found: Recovered | None) -> Play:
    return Play(launch(kind)).adopt(found) if found else Play(launch(kind)).start()


def shown(play: Play) -> str:
    """Return all that a log or a person could see: the state, and each action's own text, arguments and environment."""
    programs = [(action.argv, action.environment) for action in play.actions if isinstance(action, Spawn | Run)]
    return repr((play.state, play.actions, programs))


def is_key(secret: str) -> bool:
    return secret.endswith("=")


SIGNS = {
    "zebedee": lambda event: isinstance(event, driving.Line | driving.Dialled),
    "command": lambda event: isinstance(event, Ran | driving.LinkAppeared),
    "ipsec": lambda event: isinstance(event, driving.ViciAnswer | Report | driving.LinkAppeared | driving.Tick),
    "libreswan": lambda event: isinstance(event, Ran),
    "openconnect": lambda event: isinstance(event, Report) and event.values.get("reason") in {"connect", "reconnect"},
    "openssh": lambda event: isinstance(event, driving.Line | Ran),
    "openvpn": lambda event: isinstance(event, driving.Received),
    "pptp": lambda event: isinstance(event, Report | driving.Tick),
    "tinc": lambda event: isinstance(event, driving.Tick),
    "vpnc": lambda event: isinstance(event, Report) and event.values.get("reason") == "connect",
    "wireguard": lambda event: isinstance(event, driving.Received | driving.WireguardStatus),
}


def test_every_driver_and_every_event_that_there_is_is_tried() -> None:
    assert set(STRATEGIES) == set(get_args(driving.DriverEvent))
    assert set(DRIVERS) == {TYPE_OF.get(kind, kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@given(found=beginnings, played=steps)
def test_whatever_happens_a_driver_is_ready_by_its_own_sign_alone_and_says_no_more_after_its_end(
    kind: str, found: Recovered | None, played: Played
) -> None:
    play = begun(kind, found)
    for event, later in played:
        play.now += later
        over = any(isinstance(news, Failed) for news in play.news)
        actions = play.feed(event)
        assert not (over and actions), f"{event} after its end led to {actions}"
        if any(isinstance(news, Ready) for news in news_in(actions)):
            assert SIGNS[kind](event), f"ready by {event}"
    assert sum(isinstance(news, Failed) for news in play.news) <= 1
    told = [news for news in play.news if isinstance(news, Ready)]
    assert len(told) <= 1 or (kind in TOLD_AGAIN and all(one != other for one, other in pairwise(told)))
    text = shown(play)
    for secret in SECRETS:
        assert secret not in text
        assert not is_key(secret) or b64decode(secret).hex() not in text


def test_the_secrets_of_the_test_above_do_go_to_the_programs() -> None:
    given_away = b""
    for kind in KINDS:
        play = begun(kind, None)
        play.feed(driving.DeviceRefused(DEVICES[kind], unsupported=True, words=""), driving.Opened("uapi"))
        for action in play.actions:
            match action:
                case Spawn(stdin=Secret() as hidden) | Run(stdin=Secret() as hidden) | Send(data=hidden):
                    given_away += hidden.reveal()
                case Write(content=hidden):
                    given_away += hidden.reveal()
                case _:
                    pass
    for secret in SECRETS:
        assert (b64decode(secret).hex() if is_key(secret) else secret).encode() in given_away


@given(values=st.dictionaries(st.sampled_from(REPORTED), VALUES | st.text()))
def test_a_hostile_report_leads_to_clean_facts_or_to_a_failure(values: dict[str, str]) -> None:
    play = begun("vpnc", None)
    play.feed(Report({**values, "reason": "connect"}))
    (news,) = play.news
    facts = news.facts if isinstance(news, Ready) else Facts()
    assert (facts.banner + "".join(facts.search) + "".join(facts.dns) + (facts.device or "")).isprintable()
    assert all(prefix.prefixlen >= 8 for prefix in facts.prefixes)
    assert all(own.network.prefixlen == 32 for own in facts.addresses)


@pytest.mark.parametrize("name", ["openssh-ready", "openssh-silent-later", "vpnc-ready", "vpnc-server-stopped"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_transcript_of_another_program_is_survived(kind: str, name: str) -> None:
    play = begun(kind, None)
    play.feed(*transcript(name))
    assert sum(isinstance(news, Failed) for news in play.news) <= 1
