"""The `command` tunnel: whatever the user's own programs make, supervised as far as they let us.

`start` stays in the foreground, and its end is the tunnel's; or it detaches: it ends with 0 and leaves the tunnel
behind, which then has no process of ours and is known by its device or its `check` alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from autovpn.core.actions import Action, Dial, LookAgainAt, Ready, Run, Spawn
from autovpn.core.driving import (
    Dialled,
    DialOutcome,
    DriverEvent,
    Exited,
    Launch,
    Line,
    LinkAppeared,
    LinkVanished,
    Notified,
    Ran,
    Recovered,
    Step,
    Tick,
)
from autovpn.core.secret import Secret
from autovpn.core.settings_command import CommandSettings, ReadyBy
from autovpn.core.tunnel import Facts, FailureClass
from autovpn.tunnels import pushed
from autovpn.tunnels.attempt import (
    ENVIRONMENT,
    Attempt,
    Stage,
    Telltales,
    at_its_end,
    device_lost,
    ended,
    give_up,
    heard,
    in_words,
    meaning,
    timed_out,
)

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Seconds between two looks whether the tunnel is there; each pause is twice the one before."""

CHECK_PATIENCE = 10.0
STOP_PATIENCE = 30.0
"""Seconds that `check` and `stop` have."""

MISSING = {
    ReadyBy.CHECK: "success of 'check'",
    ReadyBy.EXIT: "end of 'start'",
    ReadyBy.LINK: "link",
    ReadyBy.LINE: "line of output that was waited for",
    ReadyBy.PORT: "answer on the port",
    ReadyBy.NOTIFY: "READY=1",
}
"""What has not come where a tunnel is not ready in time."""


@dataclass(frozen=True, slots=True)
class CommandState(Attempt):
    """One run of the user's programs.

    `is_met` says that the tunnel has shown itself in the way that was asked for, and `device` is its link, once it is
    there; both are needed. `probe_at` is when to look again, None while nobody looks, and `complaint` what the last
    look found.
    """

    is_met: bool = False
    device: str | None = None
    probe_at: float | None = None
    pause: float = FIRST_PAUSE
    complaint: str = ""
    recovered: Recovered | None = None


class CommandDriver:
    """Drives the programs that a user named."""

    def start(self, launch: Launch, now: float) -> Step[CommandState]:
        """Run `start`, and begin to look unless it has to end first."""
        settings = _settings(launch)
        state = CommandState(launch, now + launch.spec.connect_timeout)
        if settings.endpoints and not launch.endpoints:
            return give_up(state, FailureClass.NAME, f"no address is known for {settings.endpoints[0].host}")
        spawn = Spawn(
            settings.start,
            _environment(launch),
            _line(launch.password),
            by_user=True,
            detaches=settings.detaches,
            notifies=settings.ready is ReadyBy.NOTIFY,
        )
        if not settings.detaches:
            state = _to_probe(state, now)
        return state, (spawn, _timer(state))

    def adopt(self, launch: Launch, recovered: Recovered, now: float) -> Step[CommandState]:
        """Take over a tunnel that was up, if its process or its link is there and the look that can be had is good."""
        settings = _settings(launch)
        state = CommandState(launch, now + launch.spec.connect_timeout, device=recovered.device, recovered=recovered)
        has_process = recovered.pid is not None or settings.detaches
        has_device = recovered.device is not None or not launch.spec.device
        if recovered.facts is None or not has_process or not has_device:
            return give_up(state, FailureClass.LOST, "the tunnel was not up when its daemon ended")
        if settings.check or settings.listener:
            state = replace(state, probe_at=now)
            return _probe(state)
        return replace(state, stage=Stage.UP), (Ready(recovered.facts),)

    def feed(  # noqa: PLR0911 (a table of events, one row each)
        self, state: CommandState, event: DriverEvent, now: float
    ) -> Step[CommandState]:
        """Take what the programs say, and what has become of their link."""
        if end := at_its_end(state, event, now):
            return end
        match event:
            case Line(text):
                return _heard(state, text)
            case Notified(values):
                return _notified(state, values.get("READY"), values.get("STATUS"))
            case Ran(name="check", status=status, output=output):
                return _looked(state, _last_line(output), now, found=status == 0)
            case Dialled(name="port", outcome=outcome, words=words):
                return _looked(state, words, now, found=outcome is not DialOutcome.REFUSED)
            case LinkAppeared(name) if name == state.launch.spec.device:
                return _met(replace(state, device=name), by=ReadyBy.LINK)
            case LinkVanished(name) if name == state.device:
                return device_lost(state, name, now)
            case Exited(status):
                return _exited(state, status, now)
            case Tick():
                return _tick(state, now)
            case _:
                return state, ()

    def farewell(self, launch: Launch) -> tuple[Run, ...]:
        """Run `stop`, which the user was told has to do no harm where there is nothing."""
        stop = _settings(launch).stop
        return (Run("stop", stop, _environment(launch), deadline=STOP_PATIENCE, by_user=True),) if stop else ()


