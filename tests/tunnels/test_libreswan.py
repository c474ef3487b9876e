"""The driver of libreswan, from what real runs of pluto said."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest

from autovpn import notify
from autovpn.core.actions import CreateDevice, Failed, LookAgainAt, Ready, Run, SetUp, Spawn, Write
from autovpn.core.driving import (
    DeviceCreated,
    DeviceRefused,
    Exited,
    Line,
    LinkVanished,
    Ran,
    Report,
    Tick,
    UplinkChanged,
)
from autovpn.core.secret import Secret
from autovpn.core.settings import IpsecAuth
from autovpn.core.tunnel import FailureClass, PinnedEndpoint
from autovpn.tunnels import pluto
from tests.tunnels.playing import DEVICES, PASSWORD, START, TIMEOUT, UPLINK, Play, launch, only, recovered, transcript

DEVICE = DEVICES["libreswan"]
LISTED = Ran("traffic", 0, '006 #2: "autovpn-office"[1] 192.0.2.1, type=ESP, add_time=1, inBytes=0, outBytes=0\n')
NOT_LISTED = Ran("traffic", 0, '006 #3: "autovpn-office-2", type=ESP, add_time=1, inBytes=0, outBytes=0\n')
TOLD = {
    "PLUTO_VERB": "up-client",
    "PLUTO_MY_SOURCEIP": "10.96.0.1",
    "PLUTO_PEER_CLIENT": "10.20.0.0/24",
    "PLUTO_PEER_DNS_INFO": "10.20.0.53 10.20.0.54",
    "PLUTO_PEER_DOMAIN_INFO": "office.example",
}


def begun(**changes: Any) -> Play:  # noqa: ANN401 - fields of the launch or of its settings
    """Return a connection that pluto is bringing up."""
    play = Play(launch("libreswan", **changes)).start()
    if play.launch.spec.settings.mode == "tunnel":  # type: ignore[union-attr]
        play.feed(DeviceCreated(DEVICE))
    play.feed(Ran("database", 0), Ran("ports", 0))
    play.feed(Line('loading secrets from "/run/autovpn/t/ipsec.secrets"'), Ran("add", 0))
    assert only(Run, play.actions[-1:]).name == "up"
    return play


def up(**changes: Any) -> Play:  # noqa: ANN401 - as above
    """Return a tunnel that is up."""
    play = begun(**changes)
    play.feed(Report(TOLD), Ran("up", 0), LISTED)
    assert [type(news) for news in play.news] == [Ready]
    return play


def written(play: Play) -> dict[str, str]:
    """Return the files in the tunnel's folder."""
    return {one.name: one.content.reveal().decode() for one in play.actions if isinstance(one, Write)}


def conn(**changes: Any) -> list[str]:  # noqa: ANN401 - as above
    """Return the lines about the connection."""
    return written(begun(**changes))["ipsec.conf"].split()


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("wrong-key", FailureClass.AUTH, "IKE SA authentication request rejected by peer: AUTHENTICATION_FAILED"),
        ("wrong-xauth-password", FailureClass.AUTH, "Received Cisco XAUTH status: FAIL"),
        ("wrong-group-secret", FailureClass.AUTH, "malformed payload in packet; is the shared key right?"),
        ("no-proposal", FailureClass.LOCAL, "containing NO_PROPOSAL_CHOSEN notification"),
        ("no-networks", FailureClass.LOCAL, "IKE_AUTH response rejected Child SA with TS_UNACCEPTABLE"),
        ("no-esp", FailureClass.LOCAL, "Function not implemented (errno 38)"),
        ("no-device", FailureClass.LOCAL, "ipsec-interface=77 not supported. xfrmi is not supported"),
        ("silent", FailureClass.UNREACHABLE, "No response (or no acceptable response) to our first IKEv2 message"),
    ],
)
def test_a_failure_is_told_in_words_of_libreswan_whatever_it_ends_with(
    name: str, kind: FailureClass, words: str
) -> None:
    by_device = name in ("no-esp", "no-device")
    play = Play(launch("libreswan", mode="tunnel" if by_device else "transport"))
    play.launch = replace(play.launch, spec=replace(play.launch.spec, device="ipsec77"))
    play.start().feed(*transcript(f"libreswan-{name}"))
    (failed,) = play.news
    assert isinstance(failed, Failed)
    assert failed.kind is kind
    assert words in failed.words


