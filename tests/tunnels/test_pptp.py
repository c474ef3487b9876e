"""The pptp driver, from what real runs of pppd and pptp said on a kernel with PPP, and on one without."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from shlex import split

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.actions import Failed, LookAgainAt, Ready, Run, Spawn, Write
from autovpn.core.driving import Exited, Line, LinkVanished, Ran, Recovered, Report, Tick, UplinkChanged
from autovpn.core.secret import Secret
from autovpn.core.settings import Mppe
from autovpn.core.tunnel import Facts, FailureClass, PinnedEndpoint
from autovpn.notify import SOCKET_VARIABLE
from autovpn.system.procfs import NONCE_VARIABLE
from autovpn.tunnels import pppd
from tests.tunnels.playing import DEVICES, GATEWAY, PASSWORD, START, TIMEOUT, UPLINK, Play, launch, only, recovered
from tests.tunnels.playing import transcript as recorded

DEVICE = DEVICES["pptp"]
FACTS = Facts(
    device=DEVICE,
    addresses=(IPv4Interface("10.99.0.100/32"),),
    peer=IPv4Address("10.99.0.1"),
    dns=("10.99.0.53", "10.99.0.54"),
    mtu=1396,
    overhead=64,
    form="GRE, MPPE 128-bit stateless",
)
NO_ANSWER = Line("LCP: timeout sending Config-Requests")
UP = Report({"ARGV_1": DEVICE, "ARGV_4": "10.99.0.100", "ARGV_5": "10.99.0.1", "ARGV_6": "autovpn:0123456789abcdef"})


def started(**changes: object) -> Play:
    return Play(launch("pptp", **changes)).start()


def failure(play: Play) -> Failed:
    failed = play.news[-1]
    assert isinstance(failed, Failed)
    return failed


def option(play: Play, name: str) -> str:
    """Return the value of an option of pppd's."""
    argv = only(Spawn, play.actions).argv
    return argv[argv.index(name) + 1]


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("wrong-password", FailureClass.AUTH, "MS-CHAP authentication failed: Access denied"),
        ("no-mppe", FailureClass.TRUST, "MPPE required but peer negotiation failed"),
        ("refused", FailureClass.UNREACHABLE, "connect: Connection refused"),
        ("no-kernel", FailureClass.LOCAL, "this kernel has no PPP: modprobe ppp_generic ppp_async ppp_mppe"),
    ],
)
def test_a_pppd_that_ends_before_it_is_ready_says_why(name: str, kind: FailureClass, words: str) -> None:
    play = started()
    play.feed(*recorded(f"pptp-{name}"))
    assert failure(play).kind is kind
    assert words in failure(play).words
    assert "pptp_callmgr.c" not in failure(play).words


def test_it_is_ready_with_what_its_script_was_told() -> None:
    play = started()
    play.feed(*recorded("pptp-ready"))
    assert play.news == [Ready(FACTS)]


def test_where_the_script_never_comes_it_is_ready_with_what_pppd_printed() -> None:
    play = started()
    play.feed(*(event for event in recorded("pptp-ready") if not isinstance(event, Report)))
    assert play.news == []
    play.now += 2
    play.feed(Tick(), UP)
    assert play.news == [Ready(FACTS)]


def test_a_connection_that_is_not_encrypted_says_so() -> None:
    play = started(mppe=Mppe.OFF)
    play.feed(*recorded("pptp-unencrypted"))
    play.now += 2
    play.feed(Tick())
    assert [news.facts.form for news in play.news if isinstance(news, Ready)] == ["GRE, not encrypted"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("server-stopped", "the connection to the server ended"),
        ("server-silent", "No response to 4 echo-requests"),
        ("killed", "pppd was killed by signal 9"),
    ],
)
def test_a_pppd_that_ends_after_it_was_ready_is_lost(name: str, words: str) -> None:
    play = started()
    play.feed(UP, *recorded(f"pptp-{name}"))
    assert failure(play).kind is FailureClass.LOST
    assert words in failure(play).words
    assert "MPPE" not in failure(play).words


