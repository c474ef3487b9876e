"""Whether an interface has arrived: what `hook postup` and `up` wait for, and how it is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autovpn.core.decide import Activation
from autovpn.core.judgement import Outcome
from autovpn.core.profile import Profile
from autovpn.core.steps import StepKind
from autovpn.core.tunnel import TunnelPhase, TunnelState
from autovpn.core.wanted import current_tunnel, instance_of

if TYPE_CHECKING:
    from autovpn.daemon.loop import Loop


@dataclass(frozen=True, slots=True)
class Standing:
    """An outcome that may be reported: whether it is fine, and a sentence."""

    fine: bool
    words: str


def standing_of(loop: Loop, interface: str) -> Standing | None:
    """Return how an interface came out, or None while that is still open.

    It has when its activation is up or stands by, at the first failed attempt, and where nothing is wanted.
    """
    link = loop.snapshot.named(interface)
    if link is None:
        return Standing(fine=False, words=f"there is no interface {interface!r}")
    if not link.is_uplink:
        return Standing(fine=True, words=f"{interface} does not count as an uplink, so there is nothing to do")
    judgement = loop.decision.judgement(link.id)
    if judgement is None or judgement.outcome is Outcome.PENDING:
        return None
    activation = loop.decision.activation(judgement.profile or "")
    if activation is None or (judgement.outcome is not Outcome.CONNECT and activation.uplink == link.id):
        return Standing(fine=True, words=f"{interface}: {judgement.reason}")
    if not activation.runs:
        return Standing(fine=True, words=f"{activation.profile} stands by: {activation.reason}")
    return _standing(loop, activation)


def _standing(loop: Loop, activation: Activation) -> Standing | None:
    name = activation.profile
    profile = loop.policy.profile(name)
    spec = current_tunnel(activation, profile, loop.snapshot.tunnels) if profile else None
    done = any(step.kind is StepKind.POSTUP for step in loop.plans.applied(name))
    if spec is None:
        if loop.plans.is_stuck(name):
            return Standing(fine=False, words=f"{name} could not be brought up; see 'autovpn status'")
        whole = done and not loop.plans.is_running(name)
        return Standing(fine=True, words=f"{name} is up on {activation.uplink_name}") if whole else None
    if loop.tunnels.state((name, spec.name)).phase is TunnelPhase.UP:
        whole = (done or loop.plans.is_stuck(name)) and not loop.plans.is_running(name)
        return Standing(fine=True, words=f"{name} is up on {activation.uplink_name} by {spec.name}") if whole else None
    return _first_failure(loop, activation, profile) if profile else None


def _first_failure(loop: Loop, activation: Activation, profile: Profile) -> Standing | None:
    """Return what went wrong first, also while the profile's next tunnel has its turn already."""
    for spec in profile.tunnels:
        state = loop.tunnels.state((profile.name, spec.name))
        failure = state.last_failure
        if failure and _has_failed(state) and state.instance == instance_of(activation, spec):
            return Standing(fine=False, words=f"{profile.name}: tunnel {spec.name} failed: {failure.words}")
    return None


def _has_failed(state: TunnelState) -> bool:
    """Report whether an attempt has failed since the tunnel was asked for last: `up` and time begin to count anew."""
    again = state.phase is TunnelPhase.RESOLVING and state.attempt > 1
    return again or state.phase in (TunnelPhase.BACKOFF, TunnelPhase.FAILED)
