"""The loop: wait, look, decide, steer. What happens only wakes it; what is done follows from what is there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from typing import Any

from autovpn.core.decide import Activation, Decision, Ending, decide
from autovpn.core.diff import Plan
from autovpn.core.judgement import Outcome
from autovpn.core.memory import Memory
from autovpn.core.network import UplinkDns
from autovpn.core.profile import Policy
from autovpn.core.snapshot import LinkId, Phase, Snapshot
from autovpn.core.steps import Step, StepKey, StepKind
from autovpn.core.supervise import Broke, Retry, TunnelEvent
from autovpn.core.tunnel import Failure, FailureClass, TunnelPhase
from autovpn.core.wanted import TunnelKey, current_tunnel, steps_for
from autovpn.daemon.chores import Chores
from autovpn.daemon.health import Healths, watched
from autovpn.daemon.lookup import Lookups, errands
from autovpn.daemon.machine import Machine
from autovpn.daemon.moments import Moments
from autovpn.daemon.plans import Plans
from autovpn.daemon.tunnels import TunnelStates, jitter
from autovpn.errors import JournalError
from autovpn.system.runner import RunResult, UndoContext

log = logging.getLogger(__name__)

QUIET = 0.05
"""Seconds: the first event after quiet is acted on at once, those of this time after a look are joined into one."""


class Goal(Enum):
    """What the daemon is about: running, undoing all before it ends, or ending with everything left in place."""

    RUN = "run"
    STOP = "stop"
    RESTART = "restart"


class Loop:
    """The daemon's heart. `policy` is the configuration in force, `decision` and `snapshot` are of the last look."""

    def __init__(self, machine: Machine, policy: Policy) -> None:
        """Begin with nothing known; `adopt` may add what a dead daemon left."""
        self.machine = machine
        self.policy = policy
        self.memory = Memory()
        self.decision = Decision()
        self.snapshot = Snapshot()
        self.tunnels = TunnelStates()
        self.complaints: list[str] = []
        self.goal = Goal.RUN
        self.looks = 0
        self.plans = Plans(machine.runner, machine.origin, self._undo_context, self._finished)
        self.chores = Chores(self.complain)
        self.moments = Moments(machine.run_hook, self.complain)
        self.lookups = Lookups(machine.resolve, self._servers, self.tell_attempt)
        self.healths = Healths(machine.probes, self.tell_attempt, machine.clock)
        self._reasons: dict[str, str] = {}
        self._riding: dict[str, LinkId] = {}
        self._held: frozenset[str] = frozenset()
        self._spared: set[Step] = set()
        self._is_closing = False
        self._asked: set[LinkId] = set()
        self._dns: UplinkDns | None = None
        self._awake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._looked = asyncio.Condition()
        self._last_look = float("-inf")

    # -- from outside

    def wake(self) -> None:
        """Look again, soon."""
        self._awake.set()

    def tell_attempt(self, key: TunnelKey, instance: str, attempt: int, event: TunnelEvent) -> None:
        """Take what one attempt of a tunnel has to say; an attempt that is over says nothing any more."""
        state = self.tunnels.state(key)
        if (state.instance, state.attempt) == (instance, attempt):
            self.tunnels.tell(key, event, self.machine.clock())
            if isinstance(event, Broke):
                self.machine.sessions.give_up(*key)
            self.wake()

    def note_receipt(self, key: StepKey, receipt: dict[str, Any]) -> None:
        """Have what has become known of a running tunnel written to the journal."""
        self.chores.start(self._note(key, receipt))

    async def _note(self, key: StepKey, receipt: dict[str, Any]) -> None:
        try:
            await self.machine.runner.note(key, receipt)
        except JournalError as error:
            self.complain(str(error))

    def retry(self, profile: str | None = None) -> None:
        """Try again what has failed, of one profile or of all: something changed that may well help."""
        for key, state in self.tunnels.view().items():
            if profile in (None, key[0]) and state.phase in (TunnelPhase.FAILED, TunnelPhase.BACKOFF):
                self.tunnels.tell(key, Retry(), self.machine.clock())
        self.forget_failures()
        self.wake()

    def forget_failures(self) -> None:
        """Let what could not be done be tried again."""
        self._spared.clear()
        self.plans.forget_failures()

    def end(self, goal: Goal) -> None:
        """End the daemon: undo everything first, or leave everything in place."""
        self.goal = goal
        self.wake()

    def complain(self, words: str) -> None:
        """Keep a complaint for `status`; the newest fifty, each once."""
        log.warning("complaint words=%s", words)
        self.complaints = [*(before for before in self.complaints if before != words), words][-50:]

    async def fresh_look(self, *, urgent: bool = True) -> None:
        """Have the state read and decided on, and return after it: now, or with what is joined into the next look."""
        before = self.looks
        self._awake.set()
        if urgent:
            self._urgent.set()
        await self.when(lambda: self.looks > before)

    async def when(self, settled: Callable[[], bool]) -> None:
        """Return once a look has made `settled` true, or no look will come any more."""
        async with self._looked:
            await self._looked.wait_for(lambda: self._is_closing or settled())

    # -- the loop

    async def run(self) -> tuple[Step, ...]:
        """Look until the daemon is to end; return what could not be undone of a daemon that stops."""
        await self._look_until_the_end()
        if self.goal is Goal.STOP and self.plans.activations():
            self.forget_failures()  # one more try, as whatever was in the way may be gone by now
            await self._look_until_the_end()
        self._is_closing = True
        self.healths.watch(())
        async with self._looked:
            self._looked.notify_all()
        if self.goal is Goal.RESTART:
            await self.plans.quiesce()
            await self._remember()
        await self.moments.finish()
        self.machine.sessions.close()
        return self.plans.applied() if self.goal is Goal.STOP else ()

    async def _look_until_the_end(self) -> None:
        await self.look()
        while not self._is_over():
            await self._wait()
            if self.goal is not Goal.RESTART:
                await self.look()

    def _is_over(self) -> bool:
        if self.goal is Goal.RESTART:
            return True
        undone = self.plans.is_idle and all(self.plans.is_stuck(name) for name in self.plans.activations())
        return self.goal is Goal.STOP and undone

    async def _wait(self) -> None:
        """Wait for news or for the time of the next look; what follows a look closely is joined into one."""
        next_look = self._next_look()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(next_look):
                await self._awake.wait()
        rest = self._last_look + QUIET - self.machine.clock()
        if rest > 0:
            with suppress(TimeoutError), self.machine.kernel.paused():
                await asyncio.wait_for(self._urgent.wait(), rest)
        self._awake.clear()
        self._urgent.clear()

    def _next_look(self) -> float | None:
        looks = (self.decision.next_look, self.tunnels.next_look(self.policy, self.machine.sessions.asking))
        return min((look for look in looks if look is not None), default=None)

    async def look(self) -> None:
        """Read the state, decide, and steer every activation to what is wanted."""
        self._last_look = now = self.machine.clock()
        if self._observes_dns():
            self._dns = await self.machine.dns.original()
        links = self.machine.kernel.links(self.policy, self._dns)
        if self.machine.kernel.has_resumed():
            self.retry()
            self.healths.begin_anew()
        self.machine.sessions.see_links(self.machine.kernel.indexes())
        self.tunnels.pass_time(self.policy, now, self.machine.sessions.asking)
        self.tunnels.ended(self._present_tunnels(), now)
        snapshot = Snapshot(links, self.tunnels.view())
        if links != self.snapshot.links:
            self._spared.clear()
            self.chores.start(self.machine.dns.reconsider())
        self.decision = self._decide(snapshot, now)
        self.memory = self.decision.memory
        self._note_reasons()
        self._held = self._held_back()
        self.snapshot = self.tunnels.settle(self._without_held(), snapshot, self.policy, now)
        self.lookups.want(errands(self.decision, self.snapshot, self.policy))
        self._steer()
        self.healths.watch(watched(self.decision, self.snapshot, self.policy))
        self.moments.look(self.decision, self.snapshot, self.policy)
        self._resolve_gateways()
        await self._remember()
        self.looks += 1
        async with self._looked:
            self._looked.notify_all()

    def _decide(self, snapshot: Snapshot, now: float) -> Decision:
        """Decide; a daemon that stops wants nothing any more."""
        if self.goal is Goal.RUN:
            return decide(snapshot, self.policy, self.memory, now)
        endings = tuple(Ending(ride.profile, "stop") for ride in self.memory.rides)
        return Decision(endings=endings, memory=replace(self.memory, rides=()))

    def _note_reasons(self) -> None:
        """Keep why an activation ended, and where it rode, until its undoing is over."""
        self._riding |= {activation.profile: activation.uplink for activation in self.decision.activations}
        for ending in self.decision.endings:
            log.info("activation.end profile=%s reason=%s", ending.profile, ending.reason)
            self._reasons[ending.profile] = ending.reason

    def wanted(self) -> tuple[Step, ...]:
        """Return the steps that the last look wants; of an activation that is held back no more than its guard."""
        steps = steps_for(self.decision, self.snapshot, self.policy, self.plans.destined())
        due = (step for step in steps if step.activation not in self._held or step.kind is StepKind.GUARD)
        return tuple(step for step in due if step not in self._spared)

    def _held_back(self) -> frozenset[str]:
        """Return the activations that have to wait: one network's hooks end before those of the next begin.

        Only what is being undone on the same uplink, or will be once a trusted network has settled, is waited for; and
        the guard never waits.
        """
        wanted = {activation.profile: activation.uplink for activation in self.decision.activations if activation.runs}
        ending = {
            self._riding.get(name) for name in self.plans.activations() - wanted.keys() if not self.plans.is_stuck(name)
        }
        ending |= {ride.uplink for ride in self.memory.rides if ride.lower_since is not None}
        begun = {step.activation for step in self.plans.destined() if step.kind is StepKind.PREUP}
        return frozenset(name for name, uplink in wanted.items() if uplink in ending and name not in begun)

    def _without_held(self) -> Decision:
        """Return the decision without the activations that are held back: their tunnels rest meanwhile."""
        activations = tuple(a for a in self.decision.activations if a.profile not in self._held)
        return replace(self.decision, activations=activations)

    def whole_plan(self) -> Plan:
        """Return what would be done now on the whole machine, were nothing under way."""
        lost = self.machine.sessions.lost()
        plans = [self.plans.next_plan(activation, steps, lost) for activation, steps in self._targets().items()]
        return Plan(tuple(change for plan in plans for change in plan.changes))

    def _targets(self) -> dict[str, tuple[Step, ...]]:
        targets: dict[str, tuple[Step, ...]] = dict.fromkeys(sorted(self.plans.activations()), ())
        for step in self.wanted():
            targets[step.activation] = (*targets.get(step.activation, ()), step)
        return targets

    def _steer(self) -> None:
        for activation, steps in self._targets().items():
            self.plans.steer(activation, steps, self.machine.sessions.lost())

    def _undo_context(self, activation: str) -> UndoContext:
        """Return what the hooks of an undoing are told: the reason, and whether the tunnel still passes packets."""
        link = self.snapshot.link(self._riding[activation]) if activation in self._riding else None
        reachable = link is not None and link.phase is Phase.USABLE
        alive = reachable and self.machine.sessions.passes_packets(activation)
        failures = [s.last_failure for (name, _), s in self.tunnels.view().items() if name == activation]
        lost = next((failure.words for failure in failures if failure), "")
        return UndoContext(self._reasons.get(activation) or lost or "changed", alive)

    def _present_tunnels(self) -> frozenset[TunnelKey]:
        """Return the tunnels of which something is, or may be, on the machine."""
        applied = {(step.activation, step.object) for step in self.plans.applied() if step.kind is StepKind.TUNNEL}
        busy = {key for key in self.tunnels.view() if self.plans.is_running(key[0])}
        return frozenset(applied | busy)

    def _finished(self, activation: str, plan: Plan, result: RunResult) -> None:
        """Take the result of a plan: its failure is that of the tunnel's attempt."""
        for words in result.complaints:
            self.complain(words)
        if result.teardown:
            self.moments.teardown_failed(activation, plan, self.policy, "; ".join(result.teardown))
        if result.failed and not result.stopped:
            self._failed(activation, *result.failed)
        if self.decision.activation(activation) is not None and not result.stopped:
            self._reasons.pop(activation, None)
        if not self.plans.applied(activation):
            self._reasons.pop(activation, None)
            self._riding.pop(activation, None)
        self.wake()

    def _failed(self, activation: str, step: Step, words: str) -> None:
        """Break the tunnel's attempt; but a tunnel without its DNS is better than none."""
        self.complain(f"{step}: {words}")
        if step.kind is StepKind.DNS:
            self._spared.add(step)
            return
        current = self._current(self.decision.activation(activation))
        if current is None:
            return
        failure = Failure(FailureClass.LOCAL, f"{step.kind.value}: {words}")
        if step.stands_on and not self.machine.kernel.has_link(step.stands_on):  # which its driver may not know yet
            failure = Failure(FailureClass.LOST, f"the device {step.stands_on} is gone")
        self.tunnels.tell(current, Broke(failure, jitter()), self.machine.clock())

    def _current(self, activation: Activation | None) -> TunnelKey | None:
        profile = self.policy.profile(activation.profile) if activation else None
        spec = current_tunnel(activation, profile, self.tunnels.view()) if activation and profile else None
        return (profile.name, spec.name) if profile and spec else None

    # -- errands

    def _resolve_gateways(self) -> None:
        """Ask once per usable period for the gateways that a pending rule waits for."""
        usable = {link.id: link for link in self.snapshot.links if link.is_uplink and link.phase is Phase.USABLE}
        self._asked &= usable.keys()
        for judgement in self.decision.judgements:
            link = usable.get(judgement.link)
            if judgement.outcome is Outcome.PENDING and link and link.gateways and link.id not in self._asked:
                self._asked.add(link.id)
                self.chores.start(self.machine.resolve_gateways(link))

    def _observes_dns(self) -> bool:
        keys = (condition.key.value for profile in self.policy.profiles for condition in profile.conditions)
        return any(key.startswith("dns_") for key in keys)

    async def _servers(self) -> tuple[str, ...]:
        return await self.machine.dns.upstream()

    async def _remember(self) -> None:
        await self.machine.memories.save(self.memory, self.tunnels.view())