def test_a_report_of_another_connection_is_none_of_ours() -> None:
    play = started()
    play.feed(Report({**UP.values, "ARGV_6": "autovpn:fedcba9876543210"}), Report({"ARGV_4": "10.0.0.1"}))
    assert play.news == []


# -- exit statuses


EXPECTED = dict(enumerate("ullllollllutoououulaot"))
CLASSES = {
    "u": FailureClass.UNREACHABLE,
    "l": FailureClass.LOCAL,
    "o": FailureClass.LOST,
    "t": FailureClass.TRUST,
    "a": FailureClass.AUTH,
}


@pytest.mark.parametrize(("status", "letter"), EXPECTED.items())
def test_every_status_of_pppd_has_a_class_and_words(status: int, letter: str) -> None:
    play = started()
    play.feed(Exited(status))
    assert failure(play).kind is CLASSES[letter]
    assert "status" not in failure(play).words
    assert len(failure(play).words) > 20


@pytest.mark.parametrize("status", EXPECTED)
def test_every_status_of_a_tunnel_that_was_up_means_that_it_is_lost(status: int) -> None:
    play = started()
    play.feed(UP, Exited(status))
    assert failure(play).kind is FailureClass.LOST


def test_a_missing_pppd_is_named() -> None:
    play = started()
    play.feed(Line("pppd: there is no such program"), Exited(127))
    assert failure(play) == Failed(FailureClass.LOCAL, "pppd: there is no such program")
    play = started()
    play.feed(Exited(127))
    assert failure(play) == Failed(FailureClass.LOCAL, "pppd can't be started; is it installed?")


def test_a_status_that_no_manual_knows_is_named() -> None:
    play = started()
    play.feed(Exited(99))
    assert failure(play) == Failed(FailureClass.UNREACHABLE, "pppd ended with status 99")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("MS-CHAPv2 mutual authentication failed.", FailureClass.TRUST),
        ("MPPE required, but kernel has no support.", FailureClass.LOCAL),
        ("MPPE disabled, closing LCP", FailureClass.TRUST),
        ("Couldn't rename interface ppp0 to vpn-office: File exists", FailureClass.LOCAL),
    ],
)
def test_words_say_more_than_a_status(line: str, kind: FailureClass) -> None:
    play = started()
    play.feed(Line(line), Exited(19))
    assert failure(play).kind is kind


# -- GRE


def test_a_connection_that_stands_without_an_answer_means_that_gre_is_dropped() -> None:
    play = started()
    play.now += TIMEOUT / 2
    assert only(Run, play.feed(Tick())).name == "control"
    play.feed(Ran("control", 0), NO_ANSWER, Exited(10))
    assert failure(play).kind is FailureClass.UNREACHABLE
    assert "answers on TCP port 1723" in failure(play).words
    assert "protocol 47 (GRE)" in failure(play).words


def test_a_server_that_hangs_up_without_a_word_may_lack_gre_too_unless_something_came_through() -> None:
    play = started()
    play.feed(Line("Modem hangup"), Exited(16))
    assert "maybe protocol 47 (GRE)" in failure(play).words
    play = started()
    play.feed(Line("CHAP authentication succeeded"), Line("Modem hangup"), Exited(16))
    assert "GRE" not in failure(play).words


def test_no_connection_and_no_answer_mean_that_the_server_is_silent() -> None:
    play = started()
    play.feed(Ran("control", 1), NO_ANSWER, Exited(10))
    assert failure(play) == Failed(FailureClass.UNREACHABLE, "no answer from vpn.example on TCP port 1723")


@pytest.mark.parametrize(
    ("stands", "answer", "is_suspected"),
    [(0, "", True), (1, "", False), (0, "CHAP authentication succeeded", False)],
)
def test_gre_is_suspected_at_the_end_of_the_time_where_nothing_came_through(
    stands: int, answer: str, is_suspected: bool
) -> None:
    play = started()
    play.now = START + TIMEOUT
    play.feed(Ran("control", stands), Line(answer), Tick())
    assert failure(play).kind is FailureClass.UNREACHABLE
    assert failure(play).words.startswith("no tunnel to vpn.example within 30 s")
    assert ("GRE" in failure(play).words) is is_suspected


