"""What is printed is complete, is for people, and never lets a stranger's bytes near the terminal."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn import wiring
from autovpn.cli import paint
from autovpn.cli.document import Block, Row, Table, Tone
from autovpn.cli.main import main
from autovpn.cli.render import render_check, render_explain, render_plan
from autovpn.cli.render_status import render_status
from autovpn.cli.safe import clean
from autovpn.cli.times import seconds, spoken
from autovpn.core.decide import Decision, decide
from autovpn.core.diff import diff
from autovpn.core.dnschoice import Choice
from autovpn.core.escape import show_ssid, show_text
from autovpn.core.memory import Memory, Override, Ride
from autovpn.core.network import Gateway, Grade, Security, Wireless
from autovpn.core.profile import Action, Condition, Key, Policy, Profile
from autovpn.core.settings import OpensshSettings
from autovpn.core.snapshot import Link, LinkId, LinkType, Phase, Snapshot
from autovpn.core.tunnel import (
    Facts,
    Failure,
    FailureClass,
    PinnedEndpoint,
    RouteMode,
    RouteWish,
    TunnelPhase,
    TunnelSpec,
    TunnelState,
)
from autovpn.core.wanted import instance_of, steps_for
from autovpn.daemon.report import DnsStanding, StatusExtra, status
from autovpn.daemon.report_explain import explain
from autovpn.daemon.report_plan import plan

FULL = TunnelSpec("home-ssh", "openssh", OpensshSettings("vpn.example"), "avpn0", routes=RouteWish(RouteMode.FULL))
CAMPUS = Profile("campus", conditions=(Condition(Key.SSID, (b"YourEssid",)),), tunnels=(FULL,))
TRUSTED = Profile("trusted", action=Action.DISCONNECT, conditions=(Condition(Key.SSID, (b"Home",)),))
POLICY = Policy((TRUSTED, CAMPUS))
BY_FILE = Choice("file", ("resolved: systemd-resolved does not answer", "file: /etc/resolv.conf may be swapped"))
EXTRA = StatusExtra(now=130.0, started=30.0, pid=7, version="1.2", dns=DnsStanding("file", in_force=True))
FACTS = Facts(
    "avpn0",
    (ip_interface("10.98.0.2/30"),),
    dns=("10.8.0.1",),
    banner="Welcome\x07",
    form="ESP in UDP",
    refused=("route 0.0.0.0/0\x1b",),
)
HARMLESS = set("\n") | {chr(code) for code in range(0x20, 0x7F)}
ssids = st.binary(max_size=32)


def wlan(ssid: bytes = b"YourEssid", name: str = "wlan0") -> Link:
    return Link(
        LinkId(3),
        name,
        LinkType.WIFI,
        Phase.USABLE,
        is_uplink=True,
        addresses=(ip_interface("192.168.1.20/24"),),
        gateways=(Gateway(ip_address("192.168.1.1")),),
        metric=600,
        wireless=Wireless(ssid, "02:00:00:00:01:00", 2412, -52.0, Security.PSK, authorized=True),
    )


def looked(link: Link, policy: Policy = POLICY, memory: Memory | None = None) -> tuple[Decision, Snapshot]:
    snapshot = Snapshot((link,))
    return decide(snapshot, policy, memory or Memory(), 100.0), snapshot


def printed(link: Link, policy: Policy = POLICY) -> str:
    """Return all that status, explain and plan say of a link."""
    decision, snapshot = looked(link, policy)
    wanted = steps_for(decision, snapshot, policy)
    blocks = [
        *render_status(json.loads(json.dumps(status(decision, snapshot, policy, wanted, EXTRA)))),
        *render_explain(json.loads(json.dumps(explain(decision, snapshot, policy, BY_FILE)))),
        *render_plan(json.loads(json.dumps(plan(diff((), wanted))))),
    ]
    return paint.plain(blocks)


def status_of(state: TunnelState, **changes: object) -> str:
    decision, snapshot = looked(wlan())
    activation = decision.activation("campus")
    assert activation
    told = replace(state, instance=instance_of(activation, FULL))
    snapshot = replace(snapshot, tunnels={("campus", "home-ssh"): told})
    steps = steps_for(decision, snapshot, POLICY)
    report = status(decision, snapshot, POLICY, steps, EXTRA) | changes
    return paint.plain(render_status(json.loads(json.dumps(report))))


def test_explain_says_which_form_the_packets_of_a_tunnel_have() -> None:
    decision, snapshot = looked(wlan())
    snapshot = replace(snapshot, tunnels={("campus", "home-ssh"): TunnelState(TunnelPhase.UP, facts=FACTS)})
    said = paint.plain(render_explain(json.loads(json.dumps(explain(decision, snapshot, POLICY, BY_FILE)))))
    assert "home-ssh: ESP in UDP" in said


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_of_an_ssid_is_shown_escaped_and_as_hex(byte: int) -> None:
    ssid = b"a" + bytes([byte]) + b"b"
    said = printed(wlan(ssid))
    assert show_ssid(ssid) in said
    assert ssid.hex() in said
    assert set(said) <= HARMLESS


@given(ssids)
def test_no_ssid_reaches_the_terminal_raw(ssid: bytes) -> None:
    said = printed(wlan(ssid))
    assert all(character == "\n" or character.isprintable() for character in said)
    assert show_ssid(ssid) in said


@pytest.mark.parametrize(
    "ssid", [b"$(reboot)", b"line\nbreak", b"\x00" * 32, b"'\"`\\", b"\xff\xfe", b"", "\u202eevil".encode(), b"[red]x"]
)
def test_an_ssid_that_matches_is_shown_as_one_that_does_not(ssid: bytes) -> None:
    policy = Policy((replace(CAMPUS, conditions=(Condition(Key.SSID, (ssid,)),)),))
    said = printed(wlan(ssid), policy)
    assert show_ssid(ssid) in said
    assert ("is chosen" in said) is bool(ssid)


@given(st.text(max_size=40) | ssids.map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_no_text_from_anywhere_reaches_the_terminal_raw(text: str) -> None:
    blocks = [Block(text, text, body=[Row("label", text), Table(["a", "b"], [[text, text]], [Tone.BAD])])]
    said = paint.plain(blocks)
    assert all(character == "\n" or character.isprintable() for character in said)
    assert said.count("\n") == 4


@given(st.text())
def test_what_is_escaped_once_is_not_escaped_again(text: str) -> None:
    assert clean(show_text(text)) == show_text(text) or "\\\\" in show_text(text)
    assert clean(clean(text)) == clean(text)


def rich_text(blocks: list[Block], monkeypatch: pytest.MonkeyPatch) -> str:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    paint.paint(blocks)
    return stream.getvalue()


def test_rich_markup_in_names_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "[red]a[/red] :bomb: [link=http://x]y[/link]"
    said = rich_text(
        [Block(name, name, Tone.GOOD, [Row("label", name, Tone.BAD), Table(["h"], [[name]], [Tone.WARN])], depth=1)],
        monkeypatch,
    )
    assert said.count(name) == 4
    assert "\x1b[31m" in said
    assert "\x1b]" not in said


def test_on_a_terminal_long_text_is_wrapped_beside_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = rich_text([Block("t", body=[Row("label", "word " * 60)]), Block("u")], monkeypatch).splitlines()
    assert len(lines) > 4
    assert lines[2].startswith("         word")


def test_a_good_connection_is_one_glance() -> None:
    up = TunnelState(
        TunnelPhase.UP,
        attempt=1,
        since=100.0,
        facts=FACTS,
        endpoints=(PinnedEndpoint(ip_address("192.0.2.7"), 22, "tcp"),),
    )
    said = status_of(up)
    assert said.startswith('wlan0  Wi-Fi "YourEssid": campus, up through home-ssh for 30 s\n')
    assert "tunnel      home-ssh (openssh): up for 30 s, avpn0, 10.98.0.2/30" in said
    assert "10.8.0.1 (by file)" in said
    assert r"Welcome\x07" in said
    assert "ESP in UDP" in said
    assert r"route 0.0.0.0/0\x1b" in said


def test_a_failure_comes_with_the_words_the_advice_and_the_danger() -> None:
    failed = TunnelState(
        TunnelPhase.FAILED,
        attempt=3,
        since=100.0,
        not_before=400.0,
        last_failure=Failure(FailureClass.UNREACHABLE, "no route"),
    )
    said = status_of(failed)
    assert "failed: home-ssh" in said
    assert "attempt 3 of 3, next try in 4 min 30 s" in said
    assert "failure     unreachable: no route" in said
    assert "advice      Nothing answered." in said
    assert "NOT PROTECTED" in said


def test_what_concerns_the_machine_stands_at_the_end() -> None:
    said = status_of(
        TunnelState(),
        dns={"backend": "file", "in_force": False, "standing": "foreign", "degraded": "rewritten", "notes": ["n"]},
        reload_failed=True,
        undoing=["tunnel old of gone"],
        resyncs={"netlink_resyncs": 2, "wireless_resyncs": 0},
        problems={"configuration": ["a.toml:1: x"], "hooks": ["postup failed"], "journal": ["disk full"]},
    )
    for words in (
        "not in force, foreign",
        "rewritten",
        "a.toml:1: x",
        "postup failed",
        "disk full",
        "netlink resyncs: 2",
    ):
        assert words in said
    assert "mend them, then: autovpn reload" in said
    assert "undoing" in said
    assert "wireless resyncs" not in said


def whole_status(link: Link, policy: Policy, memory: Memory) -> str:
    decision, snapshot = looked(link, policy, memory)
    return paint.plain(render_status(json.loads(json.dumps(status(decision, snapshot, policy, (), EXTRA)))))


@pytest.mark.parametrize(
    ("link", "policy", "words"),
    [
        (replace(wlan(), phase=Phase.DORMANT), POLICY, "dormant"),
        (wlan(b"Elsewhere"), POLICY, "left alone: no profile matches"),
        (wlan(), Policy((replace(CAMPUS, action=Action.IGNORE, require=Grade.HINT),)), "left alone: campus says so"),
        (wlan(b"Home"), Policy((replace(TRUSTED, require=Grade.SHARED_KEY),)), "trusted, no tunnel wanted here"),
        (replace(wlan(), wireless=None, wireless_pending=True), POLICY, "not decided yet"),
    ],
)
def test_the_headline_says_what_is_wanted_where_nothing_runs(link: Link, policy: Policy, words: str) -> None:
    assert words in whole_status(link, policy, Memory()).splitlines()[0]


def test_marks_and_wishes_by_hand_are_shown() -> None:
    network = wlan().network
    leaving = whole_status(wlan(), POLICY, Memory(leaving={LinkId(3): 90.0}))
    assert "a network manager is about to take it down; forgotten in 20 s" in leaving
    up = Override(up=True, profile="campus", uplink=LinkId(3), network=network, tunnel="home-ssh", until=190.0)
    assert "up campus on wlan0 through home-ssh, for another 1 min" in whole_status(
        wlan(), POLICY, Memory(overrides=(up,))
    )
    down = Override(up=False, profile=None, uplink=LinkId(3), network=network)
    taken_down = whole_status(wlan(), POLICY, Memory(overrides=(down,)))
    assert "left alone: taken down by hand" in taken_down
    assert "down everything on wlan0, until the network changes" in taken_down


def test_an_activation_whose_uplink_is_gone_has_a_place_of_its_own() -> None:
    ride = Ride("campus", LinkId(9), wlan().network, epoch=1, since=50.0)
    snapshot = Snapshot()
    decision = decide(snapshot, POLICY, Memory(rides=(ride,)), 100.0)
    said = paint.plain(render_status(json.loads(json.dumps(status(decision, snapshot, POLICY, (), EXTRA)))))
    assert said.startswith("campus  starting, but its uplink is gone\n")


@pytest.mark.parametrize(
    ("choice", "verdict"), [(BY_FILE, "is set by the back end file"), (Choice(None, BY_FILE.why), "can't be set")]
)
def test_explain_says_who_sets_the_machines_dns_and_why(choice: Choice, verdict: str) -> None:
    said = paint.plain(render_explain(explain(Decision(), Snapshot(), POLICY, choice)))

    assert verdict in said
    assert all(why in said for why in choice.why)


def test_explain_of_nothing_says_so() -> None:
    assert "no uplinks" in paint.plain(render_explain({"uplinks": []}))


def test_an_empty_plan_says_so() -> None:
    assert "the machine is as it is wanted" in paint.plain(render_plan({"changes": []}))


def test_what_a_dead_daemon_left_is_told_before_the_plan() -> None:
    said = paint.plain(render_plan({"changes": [], "left_behind": ["pin of office", "tunnel of office"]}))
    assert "2 steps of a daemon that is gone" in said
    assert "tunnel of office" in said
    assert "autovpn recover" in said
    assert "as it is wanted" not in said


def test_a_check_counts() -> None:
    report = {"directory": "/etc/autovpn", "problems": [], "notes": [], "profiles": ["a", "b"], "usable": True}
    assert "fine: 2 profiles" in paint.plain(render_check(report))


def test_without_a_daemon_explain_and_plan_look_for_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decision, snapshot = looked(wlan())
    seen = wiring.Observation(decision, snapshot, POLICY, BY_FILE)
    monkeypatch.setattr(wiring, "observe_once", lambda _: seen)
    monkeypatch.setattr(wiring, "left_behind", lambda _: ("the tunnel of an older daemon",))
    assert main(["explain", "wlan0", "--run-dir", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "2. campus  is chosen" in out
    assert "the daemon isn't running" in err
    assert main(["plan", "--run-dir", str(tmp_path)]) == 0
    assert "preup" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("span", "words"),
    [(0, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (90061, "1 d 1 h"), (-5, "0 s"), (None, "")],
)
def test_spans_are_said_in_two_units(span: float | None, words: str) -> None:
    assert spoken(span) == words


@pytest.mark.parametrize(
    ("text", "value"), [("30", 30), ("30s", 30), ("500ms", 0.5), ("1.5m", 90), ("5min", 300), ("1h", 3600), ("0s", 0)]
)
def test_times_are_read_as_people_write_them(text: str, value: float) -> None:
    assert seconds(text) == value


@given(st.text(max_size=12))
def test_any_text_is_a_time_or_refused_in_words(text: str) -> None:
    try:
        assert 0 <= seconds(text) <= 3600
    except ValueError as error:
        assert "time" in str(error) or "longer" in str(error)  # noqa: PT017  # either outcome is right
