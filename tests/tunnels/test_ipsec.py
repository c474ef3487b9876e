"""The ipsec driver, from what real runs of strongSwan said."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn import notify
from autovpn.core.actions import (
    CreateDevice,
    DropRules,
    Failed,
    LookAgainAt,
    Ready,
    SetUp,
    Spawn,
    ViciCall,
    ViciErrand,
    ViciOpen,
    Write,
)
from autovpn.core.driving import (
    Closed,
    DeviceCreated,
    DeviceRefused,
    DriverEvent,
    Exited,
    LinkAppeared,
    LinkVanished,
    Opened,
    Recovered,
    Report,
    Tick,
    UplinkChanged,
    ViciAnswer,
    ViciEvent,
)
from autovpn.core.secret import Secret
from autovpn.core.settings import IpsecAuth
from autovpn.core.tunnel import FailureClass, PinnedEndpoint
from autovpn.tunnels import charon
from tests.tunnels.playing import DEVICES, PASSWORD, START, TIMEOUT, UPLINK, Play, launch, only, recovered, transcript

DEVICE = DEVICES["ipsec"]
CHILD: dict[str, Any] = {"name": "autovpn-office", "state": "INSTALLED", "remote-ts": ("10.20.0.0/24",), "encap": "no"}
LISTED: dict[str, Any] = {"autovpn-office": {"local-vips": ("10.96.0.1",), "child-sas": {"autovpn-office-1": CHILD}}}
LIST = ViciEvent("list-sa", LISTED)
GONE = ViciEvent("list-sa", {"autovpn-office": {"child-sas": {}}})
CHILD_DOWN = ViciEvent("child-updown", {"autovpn-office": {}})


def kernel(**changes: Any) -> Play:  # noqa: ANN401 - fields of the launch or of its settings
    """Return a connection of the kernel's ESP of which everything is told but the list of SAs."""
    play = Play(launch("ipsec", **changes)).start()
    play.feed(DeviceCreated(DEVICE), Opened("vici"))
    while only(ViciCall, play.actions[-1:]).name != "list":
        play.feed(ViciAnswer(only(ViciCall, play.actions[-1:]).name))
    return play


def up(**changes: Any) -> Play:  # noqa: ANN401 - as above
    """Return a tunnel that is up."""
    play = kernel(**changes)
    play.feed(LIST, ViciAnswer("list"), Report({"PLUTO_VERB": "up-client", "PLUTO_DNS4_1": "10.20.0.53"}))
    assert [type(news) for news in play.news] == [Ready]
    return play


def calls(play: Play) -> dict[str, Any]:
    """Return the messages to strongSwan by command."""
    return {action.command: action.message for action in play.actions if isinstance(action, ViciCall)}


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("wrong-password", FailureClass.AUTH, "EAP-MS-CHAPv2 failed with error ERROR_AUTHENTICATION_FAILURE"),
        ("wrong-xauth-password", FailureClass.AUTH, "XAuth authentication of 'alice' (myself) failed"),
        ("wrong-group-secret", FailureClass.AUTH, "is the shared key right?"),
        ("wrong-authority", FailureClass.TRUST, "no issuer certificate found"),
        ("no-proposal", FailureClass.LOCAL, "NO_PROPOSAL_CHOSEN"),
        ("no-networks", FailureClass.LOCAL, "TS_UNACCEPTABLE"),
    ],
)
def test_a_refusal_is_told_in_words_of_strongswan(name: str, kind: FailureClass, words: str) -> None:
    play = Play(launch("ipsec")).start()
    play.feed(*transcript(f"ipsec-{name}"))
    (failed,) = play.news
    assert isinstance(failed, Failed)
    assert failed.kind is kind
    assert words in failed.words


def told(words: str) -> ViciEvent:
    """Return a line of strongSwan's log."""
    return ViciEvent("control-log", {"msg": words})