def test_a_device_comes_first_then_a_pluto_of_its_own_and_then_the_connection() -> None:
    play = Play(launch("libreswan")).start()
    assert play.actions == [CreateDevice("xfrm", DEVICE, 7), LookAgainAt(START + TIMEOUT)]
    setting, *_ = play.feed(DeviceCreated(DEVICE))
    assert setting == SetUp(DEVICE)
    assert only(Run, play.feed(Ran("database", 0))).argv[0] == "ss"
    connection, clearing, spawn = play.feed(Ran("ports", 0))
    assert isinstance(connection, Write)
    assert isinstance(clearing, Write)
    assert len(clearing.content.reveal().splitlines()) == 12
    assert isinstance(spawn, Spawn)
    assert spawn.argv[:3] == ("ipsec", "pluto", "--nofork")
    add = only(Run, play.feed(Line('loading secrets from "/run/autovpn/t/ipsec.secrets"')))
    assert add.argv[:2] == ("ipsec", "auto")
    assert add.argv[-2:] == ("--add", "autovpn-office")
    assert only(Run, play.feed(Ran("add", 0))).argv[-2:] == ("--up", "autovpn-office")
    assert only(Run, play.feed(Ran("up", 0))).argv[-1] == "--trafficstatus"


def test_it_is_ready_with_what_the_updown_script_was_told_once_packets_pass() -> None:
    play = begun()
    play.feed(Report(TOLD), Ran("up", 0))
    assert play.news == []
    ready, later = play.feed(LISTED)
    assert isinstance(ready, Ready)
    assert ready.facts.device == DEVICE
    assert ready.facts.addresses == (IPv4Interface("10.96.0.1/32"),)
    assert ready.facts.prefixes == (IPv4Network("10.20.0.0/24"),)
    assert ready.facts.dns == ("10.20.0.53", "10.20.0.54")
    assert ready.facts.search == ("office.example",)
    assert ready.facts.form == "ESP"
    assert later == LookAgainAt(START + 10.0)


@pytest.mark.parametrize("status", [0, 36, None])
def test_what_up_ends_with_means_nothing(status: int | None) -> None:
    for listed, kind in ((LISTED, Ready), (NOT_LISTED, Failed)):
        play = begun()
        play.feed(Ran("up", status), listed)
        assert [type(news) for news in play.news] == [kind]


def test_facts_are_checked() -> None:
    play = begun()
    hostile = {**TOLD, "PLUTO_PEER_CLIENT": "0.0.0.0/0", "PLUTO_MY_SOURCEIP": "127.0.0.1", "PLUTO_PEER_DNS_INFO": "x"}
    play.feed(Report(hostile), Ran("up", 0), LISTED)
    (ready,) = play.news
    assert isinstance(ready, Ready)
    assert (ready.facts.prefixes, ready.facts.addresses, ready.facts.dns) == ((), (), ())
    assert len(ready.facts.refused) == 2


def test_all_that_the_facts_need_passes_the_notifier() -> None:
    assert all(notify.is_known(name.encode()) for name in [*TOLD, "PLUTO_PEER_BANNER"])


# -- what pluto is told


def test_the_connection_is_that_of_the_profile() -> None:
    lines = conn()
    assert {"authby=secret", "ikev2=never", "leftxauthclient=yes", "leftusername=alice", "modecfgpull=yes"} < set(lines)
    assert {"left=%defaultroute", "right=192.0.2.1", 'rightid="@vpn.office.example"', "rightsubnet=0.0.0.0/0"} < set(
        lines
    )
    assert {"ipsec-interface=7", "keyingtries=1", "dpdaction=clear", "dpdtimeout=30", "pfs=no"} < set(lines)


