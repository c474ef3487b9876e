"""From the decision to the wanted steps: which changes to the machine the activations need, given how their tunnels do.

While a tunnel connects only the ranks up to it are wanted; when it is up, all are, built from its facts; between
attempts the guard and the pin stay; when the last tunnel has failed only `preup` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from ipaddress import ip_address

from autovpn.core.decide import Activation, Decision
from autovpn.core.dnschoice import DnsWish
from autovpn.core.driving import Uplink
from autovpn.core.escape import show_ssid
from autovpn.core.hookenv import HookContext
from autovpn.core.profile import Event, Policy, Profile
from autovpn.core.routing import FAMILIES, tunnel_mtu
from autovpn.core.snapshot import Link, Snapshot
from autovpn.core.steps import (
    AddressValue,
    DnsValue,
    GuardValue,
    HookMoment,
    HookValue,
    PinValue,
    RoutesValue,
    Step,
    StepKind,
    StepValue,
    TunnelValue,
)
from autovpn.core.supervise import TunnelEvent, Unwanted, Wanted
from autovpn.core.tunnel import Facts, RouteMode, RouteWish, TunnelPhase, TunnelSpec, TunnelState

TunnelKey = tuple[str, str]

_LOWEST_RANKS = {
    TunnelPhase.REST: StepKind.PIN,
    TunnelPhase.RESOLVING: StepKind.PIN,
    TunnelPhase.STOPPING: StepKind.PIN,
    TunnelPhase.BACKOFF: StepKind.PIN,
    TunnelPhase.FAILED: StepKind.PREUP,
    TunnelPhase.CONNECTING: StepKind.TUNNEL,
    TunnelPhase.VERIFYING: StepKind.POSTUP,
    TunnelPhase.UP: StepKind.POSTUP,
}
"""The highest kind of step that each phase of the tunnel allows. A pin is there as soon as the far ends are known, and
stays from one attempt to the next, so that looking them up again undoes nothing."""


def instance_of(activation: Activation, spec: TunnelSpec) -> str:
    """Name this tunnel of this activation; what a reload can change in place is no part of the name."""
    lasting = replace(spec, routes=RouteWish(), connect_timeout=0.0, health=None)
    return f"{activation.epoch}-{sha256(repr(lasting).encode()).hexdigest()[:12]}"


def current_tunnel(
    activation: Activation, profile: Profile, tunnels: Mapping[TunnelKey, TunnelState]
) -> TunnelSpec | None:
    """Return the tunnel whose turn it is: the one named by hand, else the first that has not given up."""
    if not profile.wants_tunnel:
        return None
    if activation.tunnel and (named := profile.tunnel(activation.tunnel)):
        return named
    for spec in profile.tunnels:
        state = tunnels.get((profile.name, spec.name))
        gave_up = state and state.phase is TunnelPhase.FAILED and state.instance == instance_of(activation, spec)
        if not gave_up:
            return spec
    return profile.tunnels[-1]


def tunnel_events(decision: Decision, snapshot: Snapshot, policy: Policy) -> dict[TunnelKey, TunnelEvent]:
    """Return what each tunnel is to be told: wanted for this instance, or not wanted any more.

    A tunnel that has given up keeps its state as long as its activation lasts, so that the next one has its turn.
    """
    events: dict[TunnelKey, TunnelEvent] = {}
    keep: set[TunnelKey] = set()
    for activation in decision.activations:
        profile = policy.profile(activation.profile)
        if not activation.runs or profile is None:
            continue
        spec = current_tunnel(activation, profile, snapshot.tunnels)
        for other in profile.tunnels:
            key = (profile.name, other.name)
            state = snapshot.tunnels.get(key)
            if spec and other.name == spec.name:
                events[key] = Wanted(instance_of(activation, spec))
            if state and state.phase is TunnelPhase.FAILED and state.instance == instance_of(activation, other):
                keep.add(key)
    for key, state in snapshot.tunnels.items():
        if key not in events and key not in keep and state.phase is not TunnelPhase.REST:
            events[key] = Unwanted()
    return events


def steps_for(decision: Decision, snapshot: Snapshot, policy: Policy, applied: Iterable[Step] = ()) -> tuple[Step, ...]:
    """Return every step that is wanted now, in rising rank.

    What is `applied` matters for a lingering activation alone: its uplink is gone, so its steps stay as they are.
    """
    have = tuple(applied)
    wanted: list[Step] = []
    for activation in decision.activations:
        profile = policy.profile(activation.profile)
        if not activation.runs or profile is None:
            continue
        link = snapshot.link(activation.uplink)
        spec = current_tunnel(activation, profile, snapshot.tunnels)
        state = snapshot.tunnels.get((profile.name, spec.name)) if spec else None
        top = _highest_kind(activation, spec, state)
        if activation.lingering or link is None:
            steps = [step for step in have if step.activation == activation.profile]
        else:
            steps = _Builder(activation, profile, link, spec, state or TunnelState()).build()
        wanted += [step for step in steps if step.rank <= top.rank and _is_due(step, state, have)]
    return tuple(sorted(wanted, key=lambda step: (step.rank, step.activation, step.object)))


def _highest_kind(activation: Activation, spec: TunnelSpec | None, state: TunnelState | None) -> StepKind:
    if spec is None:
        return StepKind.POSTUP
    if state is None or state.instance != instance_of(activation, spec):
        return StepKind.PIN  # what runs has to end first
    if state.phase is TunnelPhase.VERIFYING and not state.counts_as_up:
        return StepKind.TUNNEL
    return _LOWEST_RANKS[state.phase]


def _is_due(step: Step, state: TunnelState | None, have: tuple[Step, ...]) -> bool:
    """Report whether a step may be begun: between attempts a `preup` that failed is not run once more."""
    waiting = state is not None and state.phase in (TunnelPhase.BACKOFF, TunnelPhase.FAILED)
    return not waiting or step.kind is not StepKind.PREUP or step in have


class _Builder:
    """Builds the steps of one activation that has its uplink."""

    def __init__(
        self, activation: Activation, profile: Profile, link: Link, spec: TunnelSpec | None, state: TunnelState
    ) -> None:
        self.activation = activation
        self.profile = profile
        self.link = link
        self.spec = spec
        self.state = state

    def build(self) -> list[Step]:
        """Return all the steps that could be wanted; the phase decides how many are."""
        steps = [self._step(StepKind.PREUP, "", HookValue(self.activation.epoch), self._moment(Event.PREUP))]
        if self.spec:
            steps += self._around_the_tunnel(self.spec)
        facts = self.state.facts
        if self.spec and facts:
            steps += self._on_the_tunnel(self.spec, facts)
        if self.spec is None or facts:
            steps += self._dns(facts)
            value = HookValue(self.activation.epoch, self.spec.name if self.spec else "", self.state.attempt)
            steps.append(self._step(StepKind.POSTUP, "", value, self._moment(Event.POSTUP)))
        return steps

    def _around_the_tunnel(self, spec: TunnelSpec) -> list[Step]:
        steps = []
        if spec.routes.mode is RouteMode.FULL:
            steps.append(self._step(StepKind.GUARD, "", GuardValue(self.link.name, spec.local)))
        if self.state.endpoints:
            steps.append(self._step(StepKind.PIN, spec.name, PinValue(self.state.endpoints)))
        state = self.state
        value = TunnelValue(
            state.instance, state.attempt, self._uplink(), state.endpoints, state.last_failure, state.fruitless
        )
        steps.append(self._step(StepKind.TUNNEL, spec.name, value, spec))
        return steps

    def _on_the_tunnel(self, spec: TunnelSpec, facts: Facts) -> list[Step]:
        if facts.device is None:
            return []
        # A tunnel that joins networks may give us no address: the hosts behind us have theirs.
        ours = (*facts.addresses, *spec.local)
        has_ipv4, has_ipv6 = (any(one.version == version for one in ours) for version in FAMILIES)
        fitting = tunnel_mtu(self.link.mtu, facts.overhead, has_v6=has_ipv6)
        mtu = spec.mtu or min(facts.mtu or fitting, fitting)
        address = AddressValue(facts.device, facts.addresses, facts.peer, mtu)
        steps = [self._step(StepKind.ADDRESS, spec.name, address)]
        if spec.routes.mode is not RouteMode.NONE:
            prefixes = tuple(dict.fromkeys((*spec.routes.include, *facts.prefixes)))
            wish = self._wish(facts)
            routes = RoutesValue(
                mode=spec.routes.mode,
                device=facts.device,
                prefixes=prefixes,
                dns=tuple(ip_address(server) for server in wish.servers) if wish else (),
                uplink=self.link.name,
                on_link=tuple(address.network for address in self.link.addresses),
                has_ipv4=has_ipv4,
                has_ipv6=has_ipv6,
                local=spec.local,
            )
            steps.append(self._step(StepKind.ROUTES, spec.name, routes))
        return steps

    def _dns(self, facts: Facts | None) -> list[Step]:
        wish = self._wish(facts)
        return [self._step(StepKind.DNS, "", DnsValue(wish))] if wish else []

    def _wish(self, facts: Facts | None) -> DnsWish | None:
        """Return the profile's DNS: what it says, else what the tunnel pushed, else nothing."""
        dns = self.profile.dns
        servers = dns.servers if dns.servers is not None else (facts.dns if facts else ())
        if not servers and dns.file_text is None:
            return None
        return DnsWish(
            owner=self.profile.name,
            device=facts.device if facts else None,
            servers=servers,
            search=dns.search or (facts.search if facts else ()),
            domains=dns.domains,
            whole_file=dns.file_text,
        )

    def _uplink(self) -> Uplink:
        return Uplink(
            id=self.link.id,
            name=self.link.name,
            addresses=tuple(address.ip for address in self.link.addresses),
            gateways=tuple(gateway.address for gateway in self.link.gateways),
            mtu=self.link.mtu,
        )

    def _moment(self, event: Event) -> HookMoment:
        counterpart = Event.POSTDOWN if event is Event.PREUP else Event.PREDOWN
        hooks = self.profile.hooks
        return HookMoment(
            up=tuple(hook for hook in hooks if hook.event is event),
            down=tuple(hook for hook in hooks if hook.event is counterpart),
            context=hook_context(event, self.activation, self.link, self.spec, self.state),
        )

    def _step(
        self, kind: StepKind, name: str, value: StepValue, context: HookMoment | TunnelSpec | None = None
    ) -> Step:
        return Step(kind, self.activation.profile, name, value, context)


def hook_context(
    event: Event, activation: Activation, link: Link | None, spec: TunnelSpec | None, state: TunnelState
) -> HookContext:
    """Return what the hooks of an event are told."""
    wireless = link.wireless if link else None
    facts = state.facts
    return HookContext(
        event=event.value,
        profile=activation.profile,
        uplink=activation.uplink_name,
        ssid=wireless.ssid if wireless else None,
        bssid=wireless.bssid if wireless else None,
        network=describe_network(link) if link else "",
        tunnel=spec.name if spec else None,
        device=facts.device if facts else None,
        addresses=tuple(str(address) for address in facts.addresses) if facts else (),
        dns=facts.dns if facts else (),
        reason=activation.reason,
        alive=state.counts_as_up,
    )


def describe_network(link: Link) -> str:
    """Name a network for people: by its SSID, else by its prefixes."""
    if link.wireless:
        return f"Wi-Fi {show_ssid(link.wireless.ssid)}"
    return ", ".join(str(address.network) for address in link.addresses) or "no address"