REFUSED = {
    "received EAP_FAILURE, EAP authentication failed": FailureClass.AUTH,
    "received AUTHENTICATION_FAILED notify error": FailureClass.AUTH,
    "no trusted ECDSA public key found for 'vpn.office.example'": FailureClass.TRUST,
}
BESIDE: tuple[DriverEvent, ...] = (
    told("sending DELETE for IKE_SA autovpn-office[1]"),
    told("peer didn't accept DH group"),
    told("received NO_PROPOSAL_CHOSEN notify error"),
    ViciEvent("ike-updown", {"autovpn-office": {"state": "CONNECTING"}}),
    ViciEvent("child-updown", {"autovpn-office": {}}),
    ViciEvent("list-sa", {"other": {}}),
    Report({"PLUTO_VERB": "down-client"}),
    LinkAppeared("ipsec0", 7),
    Tick(),
)
ENDINGS = (
    ViciAnswer("initiate", "establishing CHILD_SA 'autovpn-office' failed"),
    Exited(-9),
    Exited(0),
    Closed("vici"),
    None,  # the time is over
)


@given(st.data(), st.sampled_from(sorted(REFUSED)), st.permutations(ENDINGS))
def test_a_refusal_is_one_in_whatever_order_its_end_is_told(
    data: st.DataObject, words: str, endings: list[ViciAnswer | Exited | Closed | None]
) -> None:
    """A charon may be ended by somebody, or the time be over, between its words and its answer."""
    play = Play(launch("ipsec", esp="user")).start()
    play.feed(Opened("vici"))
    while only(ViciCall, play.actions[-1:]).name != "initiate":
        play.feed(ViciAnswer(only(ViciCall, play.actions[-1:]).name))
    beside = data.draw(st.lists(st.sampled_from(BESIDE), max_size=12))
    play.feed(*data.draw(st.permutations([told(words), *beside])))
    for ending in endings:
        if ending is None:
            play.now = START + TIMEOUT
        play.feed(ending or Tick())
    (failed,) = play.news
    assert isinstance(failed, Failed)
    assert failed.kind is REFUSED[words]


def test_it_is_ready_with_what_the_list_and_the_script_told() -> None:
    play = Play(launch("ipsec")).start()
    play.feed(*transcript("ipsec-ready"))
    (ready,) = play.news
    assert isinstance(ready, Ready)
    assert ready.facts.device == "ipsec0"
    assert ready.facts.addresses == (IPv4Interface("10.96.0.1/32"),)
    assert ready.facts.prefixes == (IPv4Network("10.20.0.0/24"),)
    assert ready.facts.dns == ("10.20.0.53", "10.20.0.54")
    assert ready.facts.form == (
        "ESP in UDP: strongSwan moves the packets itself, since this kernel has no device of kind xfrm"
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("child-deleted", "the server ended the tunnel (there is no child SA any more)"),
        ("ike-deleted", "the server ended the tunnel (there is no child SA any more)"),
        ("server-silent", "the server answers no more (dead peer detection)"),
        ("server-silent-ikev1", "the server answers no more (dead peer detection)"),
    ],
)
def test_a_tunnel_that_the_server_deletes_is_told_from_one_whose_server_is_dead(name: str, words: str) -> None:
    play = Play(launch("ipsec")).start()
    play.feed(*transcript(f"ipsec-{name}"))
    assert play.news[1:] == [Failed(FailureClass.LOST, words)]


def test_a_server_that_was_silent_once_is_not_called_so_after_it_answered() -> None:
    play = up()
    ike: dict[str, Any] = {"autovpn-office": {"state": "ESTABLISHED"}}
    play.feed(ViciEvent("ike-updown", ike), LIST, ViciAnswer("list"))
    play.feed(ViciEvent("ike-updown", {"up": "yes"} | ike), CHILD_DOWN, GONE, ViciAnswer("list"))
    assert play.news[1:] == [Failed(FailureClass.LOST, "the server ended the tunnel (there is no child SA any more)")]


def test_a_child_that_makes_room_for_another_one_is_no_loss() -> None:
    play = up()
    play.feed(CHILD_DOWN, LIST, ViciAnswer("list"))
    assert len(play.news) == 1


