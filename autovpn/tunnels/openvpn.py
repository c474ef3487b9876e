"""The `openvpn` tunnel: a supervised openvpn(8), which is told everything on its stdin and its management socket.

It begins on hold and holds before every new try, so that nothing happens without us: neither a try for ever, nor a new
connection in the place of one that was lost. It runs no program (`script-security 0`): what the server pushed comes
over the management socket (`management-up-down`), and addresses, routes and DNS are not its business. Without
`management-signal` it lives on when the daemon dies, and the next one connects to the same socket.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from math import inf

from autovpn.core.actions import Action, LookAgainAt, Open, Ready, Send, Spawn
from autovpn.core.driving import (
    Answered,
    Closed,
    DriverEvent,
    Exited,
    Launch,
    Line,
    LinkVanished,
    Opened,
    Received,
    Recovered,
    Step,
    Tick,
    UplinkChanged,
)
from autovpn.core.openvpnfile import reading_fault
from autovpn.core.secret import Secret
from autovpn.core.tunnel import Facts, FailureClass, PinnedEndpoint
from autovpn.tunnels import openvpn_management as management
from autovpn.tunnels import openvpn_offer, pushed
from autovpn.tunnels.attempt import (
    ENVIRONMENT,
    Attempt,
    EndsAlone,
    Stage,
    at_its_end,
    device_lost,
    ended,
    give_up,
    heard,
    in_words,
    lost,
    meaning,
    timed_out,
)
from autovpn.tunnels.openvpn_configuration import configuration, servers_of, settings_of
from autovpn.tunnels.openvpn_login import AUTH, CHANNEL, CannotBeTold, Login, go_on, is_repeated
from autovpn.tunnels.openvpn_words import TELLTALES, is_telling

NEEDS_PERSON = "it needs a person: 'autovpn up' with the profile's name, at a terminal, asks"

_PUSHED = "PUSH: Received control message: "


@dataclass(frozen=True, slots=True)
class OpenvpnState(Attempt):
    """One run of openvpn. `values` and `defaults` are what the server pushed; `tries` how many servers are left.

    `rebinds` says that it connects anew since we want it to; `speaks` that its management socket is open;
    `greeted` that a server has answered.
    """

    rest: bytes = field(default=b"", repr=False)
    login: Login = field(default_factory=Login)
    values: Mapping[str, str] = field(default_factory=dict)
    defaults: tuple[pushed.Pair, ...] = ()
    tries: int = 1
    remote: str = ""
    speaks: bool = False
    greeted: bool = False
    rebinds: bool = False
    recovered: Recovered | None = None


class OpenvpnDriver(EndsAlone):
    """Drives openvpn."""

    def start(self, launch: Launch, now: float) -> Step[OpenvpnState]:
        """Start openvpn with the user's settings and ours on its stdin."""
        state = OpenvpnState(launch, now + launch.spec.connect_timeout, tries=len(servers_of(launch)))
        settings = settings_of(launch)
        if settings.config not in launch.files:
            return give_up(state, FailureClass.LOCAL, f"{settings.config} could not be read")
        if fault := reading_fault(launch.files[settings.config].reveal().decode("latin-1")):
            return give_up(state, FailureClass.LOCAL, f"{settings.config} {fault}")
        if not launch.endpoints:
            return give_up(state, FailureClass.NAME, "no address is known for the server")
        folder = settings.config.rpartition("/")[0] or "/"
        argv = ("openvpn", "--cd", folder, "--config", "stdin")
        return state, (Spawn(argv, ENVIRONMENT, configuration(launch)), _open(launch), LookAgainAt(state.deadline))

    def adopt(self, launch: Launch, recovered: Recovered, now: float) -> Step[OpenvpnState]:
        """Ask a running openvpn on its management socket whether it is still connected."""
        state = OpenvpnState(launch, now + launch.spec.connect_timeout, recovered=recovered)
        if recovered.pid is None or recovered.device is None or recovered.facts is None:
            return give_up(state, FailureClass.LOST, "openvpn was not up when its daemon ended")
        return state, (_open(launch), LookAgainAt(state.deadline))

    def feed(self, state: OpenvpnState, event: DriverEvent, now: float) -> Step[OpenvpnState]:
        """Take what openvpn says, prints and does."""
        if end := at_its_end(state, event, now):
            return end
        match event:
            case Opened(channel) | Received(channel) | Closed(channel) if channel == CHANNEL:
                return _heard_from_socket(state, event, now)
            case Line(text) if not state.speaks:
                return heard(state, text), ()
            case Answered(name, answer):
                return _answered(state, name, answer, now)
            case Exited(status):
                return ended(state, "openvpn", status, TELLTALES)
            case _:
                return _around(state, event, now)