def test_the_connection_is_found_in_the_kernel_s_list_on_either_kind_of_processor() -> None:
    play = started()
    play.now += TIMEOUT / 2
    pattern = only(Run, play.feed(Tick())).argv[2]
    row = "   1: 0A0002C0:D2A4 {}:06BB {} 00000000:00000000 00:00000000 00000000     0        0 1234 1 0 20 4 30 10 -1"
    for address in ("010200C0", "C0000201"):
        assert re.search(pattern, row.format(address, "01"))
        assert not re.search(pattern, row.format(address, "02"))  # SYN_SENT
    assert not re.search(pattern, row.format("020200C0", "01"))


def test_lcp_gives_up_after_the_look_at_the_connection_and_before_the_time_is_over() -> None:
    play = started()
    lcp = int(option(play, "lcp-restart")) * int(option(play, "lcp-max-configure"))
    assert only(LookAgainAt, play.actions).when - START < lcp < TIMEOUT


# -- what it starts


def test_the_password_goes_through_stdin_alone() -> None:
    spawn = only(Spawn, started().actions)
    assert spawn.stdin is not None
    assert spawn.stdin.reveal() == PASSWORD.encode()
    assert spawn.argv[spawn.argv.index("passwordfd") + 1] == "0"
    assert spawn.argv.index("plugin") < spawn.argv.index("passwordfd")


def test_pptp_is_given_the_address_and_leaves_the_routes_alone() -> None:
    words = split(option(started(), "pty"))
    assert words[:3] == ["exec", "pptp", str(GATEWAY)]
    assert {"--nolaunchpppd", "--nohostroute"} <= set(words)


def test_no_script_of_the_distribution_is_run_and_ours_is_the_notifier() -> None:
    play = started()
    written = only(Write, play.actions)
    assert written.executable
    assert option(play, "ip-up-script") == f"/run/autovpn/t/{written.name}"
    assert option(play, "ip-down-script").startswith("/run/autovpn/t/")
    _, command = written.content.reveal().decode().splitlines()
    assert split(command) == ["exec", *launch("pptp").notifier, "$@"]


def test_its_scripts_find_the_notifier_s_socket_and_carry_the_mark_of_the_tunnel() -> None:
    argv = only(Spawn, started().actions).argv
    variables = [argv[place + 1] for place, word in enumerate(argv) if word == "set"]
    assert f"{SOCKET_VARIABLE}=/run/autovpn/t/notify.sock" in variables
    assert f"{NONCE_VARIABLE}=0123456789abcdef" in variables


@pytest.mark.parametrize(
    ("mppe", "word"), [(Mppe.REQUIRED, "require-mppe-128"), (Mppe.ANY, "require-mppe"), (Mppe.OFF, "nomppe")]
)
def test_encryption_is_as_the_profile_says(mppe: Mppe, word: str) -> None:
    argv = only(Spawn, started(mppe=mppe).actions).argv
    assert [part for part in argv if "mppe" in part] == [word]


@pytest.mark.parametrize("ask", [True, False])
def test_dns_is_asked_for_and_taken_only_where_the_profile_wants_it(ask: bool) -> None:
    play = started(ask_dns=ask)
    assert ("usepeerdns" in only(Spawn, play.actions).argv) is ask
    play.feed(Report({**UP.values, "DNS1": "10.99.0.53"}))
    assert [news.facts.dns for news in play.news if isinstance(news, Ready)] == [("10.99.0.53",) if ask else ()]