def test_what_becomes_of_a_connection_of_somebody_elses_is_no_news() -> None:
    assert up().feed(ViciEvent("child-updown", {"other": {}})) == ()


# -- the device and the program


def test_the_kernels_device_is_tied_to_the_policies() -> None:
    play = up()
    device = only(CreateDevice, play.actions)
    child = calls(play)["load-conn"]["autovpn-office"]["children"]["autovpn-office"]
    assert (device.kind, device.name) == ("xfrm", DEVICE)
    assert child["if_id_in"] == child["if_id_out"] == str(device.if_id)
    assert only(SetUp, play.actions) == SetUp(DEVICE)
    assert not only(Spawn, play.actions).names_device
    assert b"libipsec kernel" not in only(Write, play.actions).content.reveal()


def test_without_it_strongswan_moves_the_packets_itself() -> None:
    play = Play(launch("ipsec")).start()
    play.feed(DeviceRefused(DEVICE, unsupported=True, words=""))
    assert only(Spawn, play.actions).names_device
    assert b"kernel-libipsec kernel-netlink" in only(Write, play.actions).content.reveal()
    play.feed(Opened("vici"))
    while only(ViciCall, play.actions[-1:]).name != "list":
        play.feed(ViciAnswer(only(ViciCall, play.actions[-1:]).name))
    play.feed(LIST, ViciAnswer("list"), Report({"PLUTO_VERB": "up-client"}))
    assert play.news == []
    play.feed(LinkAppeared("ipsec3", 9))
    (ready,) = play.news
    assert isinstance(ready, Ready)
    assert ready.facts.device == "ipsec3"


def test_a_user_may_want_it_so() -> None:
    play = Play(launch("ipsec", esp="user")).start()
    assert not [action for action in play.actions if isinstance(action, CreateDevice)]
    assert only(Spawn, play.actions).names_device


@pytest.mark.parametrize("changes", [{"esp": "kernel"}, {"protocol": "ah"}, {"vici": "/run/charon.vici"}])
def test_what_libipsec_can_not_do_is_a_failure_where_the_kernel_lacks_the_device(changes: dict[str, Any]) -> None:
    play = Play(launch("ipsec", **changes)).start()
    play.feed(DeviceRefused(DEVICE, unsupported=True, words="Unknown device type."))
    words = "Unknown device type.; a device of kind xfrm is needed"
    assert play.news == [Failed(FailureClass.LOCAL, words)]


def test_a_device_that_is_taken_is_named() -> None:
    play = Play(launch("ipsec")).start()
    play.feed(DeviceRefused(DEVICE, unsupported=False, words="File exists"))
    assert play.news == [Failed(FailureClass.LOCAL, "File exists")]


def test_a_running_strongswan_is_told_and_none_is_started() -> None:
    play = kernel(vici="/run/charon.vici")
    assert not [action for action in play.actions if isinstance(action, Spawn | Write)]
    assert only(ViciOpen, play.actions) == ViciOpen("/run/charon.vici", charon.EVENTS, foreign=True)


def test_a_running_strongswan_is_made_to_forget_all_that_it_was_told_of_ours() -> None:
    made = launch("ipsec", vici="/run/charon.vici")
    told = calls(kernel(vici="/run/charon.vici"))
    shared = [action for action in kernel().actions if isinstance(action, ViciCall) and "id" in action.message]
    secrets = {action.message["id"] for action in shared}
    (errand,) = Play(made).driver.farewell(made)
    assert isinstance(errand, ViciErrand)
    assert errand.path == "/run/charon.vici"
    assert [call.command for call in errand.calls[:2]] == ["terminate", "unload-conn"]
    assert {call.message["ike"] for call in errand.calls if "ike" in call.message} == set(told["load-conn"])
    assert {call.message["name"] for call in errand.calls if "name" in call.message} == set(told["load-conn"])
    assert {call.message["id"] for call in errand.calls if call.command == "unload-shared"} >= secrets


