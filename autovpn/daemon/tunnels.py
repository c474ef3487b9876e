"""How every tunnel is doing: the events of drivers, of decisions and of the clock, folded into their states."""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

from autovpn.core.decide import Decision
from autovpn.core.profile import Policy
from autovpn.core.snapshot import Snapshot
from autovpn.core.supervise import Broke, Due, Ended, TunnelEvent, supervise
from autovpn.core.tunnel import Failure, FailureClass, TunnelPhase, TunnelState
from autovpn.core.wanted import TunnelKey, tunnel_events

log = logging.getLogger(__name__)

GRACE = 2.0
"""Seconds that a driver has beyond `connect_timeout` to say itself why it did not connect."""

_WAITING = (TunnelPhase.CONNECTING, TunnelPhase.VERIFYING, TunnelPhase.RESOLVING)


def jitter() -> float:
    """Return a factor for a pause, so that the machines of a campus do not all retry in the same second."""
    return random.uniform(0.75, 1.25)  # noqa: S311 - no secret hangs on it


class TunnelStates:
    """The states of all tunnels that are not at rest."""

    def __init__(self) -> None:
        """Begin with every tunnel at rest."""
        self._states: dict[TunnelKey, TunnelState] = {}

    def view(self) -> Mapping[TunnelKey, TunnelState]:
        """Return the states as they are now."""
        return MappingProxyType(dict(self._states))

    def state(self, key: TunnelKey) -> TunnelState:
        """Return one state."""
        return self._states.get(key, TunnelState())

    def tell(self, key: TunnelKey, event: TunnelEvent, now: float) -> None:
        """Fold one event."""
        before = self.state(key)
        after = supervise(before, event, now)
        if after.phase is not before.phase:
            _log_phase(key, after)
        if after.phase is TunnelPhase.REST and after.last_failure is None and not after.attempt:
            self._states.pop(key, None)
        else:
            self._states[key] = after

    def restore(self, key: TunnelKey, state: TunnelState) -> None:
        """Take over what the daemon before knew of a tunnel that is not running."""
        if state.phase in (TunnelPhase.BACKOFF, TunnelPhase.FAILED):
            self._states[key] = state

    def forget(self, key: TunnelKey) -> None:
        """Let a tunnel that turned out to be gone begin anew."""
        self._states.pop(key, None)

    def settle(self, decision: Decision, snapshot: Snapshot, policy: Policy, now: float) -> Snapshot:
        """Tell every tunnel whether it is wanted, until nothing changes any more; return the snapshot after it."""
        for _ in range(len(policy.profiles) * 4 + 4):
            before = self.view()
            for key, event in tunnel_events(decision, replace(snapshot, tunnels=before), policy).items():
                self.tell(key, event, now)
            if self.view() == before:
                break
        return replace(snapshot, tunnels=self.view())

    def pass_time(self, policy: Policy, now: float, asking: Collection[TunnelKey] = ()) -> None:
        """Tell the tunnels whose pause is over, and break those that took too long, unless a person is being asked."""
        for key, state in self.view().items():
            due = self._due(key, state, policy)
            if due is not None and due <= now:
                self.tell(key, Due(), now)
            limit = None if key in asking else _limit(key, state, policy)
            if limit is not None and limit <= now:
                words = f"no answer within {limit - state.since:.0f} s"
                self.tell(key, Broke(Failure(FailureClass.UNREACHABLE, words), jitter()), now)

    def next_look(self, policy: Policy, asking: Collection[TunnelKey] = ()) -> float | None:
        """Return when a pause or a deadline ends next."""
        looks = [self._due(key, state, policy) for key, state in self._states.items()]
        looks += [_limit(key, state, policy) for key, state in self._states.items() if key not in asking]
        return min((look for look in looks if look is not None), default=None)

    def _due(self, key: TunnelKey, state: TunnelState, policy: Policy) -> float | None:
        """Return when a tunnel is to be tried again.

        One that gave up waits until every tunnel of its profile has: a later one may be up, and is not disturbed.
        """
        profile = policy.profile(key[0])
        if state.phase is TunnelPhase.FAILED and profile is not None:
            others = [self.state((profile.name, spec.name)).phase for spec in profile.tunnels]
            if any(phase is not TunnelPhase.FAILED for phase in others):
                return None
        return state.not_before

    def ended(self, present: frozenset[TunnelKey], now: float) -> None:
        """Let the stopping tunnels of which nothing is left come to rest."""
        for key, state in self.view().items():
            if state.phase is TunnelPhase.STOPPING and key not in present:
                self.tell(key, Ended(), now)


def _log_phase(key: TunnelKey, state: TunnelState) -> None:
    if state.phase in (TunnelPhase.BACKOFF, TunnelPhase.FAILED) and state.last_failure:
        failure = state.last_failure
        why = f" class={failure.kind.value} words={failure.words}"
        log.warning("tunnel.%s activation=%s tunnel=%s attempt=%d%s", state.phase.value, *key, state.attempt, why)
    else:
        log.info("tunnel.%s activation=%s tunnel=%s attempt=%d", state.phase.value, *key, state.attempt)


def _limit(key: TunnelKey, state: TunnelState, policy: Policy) -> float | None:
    profile = policy.profile(key[0])
    spec = profile.tunnel(key[1]) if profile else None
    hooks_run = state.phase is TunnelPhase.CONNECTING and not state.launched
    if spec is None or state.phase not in _WAITING or hooks_run:
        return None
    return state.since + spec.connect_timeout + GRACE
