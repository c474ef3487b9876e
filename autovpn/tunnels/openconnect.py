"""The `openconnect` tunnel: TLS and DTLS VPNs (AnyConnect, GlobalProtect, Pulse, ...) by a supervised openconnect(8).

It works in two steps, so that the password is in no process that lives long: `openconnect --authenticate` logs in and
prints a cookie and the fingerprint of the certificate that it has checked; the tunnel's own openconnect is given both,
and no name to check or to resolve. Where the server asks for more than a password, a person is asked, and the login
begins anew with the answer: openconnect reads what it would ask at a terminal line by line from its stdin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autovpn.core.actions import AskPerson, LookAgainAt, Ready, Signal, Spawn
from autovpn.core.driving import (
    Answered,
    DriverEvent,
    Exited,
    Launch,
    Line,
    LinkVanished,
    Ran,
    Recovered,
    Report,
    Step,
    Tick,
    UplinkChanged,
)
from autovpn.core.escape import show_text
from autovpn.core.secret import Secret
from autovpn.core.tunnel import Facts, FailureClass
from autovpn.tunnels import openconnect_login as login
from autovpn.tunnels.attempt import (
    ENVIRONMENT,
    Attempt,
    EndsAlone,
    Stage,
    Telltales,
    at_its_end,
    device_lost,
    ended,
    give_up,
    heard,
    in_words,
    meaning,
    server_asks,
    timed_out,
)
from autovpn.tunnels.openconnect_facts import facts_of, form_in

if TYPE_CHECKING:
    from collections.abc import Mapping

SIGUSR2 = 12
"""Has openconnect connect anew (signal(7); the number of every architecture but alpha, mips, parisc and sparc)."""

RECONNECTION = 40.0
"""Seconds that openconnect has to find its server again. Its own limit counts pauses alone, while a single try to
connect to a silent server takes the kernel's two minutes."""

MAX_ANSWERS = 3
"""How many things a person is asked in one attempt: name, password, code."""

QUESTION = "form"

TELLTALES: Telltales = (
    ("failed verification", FailureClass.TRUST),
    ("specified via --servercert", FailureClass.TRUST),
    ("Login failed", FailureClass.AUTH),
    ("HTTP/1.1 401", FailureClass.AUTH),
    ("HTTP/1.1 403", FailureClass.AUTH),
    ("Authentication failed", FailureClass.AUTH),
    ("Invalid credentials", FailureClass.AUTH),
    ("Permission denied", FailureClass.AUTH),
    ("SAML", FailureClass.AUTH),
    ("external browser", FailureClass.AUTH),
    ("--csd-wrapper", FailureClass.AUTH),
    ("getaddrinfo failed", FailureClass.NAME),
    ("local tun device", FailureClass.LOCAL),
    ("Failed to open tun device", FailureClass.LOCAL),
    ("Error loading certificate", FailureClass.LOCAL),
    ("Error importing", FailureClass.LOCAL),
    ("Failed to open key/certificate file", FailureClass.LOCAL),
    ("Failed to open CA file", FailureClass.LOCAL),
    ("Loading certificate failed", FailureClass.LOCAL),
)
"""What else openconnect says (refused, no route, unavailable, a cookie that is not taken) may be better later."""


@dataclass(frozen=True, slots=True)
class OpenconnectState(Attempt):
    """One login and the run that follows it.

    `answers` is what a person has said, `question` what one is being asked; `logged_in` says that the tunnel's own
    openconnect runs, `form` is what it said of its packets, `facts` what its script was told, `reconnecting` that it
    has until `deadline` for that.
    """

    answers: tuple[Secret, ...] = ()
    question: str = ""
    logged_in: bool = False
    form: str = ""
    facts: Facts | None = None
    reconnecting: bool = False


class OpenconnectDriver(EndsAlone):
    """Drives openconnect."""

    def start(self, launch: Launch, now: float) -> Step[OpenconnectState]:
        """Log in."""
        state = OpenconnectState(launch, now + launch.spec.connect_timeout)
        host = login.settings_of(launch).host
        if login.server_address(launch.endpoints) is None:
            return give_up(state, FailureClass.NAME, f"no address is known for {host}")
        if fault := login.line_fault(launch.password, "password"):
            return give_up(state, FailureClass.LOCAL, fault)
        return _log_in(state, now)

    def adopt(self, launch: Launch, recovered: Recovered, now: float) -> Step[OpenconnectState]:
        """Take over an openconnect that was up: it answers no questions, but it ends by itself when its server does."""
        state = OpenconnectState(launch, now + launch.spec.connect_timeout, logged_in=True, facts=recovered.facts)
        if recovered.pid is None or recovered.device is None or recovered.facts is None:
            return give_up(state, FailureClass.LOST, "openconnect was not up when its daemon ended")
        return replace(state, stage=Stage.UP, form=recovered.facts.form), (Ready(recovered.facts),)

    def feed(self, state: OpenconnectState, event: DriverEvent, now: float) -> Step[OpenconnectState]:  # noqa: PLR0911 (a table of events, one row each)
        """Take what openconnect and its script say, and what a person answers."""
        if end := at_its_end(state, event, now):
            return end
        match event:
            case Ran(name=login.LOGIN) if not state.logged_in:
                return _ran(state, event, now)
            case Answered(name, answer) if name == QUESTION and state.question:
                return _answered(state, answer, now)
            case Line(text):
                return _line(state, text)
            case Report(values) if state.logged_in:
                return _report(state, values, now)
            case Exited(status):
                return ended(state, "openconnect", status, TELLTALES)
            case LinkVanished(name) if state.facts and name == state.facts.device:
                return device_lost(state, name, now)
            case UplinkChanged() if state.stage is Stage.UP:
                return _rides_on(state, event)
            case Tick():
                return _tick(state, now)
            case _:
                return state, ()


