"""What status, explain and plan say: complete, JSON-able, and true to the decision."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from autovpn.cli.paint import plain
from autovpn.cli.render_status import render_status
from autovpn.core.decide import Decision, decide
from autovpn.core.diff import Amend, Do, Plan, Undo, diff
from autovpn.core.dnschoice import Choice, DnsWish
from autovpn.core.driving import Uplink
from autovpn.core.endpoint import Endpoint
from autovpn.core.hookenv import HookContext
from autovpn.core.memory import Memory, Override
from autovpn.core.network import Gateway, Grade, Security, Wireless
from autovpn.core.profile import Action, Condition, Event, Hook, Key, Policy, Profile
from autovpn.core.settings import OpensshSettings, OpenvpnSettings
from autovpn.core.snapshot import Link, LinkId, LinkType, Phase, Snapshot
from autovpn.core.steps import (
    AddressValue,
    DnsValue,
    GuardValue,
    HookMoment,
    HookValue,
    PinValue,
    RoutesValue,
    Step,
    StepKind,
    TunnelValue,
)
from autovpn.core.supervise import BecameReady, Broke, Resolved, TunnelEvent, supervise
from autovpn.core.tunnel import (
    Facts,
    Failure,
    FailureClass,
    PinnedEndpoint,
    RouteMode,
    RouteWish,
    TunnelSpec,
    TunnelState,
)
from autovpn.core.wanted import steps_for, tunnel_events
from autovpn.daemon.report import DnsStanding, StatusExtra, status
from autovpn.daemon.report_explain import explain
from autovpn.daemon.report_plan import describe, plan
from autovpn.errors import ControlError

SSH = TunnelSpec("home-ssh", "openssh", OpensshSettings("vpn.example"), "avpn0")
FULL = replace(SSH, name="full", routes=RouteWish(RouteMode.FULL))
HOOKS = (Hook(Event.POSTUP, ("mount", "/net")), Hook(Event.PREDOWN, ("umount", "/net")))
SSID = Condition(Key.SSID, (b"YourEssid",))
HOME = Profile("home", "10-home.toml", Action.DISCONNECT, (Condition(Key.SSID, (b"Home",)),))
CAMPUS = Profile("campus", "30-campus.toml", conditions=(SSID,), tunnels=(SSH,), hooks=HOOKS)
ANYWHERE = Profile("anywhere", "99-anywhere.toml", is_default=True, tunnels=(replace(SSH, name="other"),))
POLICY = Policy((HOME, CAMPUS, ANYWHERE))
ETH0 = Link(LinkId(2), "eth0", LinkType.ETHERNET, Phase.DOWN, is_uplink=True)
PIN = PinnedEndpoint(ip_address("192.0.2.7"), 22, "tcp")
FACTS = Facts("avpn0", (ip_interface("10.98.0.2/30"),), prefixes=(ip_network("10.0.0.0/8"),), dns=("10.8.0.1",))
UP: tuple[TunnelEvent, ...] = (Resolved((PIN,)), BecameReady(FACTS))
REFUSED: tuple[TunnelEvent, ...] = (Resolved((PIN,)), Broke(Failure(FailureClass.AUTH, "Permission denied")))
EXTRA = StatusExtra(now=130.0, started=30.0, pid=7, version="1.2")


def wlan(ssid: bytes = b"YourEssid", security: Security = Security.PSK, *, authorized: bool = True) -> Link:
    return Link(
        LinkId(3),
        "wlan0",
        LinkType.WIFI,
        Phase.USABLE,
        is_uplink=True,
        addresses=(ip_interface("192.168.1.20/24"),),
        gateways=(Gateway(ip_address("192.168.1.1"), "02:00:00:00:00:09"),),
        metric=600,
        wireless=Wireless(ssid, "02:00:00:00:01:00", 2412, -52.0, security, authorized=authorized),
    )


def world(
    policy: Policy = POLICY,
    link: Link | None = None,
    told: tuple[TunnelEvent, ...] = (),
    memory: Memory | None = None,
) -> tuple[Decision, Snapshot]:
    """Decide at 100 s, tell every wanted tunnel these events, and decide again at 130 s."""
    snapshot = Snapshot((ETH0, link or wlan()))
    decision = decide(snapshot, policy, memory or Memory(), 100.0)
    tunnels = {}
    for key, event in tunnel_events(decision, snapshot, policy).items():
        tunnels[key] = supervise(TunnelState(), event, 100.0)
        for later in told:
            tunnels[key] = supervise(tunnels[key], later, 110.0)
    snapshot = Snapshot((ETH0, link or wlan()), tunnels)
    return decide(snapshot, policy, decision.memory, 130.0), snapshot


def reported(
    policy: Policy = POLICY,
    link: Link | None = None,
    told: tuple[TunnelEvent, ...] = (),
    memory: Memory | None = None,
    extra: StatusExtra = EXTRA,
    applied: tuple[Step, ...] | None = None,
) -> dict[str, object]:
    decision, snapshot = world(policy, link, told, memory)
    steps = steps_for(decision, snapshot, policy) if applied is None else applied
    report: dict[str, object] = json.loads(json.dumps(status(decision, snapshot, policy, steps, extra)))
    return report


def only(report: dict[str, object], key: str) -> dict[str, object]:
    items = report[key]
    assert isinstance(items, list)
    assert len(items) == 1
    item = items[0]
    assert isinstance(item, dict)
    return item


def first(report: dict[str, object], key: str) -> dict[str, object]:
    items = report[key]
    assert isinstance(items, list)
    item = items[0]
    assert isinstance(item, dict)
    return item


def test_status_tells_of_an_uplink_its_network_its_profile_and_why() -> None:
    uplink = first(reported(told=UP), "uplinks")
    assert uplink["name"] == "wlan0"
    assert uplink["governing"] is True
    assert (uplink["ssid"], uplink["ssid_hex"]) == ("YourEssid", b"YourEssid".hex())
    assert (uplink["profile"], uplink["outcome"]) == ("campus", "connect")
    assert uplink["reason"] == "campus matches: every condition holds"
    assert (uplink["evidence"], uplink["security"]) == ("shared-key", "psk")
    assert uplink["usable_for"] == 30.0
    assert uplink["addresses"] == ["192.168.1.20/24"]


def test_status_tells_where_a_tunnel_leads_and_what_the_kernel_does_not_pass_on() -> None:
    behind = replace(SSH, local=(ip_network("10.30.0.0/24"), ip_network("2001:db8:30::/64")))
    policy = Policy((replace(CAMPUS, tunnels=(behind,)),))
    told = (
        Resolved((PIN,)),
        BecameReady(replace(FACTS, prefixes=tuple(ip_network(f"10.{n}.0.0/16") for n in range(9)))),
    )
    report = reported(policy, told=told, extra=replace(EXTRA, forwards=frozenset({6})))
    tunnel = only(only(report, "activations"), "tunnels")
    missing = tunnel["not_forwarded"]
    assert isinstance(missing, list)
    (words,) = missing
    assert words.startswith("net.ipv4.ip_forward is 0, so nothing passes between 10.30.0.0/24 and the tunnel")
    said = plain(render_status(report))
    assert words in " ".join(said.split())
    assert "10.0.0.0/16, 10.1.0.0/16," in said
    assert "10.7.0.0/16 and 1 more" in " ".join(said.split())
    assert "10.8.0.0/16" not in said


def test_status_names_the_far_ends_without_an_address_of_a_tunnel_that_goes_on_with_others() -> None:
    remotes = (Endpoint("lost.example", 1194), Endpoint("vpn.example", 1194))
    policy = Policy((replace(CAMPUS, tunnels=(replace(SSH, settings=OpenvpnSettings("x", remotes)),)),))
    found = PinnedEndpoint(ip_address("203.0.113.7"), 1194, "udp", "vpn.example")
    report = reported(policy, told=(Resolved((found,)),))
    assert only(only(report, "activations"), "tunnels")["unresolved"] == ["lost.example"]
    assert "no address was found for lost.example" in " ".join(plain(render_status(report)).split())
    nowhere = reported(policy, told=(Resolved(()),))
    assert only(only(nowhere, "activations"), "tunnels")["unresolved"] == []


def test_nothing_is_said_of_forwarding_before_there_is_anything_to_pass_on() -> None:
    policy = Policy((replace(CAMPUS, tunnels=(replace(SSH, local=(ip_network("10.30.0.0/24"),)),)),))
    report = reported(policy, extra=replace(EXTRA, forwards=frozenset()))
    assert only(only(report, "activations"), "tunnels")["not_forwarded"] == []


def test_status_shows_an_uplink_that_is_down_too() -> None:
    uplinks = reported()["uplinks"]
    assert isinstance(uplinks, list)
    assert [(uplink["name"], uplink["phase"], uplink["outcome"]) for uplink in uplinks] == [
        ("wlan0", "usable", "connect"),
        ("eth0", "down", None),
    ]


def test_status_tells_of_an_activation_its_tunnel_its_dns_and_since_when() -> None:
    activation = only(reported(told=UP), "activations")
    assert (activation["state"], activation["role"], activation["since"]) == ("up", "split", 30.0)
    assert activation["dns"] == ["10.8.0.1"]
    assert "tunnel home-ssh of campus" in str(activation["steps"])
    tunnel = only(activation, "tunnels")
    assert (tunnel["phase"], tunnel["since"], tunnel["attempt"]) == ("up", 20.0, 1)
    assert (tunnel["device"], tunnel["addresses"], tunnel["endpoints"]) == ("avpn0", ["10.98.0.2/30"], ["192.0.2.7"])


def test_status_gives_the_last_failure_in_the_programs_words_with_advice() -> None:
    activation = only(reported(told=REFUSED), "activations")
    assert activation["state"] == "failed"
    failure = only(activation, "tunnels")["last_failure"]
    assert isinstance(failure, dict)
    assert (failure["class"], failure["words"]) == ("auth", "Permission denied")
    assert "autovpn up campus" in failure["advice"]


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ((), "resolving"),
        ((Resolved((PIN,)),), "connecting"),
        ((Broke(Failure(FailureClass.NAME, "no such host")),), "retrying"),
        (UP, "up"),
        (REFUSED, "failed"),
    ],
)
def test_the_state_of_an_activation_is_that_of_its_tunnel(told: tuple[TunnelEvent, ...], state: str) -> None:
    assert only(reported(told=told), "activations")["state"] == state


def test_a_tunnel_that_is_up_while_steps_are_missing_is_not_called_up_yet() -> None:
    assert only(reported(told=UP, applied=()), "activations")["state"] == "finishing"


def test_a_retry_is_announced() -> None:
    tunnel = only(only(reported(told=(Broke(Failure(FailureClass.NAME, "")),)), "activations"), "tunnels")
    assert tunnel["retry_in"] == 0.0
    assert tunnel["attempts"] == 3


@pytest.mark.parametrize(("told", "is_open"), [(UP, False), (REFUSED, True), ((), False)])
def test_a_full_tunnel_that_gave_up_is_said_to_leave_traffic_open(told: tuple[TunnelEvent, ...], is_open: bool) -> None:
    policy = Policy((replace(CAMPUS, tunnels=(FULL,)),))
    assert only(reported(policy, told=told), "activations")["open"] is is_open


BY_FILE = Choice("file", ("resolved: systemd-resolved does not answer", "file: /etc/resolv.conf may be swapped"))
DNS_FAILED = DnsStanding("file", in_force=False)


@pytest.mark.parametrize(
    ("tunnel", "facts", "extra", "in_clear"),
    [
        (FULL, FACTS, EXTRA, False),
        (FULL, replace(FACTS, dns=()), EXTRA, True),
        (SSH, replace(FACTS, dns=()), EXTRA, False),
        (FULL, FACTS, replace(EXTRA, dns=DNS_FAILED), True),
        (FULL, FACTS, replace(EXTRA, dns=replace(DNS_FAILED, in_force=True)), False),
    ],
)
def test_a_running_full_tunnel_without_dns_in_force_is_said_to_leave_names_in_clear(
    tunnel: TunnelSpec, facts: Facts, extra: StatusExtra, in_clear: bool
) -> None:
    policy = Policy((replace(CAMPUS, tunnels=(tunnel,)),))
    report = reported(policy, told=(Resolved((PIN,)), BecameReady(facts)), extra=extra)
    assert only(report, "activations")["names_in_clear"] is in_clear
    shown = plain(render_status(report))
    assert ("NAMES NOT PROTECTED" in shown) is in_clear


def test_a_profile_without_tunnels_is_up_once_its_hooks_ran() -> None:
    policy = Policy((replace(CAMPUS, tunnels=(), require=Grade.HINT),))
    assert only(reported(policy), "activations")["state"] == "up"
    assert only(reported(policy, applied=()), "activations")["state"] == "starting"


def test_a_second_exclusive_activation_stands_by_and_says_why() -> None:
    exclusive = replace(CAMPUS, tunnels=(FULL,))
    other = replace(exclusive, name="other", conditions=(Condition(Key.INTERFACE, ("eth1",)),), tunnels=(FULL,))
    wired = replace(wlan(), id=LinkId(4), name="eth1", type=LinkType.ETHERNET, wireless=None, metric=900)
    snapshot = Snapshot((wlan(), wired))
    policy = Policy((exclusive, other))
    report = status(decide(snapshot, policy, Memory(), 1.0), snapshot, policy, (), EXTRA)
    activations = report["activations"]
    assert isinstance(activations, list)
    assert [activation["state"] for activation in activations] == ["starting", "standby"]
    assert "campus has all traffic" in activations[1]["reason"]


def test_what_is_left_of_an_unwanted_activation_is_named() -> None:
    left = Step(StepKind.TUNNEL, "gone", "old", TunnelValue("1-x", 1, Uplink(LinkId(3), "wlan0"), ()))
    assert reported(applied=(left,))["undoing"] == ["tunnel old of gone"]


def test_overrides_are_shown_with_their_time() -> None:
    up = Override(up=True, profile="anywhere", uplink=LinkId(3), network=wlan().network, tunnel="other", until=190.0)
    override = only(reported(memory=Memory(overrides=(up,))), "overrides")
    assert override == {
        "command": "up",
        "profile": "anywhere",
        "uplink": "wlan0",
        "tunnel": "other",
        "seconds_left": 60.0,
    }


def test_a_leaving_mark_is_shown_with_what_is_left_of_it() -> None:
    report = reported(memory=Memory(leaving={LinkId(3): 95.0}))
    uplinks = report["uplinks"]
    assert isinstance(uplinks, list)
    assert {uplink["name"]: uplink["leaving"] for uplink in uplinks} == {"wlan0": 25.0, "eth0": None}


def test_every_complaint_finds_its_place() -> None:
    extra = replace(
        EXTRA,
        dns=DnsStanding("file", in_force=False, standing="foreign", degraded="rewritten", notes=("n",), why=("w",)),
        configuration=("a.toml:1: x: wrong",),
        reload_failed=True,
        hooks=("postup failed",),
        journal=("the disk is full",),
        resyncs={"ENOBUFS": 2},
    )
    report = reported(extra=extra)
    assert report["problems"] == {
        "configuration": ["a.toml:1: x: wrong"],
        "hooks": ["postup failed"],
        "journal": ["the disk is full"],
    }
    assert (report["reload_failed"], report["resyncs"], report["running_for"]) == (True, {"ENOBUFS": 2}, 100.0)
    assert report["dns"] == {
        "backend": "file",
        "in_force": False,
        "standing": "foreign",
        "degraded": "rewritten",
        "notes": ["n"],
        "why": ["w"],
    }


def profiles(link: Link | None = None, memory: Memory | None = None) -> dict[str, dict[str, object]]:
    decision, snapshot = world(link=link, memory=memory)
    uplink = first(json.loads(json.dumps(explain(decision, snapshot, POLICY, BY_FILE, "wlan0"))), "uplinks")
    found = uplink["profiles"]
    assert isinstance(found, list)
    return {profile["name"]: profile for profile in found}


def test_explain_tells_of_every_profile_every_condition() -> None:
    found = profiles()
    assert list(found) == ["home", "campus", "anywhere"]
    assert [found[name]["chosen"] for name in found] == [False, True, False]
    assert only(found["home"], "conditions") == {
        "key": "ssid",
        "negated": False,
        "wanted": '"Home"',
        "observed": '"YourEssid"',
        "verdict": "no",
    }


def test_explain_says_what_would_let_another_profile_win() -> None:
    found = profiles()
    assert found["home"]["to_win"] == ['ssid would have to be "Home"']
    assert found["campus"]["to_win"] == []
    assert found["anywhere"]["to_win"] == ["campus, tried before it, would have to not match"]


def test_explain_says_where_only_evidence_is_missing() -> None:
    home = profiles(wlan(b"Home", Security.OPEN))["home"]
    assert home["reason"] == "the evidence is hint, and it requires proof"
    assert home["needs_evidence"] == "proof"
    assert home["to_win"] == ["the network would have to prove itself by proof"]


def test_explain_says_that_a_wish_by_hand_is_what_decides() -> None:
    up = Override(up=True, profile="anywhere", uplink=LinkId(3), network=wlan().network)
    found = profiles(memory=Memory(overrides=(up,)))
    assert found["anywhere"]["chosen"] is True
    assert "by hand" in str(found["campus"]["to_win"])


def test_explain_names_the_dns_back_end_and_the_whole_trail_to_it() -> None:
    found = explain(Decision(), Snapshot(), POLICY, BY_FILE)

    assert found["dns"] == {"backend": "file", "setting": "auto", "why": list(BY_FILE.why)}


def test_explain_says_what_is_still_open() -> None:
    pending = replace(wlan(), wireless=None, wireless_pending=True)
    snapshot = Snapshot((pending,))
    found = explain(decide(snapshot, POLICY, Memory(), 1.0), snapshot, POLICY, BY_FILE)
    uplink = first(found, "uplinks")
    assert uplink["outcome"] == "pending"
    assert "it is still open" in str(first(uplink, "profiles")["to_win"])


@pytest.mark.parametrize(
    ("link", "memory", "words"),
    [
        (ETH0, Memory(), "it is down"),
        (replace(wlan(), is_uplink=False), Memory(), "uplinks.include"),
        (wlan(), Memory(leaving={LinkId(3): 0.0}), "about to take it down"),
    ],
)
def test_explain_says_why_a_link_is_not_judged(link: Link, memory: Memory, words: str) -> None:
    snapshot = Snapshot((link,))
    found = explain(decide(snapshot, POLICY, memory, 1.0), snapshot, POLICY, BY_FILE, link.name)
    uplink = only(found, "uplinks")
    assert uplink["outcome"] is None
    assert words in str(uplink["reason"])


def test_explain_of_an_unknown_uplink_names_those_that_there_are() -> None:
    decision, snapshot = world()
    with pytest.raises(ControlError, match=r"no uplink wlan9; there is wlan0, eth0"):
        explain(decision, snapshot, POLICY, BY_FILE, "wlan9")
    with pytest.raises(ControlError, match="none at all"):
        explain(Decision(), Snapshot(), POLICY, BY_FILE, "wlan9")


UPLINK = Uplink(LinkId(3), "wlan0")
CONTEXT = HookContext(event="postup", profile="campus", uplink="wlan0", ssid=None, bssid=None, network="", tunnel=None)
MOMENT = HookMoment(up=(HOOKS[0],), down=(HOOKS[1],), context=CONTEXT)
ROUTES = RoutesValue(
    RouteMode.SPLIT, "avpn0", (ip_network("10.0.0.0/8"),), (ip_address("10.8.0.1"),), "wlan0", (), True, False
)
STEPS = [
    (Step(StepKind.PREUP, "p", "", HookValue(1)), "the preup hooks"),
    (Step(StepKind.POSTUP, "p", "", HookValue(1), MOMENT), "the postup hooks: mount"),
    (Step(StepKind.GUARD, "p", "", GuardValue("wlan0")), "nothing leave in clear through wlan0"),
    (Step(StepKind.PIN, "p", "t", PinValue((PIN,))), "to 192.0.2.7 tcp 22"),
    (Step(StepKind.PIN, "p", "t", PinValue((replace(PIN, port=None, protocol="esp"),))), "to 192.0.2.7 esp"),
    (Step(StepKind.PIN, "p", "t", PinValue(())), "no address yet"),
    (Step(StepKind.TUNNEL, "p", "t", TunnelValue("1-x", 2, UPLINK, (PIN,))), "the tunnel t over wlan0, attempt 2"),
    (
        Step(StepKind.ADDRESS, "p", "t", AddressValue("avpn0", (ip_interface("10.0.0.2/32"),), None, 1400)),
        "10.0.0.2/32 on avpn0, MTU 1400",
    ),
    (Step(StepKind.ADDRESS, "p", "t", AddressValue("avpn0", (), None, 1400)), "no address on avpn0"),
    (Step(StepKind.ROUTES, "p", "t", ROUTES), "10.0.0.0/8, 10.8.0.1 through avpn0"),
    (Step(StepKind.ROUTES, "p", "t", replace(ROUTES, prefixes=(), dns=())), "nothing through avpn0"),
    (Step(StepKind.ROUTES, "p", "t", replace(ROUTES, mode=RouteMode.FULL)), "(IPv4; the rest is blocked)"),
    (Step(StepKind.DNS, "p", "", DnsValue(DnsWish("p", None, ("10.8.0.1",)))), "10.8.0.1 for all names"),
    (Step(StepKind.DNS, "p", "", DnsValue(DnsWish("p", None, ("10.8.0.1",), domains=("a.b",)))), "names under a.b"),
    (Step(StepKind.DNS, "p", "", DnsValue(DnsWish("p", None, (), whole_file="x"))), "of the profile's own"),
]


@pytest.mark.parametrize(("step", "words"), STEPS)
def test_a_step_is_described_in_words(step: Step, words: str) -> None:
    assert words in describe(step)


@pytest.mark.parametrize(
    ("kind", "words"), [(StepKind.PREUP, "the postdown hooks: umount"), (StepKind.POSTUP, "the predown hooks: umount")]
)
def test_undoing_a_bracket_names_the_other_hooks(kind: StepKind, words: str) -> None:
    assert describe(Step(kind, "p", "", HookValue(1), MOMENT), undoing=True) == words


def test_a_plan_keeps_the_order_and_says_what_was() -> None:
    old, new = STEPS[6][0], replace(STEPS[6][0], value=TunnelValue("1-x", 2, replace(UPLINK, name="eth0"), (PIN,)))
    report = json.loads(json.dumps(plan(Plan((Undo(STEPS[2][0]), Do(STEPS[3][0]), Amend(old, new))))))
    assert [change["change"] for change in report["changes"]] == ["undo", "do", "amend"]
    assert report["changes"][2]["was"] == "the tunnel t over wlan0, attempt 2"
    assert report["changes"][2]["what"] == "the tunnel t over eth0, attempt 2"


def test_the_plan_of_a_whole_activation_is_json() -> None:
    decision, snapshot = world(told=UP)
    report = json.loads(json.dumps(plan(diff((), steps_for(decision, snapshot, POLICY)))))
    assert [change["kind"] for change in report["changes"]] == [
        "preup",
        "pin",
        "tunnel",
        "address",
        "routes",
        "dns",
        "postup",
    ]
