"""The hooks that belong to no step: a roam, the last tunnel that gave up, a teardown that met an error."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from autovpn.core.decide import Activation, Decision
from autovpn.core.diff import Plan, Undo
from autovpn.core.hookenv import HookContext
from autovpn.core.profile import Event, Hook, Policy
from autovpn.core.snapshot import Snapshot
from autovpn.core.steps import HookMoment
from autovpn.core.tunnel import TunnelPhase, TunnelState
from autovpn.core.wanted import current_tunnel, hook_context
from autovpn.daemon.chores import Chores

log = logging.getLogger(__name__)

RunHook = Callable[[Hook, HookContext], Awaitable[str]]
"""Runs one hook; returns what went wrong, or an empty string."""


class Moments:
    """Compares one look with the one before and runs the hooks of what happened between them."""

    def __init__(self, run_hook: RunHook, complain: Callable[[str], None]) -> None:
        """Run hooks by `run_hook`; what goes wrong with them is told to `complain`."""
        self._run_hook = run_hook
        self._complain = complain
        self._bssids: dict[tuple[str, int], str | None] = {}
        self._gave_up: set[tuple[str, int]] = set()
        self._chores = Chores(complain)

    def look(self, decision: Decision, snapshot: Snapshot, policy: Policy) -> None:
        """Run `roam` and `failup` where they are due."""
        bssids: dict[tuple[str, int], str | None] = {}
        gave_up: set[tuple[str, int]] = set()
        for activation in decision.activations:
            if not activation.runs or activation.lingering:
                continue
            run = (activation.profile, activation.epoch)
            bssids[run] = activation.bssid
            if self._bssids.get(run) and activation.bssid and self._bssids[run] != activation.bssid:
                self._start(Event.ROAM, activation, snapshot, policy, "access point changed")
            if _has_failed(activation, snapshot, policy):
                gave_up.add(run)
                if run not in self._gave_up:
                    self._start(Event.FAILUP, activation, snapshot, policy, "the last tunnel gave up")
        self._bssids = {**{run: self._bssids[run] for run in self._lingering(decision)}, **bssids}
        self._gave_up = gave_up

    def teardown_failed(self, activation: str, plan: Plan, policy: Policy, words: str) -> None:
        """Run `faildown`: something that a plan was to undo met an error."""
        profile = policy.profile(activation)
        steps = (change.step for change in plan.changes if isinstance(change, Undo))
        context = next((step.context.context for step in steps if isinstance(step.context, HookMoment)), None)
        if profile and context:
            told = replace(context, event=Event.FAILDOWN.value, reason=words, alive=False)
            self._run([hook for hook in profile.hooks if hook.event is Event.FAILDOWN], told)

    async def finish(self) -> None:
        """Wait for the hooks that are running; each has its own time limit."""
        await self._chores.finish()

    def _lingering(self, decision: Decision) -> set[tuple[str, int]]:
        known = {(activation.profile, activation.epoch) for activation in decision.activations if activation.lingering}
        return known & self._bssids.keys()

    def _start(self, event: Event, activation: Activation, snapshot: Snapshot, policy: Policy, reason: str) -> None:
        profile = policy.profile(activation.profile)
        if profile is None:
            return
        spec = current_tunnel(activation, profile, snapshot.tunnels)
        state = snapshot.tunnels.get((profile.name, spec.name)) if spec else None
        link = snapshot.link(activation.uplink)
        context = replace(hook_context(event, activation, link, spec, state or TunnelState()), reason=reason)
        self._run([hook for hook in profile.hooks if hook.event is event], context)

    def _run(self, hooks: list[Hook], context: HookContext) -> None:
        if hooks:
            self._chores.start(self._run_all(hooks, context))

    async def _run_all(self, hooks: list[Hook], context: HookContext) -> None:
        for hook in hooks:
            words = await self._run_hook(hook, context)
            if words:
                self._complain(f"{context.event} hook {hook.run[0]} of {context.profile}: {words}")


def _has_failed(activation: Activation, snapshot: Snapshot, policy: Policy) -> bool:
    profile = policy.profile(activation.profile)
    spec = current_tunnel(activation, profile, snapshot.tunnels) if profile else None
    state = snapshot.tunnels.get((activation.profile, spec.name)) if spec else None
    return state is not None and state.phase is TunnelPhase.FAILED