def test_ikev2_asks_for_an_address_and_takes_less_than_everything() -> None:
    lines = conn(version=2, auth=IpsecAuth.PSK, local_id="me@office.example", remote_id="192.0.2.1")
    assert {"ikev2=insist", "leftmodecfgclient=yes", "narrowing=yes", "leftsubnet=0.0.0.0/0"} < set(lines)
    assert {'leftid="me@office.example"', 'rightid="192.0.2.1"'} < set(lines)
    assert not any(line.startswith("dpdtimeout") for line in lines)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"mode": "transport", "virtual_address": False}, {"type=transport"}),
        ({"protocol": "ah"}, {"phase2=ah"}),
        ({"encap": True}, {"encapsulation=yes"}),
        ({"aggressive": True}, {"aggressive=yes"}),
        ({"fruitless": 1}, {"encapsulation=yes"}),
        ({"fruitless": 2}, {"encapsulation=auto"}),
        ({"remote": IPv6Network("fd00:20::/64"), "version": 2}, {"rightsubnet=fd00:20::/64", "leftsubnet=::/0"}),
        (
            {
                "ike_proposals": ("aes256-sha256-modp2048", "aes128-sha1-ecp256"),
                "proposals": ("aes256-sha256-modp2048",),
            },
            {"ike=aes256-sha256-modp2048,aes128-sha1-ecp256", "phase2alg=aes256-sha256-modp2048", "pfs=yes"},
        ),
        (
            {"uplink": replace(UPLINK, addresses=(IPv4Address("192.0.2.10"), IPv6Address("fe80::1")))},
            {"left=192.0.2.10"},
        ),
    ],
)
def test_what_the_profile_says_is_said_to_pluto(changes: dict[str, Any], expected: set[str]) -> None:
    assert expected < set(conn(**changes))


def test_networks_are_joined_without_an_address() -> None:
    made = launch("libreswan", version=2, auth=IpsecAuth.PSK, virtual_address=False, remote=IPv4Network("10.2.0.0/24"))
    made = replace(made, spec=replace(made.spec, local=(IPv4Network("10.1.0.0/24"),)))
    lines = pluto.connection(made, encap=False).reveal().decode().split()
    assert {"leftsubnet=10.1.0.0/24", "rightsubnet=10.2.0.0/24"} < set(lines)
    assert "leftmodecfgclient=yes" not in lines


def test_secrets_go_into_a_file_alone_and_no_character_of_them_can_end_them() -> None:
    play = begun()
    assert written(play)["ipsec.secrets"] == (
        f": PSK 0x{b'group secret'.hex()}\n@alice : XAUTH 0x{PASSWORD.encode().hex()}\n"
    )
    assert PASSWORD.encode().hex() not in repr(play.actions)


def test_a_password_may_be_the_shared_key() -> None:
    secrets = written(begun(version=2, auth=IpsecAuth.PSK, psk=None))["ipsec.secrets"]
    assert secrets == f": PSK 0x{PASSWORD.encode().hex()}\n"


CERTIFICATE = {
    "version": 2,
    "auth": IpsecAuth.CERTIFICATE,
    "user": None,
    "psk": None,
    "remote_id": None,
    "ca": "/etc/ssl/office.crt",
    "certificate": "/etc/ssl/me.crt",
    "key": "/etc/ssl/me.key",
    "files": {"/etc/ssl/me.key": Secret(b"the private key")},
    "mode": "transport",
}
SUBJECT = Ran("subject", 0, "subject=C=DE,O=Office\\, Inc.,CN=Office CA\n")
KEYS = 'certutil: Checking token "NSS Certificate DB"\n< 0> {}      7c8f3d   client\n'


def certified(subject: Ran, keys: str) -> Play:
    """Return a connection with a certificate, once all is in its database."""
    play = Play(launch("libreswan", **CERTIFICATE)).start()
    for name in ("database", "bundle", "import", "authority"):
        play.feed(Ran(name, 0))
    play.feed(subject, Ran("kind", 0, KEYS.format(keys)))
    return play


@pytest.mark.parametrize(("kind", "word"), [("rsa", "rsasig"), ("ec ", "ecdsa")])
def test_with_a_certificate_the_servers_is_asked_for_by_the_name_of_its_authority(kind: str, word: str) -> None:
    play = certified(SUBJECT, kind)
    assert play.news == []
    play.feed(Ran("ports", 0))
    text = written(play)["ipsec.conf"]
    assert 'rightca="C=DE,O=Office\\, Inc.,CN=Office CA"' in text
    assert {f"authby={word}", "leftcert=client", "leftid=%fromcert", 'rightid="@vpn.example"'} < set(text.split())
    assert "authby=secret" not in text


