"""What every driver's state begins with: one attempt, how far it is, and what its program has said."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeVar

from autovpn.core.actions import Failed, LookAgainAt, Run
from autovpn.core.driving import DriverEvent, Exited, Launch, Line, Step, Tick
from autovpn.core.tunnel import FailureClass, Health, HealthCheck

ENVIRONMENT = (("LC_ALL", "C"), ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
"""What programs get: no variable of ours, and messages in the language that the tables below are written in."""

NOT_STARTED = 127
"""The exit status of a program that could not be started, as the shell has it."""

LAST_WORDS = 1.0
"""Seconds that a program has to end and say why once its device or socket is gone: mostly it is the program's end that
took them, and the kernel tells of that first."""

_LINES_KEPT = 20
_LINES_SHOWN = 3
_CHARACTERS_SHOWN = 400


class Stage(Enum):
    """How far an attempt is. `OVER` is left by nothing."""

    CONNECTING = "connecting"
    UP = "up"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt: `deadline` is when it has to be up, in monotonic seconds; `said` the last lines that matter.

    `lost` says what the tunnel lost while its program goes on, which has until `deadline` to say why.
    """

    launch: Launch
    deadline: float
    stage: Stage = Stage.CONNECTING
    said: tuple[str, ...] = ()
    lost: str = ""


AnyAttempt = TypeVar("AnyAttempt", bound=Attempt)

Telltales = tuple[tuple[str, FailureClass], ...]
"""What a program says when it fails and what that means, the most telling first."""


class EndsAlone:
    """A driver whose program takes all that there is of the tunnel with it when it ends."""

    def farewell(self, launch: Launch) -> tuple[Run, ...]:  # noqa: ARG002 (the protocol's)
        """Have nothing to be run."""
        return ()


def detection_in(launch: Launch) -> Health | None:
    """Return the health of a tunnel whose program is to find out by itself that its peer is dead."""
    health = launch.spec.health
    return health if health and health.check is HealthCheck.DPD else None


def server_asks(launch: Launch, words: str) -> str:
    """Return a question of a server's, made safe to print, so that nobody takes its words for ours."""
    return f"The server of the tunnel {launch.spec.name} asks: {words}"


def give_up(attempt: AnyAttempt, kind: FailureClass, words: str) -> Step[AnyAttempt]:
    """End the attempt and say why."""
    return replace(attempt, stage=Stage.OVER), (Failed(kind, words),)


def heard(attempt: AnyAttempt, line: str) -> AnyAttempt:
    """Keep a line that the program said, and forget the oldest."""
    return replace(attempt, said=(*attempt.said, line.strip())[-_LINES_KEPT:])


def timed_out(attempt: AnyAttempt, what: str, advice: str = "") -> Step[AnyAttempt]:
    """End an attempt that is not up in time; `what` is what has not come."""
    waited = f"no {what} within {attempt.launch.spec.connect_timeout:g} s"
    return give_up(attempt, FailureClass.UNREACHABLE, "; ".join(filter(None, (waited, advice, in_words(attempt)))))


def ended(
    attempt: AnyAttempt,
    program: str,
    status: int,
    telltales: Telltales = (),
    otherwise: FailureClass = FailureClass.UNREACHABLE,
) -> Step[AnyAttempt]:
    """End the attempt since its program has, for the reason that the program gave. No status of it means success."""
    how = f"{program} was killed by signal {-status}" if status < 0 else f"{program} ended with status {status}"
    words = in_words(attempt) or how
    if attempt.stage is Stage.UP:
        return give_up(attempt, FailureClass.LOST, words)
    if status == NOT_STARTED:
        said = in_words(attempt) or f"{program} can't be started; is it installed?"
        return give_up(attempt, FailureClass.LOCAL, said if program in said else f"{program}: {said}")
    return give_up(attempt, meaning(attempt.said, telltales) or otherwise, words)


def lost(attempt: AnyAttempt, words: str, now: float) -> Step[AnyAttempt]:
    """Let the program say why something that the tunnel needs is gone."""
    deadline = now + LAST_WORDS
    return replace(attempt, lost=words, deadline=deadline), (LookAgainAt(deadline),)


def device_lost(attempt: AnyAttempt, name: str, now: float) -> Step[AnyAttempt]:
    """Let the program say why its device is gone."""
    return lost(attempt, f"the device {name} is gone", now)


def at_its_end(attempt: AnyAttempt, event: DriverEvent, now: float) -> Step[AnyAttempt] | None:
    """Answer for an attempt that is over, or of which only the program's last words count; None for any other."""
    if attempt.stage is not Stage.OVER and (not attempt.lost or isinstance(event, Line | Exited)):
        return None
    if attempt.stage is Stage.OVER or not isinstance(event, Tick):
        return attempt, ()
    if now < attempt.deadline:
        return attempt, (LookAgainAt(attempt.deadline),)
    return give_up(attempt, FailureClass.LOST, attempt.lost)


def meaning(said: tuple[str, ...], telltales: Telltales) -> FailureClass | None:
    """Return what the lines mean by the first telltale that is in any of them."""
    return next((kind for needle, kind in telltales if any(needle in line for line in said)), None)


def in_words(attempt: Attempt) -> str:
    """Return the last lines that the program said, as one line for a person."""
    return "; ".join(filter(None, attempt.said[-_LINES_SHOWN:]))[-_CHARACTERS_SHOWN:]
