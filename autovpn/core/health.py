"""Whether a tunnel that is up still passes packets: looks at its byte counters, and checks when those stand still.

Bytes that came out of the tunnel since the last look are the best check that there is, and cost nothing; only a tunnel
that is silent is asked. One that has not shown a sign of life since it came up is asked more often, so that one that
never passed anything is found out soon.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final

from autovpn.core.tunnel import Facts, Failure, FailureClass, Health, HealthCheck

FIRST_LOOK: Final = 2.0
"""Seconds after a tunnel came up at which it is looked at first: its routes and DNS are made meanwhile."""

EAGER: Final = 5.0
"""The longest pause, in seconds, until the first sign of life."""

TRIAL_INTERVAL: Final = 3.0
"""Seconds from one question to the next while a form of the tunnel's packets is tried, and for its answer."""

MOST_FAULTS: Final = 3
"""Faults of our own in looking at one tunnel, after which it is looked at no more."""

STALE: Final = 180.0
"""Seconds after which a WireGuard session is void (Reject-After-Time in the WireGuard paper, section 6.1)."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """The bytes that came out of a tunnel and went into it since its device was made."""

    received: int
    sent: int


@dataclass(frozen=True, slots=True)
class HealthState:
    """How a tunnel is, as far as is known; times are monotonic seconds.

    `failed` counts the failed checks since the last sign of life (`last_good`, None before the first), and `fault` is
    what the last one found. `passed_nothing` says that nothing has come out of the tunnel since its device was made.
    `is_given_up` says that it is not looked at any more, since the looking itself went wrong, as `fault` says.
    """

    began: float
    next_look: float
    traffic: Traffic | None = None
    last_good: float | None = None
    failed: int = 0
    fault: str = ""
    passed_nothing: bool = False
    is_given_up: bool = False


def trial_of(facts: Facts) -> Health | None:
    """Return how to find out whether a form of the tunnel's packets passes anything, where the profile doesn't say.

    The DNS server that was pushed is the one machine behind the tunnel that is known, and that has to answer.
    """
    if not facts.on_trial or not facts.dns:
        return None
    return Health(HealthCheck.DNS, ip_address(facts.dns[0]), interval=TRIAL_INTERVAL)


def begin(health: Health, traffic: Traffic | None, now: float) -> HealthState:
    """Begin with a tunnel of which nothing is known but its counters: it is new, or was not watched for a while."""
    return HealthState(now, now + min(FIRST_LOOK, health.interval), traffic)


def looked(state: HealthState, health: Health, traffic: Traffic | None, now: float) -> tuple[HealthState, bool]:
    """Take the counters as they are now; return whether the tunnel has to be checked."""
    before = state.traffic
    state = replace(state, traffic=traffic, passed_nothing=_passed_nothing(state, traffic))
    if traffic and before and traffic.received > before.received:
        return _well(state, health, now), False
    if health.check is HealthCheck.HANDSHAKE and traffic and before and traffic.sent == before.sent:
        # WireGuard shakes hands only when there is something to send: silence is no fault, nor a sign of life.
        return replace(state, next_look=now + _pause(state, health)), False
    return state, True


def checked(state: HealthState, health: Health, fault: str, traffic: Traffic | None, now: float) -> HealthState:
    """Take what a check found, in words, nothing where all was well; its own bytes are no traffic."""
    state = replace(state, traffic=traffic, passed_nothing=_passed_nothing(state, traffic))
    if not fault:
        return _well(state, health, now)
    return replace(state, failed=state.failed + 1, fault=fault, next_look=now + _pause(state, health))


def blind(health: Health, error: BaseException, faults: int, now: float) -> HealthState:
    """Take a fault of our own in looking, the `faults`th of this watch: it is no fault of the tunnel's."""
    words = f"autovpn's own fault in looking: {type(error).__name__}: {error}"
    return HealthState(now, now + health.interval, fault=words, is_given_up=faults >= MOST_FAULTS)


def death(state: HealthState, health: Health, now: float) -> Failure | None:
    """Return why a tunnel counts as dead, None as long as it doesn't."""
    if state.failed < health.fail_after:
        return None
    silent = now - (state.began if state.last_good is None else state.last_good)
    checks = "1 check" if state.failed == 1 else f"{state.failed} checks"
    words = f"{state.fault} for {silent:.0f} s ({checks})"
    return Failure(FailureClass.LOST, words, passed_nothing=state.passed_nothing)


def has_stood_trial(state: HealthState) -> bool:
    """Report whether a tunnel on trial has passed something, or nobody counts what it passes."""
    return state.last_good is not None or state.traffic is None or state.traffic.received > 0


def stale_handshake(age: float | None, device: str) -> str:
    """Return what is wrong with a WireGuard tunnel that sends and hears nothing, whose last handshake is this old."""
    if age is not None and age <= STALE:
        return ""
    return f"no handshake through {device}" if age is None else f"no handshake through {device} since {age:.0f} s"


def _well(state: HealthState, health: Health, now: float) -> HealthState:
    return replace(state, last_good=now, failed=0, fault="", next_look=now + health.interval, passed_nothing=False)


def _pause(state: HealthState, health: Health) -> float:
    return health.interval if state.last_good is not None else min(EAGER, health.interval)


def _passed_nothing(state: HealthState, traffic: Traffic | None) -> bool:
    return state.last_good is None and (traffic is None or traffic.received == 0)
