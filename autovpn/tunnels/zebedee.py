"""The `zebedee` tunnel: a supervised zebedee(1) that reads its configuration, and with it our key, from its stdin.

It listens at once and calls the server only when somebody connects, so a listening port says nothing. Neither does a
connection that stands, since zebedee accepts it before it calls: with a server that swallows packets it stands for
minutes. What says that the way is open is what zebedee prints once both sides have answered each other's challenge
and the server has reached the target ("tunnel established"), or bytes that the target sends. So a connection of our own
provokes the one or the other, and zebedee closes it with a reason (`ERROR:`) where it fails.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from autovpn.core.actions import Dial, LookAgainAt, Ready, Spawn, Write
from autovpn.core.driving import (
    Dialled,
    DialOutcome,
    DriverEvent,
    Exited,
    Launch,
    Line,
    Recovered,
    Step,
    Tick,
)
from autovpn.core.secret import Secret
from autovpn.core.settings_zebedee import ZebedeeSettings
from autovpn.core.tunnel import Facts, FailureClass, PinnedEndpoint
from autovpn.core.zebedeefile import private_key
from autovpn.tunnels.attempt import (
    ENVIRONMENT,
    LAST_WORDS,
    Attempt,
    EndsAlone,
    Stage,
    Telltales,
    at_its_end,
    ended,
    give_up,
    heard,
    in_words,
    meaning,
    timed_out,
)

IPV4 = 4
LISTENING = "Listening on local port"
ESTABLISHED = "tunnel established to"
REFUSED_TARGET = "server refused request for redirection"
ERROR = "ERROR: "

PROBE_PATIENCE = 10.0
"""Seconds that a connection through a tunnel that was up has to get to the server, before the tunnel counts as lost."""

TELLTALES: Telltales = (
    ("server's identity not found", FailureClass.TRUST),
    ("server key length too small", FailureClass.TRUST),
    ("failed to read challenge", FailureClass.AUTH),  # all that a client hears whose key the server doesn't know
    ("can't create listener socket", FailureClass.LOCAL),
    ("invalid line in config file", FailureClass.LOCAL),
    ("can't open", FailureClass.LOCAL),
)
"""What else zebedee says (can't connect, failed requesting protocol version, ...) may be better later."""


@dataclass(frozen=True, slots=True)
class ZebedeeState(Attempt):
    """One run of zebedee.

    `listening` counts its ports; `probing` says that a connection of ours is on its way, and `hung_up` that it was
    closed, so that the reason is due.
    """

    listening: int = 0
    probing: bool = False
    hung_up: bool = False
    recovered: Recovered | None = None


class ZebedeeDriver(EndsAlone):
    """Drives the client side of zebedee."""

    def start(self, launch: Launch, now: float) -> Step[ZebedeeState]:
        """Start zebedee with its configuration on its stdin."""
        settings = _settings(launch)
        state = ZebedeeState(launch, now + launch.spec.connect_timeout)
        server = next((found for found in launch.endpoints if found.address.version == IPV4), None)
        if server is None:
            return give_up(state, FailureClass.NAME, f"no IPv4 address is known for {settings.server}")
        key = _key(launch)
        if settings.key and key is None:
            return give_up(state, FailureClass.LOCAL, f"{settings.key} holds no private key")
        known = (Write("server.id", Secret(f"{settings.server_id} server\n".encode())),) if settings.server_id else ()
        spawn = Spawn(("zebedee", "-f", "/dev/stdin"), ENVIRONMENT, configuration(launch, server, key))
        return state, (*known, spawn, LookAgainAt(state.deadline))

    def adopt(self, launch: Launch, recovered: Recovered, now: float) -> Step[ZebedeeState]:
        """Take over a zebedee that was up, once a connection gets through it."""
        state = ZebedeeState(launch, now + launch.spec.connect_timeout, recovered=recovered)
        if recovered.pid is None or recovered.facts is None:
            return give_up(state, FailureClass.LOST, "zebedee was not up when its daemon ended")
        return _probe(state, state.deadline)

    def feed(self, state: ZebedeeState, event: DriverEvent, now: float) -> Step[ZebedeeState]:
        """Take what zebedee says, and what has become of our connection."""
        if end := at_its_end(state, event, now):
            return end
        match event:
            case Line(text):
                return _line(state, text, now)
            case Dialled(name="probe", outcome=outcome, words=words) if state.probing:
                return _dialled(state, outcome, words, now)
            case Exited(status):
                return ended(state, "zebedee", status, TELLTALES)
            case Tick():
                return _tick(state, now)
            case _:
                return state, ()


def configuration(launch: Launch, server: PinnedEndpoint, key: str | None) -> Secret:
    """Return the whole configuration of the client; without `ipv4only` zebedee 2.6 listens at ::1 alone."""
    settings = _settings(launch)
    lines = [
        "server false",
        "detached false",
        "multiuse true",
        "verbosity 1",
        "ipv4only true",
        f"listenip {settings.forwards[0].listen.address}",
        f"serverhost {server.address}",
        f"serverport {settings.port}",
        f"keylength {settings.key_length}",
        f"minkeylength {settings.key_length}",
        *(f"tunnel {forward.listen.port}:{forward.target}" for forward in settings.forwards),
    ]
    if settings.server_id:
        lines.append(f'checkidfile "{launch.directory}/server.id"')
    if key:
        lines.append(f'privatekey "{key}"')
    return Secret("\n".join((*lines, "")).encode())


def _line(state: ZebedeeState, text: str, now: float) -> Step[ZebedeeState]:
    if LISTENING in text and state.stage is Stage.CONNECTING and not state.recovered:
        return _listens(replace(state, listening=state.listening + 1))
    if ESTABLISHED in text and state.probing:
        return _through(state)
    if ERROR in text:
        return _error(heard(state, text.partition(ERROR)[2]), now)
    return state, ()


def _listens(state: ZebedeeState) -> Step[ZebedeeState]:
    """Connect once all ports are open; through the first, since each would wake another service behind the server."""
    if state.listening < len(_settings(state.launch).forwards):
        return state, ()
    return _probe(state, state.deadline)


def _probe(state: ZebedeeState, deadline: float) -> Step[ZebedeeState]:
    listener = _settings(state.launch).forwards[0].listen
    dial = Dial("probe", listener.address, listener.port, hold=PROBE_PATIENCE)
    return replace(state, probing=True, hung_up=False, deadline=deadline), (dial, LookAgainAt(deadline))


def _through(state: ZebedeeState) -> Step[ZebedeeState]:
    """Take it that the server can be reached; of a tunnel that was up already that is no news."""
    was_up = state.stage is Stage.UP
    state = replace(state, stage=Stage.UP, probing=False, said=())
    facts = state.recovered.facts if state.recovered else None
    return state, () if was_up else (Ready(facts or Facts()),)


def _error(state: ZebedeeState, now: float) -> Step[ZebedeeState]:
    """Take the failure of a connection: of our own it is the tunnel's, another's is a reason to try one of our own."""
    if REFUSED_TARGET in state.said[-1] and state.stage is Stage.UP:
        return _through(state) if state.probing else (state, ())  # the server lives, only the service doesn't
    if state.stage is Stage.UP and not state.probing:
        return _probe(state, now + PROBE_PATIENCE)
    if state.probing:
        return _broken(state)
    return state, ()


def _dialled(state: ZebedeeState, outcome: DialOutcome, words: str, now: float) -> Step[ZebedeeState]:
    match outcome:
        case DialOutcome.SPOKE:
            return _through(state)
        case DialOutcome.STOOD:
            return state, ()  # so it does with a server that swallows packets
        case DialOutcome.CLOSED | DialOutcome.REFUSED:
            # zebedee says why, but it may be heard a moment later.
            state = replace(state, hung_up=True, deadline=min(state.deadline, now + LAST_WORDS))
            state = heard(state, f"zebedee's own port: {words}" if words else "zebedee closed the connection")
            return state, (LookAgainAt(state.deadline),)


def _tick(state: ZebedeeState, now: float) -> Step[ZebedeeState]:
    if now < state.deadline or (state.stage is Stage.UP and not state.probing):
        return state, ()
    if state.stage is Stage.UP or state.recovered:
        return give_up(state, FailureClass.LOST, in_words(state) or "no connection gets through any more")
    if state.hung_up:
        return _broken(state)
    return timed_out(state, f"connection through {_settings(state.launch).server}")


def _broken(state: ZebedeeState) -> Step[ZebedeeState]:
    if state.stage is Stage.UP or state.recovered:
        return give_up(state, FailureClass.LOST, in_words(state))
    return give_up(state, meaning(state.said, TELLTALES) or FailureClass.UNREACHABLE, in_words(state))


def _key(launch: Launch) -> str | None:
    path = _settings(launch).key
    content = launch.files.get(path) if path else None
    return private_key(content.reveal().decode("latin-1")) if content else None


def _settings(launch: Launch) -> ZebedeeSettings:
    if not isinstance(launch.spec.settings, ZebedeeSettings):
        raise TypeError(f"tunnel {launch.spec.name} is not of type zebedee")
    return launch.spec.settings