# -- logging in


def _log_in(state: OpenconnectState, now: float) -> Step[OpenconnectState]:
    return state, (login.run(state.launch, state.answers, deadline=state.deadline - now),)


def _ran(state: OpenconnectState, ran: Ran, now: float) -> Step[OpenconnectState]:
    """Go on with the cookie, ask a person for what is missing, or say why it failed."""
    host = login.settings_of(state.launch).host
    state = replace(state, said=())
    for line in ran.output.splitlines():
        state = _heard(state, show_text(line.encode()))
    if ran.status is None:
        return timed_out(state, f"answer to the login from {host}")
    if ran.status != 0:
        return _refused(state, ran)
    session = login.session_in(ran.secret)
    if session is None:
        return give_up(state, FailureClass.UNREACHABLE, f"openconnect says that {host} let us in, but shows no cookie")
    if fault := login.other_place(session, state.launch):
        return give_up(state, FailureClass.LOCAL, fault)
    argv = login.tunnel_argv(state.launch, session)
    started = replace(state, logged_in=True, said=())
    return started, (Spawn(argv, ENVIRONMENT, session.cookie), LookAgainAt(max(state.deadline, now)))


def _refused(state: OpenconnectState, ran: Ran) -> Step[OpenconnectState]:
    question = login.question_in(ran.output)
    if question and not meaning(state.said, TELLTALES) and len(state.answers) < MAX_ANSWERS:
        hidden = not question.lower().endswith("username:")
        asking = AskPerson(QUESTION, server_asks(state.launch, question), hidden)
        return replace(state, question=question), (asking,)
    otherwise = FailureClass.AUTH if question else FailureClass.UNREACHABLE
    return ended(state, "openconnect", ran.status or 0, TELLTALES, otherwise)


def _answered(state: OpenconnectState, answer: Secret | None, now: float) -> Step[OpenconnectState]:
    if answer is None:
        words = f"the server asks '{state.question}', which needs a person: run 'autovpn up' at a terminal"
        return give_up(state, FailureClass.AUTH, words)
    if fault := login.answer_fault(answer, login.settings_of(state.launch)):
        return give_up(state, FailureClass.AUTH, fault)
    deadline = now + state.launch.spec.connect_timeout
    return _log_in(replace(state, answers=(*state.answers, answer), question="", deadline=deadline), now)


# -- the tunnel


def _line(state: OpenconnectState, text: str) -> Step[OpenconnectState]:
    form = form_in(text, wants_udp=login.settings_of(state.launch).udp_port is not None)
    return (replace(state, form=form) if form else _heard(state, text)), ()


def _heard(state: OpenconnectState, text: str) -> OpenconnectState:
    return state if login.is_noise(text) else heard(state, text)


def _report(state: OpenconnectState, values: Mapping[str, str], now: float) -> Step[OpenconnectState]:
    match values.get("reason"), state.stage:
        case "connect" | "reconnect", Stage.CONNECTING:
            return _connected(state, values)
        case "reconnect", Stage.UP:
            return _reconnected(state, values)
        case "attempt-reconnect", Stage.UP:
            deadline = now + RECONNECTION
            return replace(state, reconnecting=True, deadline=deadline), (LookAgainAt(deadline),)
        case _:
            return state, ()


def _connected(state: OpenconnectState, values: Mapping[str, str]) -> Step[OpenconnectState]:
    facts = facts_of(values, state.launch.spec)
    if facts is None:
        return give_up(state, FailureClass.UNREACHABLE, "the server gave this machine no usable address")
    return _ready(state, replace(facts, form=state.form))


def _reconnected(state: OpenconnectState, values: Mapping[str, str]) -> Step[OpenconnectState]:
    facts = facts_of(values, state.launch.spec)
    if facts is None:
        return give_up(state, FailureClass.LOST, "the server gave this machine no usable address when it came back")
    back = replace(state, reconnecting=False, said=())
    facts = replace(facts, form=state.form)
    return (back, ()) if facts == state.facts else _ready(back, facts)


def _ready(state: OpenconnectState, facts: Facts) -> Step[OpenconnectState]:
    return replace(state, stage=Stage.UP, facts=facts, said=()), (Ready(facts),)


def _rides_on(state: OpenconnectState, change: UplinkChanged) -> Step[OpenconnectState]:
    """Have openconnect connect anew from its new address, which spares it the wait for a dead connection."""
    before, after = state.launch.uplink, change.uplink
    ours = login.server_address(state.launch.endpoints)
    if change.endpoints and ours not in [endpoint.address for endpoint in change.endpoints]:
        host = login.settings_of(state.launch).host
        return give_up(state, FailureClass.LOST, f"{host} has not the address {ours} any more")
    same = (before.id, before.addresses, before.gateways) == (after.id, after.addresses, after.gateways)
    return replace(state, launch=replace(state.launch, uplink=after)), () if same else (Signal(SIGUSR2),)


def _tick(state: OpenconnectState, now: float) -> Step[OpenconnectState]:
    if state.question or now < state.deadline:
        return state, ()
    if state.stage is Stage.CONNECTING:
        return timed_out(state, f"tunnel to {login.settings_of(state.launch).host}")
    if not state.reconnecting:
        return state, ()
    words = f"the connection was lost, and did not come back within {RECONNECTION:g} s"
    return give_up(state, FailureClass.LOST, "; ".join(filter(None, (words, in_words(state)))))
