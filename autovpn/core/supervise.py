"""The life cycle of a tunnel: a table of phases and events, and the rules about attempts. All of them are here.

A tunnel is wanted, its endpoint is resolved, it connects, it is up; it breaks, backs off and tries again, at most
three times, then it has failed until something changes. The diagram in docs/design.md is drawn from `TABLE`.
An event that the table does not list for a phase changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from autovpn.core.tunnel import Facts, Failure, PinnedEndpoint, TunnelPhase, TunnelState

ATTEMPTS = 3
BACKOFF = (1.0, 2.0)
"""Seconds before the next attempt, after the first and the second failure."""

STEADY = 60.0
"""A tunnel that was up for this many seconds starts counting its attempts anew."""

COOLDOWN = 300.0
COOLDOWN_CAP = 3600.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The tunnel is wanted, for this configuration and activation."""

    instance: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """The far ends have addresses now."""

    endpoints: tuple[PinnedEndpoint, ...]


@dataclass(frozen=True, slots=True)
class Launched:
    """The tunnel's program is being started: from now on the far end is waited for."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """A tunnel of a dead daemon is still running."""

    instance: str
    attempt: int
    endpoints: tuple[PinnedEndpoint, ...]
    facts: Facts | None
    fruitless: int = 0


@dataclass(frozen=True, slots=True)
class BecameReady:
    """Packets pass; also when the facts changed."""

    facts: Facts


@dataclass(frozen=True, slots=True)
class Broke:
    """The attempt failed or the tunnel was lost; `jitter` scales the pause, so that machines do not retry as one."""

    failure: Failure
    jitter: float = 1.0


@dataclass(frozen=True, slots=True)
class Unwanted:
    """The tunnel is not wanted any more."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing of the tunnel is left on the machine."""


@dataclass(frozen=True, slots=True)
class Due:
    """The time to try again has come."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Something changed that may well help: `up`, a reload, a resume."""


TunnelEvent = Wanted | Resolved | Launched | Adopted | BecameReady | Broke | Unwanted | Ended | Due | Retry

_P = TunnelPhase
_BROKEN = (_P.BACKOFF, _P.FAILED)

TABLE: Mapping[TunnelPhase, Mapping[type[TunnelEvent], tuple[TunnelPhase, ...]]] = {
    _P.REST: {Wanted: (_P.RESOLVING,), Adopted: (_P.VERIFYING,)},
    _P.RESOLVING: {Resolved: (_P.CONNECTING,), Broke: _BROKEN, Unwanted: (_P.REST,)},
    _P.CONNECTING: {Launched: (_P.CONNECTING,), BecameReady: (_P.UP,), Broke: _BROKEN, Unwanted: (_P.STOPPING,)},
    _P.VERIFYING: {BecameReady: (_P.UP,), Broke: _BROKEN, Unwanted: (_P.STOPPING,)},
    _P.UP: {BecameReady: (_P.UP,), Broke: _BROKEN, Unwanted: (_P.STOPPING,)},
    _P.STOPPING: {Ended: (_P.REST,)},
    _P.BACKOFF: {Due: (_P.REST,), Retry: (_P.REST,), Unwanted: (_P.REST,)},
    _P.FAILED: {Due: (_P.REST,), Retry: (_P.REST,), Unwanted: (_P.REST,)},
}
"""Which phases an event may lead to. Where two stand, the rules about attempts choose."""


def supervise(state: TunnelState, event: TunnelEvent, now: float) -> TunnelState:  # noqa: C901, PLR0911 - one case an event
    """Fold one event into the state of a tunnel."""
    if isinstance(event, Wanted) and event.instance != state.instance and state.phase is not _P.REST:
        return _renew(state, event, now)
    targets = TABLE[state.phase].get(type(event))
    if targets is None:
        return state
    entered = replace(state, phase=targets[0], since=now, not_before=None)
    match event:
        case Wanted(instance):
            return _begin(entered, instance, fresh=instance != state.instance)
        case Resolved(endpoints):
            return replace(entered, endpoints=endpoints, launched=False)
        case Launched():
            return replace(entered, launched=True)
        case Adopted(instance, attempt, endpoints, facts, fruitless):
            adopted = replace(entered, instance=instance, attempt=attempt, endpoints=endpoints, facts=facts)
            return replace(adopted, launched=True, fruitless=fruitless)
        case BecameReady(facts):
            since = state.since if state.phase is _P.UP else now
            return replace(entered, facts=facts, since=since, cooldowns=0, last_failure=None)
        case Broke(failure, jitter):
            return _after_failure(state, failure, jitter, now)
        case Unwanted():
            return replace(entered, facts=None) if entered.phase is _P.STOPPING else TunnelState(since=now)
        case Ended():
            return TunnelState(since=now, last_failure=state.last_failure)
        case Due():
            failed = state.phase is _P.FAILED
            return replace(entered, attempt=0, cooldowns=state.cooldowns + 1) if failed else entered
        case Retry():
            return replace(entered, attempt=0, cooldowns=0, last_failure=None)


def _renew(state: TunnelState, event: Wanted, now: float) -> TunnelState:
    """Replace the tunnel of another configuration or activation: what runs must end before the new one begins."""
    if state.phase in (_P.CONNECTING, _P.VERIFYING, _P.UP):
        return replace(state, phase=_P.STOPPING, since=now, facts=None, not_before=None)
    if state.phase is _P.STOPPING:
        return state
    return _begin(replace(state, phase=_P.RESOLVING, since=now, not_before=None), event.instance, fresh=True)


def _begin(state: TunnelState, instance: str, *, fresh: bool) -> TunnelState:
    if fresh:
        fresh_state = replace(state, instance=instance, attempt=1, cooldowns=0, fruitless=0)
        return replace(fresh_state, facts=None, last_failure=None)
    return replace(state, attempt=state.attempt + 1, facts=None)


def _after_failure(state: TunnelState, failure: Failure, jitter: float, now: float) -> TunnelState:
    """Back off, or give up: at once where another try could lock the account, else after the last attempt."""
    steady = state.phase is _P.UP and now - state.since >= STEADY
    attempt = 1 if steady else state.attempt
    fruitless = state.fruitless + failure.passed_nothing
    broken = replace(state, since=now, facts=None, last_failure=failure, attempt=attempt, fruitless=fruitless)
    if failure.kind.is_final or attempt >= ATTEMPTS:
        pause = min(COOLDOWN * 2**state.cooldowns, COOLDOWN_CAP)
        not_before = now + pause if failure.kind.heals_with_time else None
        return replace(broken, phase=_P.FAILED, not_before=not_before)
    pause = BACKOFF[attempt - 1] * jitter
    return replace(broken, phase=_P.BACKOFF, not_before=now + pause)