# -- what the management socket says


def _heard_from_socket(state: OpenvpnState, event: Opened | Received | Closed, now: float) -> Step[OpenvpnState]:
    match event:
        case Opened():
            return replace(state, speaks=True, said=()), (*_say("log", "on"), *_say("state", "on"), *_say("state"))
        case Received(_, data):
            return _received(state, data, now)
        case Closed():
            return lost(state, "openvpn has closed its management socket", now)


def _received(state: OpenvpnState, data: bytes, now: float) -> Step[OpenvpnState]:
    lines, rest = management.lines_in(state.rest + data)
    state = replace(state, rest=rest)
    actions: list[Action] = []
    for variables, group in groupby(lines, lambda line: line.startswith(">UPDOWN:ENV,")):
        if variables:
            told = (line.partition(",")[2] for line in group)
            state = replace(state, values=openvpn_offer.taken(state.values, told))
            continue
        for line in group:
            if state.stage is Stage.OVER:
                break
            state, fresh = _line(state, line, now)
            actions.extend(fresh)
    return state, tuple(actions)


def _line(state: OpenvpnState, line: str, now: float) -> Step[OpenvpnState]:
    kind, _, text = line.partition(":")
    match kind:
        case ">LOG":
            return _logged(state, text)
        case ">FATAL":
            return heard(state, pushed.banner(text)), ()
        case ">HOLD":
            return state, _say("hold", "release") if state.recovered is None or state.rebinds else ()
        case ">STATE":
            return _state(state, management.state_in(text), now)
        case ">PASSWORD":
            return _password(state, text)
        case ">INFOMSG":
            return _server_asks(state, text)
        case _ if re.match(r"[0-9]+,[A-Z_]+,", line):  # the answer to `state`
            return _state(state, management.state_in(line), now) if state.recovered else (state, ())
        case _:
            return state, ()  # not even an error is kept: it may repeat a password that is too long


def _logged(state: OpenvpnState, text: str) -> Step[OpenvpnState]:
    _, flags, message = [*text.split(",", 2), "", ""][:3]
    if message.startswith(_PUSHED):
        defaults = dict.fromkeys((*state.defaults, *openvpn_offer.redirects(message)))
        return replace(state, defaults=tuple(defaults)), ()  # each once: a server may push as often as it likes
    if is_telling(flags, message):
        state = heard(state, pushed.banner(message))
    if "[ECONNREFUSED]" in message and state.stage is Stage.CONNECTING:
        return _next_server(state, _say("signal", "SIGUSR1"))
    return state, ()


def _state(state: OpenvpnState, told: management.State, now: float) -> Step[OpenvpnState]:
    if told.name == management.CONNECTED:
        return _connected(replace(state, remote=f"{told.remote} {told.port}"), now)
    if state.recovered and state.stage is Stage.CONNECTING:
        words = f"openvpn was no longer connected ({told.name} {told.why})"
        return give_up(state, FailureClass.LOST, "; ".join(filter(None, (words, in_words(state)))))
    if told.name != management.RECONNECTING:
        return replace(state, greeted=state.greeted or told.name == management.AUTH), ()
    if state.stage is Stage.UP and not (state.rebinds and told.why == "SIGUSR1"):
        return give_up(state, FailureClass.LOST, in_words(state) or f"the connection was lost ({told.why})")
    if told.why in ("auth-failure", "SIGUSR1"):  # a question that is open, or what we wanted
        return state, ()
    return _next_server(state, ())


def _next_server(state: OpenvpnState, then: tuple[Action, ...]) -> Step[OpenvpnState]:
    """Let it go on with the next server, for which it holds, unless there is none that was not tried."""
    if state.tries > 1:
        return replace(state, tries=state.tries - 1), then
    kind = meaning(state.said, TELLTALES) or FailureClass.UNREACHABLE
    return give_up(state, kind, in_words(state) or "the server does not answer")


def _connected(state: OpenvpnState, now: float) -> Step[OpenvpnState]:
    if state.stage is Stage.UP:
        return replace(state, rebinds=False, deadline=now), ()
    facts = state.recovered.facts if state.recovered else _facts(state)
    if facts is None:
        return give_up(state, FailureClass.UNREACHABLE, "the server gave this machine no usable address")
    return replace(state, stage=Stage.UP, said=(), login=Login(), values={}, defaults=()), (Ready(facts),)


def _facts(state: OpenvpnState) -> Facts | None:
    facts = openvpn_offer.facts_of(state.values, state.defaults, state.launch)
    servers = servers_of(state.launch)
    if facts is None or len(servers) == 1:
        return facts
    server = _connected_to(state)
    return replace(facts, form=f"{server.protocol.upper()} to {server.address} port {server.port}") if server else facts