@pytest.mark.parametrize(
    ("changes", "table"),
    [({}, charon.ROUTING_TABLE), ({"esp": "user"}, charon.ROUTING_TABLE), ({"esp": "kernel"}, None),
     ({"protocol": "ah"}, None), ({"mode": "transport", "virtual_address": False}, None)],
)  # fmt: skip
def test_the_rules_of_a_charon_that_may_be_killed_are_dropped(changes: dict[str, Any], table: int | None) -> None:
    made = launch("ipsec", **changes)
    parting = Play(made).driver.farewell(made)
    assert parting == (() if table is None else (DropRules(charon.ROUTING_PRIORITY, table),))


def test_a_charon_whose_packets_the_kernel_moves_makes_neither_rules_nor_routes() -> None:
    made = launch("ipsec")
    by_kernel = charon.configuration(made, in_user_space=False).reveal().decode()
    assert "routing_table = 0\n" in by_kernel
    assert "install_routes = no\n" in by_kernel
    by_user = charon.configuration(made, in_user_space=True).reveal().decode()
    assert f"routing_table = {charon.ROUTING_TABLE}\n" in by_user


def test_transport_mode_has_neither_device_nor_routes() -> None:
    play = Play(launch("ipsec", mode="transport", virtual_address=False)).start()
    assert not [action for action in play.actions if isinstance(action, CreateDevice)]
    play.feed(Opened("vici"))
    while only(ViciCall, play.actions[-1:]).name != "list":
        play.feed(ViciAnswer(only(ViciCall, play.actions[-1:]).name))
    play.feed(LIST, ViciAnswer("list"), Report({"PLUTO_VERB": "up-host"}))
    (ready,) = play.news
    assert isinstance(ready, Ready)
    assert (ready.facts.device, ready.facts.prefixes, ready.facts.form) == (None, (), "ESP in transport mode")
    assert not ready.facts.on_trial, "nothing behind it could be asked"
    child = calls(play)["load-conn"]["autovpn-office"]["children"]["autovpn-office"]
    assert child["mode"] == "transport"
    assert {"remote_ts", "if_id_in"}.isdisjoint(child)


# -- the form of the packets


@pytest.mark.parametrize(
    ("changes", "told", "form"),
    [
        ({}, {}, "ESP"),
        ({"protocol": "ah"}, {}, "AH"),
        ({}, {"encap": "yes"}, "ESP in UDP"),
        ({"encap": True}, {"encap": "yes"}, "ESP in UDP: as configured"),
        ({"fruitless": 1}, {"encap": "yes"}, "ESP in UDP: the plain form came up and passed nothing"),
        ({"fruitless": 2}, {}, "ESP"),
    ],
)
def test_the_form_of_the_packets_is_told_with_its_reason(
    changes: dict[str, Any], told: dict[str, str], form: str
) -> None:
    play = kernel(**changes)
    listed: dict[str, Any] = {"autovpn-office": {"child-sas": {"autovpn-office-1": CHILD | told}}}
    play.feed(ViciEvent("list-sa", listed), ViciAnswer("list"), Report({"PLUTO_VERB": "up-client"}))
    (ready,) = play.news
    assert isinstance(ready, Ready)
    assert ready.facts.form == form
    assert ready.facts.on_trial == (form == "ESP"), "what is in UDP already, and AH, has no other form"
    forced = calls(play)["load-conn"]["autovpn-office"]["encap"]
    assert (forced == "yes") == bool(changes.get("encap") or changes.get("fruitless") == 1)


def test_a_nat_on_the_way_is_named_as_the_reason_for_udp() -> None:
    play = kernel()
    ike: dict[str, Any] = {"nat-any": "yes", "child-sas": {"autovpn-office-1": CHILD | {"encap": "yes"}}}
    play.feed(ViciEvent("list-sa", {"autovpn-office": ike}), ViciAnswer("list"), Report({"PLUTO_VERB": "up-client"}))
    (ready,) = play.news
    assert isinstance(ready, Ready)
    assert ready.facts.form == "ESP in UDP: a NAT is on the way"


