"""Watching the tunnels that are up and have `health`: one timer each, looks at the counters, checks where they fail.

What is found is folded by `core.health`. A tunnel that lingers is not watched, and begins anew afterwards; so do all
when the machine has slept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from autovpn.core.decide import Decision
from autovpn.core.health import HealthState, Traffic, begin, blind, checked, death, has_stood_trial, looked, trial_of
from autovpn.core.profile import Policy
from autovpn.core.snapshot import Snapshot
from autovpn.core.supervise import Broke, TunnelEvent
from autovpn.core.tunnel import Health, HealthCheck, TunnelPhase
from autovpn.core.wanted import TunnelKey, current_tunnel
from autovpn.daemon.tunnels import jitter

log = logging.getLogger(__name__)

Tell = Callable[[TunnelKey, str, int, TunnelEvent], None]


@dataclass(frozen=True, slots=True)
class Watched:
    """One attempt of a tunnel that is up, and how it is to be checked; `device` is empty where it has none.

    One that is `on_trial` is watched until something has come out of it, and no longer.
    """

    key: TunnelKey
    instance: str
    attempt: int
    health: Health
    device: str = ""
    on_trial: bool = False


class Probes(Protocol):
    """What asks a tunnel for a sign of life. Neither raises: what goes wrong is a fault of the tunnel's."""

    async def traffic(self, tunnel: Watched) -> Traffic | None:
        """Return the bytes that went through the tunnel so far; None where nobody counts them."""
        ...

    async def check(self, tunnel: Watched) -> str:
        """Check the tunnel once, within seconds; return what is wrong in words, or nothing."""
        ...


class Healths:
    """The tunnels that are watched."""

    def __init__(self, probes: Probes, tell: Tell, clock: Callable[[], float]) -> None:
        """Watch none yet; `tell` gets the death of an attempt."""
        self._probes = probes
        self._tell = tell
        self._clock = clock
        self._watches: dict[Watched, asyncio.Task[None]] = {}
        self._states: dict[TunnelKey, HealthState] = {}
        self._faults: dict[Watched, int] = {}

    def watch(self, tunnels: Iterable[Watched]) -> None:
        """Watch these tunnels and no others."""
        wanted = dict.fromkeys(tunnels)
        for tunnel in self._watches.keys() - wanted.keys():
            self._watches.pop(tunnel).cancel()
            self._states.pop(tunnel.key, None)
            self._faults.pop(tunnel, None)
        for tunnel in wanted.keys() - self._watches.keys():
            self._begin(tunnel)

    def begin_anew(self) -> None:
        """Forget what is known, for time has passed in which nothing could have answered."""
        tunnels = tuple(self._watches)
        self.watch(())
        self.watch(tunnels)

    def view(self) -> Mapping[TunnelKey, HealthState]:
        """Return how the watched tunnels are."""
        return dict(self._states)

    def _begin(self, tunnel: Watched) -> None:
        """Watch one tunnel, after a pause where that has gone wrong before."""
        pause = tunnel.health.interval if tunnel in self._faults else 0.0
        task = asyncio.get_running_loop().create_task(self._follow(tunnel, pause))
        self._watches[tunnel] = task
        task.add_done_callback(lambda ended: self._ended(tunnel, ended))

    def _ended(self, tunnel: Watched, task: asyncio.Task[None]) -> None:
        """Watch on after a fault of ours, which ends neither the daemon nor the tunnel, until there are too many."""
        error = None if task.cancelled() else task.exception()
        if error is None or self._watches.get(tunnel) is not task:
            return
        log.error("health.fault activation=%s tunnel=%s", *tunnel.key, exc_info=error)
        self._faults[tunnel] = self._faults.get(tunnel, 0) + 1
        state = blind(tunnel.health, error, self._faults[tunnel], self._clock())
        self._states[tunnel.key] = state
        if not state.is_given_up:
            self._begin(tunnel)

    async def _follow(self, tunnel: Watched, pause: float) -> None:
        await asyncio.sleep(pause)
        health = tunnel.health
        state = begin(health, await self._probes.traffic(tunnel), self._clock())
        while (failure := death(state, health, self._clock())) is None:
            if tunnel.on_trial and has_stood_trial(state):
                return
            self._states[tunnel.key] = state
            await asyncio.sleep(state.next_look - self._clock())
            state, is_doubtful = looked(state, health, await self._probes.traffic(tunnel), self._clock())
            if is_doubtful:
                fault = await self._probes.check(tunnel)
                self._faults.pop(tunnel, None)
                state = checked(state, health, fault, await self._probes.traffic(tunnel), self._clock())
                if fault:
                    log.info("health.check activation=%s tunnel=%s failed=%d: %s", *tunnel.key, state.failed, fault)
        self._tell(tunnel.key, tunnel.instance, tunnel.attempt, Broke(failure, jitter()))


def watched(decision: Decision, snapshot: Snapshot, policy: Policy) -> list[Watched]:
    """Return the tunnels that are to be watched: up, not lingering, with a check that is ours to make, or on trial."""
    found = []
    for activation in decision.activations:
        profile = policy.profile(activation.profile)
        if profile is None or not activation.runs or activation.lingering:
            continue
        spec = current_tunnel(activation, profile, snapshot.tunnels)
        state = snapshot.tunnels.get((profile.name, spec.name)) if spec else None
        if spec is None or state is None or state.facts is None or state.phase is not TunnelPhase.UP:
            continue
        own = spec.health if spec.health and spec.health.check is not HealthCheck.DPD else None
        if health := own or trial_of(state.facts):
            key, device = (profile.name, spec.name), state.facts.device or ""
            found.append(Watched(key, state.instance, state.attempt, health, device, on_trial=own is None))
    return found
