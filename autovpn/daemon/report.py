"""What `status` says: from the daemon's values to a dictionary that JSON can carry. Pure; times come out in seconds.

Text that came from outside is kept as it was (an SSID as escaped text and as hex): whoever prints it makes it safe.
`report_explain` and `report_plan` do the same for `explain` and `plan`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from autovpn.core.advice import advice
from autovpn.core.decide import Activation, Decision, Role
from autovpn.core.escape import show_text
from autovpn.core.forwarding import FORWARDING, missing_forwarding
from autovpn.core.health import HealthState
from autovpn.core.judgement import Judgement
from autovpn.core.memory import LEAVING_LIMIT, Override
from autovpn.core.profile import Policy, Profile
from autovpn.core.snapshot import Link, Phase, Snapshot
from autovpn.core.steps import DnsValue, Step, StepKey, StepKind
from autovpn.core.supervise import ATTEMPTS
from autovpn.core.tunnel import RouteMode, TunnelPhase, TunnelSpec, TunnelState
from autovpn.core.wanted import TunnelKey, current_tunnel, describe_network
from autovpn.daemon.report_health import health_report

Report = dict[str, object]

TUNNEL_WORDS = {
    TunnelPhase.REST: "starting",
    TunnelPhase.RESOLVING: "resolving",
    TunnelPhase.CONNECTING: "connecting",
    TunnelPhase.VERIFYING: "verifying",
    TunnelPhase.UP: "up",
    TunnelPhase.STOPPING: "stopping",
    TunnelPhase.BACKOFF: "retrying",
    TunnelPhase.FAILED: "failed",
}
"""The state of an activation, by the phase of the tunnel whose turn it is."""


@dataclass(frozen=True, slots=True)
class DnsStanding:
    """How the machine's DNS stands: which back end, whether what is wanted is in force, and what is amiss.

    `standing` is why this back end was chosen, `why` the whole trail, with those that were looked at before it.
    """

    backend: str
    in_force: bool
    standing: str = ""
    degraded: str = ""
    notes: tuple[str, ...] = ()
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StatusExtra:
    """What `status` shows beside the decision. `now` and `started` are monotonic seconds.

    `configuration` holds the problems of the files as they are now; with `reload_failed` an older configuration runs
    on. `unfinished` steps are just being done or undone. `resyncs` counts by reason how often the kernel's state was
    read anew. `forwards` are the families (4, 6) whose packets the kernel passes on.
    """

    now: float
    started: float
    pid: int
    version: str
    dns: DnsStanding | None = None
    configuration: tuple[str, ...] = ()
    reload_failed: bool = False
    hooks: tuple[str, ...] = ()
    journal: tuple[str, ...] = ()
    resyncs: Mapping[str, int] = field(default_factory=dict)
    unfinished: frozenset[StepKey] = frozenset()
    forwards: frozenset[int] = frozenset(FORWARDING)
    health: Mapping[TunnelKey, HealthState] = field(default_factory=dict)


def status(
    decision: Decision, snapshot: Snapshot, policy: Policy, applied: Iterable[Step], extra: StatusExtra
) -> Report:
    """Return how everything stands now."""
    view = _View(decision, snapshot, policy, tuple(applied), extra)
    activations = [view.activation(activation) for activation in decision.activations]
    return {
        "version": extra.version,
        "pid": extra.pid,
        "running_for": extra.now - extra.started,
        "uplinks": view.uplinks(),
        "activations": activations,
        "undoing": view.undoing(),
        "dns": asdict(extra.dns) if extra.dns else None,
        "overrides": [view.override(override) for override in decision.memory.overrides],
        "next_look": view.until(decision.next_look),
        "reload_failed": extra.reload_failed,
        "problems": {
            "configuration": list(extra.configuration),
            "hooks": list(extra.hooks),
            "journal": list(extra.journal),
        },
        "resyncs": dict(extra.resyncs),
    }


def describe_link(link: Link) -> Report:
    """Return what is known of a link and of the network that it is attached to."""
    wireless = link.wireless
    return {
        "name": link.name,
        "index": link.id.index,
        "type": link.type.value,
        "phase": link.phase.name.lower(),
        "network": describe_network(link) if link.phase > Phase.DOWN else "",
        "ssid": show_text(wireless.ssid) if wireless else None,
        "ssid_hex": wireless.ssid.hex() if wireless else None,
        "bssid": wireless.bssid if wireless else None,
        "security": wireless.security.value if wireless and wireless.security else None,
        "signal": wireless.signal if wireless else None,
        "addresses": [str(address) for address in link.addresses],
        "gateways": [{"address": str(gateway.address), "mac": gateway.mac} for gateway in link.gateways],
        "metric": link.metric,
        "dns": list(link.dns.servers) if link.dns else None,
    }


@dataclass(frozen=True, slots=True)
class _View:
    """What every part of a status looks at."""

    decision: Decision
    snapshot: Snapshot
    policy: Policy
    applied: tuple[Step, ...]
    extra: StatusExtra

    @property
    def now(self) -> float:
        """Return the time of this status."""
        return self.extra.now

    def until(self, moment: float | None) -> float | None:
        """Return the seconds that are left until a moment."""
        return None if moment is None else max(0.0, moment - self.now)

    def uplinks(self) -> list[Report]:
        """Return the usable uplinks, the governing one first, then those that are not usable now."""
        judged = {judgement.link: judgement for judgement in self.decision.judgements}
        links = [link for identity in judged if (link := self.snapshot.link(identity))]
        links += [link for link in self.snapshot.links if link.is_uplink and link.id not in judged]
        governing = self.decision.judgements[0].link if self.decision.judgements else None
        return [
            {**describe_link(link), "governing": link.id == governing, **self._judged(link, judged.get(link.id))}
            for link in links
        ]

    def _judged(self, link: Link, judgement: Judgement | None) -> Report:
        left = self.decision.memory.leaving.get(link.id)
        leaving = self.until(None if left is None else left + LEAVING_LIMIT)
        if judgement is None:
            why = f"the link is {link.phase.name.lower()}; rules are judged once it is usable"
            if leaving is not None:
                why = "a network manager is about to take it down"
            return {"outcome": None, "profile": None, "reason": why, "manual": False, "evidence": None} | {
                "leaving": leaving
            }
        arrival = self.decision.memory.arrivals.get(link.id)
        return {
            "outcome": judgement.outcome.value,
            "profile": judgement.profile,
            "reason": judgement.reason,
            "manual": judgement.manual,
            "evidence": judgement.evidence.word,
            "usable_for": self.now - arrival.since if arrival else None,
            "leaving": leaving,
        }

    def activation(self, activation: Activation) -> Report:
        """Return how one activation stands, with every tunnel of its profile."""
        profile = self.policy.profile(activation.profile) or Profile(activation.profile)
        current = current_tunnel(activation, profile, self.snapshot.tunnels)
        steps = [step for step in self.applied if step.activation == activation.profile]
        ride = self.decision.memory.ride(activation.profile)
        state = self._state(activation, profile, current, steps)
        wishes = [step.value.wish for step in steps if isinstance(step.value, DnsValue)]
        return {
            "profile": activation.profile,
            "source": profile.source,
            "uplink": activation.uplink_name,
            "role": activation.role.value,
            "state": state,
            "reason": activation.reason,
            "since": self.now - activation.since,
            "lingering": activation.lingering,
            "open": self._is_open(activation, profile, current),
            "names_in_clear": state == "up" and _is_full(current) and not (wishes and self._dns_is_in_force()),
            "lowering": bool(ride and ride.lower_since is not None),
            "tunnel": current.name if current and activation.runs else None,
            "tunnels": [self._tunnel(profile, spec) for spec in profile.tunnels],
            "dns": [server for wish in wishes for server in wish.servers],
            "steps": [str(step) for step in sorted(steps, key=lambda step: step.rank)],
        }

    def _state(self, activation: Activation, profile: Profile, current: TunnelSpec | None, steps: list[Step]) -> str:
        if activation.role in (Role.STANDBY, Role.BLOCKED):
            return str(activation.role.value)
        complete = any(step.kind is StepKind.POSTUP and step.key not in self.extra.unfinished for step in steps)
        if current is None:
            return "up" if complete else "starting"
        state = self.snapshot.tunnels.get((profile.name, current.name), TunnelState())
        if state.phase is TunnelPhase.UP and not complete:
            return "finishing"
        return TUNNEL_WORDS[state.phase]

    def _dns_is_in_force(self) -> bool:
        return self.extra.dns is None or self.extra.dns.in_force

    def _is_open(self, activation: Activation, profile: Profile, current: TunnelSpec | None) -> bool:
        """Report whether traffic that should be in a tunnel leaves in clear, since the last tunnel has given up."""
        full = any(map(_is_full, profile.tunnels))
        if current is None or not activation.runs or not full:
            return False
        return self.snapshot.tunnels.get((profile.name, current.name), TunnelState()).phase is TunnelPhase.FAILED

    def _tunnel(self, profile: Profile, spec: TunnelSpec) -> Report:
        state = self.snapshot.tunnels.get((profile.name, spec.name), TunnelState())
        failure, facts = state.last_failure, state.facts
        return {
            "name": spec.name,
            "type": spec.type,
            "phase": state.phase.value,
            "since": None if state.phase is TunnelPhase.REST else self.now - state.since,
            "attempt": state.attempt,
            "attempts": ATTEMPTS,
            "retry_in": self.until(state.not_before),
            "device": facts.device if facts else None,
            "addresses": [str(address) for address in facts.addresses] if facts else [],
            "endpoints": [str(endpoint.address) for endpoint in state.endpoints],
            "unresolved": list(_unresolved(spec, state)),
            "banner": facts.banner if facts else "",
            "form": facts.form if facts else "",
            "reaches": [str(prefix) for prefix in facts.prefixes] if facts else [],
            "refused": list(facts.refused) if facts else [],
            "not_forwarded": list(missing_forwarding(spec.local, self.extra.forwards.__contains__)) if facts else [],
            "health": health_report(spec.health, self.extra.health.get((profile.name, spec.name)), self.now),
            "last_failure": {
                "class": failure.kind.value,
                "words": failure.words,
                "advice": advice(failure, spec, profile.name),
            }
            if failure
            else None,
        }

    def undoing(self) -> list[str]:
        """Return the steps that are still there although their activation is not wanted any more."""
        wanted = {activation.profile for activation in self.decision.activations}
        return [str(step) for step in sorted(self.applied, key=lambda s: -s.rank) if step.activation not in wanted]

    def override(self, override: Override) -> Report:
        """Return what was wished by hand, and how long it holds."""
        link = self.snapshot.link(override.uplink)
        return {
            "command": "up" if override.up else "down",
            "profile": override.profile,
            "uplink": link.name if link else None,
            "tunnel": override.tunnel,
            "seconds_left": self.until(override.until),
        }


def _unresolved(spec: TunnelSpec, state: TunnelState) -> Iterable[str]:
    """Return the hosts of which no address was found, of a tunnel that goes on with its other far ends."""
    lacking = (end.host for end in spec.endpoints if not any(found.stands_for(end) for found in state.endpoints))
    return dict.fromkeys(lacking) if state.endpoints else ()


def _is_full(tunnel: TunnelSpec | None) -> bool:
    return tunnel is not None and tunnel.routes.mode is RouteMode.FULL