def test_a_private_key_goes_to_openssl_on_its_standard_input_alone() -> None:
    play = certified(SUBJECT, "rsa")
    runs = {one.name: one for one in play.actions if isinstance(one, Run)}
    assert runs["bundle"].stdin
    assert runs["bundle"].stdin.reveal() == b"the private key"
    assert "/dev/stdin" in runs["bundle"].argv
    assert [name for name, run in runs.items() if run.stdin] == ["bundle"]
    assert "the private key" not in repr(play.actions)


@pytest.mark.parametrize(
    ("subject", "kind", "words"),
    [
        (Ran("subject", 0, 'subject=O=the "office"\n'), "rsa", "has a character that ipsec.conf(5) can't have"),
        (Ran("subject", 0, "subject=\n"), "rsa", "has a character that ipsec.conf(5) can't have"),
        (Ran("subject", 1, "Could not read certificate\n"), "rsa", "Could not read certificate"),
        (SUBJECT, "dsa", "neither RSA's nor ECDSA's"),
    ],
)
def test_a_certificate_that_can_not_be_used_is_told(subject: Ran, kind: str, words: str) -> None:
    (failed, *_) = certified(subject, kind).news
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOCAL
    assert words in failed.words


def test_a_tunnel_that_the_server_ends_is_not_begun_anew_by_pluto() -> None:
    (spawn,) = (one for one in begun().actions if isinstance(one, Spawn))
    assert "--impair revival" in " ".join(spawn.argv)


# -- what can go wrong


def test_what_is_printed_of_a_certificate_in_order_is_no_reason_of_a_failure() -> None:
    play = certified(SUBJECT, "rsa")
    play.feed(Ran("ports", 0), Exited(127))
    (failed,) = play.news
    assert isinstance(failed, Failed)
    assert "can't be started" in failed.words
    assert "Office CA" not in failed.words


def test_a_step_that_takes_too_long_is_told_so() -> None:
    play = Play(launch("libreswan", **CERTIFICATE)).start()
    play.feed(Ran("database", 0), Ran("bundle", None))
    assert play.news == [Failed(FailureClass.LOCAL, "bundle: did not end in time")]


def test_openssls_own_trail_does_not_push_its_reason_out() -> None:
    said = "Could not read private key from -inkey file from /dev/stdin\n" + "".join(
        f"4027AE5F2B7F0000:error:{code}:DECODER routines:no reason of use\n" for code in range(4)
    )
    play = Play(launch("libreswan", **CERTIFICATE)).start()
    play.feed(Ran("database", 0), Ran("bundle", 1, said))
    assert play.news == [Failed(FailureClass.LOCAL, "Could not read private key from -inkey file from /dev/stdin")]


def test_a_kernel_without_the_device_is_named() -> None:
    play = Play(launch("libreswan")).start()
    play.feed(DeviceRefused(DEVICE, unsupported=True, words="Unknown device type"))
    words = "Unknown device type; libreswan needs a device of kind xfrm"
    assert play.news == [Failed(FailureClass.LOCAL, words)]


@pytest.mark.parametrize("name", ["database", "add"])
def test_what_pluto_can_not_begin_with_is_told(name: str) -> None:
    play = Play(launch("libreswan", mode="transport")).start()
    play.feed(Ran(name, 36, '"autovpn-office": failed to add connection: no\n'))
    assert play.news == [Failed(FailureClass.LOCAL, "failed to add connection: no")]


SOCKETS = """\
UNCONN 0 0 192.0.2.10:4500 0.0.0.0:* users:(("pluto",pid=812,fd=21))
UNCONN 0 0 192.0.2.10:500  0.0.0.0:* users:(("pluto",pid=812,fd=20),("odd\x1b[2J",pid=1,fd=3))
"""