def test_ipv6_on_the_way_leaves_less_room() -> None:
    endpoint = PinnedEndpoint(IPv6Address("2001:db8::1"), 500, "udp")
    (ready,) = up(endpoints=(endpoint,)).news
    assert isinstance(ready, Ready)
    assert ready.facts.overhead == 108


# -- what it is told


def test_secrets_go_over_the_socket_with_their_owners() -> None:
    play = kernel()
    shared = [action.message for action in play.actions if isinstance(action, ViciCall) and "owners" in action.message]
    told = [(message["type"], message["owners"]) for message in shared]
    assert told == [("IKE", ("vpn.office.example",)), ("XAUTH", ("alice",))]
    contents = [message["data"].reveal() for message in shared if isinstance(message["data"], Secret)]
    assert contents == [b"group secret", PASSWORD.encode()]


@pytest.mark.parametrize(
    ("changes", "local", "remote"),
    [
        (
            {"auth": IpsecAuth.EAP, "version": 2, "psk": None, "ca": "/ca.crt", "remote_id": None},
            {"auth": "eap-mschapv2", "id": "alice", "eap_id": "alice"},
            {"auth": "pubkey", "id": "vpn.example", "cacert-ours": {"file": "/ca.crt"}},
        ),
        (
            {"auth": IpsecAuth.CERTIFICATE, "version": 2, "psk": None, "ca": "/ca.crt", "certificate": "/own.crt"},
            {"auth": "pubkey", "cert-ours": {"file": "/own.crt"}},
            {"auth": "pubkey", "id": "vpn.office.example", "cacert-ours": {"file": "/ca.crt"}},
        ),
        (
            {"auth": IpsecAuth.PSK, "version": 2, "psk": None, "local_id": "laptop"},
            {"auth": "psk", "id": "laptop"},
            {"auth": "psk", "id": "vpn.office.example"},
        ),
    ],
)
def test_each_side_proves_who_it_is(changes: dict[str, Any], local: object, remote: object) -> None:
    connection = calls(kernel(**changes))["load-conn"]["autovpn-office"]
    assert connection["local"] == local
    assert connection["remote"] == remote
    assert connection["vips"] == ("0.0.0.0", "::")


def test_a_key_is_told_before_the_connection() -> None:
    made = launch("ipsec", auth=IpsecAuth.CERTIFICATE, version=2, psk=None, key="/own.key")
    play = Play(replace(made, files={"/own.key": Secret(b"key")}, password=None)).start()
    play.feed(DeviceCreated(DEVICE), Opened("vici"), ViciAnswer("key", "parsing private key failed"))
    assert only(ViciCall, play.actions).command == "load-key"
    assert play.news == [Failed(FailureClass.LOCAL, "key: parsing private key failed")]


def test_networks_proposals_and_what_is_behind_us_are_told() -> None:
    made = launch(
        "ipsec",
        remote=(IPv4Network("10.0.0.0/8"),),
        proposals=("aes256-sha256",),
        ike_proposals=("aes256-sha256-modp2048",),
        virtual_address=False,
    )
    play = Play(replace(made, spec=replace(made.spec, local=(IPv4Network("192.168.7.0/24"),)))).start()
    play.feed(DeviceCreated(DEVICE), Opened("vici"), ViciAnswer("ike"), ViciAnswer("xauth"))
    connection = calls(play)["load-conn"]["autovpn-office"]
    child = connection["children"]["autovpn-office"]
    assert connection["proposals"] == ("aes256-sha256-modp2048",)
    assert connection["vips"] == ()
    assert child["remote_ts"] == ("10.0.0.0/8",)
    assert child["local_ts"] == ("192.168.7.0/24",)
    assert child["esp_proposals"] == ("aes256-sha256",)


@pytest.mark.parametrize("protocol", ["esp", "ah"])
def test_the_protocol_is_asked_for_also_where_no_algorithms_are_named(protocol: str) -> None:
    play = Play(launch("ipsec", protocol=protocol)).start()
    play.feed(DeviceCreated(DEVICE), Opened("vici"), ViciAnswer("ike"), ViciAnswer("xauth"))
    child = calls(play)["load-conn"]["autovpn-office"]["children"]["autovpn-office"]
    assert {key: value for key, value in child.items() if "proposals" in key} == {f"{protocol}_proposals": ("default",)}