@pytest.mark.parametrize(
    ("of_profile", "of_uplink", "inside"), [(None, 1500, 1396), (None, 1420, 1352), (1300, 1500, 1300)]
)
def test_the_mtu_fits_the_uplink_and_leaves_room_for_mppe(of_profile: int | None, of_uplink: int, inside: int) -> None:
    made = launch("pptp", uplink=replace(UPLINK, mtu=of_uplink))
    play = Play(replace(made, spec=replace(made.spec, mtu=of_profile))).start()
    assert option(play, "mtu") == option(play, "mru") == str(inside + 4)
    play.feed(UP)
    assert [news.facts.mtu for news in play.news if isinstance(news, Ready)] == [inside]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"endpoints": ()}, FailureClass.NAME),
        ({"endpoints": (PinnedEndpoint(IPv6Address("2001:db8::1"), 1723, "tcp"),)}, FailureClass.NAME),
        ({"password": None}, FailureClass.LOCAL),
        ({"password": Secret(b"\n")}, FailureClass.LOCAL),
        ({"password": Secret(b"x" * 256)}, FailureClass.LOCAL),
        ({"password": Secret(b"a\0b")}, FailureClass.LOCAL),
    ],
)
def test_what_is_missing_or_cannot_be_given_to_pppd_is_said_before_anything_starts(
    changes: dict[str, object], kind: FailureClass
) -> None:
    (failed,) = started(**changes).actions
    assert isinstance(failed, Failed)
    assert failed.kind is kind


# -- the uplink, the device, the daemon


def test_it_stays_while_one_of_its_addresses_stays_and_is_lost_with_the_last() -> None:
    own, other = IPv4Address("192.0.2.10"), IPv4Address("192.0.2.11")
    play = started(uplink=replace(UPLINK, addresses=(own, IPv6Address("2001:db8::10"))))
    play.feed(UP)
    assert play.feed(UplinkChanged(replace(UPLINK, addresses=(other, own)), ())) == ()
    play.feed(UplinkChanged(replace(UPLINK, addresses=(other, IPv6Address("2001:db8::10"))), ()))
    assert failure(play).kind is FailureClass.LOST


def test_a_device_that_vanishes_without_a_word_is_lost() -> None:
    play = started()
    play.feed(UP, LinkVanished("other"), LinkVanished(DEVICE))
    play.now += 2
    play.feed(Tick())
    assert failure(play) == Failed(FailureClass.LOST, f"the device {DEVICE} is gone")


def test_a_running_pppd_is_ready_at_once_with_its_facts() -> None:
    play = Play(launch("pptp")).adopt(recovered("pptp"))
    assert play.actions == [Ready(recovered("pptp").facts or Facts())]


def test_a_pppd_that_was_never_ready_is_not_adopted() -> None:
    play = Play(launch("pptp")).adopt(Recovered(4711, DEVICE, None))
    assert failure(play).kind is FailureClass.LOST


# -- what a hostile server says


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "169.254.1.1", "x", ""])
def test_an_address_that_is_no_machine_s_is_refused(address: str) -> None:
    play = started()
    play.feed(Report({**UP.values, "ARGV_4": address}))
    assert failure(play).kind is FailureClass.UNREACHABLE


def test_a_dns_server_that_is_none_is_left_out_and_said() -> None:
    play = started()
    play.feed(Report({**UP.values, "DNS1": "127.0.0.1", "DNS2": "10.99.0.53"}))
    (ready,) = play.news
    assert isinstance(ready, Ready)
    assert ready.facts.dns == ("10.99.0.53",)
    assert "127.0.0.1" in ready.facts.refused[0]


@given(values=st.dictionaries(st.sampled_from(["ARGV_1", "ARGV_4", "ARGV_5", "DNS1", "DNS2"]), st.text()))
def test_a_hostile_report_leads_to_clean_facts_or_to_a_failure(values: dict[str, str]) -> None:
    play = started()
    play.feed(Report({**UP.values, **values}))
    (news,) = play.news
    facts = news.facts if isinstance(news, Ready) else Facts()
    assert ("".join(facts.dns) + "".join(facts.refused) + (facts.device or "")).isprintable()


def test_every_line_that_is_noise_is_noise_in_the_recorded_runs() -> None:
    lines = [event.text for event in recorded("pptp-ready") if isinstance(event, Line)]
    assert [line for line in lines if not pppd.is_noise(line)] == [
        "CHAP authentication succeeded",
        "MPPE 128-bit stateless compression enabled",
        "local  IP address 10.99.0.100",
        "remote IP address 10.99.0.1",
        "primary   DNS address 10.99.0.53",
        "secondary DNS address 10.99.0.54",
    ]