@pytest.mark.parametrize(
    ("sockets", "who"), [(SOCKETS, "odd\\x1b[2J, pluto"), ("UNCONN 0 0 *:500 *:*", "another program")]
)
def test_no_pluto_is_started_beside_another_ike_program_whose_packets_it_would_take(sockets: str, who: str) -> None:
    play = Play(launch("libreswan", mode="transport")).start()
    play.actions.clear()
    play.feed(Ran("database", 0), Ran("ports", 0, sockets))
    words = f"UDP port 500 or 4500, which libreswan needs for itself, is taken by {who}"
    assert play.news == [Failed(FailureClass.LOCAL, words)]
    assert not [action for action in play.actions if isinstance(action, Spawn | Write)]


@pytest.mark.parametrize(
    "line",
    [
        "packet from 192.0.2.66:51490: malformed payload in packet",
        '"other" #1: malformed payload in packet',
        "packet from 192.0.2.66:500: initial message containing NO_PROPOSAL_CHOSEN",
    ],
)
def test_what_a_stranger_sends_ends_nothing(line: str) -> None:
    play = begun()
    assert play.feed(Line(line)) == ()
    assert play.news == []


def test_what_ipsec_says_is_safe_to_print() -> None:
    play = Play(launch("libreswan", mode="transport")).start()
    play.feed(Ran("add", 36, "\x1b]0;forged\x07 no\n"))
    (failed,) = play.news
    assert isinstance(failed, Failed)
    assert failed.words == r"\x1b]0;forged\x07 no"


def test_an_ipsec_of_somebody_elses_is_told_in_its_own_words() -> None:
    play = Play(launch("libreswan", mode="transport")).start()
    play.feed(Ran("database", 0), Ran("ports", 0), Line("ipsec: unknown command `pluto'"), Exited(2))
    assert play.news == [Failed(FailureClass.LOCAL, "ipsec: unknown command `pluto'")]


def test_a_file_that_could_not_be_read_and_a_name_without_address_are_told() -> None:
    for changes, kind in (({"files": {}}, FailureClass.LOCAL), ({"endpoints": ()}, FailureClass.NAME)):
        made = launch("libreswan", **changes)
        play = Play(replace(made, spec=replace(made.spec, files=("/etc/ipsec/group.psk",)))).start()
        (failed,) = play.news
        assert isinstance(failed, Failed)
        assert failed.kind is kind


def test_a_server_that_says_nothing_is_unreachable_when_the_time_is_up() -> None:
    play = begun()
    assert play.feed(Tick()) == (LookAgainAt(START + TIMEOUT),)
    play.now += TIMEOUT
    play.feed(Tick())
    assert play.news == [Failed(FailureClass.UNREACHABLE, f"no tunnel to vpn.example within {TIMEOUT:g} s")]


# -- while it is up


def test_a_tunnel_is_looked_at_from_time_to_time() -> None:
    play = up()
    assert only(Run, play.feed(Tick())).name == "traffic"
    assert play.feed(LISTED) == (LookAgainAt(START + 10.0),)


@pytest.mark.parametrize(
    ("answer", "words"), [(NOT_LISTED, "has ended the tunnel"), (Ran("traffic", 33), "not answer")]
)
def test_an_end_that_the_script_is_told_of_is_a_loss_once_no_packets_pass(answer: Ran, words: str) -> None:
    play = up()
    assert only(Run, play.feed(Report({"PLUTO_VERB": "down-client"}))).name == "traffic"
    play.feed(answer)
    failed = play.news[-1]
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOST
    assert words in failed.words


def test_keys_that_are_renewed_are_no_loss() -> None:
    play = up()
    play.feed(Report({"PLUTO_VERB": "down-client"}), LISTED)
    assert len(play.news) == 1


def test_a_pluto_that_ends_and_a_device_that_vanishes_are_losses() -> None:
    for event in (Exited(-9), LinkVanished(DEVICE)):
        play = up()
        play.feed(event)
        play.now += 1.0
        play.feed(Tick())
        assert isinstance(play.news[-1], Failed)
        assert play.news[-1].kind is FailureClass.LOST


def test_other_addresses_of_the_uplink_are_a_loss() -> None:
    here = replace(UPLINK, addresses=(IPv4Address("192.0.2.10"),))
    play = up(uplink=here)
    assert play.feed(UplinkChanged(here, play.launch.endpoints)) == ()
    assert play.feed(UplinkChanged(replace(here, addresses=()), play.launch.endpoints)) == ()
    play.feed(UplinkChanged(replace(here, addresses=(IPv4Address("192.0.2.77"),)), play.launch.endpoints))
    words = "the uplink has other addresses, and libreswan keeps its own"
    assert play.news[1:] == [Failed(FailureClass.LOST, words)]