@pytest.mark.parametrize("aggressive", [True, False])
def test_a_digest_of_the_key_is_shown_to_others_only_where_the_profile_says_so(aggressive: bool) -> None:
    made = launch("ipsec", auth=IpsecAuth.XAUTH, version=1, aggressive=aggressive)
    configuration = charon.configuration(made, in_user_space=False).reveal().decode()
    (written,) = [line for line in configuration.splitlines() if "aggressive" in line]
    assert written.endswith("= yes") is aggressive


def test_the_script_is_told_where_the_notifiers_socket_is() -> None:
    child = calls(kernel())["load-conn"]["autovpn-office"]["children"]["autovpn-office"]
    assert child["updown"].startswith("env AUTOVPN_NOTIFY=/run/autovpn/t/notify.sock /usr/bin/python3 -I")
    assert charon.NOTIFY_VARIABLE == notify.SOCKET_VARIABLE
    assert all(notify.is_known(name) for name in (b"PLUTO_VERB", b"PLUTO_DNS4_1", b"PLUTO_DNS6_1"))
    assert not notify.is_known(b"PLUTO_XAUTH_ID")


# -- the uplink

HERE, THERE = IPv4Address("192.0.2.10"), IPv4Address("192.0.2.77")


def bound_to(host: IPv4Address) -> ViciEvent:
    """Return a list of SAs in which ours is bound to this address of the machine's."""
    return ViciEvent("list-sa", {"autovpn-office": LISTED["autovpn-office"] | {"local-host": str(host)}})


def moving(version: int, *addresses: IPv4Address) -> Play:
    """Return a tunnel that was up on `HERE`, and whose uplink has these addresses now."""
    play = kernel(version=version, uplink=replace(UPLINK, addresses=(HERE,)))
    play.feed(bound_to(HERE), ViciAnswer("list"), Report({"PLUTO_VERB": "up-client"}))
    play.actions.clear()
    play.feed(UplinkChanged(replace(play.launch.uplink, addresses=addresses), play.launch.endpoints))
    return play


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("addresses", [(), (HERE,), (THERE, HERE)])
def test_an_uplink_that_keeps_the_tunnel_s_address_changes_nothing(
    version: int, addresses: tuple[IPv4Address, ...]
) -> None:
    assert moving(version, *addresses).actions == []


@pytest.mark.parametrize(("host", "news"), [(THERE, 0), (HERE, 1)])
def test_ikev2_has_ten_seconds_to_follow_to_another_address(host: IPv4Address, news: int) -> None:
    play = moving(2, THERE)
    assert play.actions == [LookAgainAt(START + 10.0)]
    play.feed(Tick(), CHILD_DOWN, bound_to(HERE), ViciAnswer("list"))  # as somebody else's timer, and a rekeying
    assert play.news == []
    play.now += 10.0
    play.feed(Tick(), bound_to(host), ViciAnswer("list"))
    words = "this machine's address changed, which strongSwan has not followed (MOBIKE)"
    assert play.news == [Failed(FailureClass.LOST, words)][:news]
    play.feed(Tick())
    assert len(play.news) == news


def test_ikev1_does_not_follow_and_is_made_anew_at_once() -> None:
    play = moving(1, THERE)
    play.feed(bound_to(HERE), ViciAnswer("list"))
    words = "this machine's address changed, which IKEv1 does not follow"
    assert play.news == [Failed(FailureClass.LOST, words)]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("gone", [False, True])
def test_a_tunnel_by_another_link_s_address_is_not_moved_by_the_uplink_s(version: int, gone: bool) -> None:
    play = kernel(version=version, uplink=replace(UPLINK, addresses=(HERE,)))
    play.feed(bound_to(THERE), ViciAnswer("list"), Report({"PLUTO_VERB": "up-client"}))
    play.actions.clear()
    for addresses in ((HERE,), () if gone else (HERE,), (IPv4Address("192.0.2.99"),)):
        play.feed(UplinkChanged(replace(play.launch.uplink, addresses=addresses), play.launch.endpoints))
    assert play.actions == []