# -- what it wants to know


def _password(state: OpenvpnState, text: str) -> Step[OpenvpnState]:
    message = management.password_message(text)
    match message:
        case management.Need():
            if state.recovered and is_repeated(state.launch, message):
                return give_up(state, FailureClass.LOST, "openvpn asks for its password again, to connect anew")
            return _go_on(replace(state, login=state.login.asked(message)))
        case management.Refusal(kind=kind, challenge=None):
            what = "user or the password" if kind == AUTH else f"password of the {pushed.shown(kind).lower()}"
            return give_up(state, FailureClass.AUTH, in_words(state) or f"the {what} was refused")
        case management.Refusal(challenge=challenge) if challenge:
            return replace(state, login=state.login.challenged(challenge)), ()
        case _:
            return state, ()


def _server_asks(state: OpenvpnState, text: str) -> Step[OpenvpnState]:
    if challenge := management.pending_challenge(text):
        return (
            _go_on(replace(state, login=state.login.challenged(challenge))) if challenge.wants_answer else (state, ())
        )
    if text.startswith(("WEB_AUTH:", "OPEN_URL:")):
        words = "the server wants a login in a web browser, which autovpn can't do"
        return give_up(state, FailureClass.AUTH, f"{words} ({pushed.banner(text)})")
    return state, ()


def _answered(state: OpenvpnState, name: str, answer: Secret | None, now: float) -> Step[OpenvpnState]:
    if name != state.login.asking:
        return state, ()
    if answer is None:
        question = state.login.challenge
        asked = f"the server asks: {pushed.banner(question.text)}" if question else "a user name or password is missing"
        return give_up(state, FailureClass.AUTH, f"{asked}; {NEEDS_PERSON}")
    deadline = now + state.launch.spec.connect_timeout
    state, actions = _go_on(replace(state, login=state.login.answered(name, answer), deadline=deadline))
    return state, actions if state.login.asking else (*actions, LookAgainAt(deadline))


def _go_on(state: OpenvpnState) -> Step[OpenvpnState]:
    try:
        login, actions = go_on(state.login, state.launch)
    except CannotBeTold as error:
        return give_up(state, FailureClass.LOCAL, str(error))
    return replace(state, login=login, deadline=inf if login.asking else state.deadline), actions


# -- the machine around it


def _around(state: OpenvpnState, event: DriverEvent, now: float) -> Step[OpenvpnState]:
    match event:
        case UplinkChanged():
            return _uplink_changed(state, event)
        case LinkVanished(name) if name == state.launch.spec.device:
            return device_lost(state, name, now)
        case Tick():
            return _tick(state, now)
        case _:
            return state, ()


def _uplink_changed(state: OpenvpnState, event: UplinkChanged) -> Step[OpenvpnState]:
    """Have a TCP connection made anew when its own address is gone; over UDP the server follows us by itself.

    It knows a session by its number (`peer-id`), so the first packet from the new address moves it, without loss and
    without a new login, which a one-time code would not survive.
    """
    before = state.launch.uplink
    state = replace(state, launch=replace(state.launch, uplink=event.uplink))
    moved = set(before.addresses) != set(event.uplink.addresses) or before.id != event.uplink.id
    server = _connected_to(state)
    if state.stage is not Stage.UP or not moved or server is None or server.protocol != "tcp":
        return state, ()
    return replace(state, rebinds=True), _say("signal", "SIGUSR1")


def _tick(state: OpenvpnState, now: float) -> Step[OpenvpnState]:
    if state.stage is Stage.UP:
        return state, ()
    if now >= state.deadline:
        if state.recovered:
            return give_up(state, FailureClass.LOST, "openvpn does not answer on its management socket")
        server = state.launch.endpoints[-1]
        advice = (
            "it answers, but goes no further: it may not accept our certificate; its log tells" if state.greeted else ""
        )
        return timed_out(state, f"tunnel to {server.address} port {server.port}", advice)
    return state, () if state.deadline == inf else (LookAgainAt(state.deadline),)


def _connected_to(state: OpenvpnState) -> PinnedEndpoint | None:
    """Return the server that it is connected to; of two at the same port the one by TCP, which needs more care."""
    found = [server for server in servers_of(state.launch) if f"{server.address} {server.port}" == state.remote]
    return next((server for server in found if server.protocol == "tcp"), found[0] if found else None)


def _open(launch: Launch) -> Open:
    return Open(CHANNEL, f"{launch.directory}/management.sock")


def _say(*words: str) -> tuple[Action, ...]:
    return (Send(CHANNEL, management.command(*words)),)