def test_an_address_of_the_other_family_that_stays_does_not_hide_that_ours_has_gone() -> None:
    other = IPv6Address("2001:db8:2::10")
    here = replace(UPLINK, addresses=(IPv4Address("192.0.2.10"), other))
    play = up(uplink=here)
    assert play.feed(UplinkChanged(replace(here, addresses=(other,)), play.launch.endpoints)) == ()
    play.feed(UplinkChanged(replace(here, addresses=(IPv4Address("192.0.2.77"), other)), play.launch.endpoints))
    assert [type(news) for news in play.news] == [Ready, Failed]


def test_of_several_addresses_the_first_is_used_since_pluto_can_not_look_past_a_guard() -> None:
    several = (IPv6Address("2001:db8:2::10"), IPv4Address("192.0.2.10"), IPv4Address("192.0.2.11"))
    play = begun(uplink=replace(UPLINK, addresses=several))
    assert "  left=192.0.2.10\n" in written(play)["ipsec.conf"]


def test_plain_esp_is_on_trial_and_what_can_not_be_dropped_alike_is_not() -> None:
    for changes, on_trial in (
        ({}, True),
        ({"encap": True}, False),
        ({"fruitless": 1}, False),
        ({"mode": "transport"}, False),
    ):
        (ready,) = up(**changes).news
        assert isinstance(ready, Ready)
        assert ready.facts.on_trial is on_trial


# -- over the end of the daemon


def test_a_tunnel_that_passes_packets_is_adopted_as_it_is() -> None:
    found = recovered("libreswan")
    play = Play(launch("libreswan")).adopt(found)
    assert only(Run, play.actions[:1]).name == "traffic"
    play.feed(LISTED)
    assert found.facts
    assert play.news == [Ready(found.facts)]


def test_one_that_does_not_is_lost() -> None:
    for found, events in (
        (recovered("libreswan"), (NOT_LISTED,)),
        (recovered("libreswan", pid=None), ()),
        (replace(recovered("libreswan"), facts=None), ()),
    ):
        play = Play(launch("libreswan")).adopt(found)
        play.feed(*events)
        (failed,) = play.news
        assert isinstance(failed, Failed)
        assert failed.kind is FailureClass.LOST


def test_at_the_end_the_connection_is_taken_down_and_deleted_lest_it_begins_anew() -> None:
    made = launch("libreswan")
    down, delete, clear = (only(Run, [one]) for one in Play(made).driver.farewell(made))
    assert down.argv[-2:] == ("--down", "autovpn-office")
    assert delete.argv[-2:] == ("--delete", "autovpn-office")
    assert clear.argv == ("ip", "-force", "-batch", f"{made.directory}/left-behind")


def test_no_leave_is_taken_of_a_pluto_that_was_never_started() -> None:
    made = launch("libreswan")
    needed = [only(Run, [one]).needs for one in Play(made).driver.farewell(made)]
    socket, policies = f"{made.directory}/pluto.ctl", f"{made.directory}/left-behind"
    assert needed == [socket, socket, policies]


def test_the_form_is_told() -> None:
    for changes, form in (
        ({"encap": True}, "ESP in UDP: as configured"),
        ({"fruitless": 1}, "ESP in UDP: the plain form came up and passed nothing"),
        ({"protocol": "ah", "mode": "transport"}, "AH in transport mode"),
    ):
        (ready,) = up(**changes).news
        assert isinstance(ready, Ready)
        assert ready.facts.form == form


def test_a_server_by_ipv6_costs_more_of_each_packet() -> None:
    endpoint = PinnedEndpoint(IPv6Address("2001:db8::1"), 500, "udp")
    (ready,) = up(endpoints=(endpoint,)).news
    (plain,) = up().news
    assert isinstance(ready, Ready)
    assert isinstance(plain, Ready)
    assert ready.facts.overhead == plain.facts.overhead + 20
