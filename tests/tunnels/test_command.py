"""The driver of the user's own programs: what shows that the tunnel is there, and what its end means."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest

from autovpn.core.actions import Dial, Failed, LookAgainAt, Ready, Run, Spawn
from autovpn.core.driving import (
    Dialled,
    DialOutcome,
    DriverEvent,
    Exited,
    Line,
    LinkAppeared,
    LinkVanished,
    Notified,
    Ran,
    Recovered,
    Tick,
    UplinkChanged,
)
from autovpn.core.endpoint import Listener
from autovpn.core.settings_command import CommandSettings, ReadyBy
from autovpn.core.tunnel import Facts, FailureClass
from autovpn.tunnels.command import CommandDriver
from tests.tunnels.playing import PASSWORD, START, TIMEOUT, UPLINK, Play, launch, only, recovered, transcript

DEVICE = "avtcmd"
APPEARED = LinkAppeared(DEVICE, 9)
FACTS = Facts(DEVICE, (IPv4Interface("10.98.0.2/30"),))
PORT = Listener(IPv4Address("127.0.0.1"), 8080)


def playing(*, device: str = "", **changes: Any) -> Play:  # noqa: ANN401 - fields of the settings
    """Return a tunnel without a device, unless one is named."""
    if not device:
        changes = {"addresses": (), **changes}
    made = launch("command", **changes)
    return Play(replace(made, spec=replace(made.spec, device=device)))


def begun(**changes: Any) -> Play:  # noqa: ANN401 - as above
    return playing(**changes).start()


def tick(play: Play, later: float) -> tuple[object, ...]:
    play.now += later
    return play.feed(Tick())


def timer(play: Play) -> float:
    """Return in how many seconds the driver wants to look again."""
    return [action for action in play.actions if isinstance(action, LookAgainAt)][-1].when - play.now


# -- start


def test_start_gets_its_password_as_a_line_and_is_told_what_it_needs_to_know() -> None:
    spawn = only(Spawn, begun(device=DEVICE).actions)
    assert (spawn.argv, spawn.by_user, spawn.detaches, spawn.notifies) == (("vpn-up", "office"), True, False, False)
    assert spawn.stdin is not None
    assert spawn.stdin.reveal() == PASSWORD.encode() + b"\n"
    told = dict(spawn.environment)
    assert told.pop("PATH")
    assert told == {
        "LC_ALL": "C",
        "AUTOVPN_TUNNEL": "office",
        "AUTOVPN_DEVICE": DEVICE,
        "AUTOVPN_ENDPOINT": "192.0.2.1",
        "AUTOVPN_UPLINK": "eth0",
    }


def test_a_tunnel_without_password_device_and_endpoints_is_told_of_none() -> None:
    play = playing(password=None, endpoints=())
    play.launch = replace(play.launch, spec=replace(play.launch.spec, settings=CommandSettings(("x",), ReadyBy.CHECK)))
    spawn = only(Spawn, play.start().actions)
    assert spawn.stdin is None
    assert [name for name, _ in spawn.environment if name.startswith("AUTOVPN")] == ["AUTOVPN_TUNNEL", "AUTOVPN_UPLINK"]


def test_an_endpoint_without_an_address_is_said_by_its_name() -> None:
    play = playing()
    play.launch = replace(play.launch, endpoints=())
    assert play.start().news == [Failed(FailureClass.NAME, "no address is known for vpn.example")]


# -- ready

SIGNS: list[tuple[ReadyBy, dict[str, Any], DriverEvent]] = [
    (ReadyBy.CHECK, {}, Ran("check", 0)),
    (ReadyBy.EXIT, {"detaches": True}, Exited(0)),
    (ReadyBy.LINE, {"line": "is up"}, Line("the tunnel is up now")),
    (ReadyBy.PORT, {"listener": PORT}, Dialled("port", DialOutcome.STOOD)),
    (ReadyBy.NOTIFY, {}, Notified({"READY": "1"})),
]
NO_SIGNS: list[DriverEvent] = [
    Ran("check", 1),
    Ran("other", 0),
    Line("the tunnel"),
    Dialled("port", DialOutcome.REFUSED, "Connection refused"),
    Dialled("other", DialOutcome.STOOD),
    Notified({"STATUS": "half way"}),
    Notified({"READY": "0"}),
    LinkAppeared("another", 8),
    UplinkChanged(UPLINK, ()),
    Tick(),
]


@pytest.mark.parametrize(("by", "settings", "sign"), SIGNS)
def test_a_tunnel_without_a_device_is_ready_by_the_sign_that_was_asked_for_alone(
    by: ReadyBy, settings: dict[str, Any], sign: DriverEvent
) -> None:
    play = begun(ready=by, **settings)
    play.feed(*NO_SIGNS)
    play.feed(*(other for kind, _, other in SIGNS if kind is not by and not isinstance(other, Exited | Ran | Dialled)))
    assert play.news == []
    play.feed(sign)
    assert play.news == [Ready(Facts())]


@pytest.mark.parametrize(("by", "settings", "sign"), SIGNS)
@pytest.mark.parametrize("link_first", [True, False])
def test_a_tunnel_with_a_device_is_ready_when_its_link_is_there_too(
    by: ReadyBy, settings: dict[str, Any], sign: DriverEvent, link_first: bool
) -> None:
    play = begun(device=DEVICE, ready=by, **settings)
    first, second = (APPEARED, sign) if link_first else (sign, APPEARED)
    play.feed(first)
    assert play.news == []
    play.feed(second)
    assert play.news == [Ready(FACTS)]


def test_a_link_can_be_the_only_sign() -> None:
    play = begun(device=DEVICE, ready=ReadyBy.LINK)
    play.feed(APPEARED)
    assert play.news == [Ready(FACTS)]


def test_a_program_that_notifies_is_given_a_socket() -> None:
    assert only(Spawn, begun(ready=ReadyBy.NOTIFY).actions).notifies


def test_what_a_real_ssh_prints_can_be_the_sign() -> None:
    play = begun(ready=ReadyBy.LINE, line="tunnel forward established")
    play.feed(*transcript("openssh-ready"))
    assert play.news == [Ready(Facts())]


# -- looking


def test_check_is_run_at_growing_pauses_until_it_succeeds() -> None:
    play = begun()
    pauses = []
    for _ in range(7):
        pauses.append(timer(play))
        (look, _) = tick(play, timer(play))
        assert isinstance(look, Run)
        assert (look.argv, look.by_user) == (("vpn-check",), True)
        assert tick(play, 0.0) == (LookAgainAt(START + TIMEOUT),), "never two at once"
        play.feed(Ran("check", 1, "not\nyet\n\n"))
    assert pauses == pytest.approx([0.1, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0])
    play.feed(Ran("check", 0))
    assert play.news == [Ready(Facts())]
    assert tick(play, TIMEOUT) == ()
    assert play.feed(Ran("check", 1)) == ()


def test_what_check_prints_last_does_nothing_to_a_terminal() -> None:
    play = begun()
    tick(play, timer(play))
    play.feed(Ran("check", 1, "not\nyet\x1b[2J\n\n"))
    assert play.state.complaint == "yet [2J"


def test_a_port_is_dialled() -> None:
    play = begun(ready=ReadyBy.PORT, listener=PORT)
    (look, _) = tick(play, 0.1)
    assert look == Dial("port", PORT.address, PORT.port, deadline=10.0)


@pytest.mark.parametrize(
    ("settings", "events", "words"),
    [
        ({}, [Ran("check", 1, "no route to host\n")], "no success of 'check' within 30 s; no route to host"),
        ({"ready": ReadyBy.LINE, "line": "up"}, [Line("dialling")], "no line of output that was waited for within"),
        ({"ready": ReadyBy.NOTIFY}, [Notified({"STATUS": "asking"})], "no READY=1 within 30 s; asking"),
        ({"ready": ReadyBy.EXIT, "detaches": True}, [], "no end of 'start' within 30 s"),
        ({"device": DEVICE}, [Ran("check", 0)], "no link avtcmd within 30 s"),
    ],
)
def test_a_tunnel_that_does_not_show_itself_in_time_is_unreachable_and_says_what_was_lacking(
    settings: dict[str, Any], events: list[DriverEvent], words: str
) -> None:
    play = begun(**settings)
    play.feed(*events)
    tick(play, TIMEOUT)
    (failed,) = play.news
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.UNREACHABLE
    assert failed.words.startswith(words)


# -- the end


@pytest.mark.parametrize("status", [0, 1, -9])
def test_an_end_that_nobody_asked_for_is_a_failure_whatever_its_status(status: int) -> None:
    play = begun()
    play.feed(Line("dialling"), Exited(status))
    assert play.news == [Failed(FailureClass.UNREACHABLE, "dialling")]


def test_a_program_that_cannot_be_started_is_a_local_failure_with_its_name() -> None:
    play = begun()
    play.feed(Exited(127))
    assert play.news == [Failed(FailureClass.LOCAL, "vpn-up can't be started; is it installed?")]


def test_the_end_of_a_tunnel_that_was_up_is_its_loss() -> None:
    play = begun()
    play.feed(Ran("check", 0), Line("server went away"), Exited(0))
    assert play.news[1:] == [Failed(FailureClass.LOST, "server went away")]


def test_a_link_that_vanishes_is_a_loss_after_the_program_could_say_why() -> None:
    play = begun(device=DEVICE)
    play.feed(APPEARED, Ran("check", 0), LinkVanished("another"), LinkVanished(DEVICE))
    tick(play, 2.0)
    assert play.news[1:] == [Failed(FailureClass.LOST, "the device avtcmd is gone")]


@pytest.mark.parametrize(
    ("settings", "kind"),
    [({"auth_words": ("denied",)}, FailureClass.AUTH), ({"trust_words": ("denied",)}, FailureClass.TRUST)],
)
def test_words_that_the_user_named_end_the_attempt_at_once(settings: dict[str, Any], kind: FailureClass) -> None:
    play = begun(**settings)
    play.feed(Line("hello"), Line("access denied"))
    assert play.news == [Failed(kind, "hello; access denied")]
    assert play.feed(Exited(1)) == ()


def test_the_same_words_end_nothing_that_is_up() -> None:
    play = begun(auth_words=("denied",))
    play.feed(Ran("check", 0), Line("access denied"))
    assert play.news == [Ready(Facts())]


def test_a_real_ssh_that_is_refused_is_told_by_its_words() -> None:
    play = begun(auth_words=("Permission denied",))
    play.feed(*transcript("openssh-wrong-key"))
    (failed,) = play.news
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.AUTH


# -- detached


def test_a_tunnel_that_detaches_is_looked_at_once_start_has_ended() -> None:
    play = begun(detaches=True)
    assert only(Spawn, play.actions).detaches
    assert timer(play) == TIMEOUT
    assert play.feed(Exited(0)) == (LookAgainAt(START + 0.1),)
    (look, _) = tick(play, 0.1)
    assert isinstance(look, Run)
    play.feed(Ran("check", 0))
    assert play.news == [Ready(Facts())]


def test_a_tunnel_whose_start_fails_to_detach_has_failed() -> None:
    play = begun(detaches=True, ready=ReadyBy.EXIT)
    play.feed(Line("no such host"), Exited(1))
    assert play.news == [Failed(FailureClass.UNREACHABLE, "no such host")]


# -- farewell


def test_stop_is_run_at_the_end_with_what_start_was_told() -> None:
    made = playing(device=DEVICE).launch
    (run,) = CommandDriver().farewell(made)
    assert (run.argv, run.by_user, run.stdin) == (("vpn-down", "office"), True, None)
    assert dict(run.environment)["AUTOVPN_DEVICE"] == DEVICE
    assert CommandDriver().farewell(playing(stop=()).launch) == ()


# -- adopted

NO_CHECK: dict[str, Any] = {"check": (), "ready": ReadyBy.LINE, "line": "up"}


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, Recovered(None, None, Facts())),
        ({}, Recovered(7, None, None)),
        ({"device": DEVICE}, Recovered(7, None, FACTS)),
    ],
)
def test_what_was_not_whole_is_not_taken_over(settings: dict[str, Any], found: Recovered) -> None:
    play = playing(**settings).adopt(found)
    assert play.news == [Failed(FailureClass.LOST, "the tunnel was not up when its daemon ended")]


def test_a_tunnel_that_nothing_can_be_asked_about_is_taken_over_by_its_process_or_link() -> None:
    assert playing(**NO_CHECK).adopt(Recovered(7, None, Facts())).news == [Ready(Facts())]
    detached = playing(device=DEVICE, detaches=True, check=(), ready=ReadyBy.EXIT)
    assert detached.adopt(Recovered(None, DEVICE, FACTS)).news == [Ready(FACTS)]


@pytest.mark.parametrize(
    ("settings", "good", "bad"),
    [
        ({}, Ran("check", 0), Ran("check", 1, "no answer")),
        ({**NO_CHECK, "listener": PORT}, Dialled("port", DialOutcome.STOOD), Dialled("port", DialOutcome.REFUSED, "x")),
    ],
)
def test_a_tunnel_that_can_be_looked_at_is_taken_over_by_a_good_look(
    settings: dict[str, Any], good: DriverEvent, bad: DriverEvent
) -> None:
    found = recovered("command")
    play = playing(device=DEVICE, **settings).adopt(found)
    assert [type(action) for action in play.actions] == [Dial if settings else Run, LookAgainAt]
    play.feed(bad)
    assert play.news == []
    play.feed(good)
    assert found.facts is not None
    assert play.news == [Ready(found.facts)]


def test_a_tunnel_that_never_passes_its_check_again_is_lost() -> None:
    play = playing(device=DEVICE).adopt(recovered("command"))
    play.feed(Ran("check", 1, "no answer"))
    tick(play, TIMEOUT)
    assert play.news == [Failed(FailureClass.LOST, "no answer")]
    silent = playing(device=DEVICE).adopt(recovered("command"))
    tick(silent, TIMEOUT)
    assert silent.news == [Failed(FailureClass.LOST, "the tunnel doesn't pass its check any more")]


def test_a_tunnel_of_another_type_is_our_own_fault() -> None:
    with pytest.raises(TypeError, match="not of type command"):
        CommandDriver().start(launch("vpnc"), START)