def test_an_uplink_that_had_no_address_for_a_moment_still_counts() -> None:
    play = moving(2)
    later = play.feed(UplinkChanged(replace(play.launch.uplink, addresses=(THERE,)), play.launch.endpoints))
    assert later == (LookAgainAt(START + 10.0),)


def test_an_uplink_that_comes_back_in_time_is_no_loss() -> None:
    play = moving(2, THERE)
    play.feed(UplinkChanged(replace(play.launch.uplink, addresses=(HERE,)), play.launch.endpoints))
    play.now += 10.0
    assert play.feed(Tick()) == ()


# -- time, losses, the next daemon


def test_it_waits_for_the_script_but_a_second() -> None:
    play = kernel()
    (later,) = play.feed(LIST, ViciAnswer("list"))
    assert later == LookAgainAt(START + 1.0)
    play.now += 1.0
    play.feed(Tick())
    (ready,) = play.news
    assert isinstance(ready, Ready)
    assert ready.facts.dns == ()


def test_a_script_that_tells_of_an_end_makes_nothing_ready() -> None:
    play = kernel()
    play.feed(LIST, ViciAnswer("list"), Report({"PLUTO_VERB": "down-client"}))
    assert play.news == []


def test_it_gives_up_when_the_time_is_over() -> None:
    play = Play(launch("ipsec")).start()
    play.now = START + TIMEOUT
    play.feed(Tick())
    assert play.news == [Failed(FailureClass.UNREACHABLE, "no tunnel to vpn.example within 30 s")]


def test_a_charon_that_can_not_be_started_is_a_local_failure() -> None:
    play = Play(launch("ipsec")).start()
    play.feed(DeviceCreated(DEVICE), Exited(127))
    (failed,) = play.news
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOCAL
    assert "charon-systemd can't be started" in failed.words


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Exited(-9), "charon-systemd was killed by signal 9"),
        (Closed("vici"), "strongSwan closed its socket"),
        (LinkVanished(DEVICE), f"the device {DEVICE} is gone"),
    ],
)
def test_what_it_needs_and_loses_is_named(event: Exited | Closed | LinkVanished, words: str) -> None:
    play = up()
    play.feed(event)
    play.now += 2
    play.feed(Tick())
    assert play.news[1:] == [Failed(FailureClass.LOST, words)]


def test_a_missing_file_and_a_missing_address_are_named() -> None:
    made = launch("ipsec")
    unread = replace(made, files={}, spec=replace(made.spec, files=("/etc/ipsec/group.psk",)))
    assert Play(unread).start().news == [Failed(FailureClass.LOCAL, "/etc/ipsec/group.psk could not be read")]
    words = "no address is known for vpn.example"
    assert Play(launch("ipsec", endpoints=())).start().news == [Failed(FailureClass.NAME, words)]


def test_a_running_tunnel_is_taken_over_when_its_child_stands() -> None:
    found = recovered("ipsec")
    play = Play(launch("ipsec", files={}, password=None)).adopt(found)
    play.feed(Opened("vici"), LIST, ViciAnswer("list"))
    assert found.facts
    assert play.news == [Ready(found.facts)]
    assert list(calls(play)) == ["list-sas"]


def test_a_running_tunnel_without_a_child_is_lost() -> None:
    play = Play(launch("ipsec")).adopt(recovered("ipsec"))
    play.feed(Opened("vici"), GONE, ViciAnswer("list"))
    assert [news.kind for news in play.news if isinstance(news, Failed)] == [FailureClass.LOST]


@pytest.mark.parametrize("found", [Recovered(4711, DEVICE, None), recovered("ipsec", pid=None)])
def test_a_tunnel_that_was_never_ready_or_has_no_program_is_not_adopted(found: Recovered) -> None:
    play = Play(launch("ipsec")).adopt(found)
    assert [news.kind for news in play.news if isinstance(news, Failed)] == [FailureClass.LOST]