def _heard(state: CommandState, text: str) -> Step[CommandState]:
    settings = _settings(state.launch)
    state = heard(state, text)
    if state.stage is Stage.CONNECTING and (kind := meaning((text,), _telltales(settings))):
        return give_up(state, kind, in_words(state))
    if settings.line and settings.line in text:
        return _met(state, by=ReadyBy.LINE)
    return state, ()


def _notified(state: CommandState, ready: str | None, status: str | None) -> Step[CommandState]:
    state = heard(state, status) if status else state
    return _met(state, by=ReadyBy.NOTIFY) if ready == "1" else (state, ())


def _exited(state: CommandState, status: int, now: float) -> Step[CommandState]:
    settings = _settings(state.launch)
    if settings.detaches and status == 0 and state.stage is Stage.CONNECTING:
        state, actions = _met(_to_probe(state, now), by=ReadyBy.EXIT)
        return state, actions or (_timer(state),)
    return ended(state, settings.start[0], status, _telltales(settings))


def _to_probe(state: CommandState, now: float) -> CommandState:
    """Say when to look first, where the tunnel has to be looked at."""
    looks = _settings(state.launch).ready in (ReadyBy.CHECK, ReadyBy.PORT)
    return replace(state, probe_at=now + FIRST_PAUSE if looks else None)


def _tick(state: CommandState, now: float) -> Step[CommandState]:
    if state.stage is not Stage.CONNECTING:
        return state, ()
    if now >= state.deadline:
        return _too_late(state)
    if state.probe_at is not None and now >= state.probe_at:
        return _probe(state)
    return state, (_timer(state),)


def _too_late(state: CommandState) -> Step[CommandState]:
    if state.recovered:
        return give_up(state, FailureClass.LOST, state.complaint or "the tunnel doesn't pass its check any more")
    device = state.launch.spec.device
    lacking = f"link {device}" if device and not state.device else MISSING[_settings(state.launch).ready]
    return timed_out(state, lacking, state.complaint)


def _probe(state: CommandState) -> Step[CommandState]:
    """Look once; the next look comes a pause after this one has ended."""
    settings = _settings(state.launch)
    look: Action
    if settings.listener and (settings.ready is ReadyBy.PORT or not settings.check):
        look = Dial("port", settings.listener.address, settings.listener.port, deadline=CHECK_PATIENCE)
    else:
        look = Run("check", settings.check, _environment(state.launch), deadline=CHECK_PATIENCE, by_user=True)
    state = replace(state, probe_at=None)
    return state, (look, _timer(state))


def _looked(state: CommandState, words: str, now: float, *, found: bool) -> Step[CommandState]:
    if state.stage is not Stage.CONNECTING:
        return state, ()
    if found:
        return _met(replace(state, is_met=True))
    pause = min(2 * state.pause, LONGEST_PAUSE)
    state = replace(state, probe_at=now + state.pause, pause=pause, complaint=words)
    return state, (_timer(state),)


def _met(state: CommandState, *, by: ReadyBy | None = None) -> Step[CommandState]:
    """Take a sign of life; the tunnel is ready when it is the one that was asked for and its link is there."""
    settings = _settings(state.launch)
    state = replace(state, is_met=state.is_met or by is settings.ready)
    if state.stage is not Stage.CONNECTING or not state.is_met or (state.launch.spec.device and not state.device):
        return state, ()
    facts = state.recovered.facts if state.recovered else None
    facts = facts or Facts(state.device, settings.addresses, settings.peer, mtu=state.launch.spec.mtu)
    return replace(state, stage=Stage.UP, said=()), (Ready(facts),)


def _timer(state: CommandState) -> LookAgainAt:
    return LookAgainAt(state.deadline if state.probe_at is None else min(state.probe_at, state.deadline))


def _telltales(settings: CommandSettings) -> Telltales:
    return (
        *((words, FailureClass.AUTH) for words in settings.auth_words),
        *((words, FailureClass.TRUST) for words in settings.trust_words),
    )


def _environment(launch: Launch) -> tuple[tuple[str, str], ...]:
    """Return what the programs are told: no secret, and no name that they would have to look up."""
    endpoint = str(launch.endpoints[0].address) if launch.endpoints else ""
    ours = {
        "AUTOVPN_TUNNEL": launch.spec.name,
        "AUTOVPN_DEVICE": launch.spec.device,
        "AUTOVPN_ENDPOINT": endpoint,
        "AUTOVPN_UPLINK": launch.uplink.name,
    }
    return (*ENVIRONMENT, *((name, value) for name, value in ours.items() if value))


def _line(password: Secret | None) -> Secret | None:
    """Return the password as one line, which is what programs read."""
    return Secret(password.reveal().removesuffix(b"\n") + b"\n") if password else None


def _last_line(output: str) -> str:
    return next((pushed.banner(line) for line in reversed(output.splitlines()) if line.strip()), "")


def _settings(launch: Launch) -> CommandSettings:
    if not isinstance(launch.spec.settings, CommandSettings):
        raise TypeError(f"tunnel {launch.spec.name} is not of type command")
    return launch.spec.settings
