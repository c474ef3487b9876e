"""The decision: which activations are wanted now, on which uplinks, and why. Pure, deterministic and total.

Each usable uplink is judged by itself (`judgement`); then the activations that exist are carried on, moved, left
lingering or ended, and new ones begin (`ride`). One activation is exclusive; others that would need to be stand by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from autovpn.core.judgement import Judgement, Outcome, judge_link
from autovpn.core.memory import LEAVING_LIMIT, Arrival, Memory, Override, Ride
from autovpn.core.profile import Action, Policy
from autovpn.core.ride import Fate, Verdict, carry_on
from autovpn.core.snapshot import Link, LinkId, Phase, Snapshot


class Role(Enum):
    """The part that an activation plays beside the others."""

    EXCLUSIVE = "exclusive"
    SPLIT = "split"
    STANDBY = "standby"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Activation:
    """One wanted activation. `lingering` says that its uplink is not there just now; `tunnel` was named by hand."""

    profile: str
    uplink: LinkId
    uplink_name: str
    epoch: int
    role: Role
    reason: str
    since: float
    lingering: bool = False
    bssid: str | None = None
    tunnel: str | None = None

    @property
    def runs(self) -> bool:
        """Report whether anything is started for it."""
        return self.role in (Role.EXCLUSIVE, Role.SPLIT)


@dataclass(frozen=True, slots=True)
class Ending:
    """An activation that is not wanted any more, with the reason that its hooks are told."""

    profile: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What is wanted now. `next_look` is the monotonic time at which the answer may change by itself, if ever."""

    judgements: tuple[Judgement, ...] = ()
    activations: tuple[Activation, ...] = ()
    endings: tuple[Ending, ...] = ()
    memory: Memory = field(default_factory=Memory)
    next_look: float | None = None

    def activation(self, profile: str) -> Activation | None:
        """Return the profile's activation, if one is wanted."""
        return next((activation for activation in self.activations if activation.profile == profile), None)

    def judgement(self, link: LinkId) -> Judgement | None:
        """Return the judgement of one uplink."""
        return next((judgement for judgement in self.judgements if judgement.link == link), None)


def decide(snapshot: Snapshot, policy: Policy, memory: Memory, now: float) -> Decision:
    """Return what is wanted on this machine now, and what to remember until the next look."""
    leaving = _still_leaving(snapshot, memory, now)
    uplinks = governing_order(snapshot, leaving)
    arrivals = _arrivals(uplinks, memory, now)
    overrides = _still_valid(snapshot, memory.overrides, now)
    judged = tuple(_judge(policy, link, arrivals[link.id], overrides, now) for link in uplinks)
    judgements = tuple(judgement for judgement, _ in judged)
    arrivals = {judgement.link: arrival for judgement, arrival in judged}
    verdicts = carry_on(snapshot, policy, memory, judgements, overrides, now)
    rides, next_epoch = _begin(policy, snapshot, judgements, verdicts, memory.next_epoch, now)
    ended = tuple(Ending(v.ride.profile, v.reason) for v in verdicts if v.fate is Fate.END)
    flaps = dict(memory.flaps)
    flaps.update({v.ride.profile: v.flap for v in verdicts if v.flap})
    looks = [v.next_look for v in verdicts if v.next_look is not None]
    looks += _decision_deadlines(judgements, arrivals, policy)
    looks += [override.until for override in overrides if override.until is not None]
    looks += [since + LEAVING_LIMIT for since in leaving.values()]
    kept = Memory(rides, arrivals, overrides, leaving, flaps, next_epoch)
    return Decision(
        judgements=judgements,
        activations=_cast(policy, snapshot, judgements, rides, overrides),
        endings=ended,
        memory=kept,
        next_look=min(looks, default=None),
    )


def governing_order(snapshot: Snapshot, leaving: Mapping[LinkId, float]) -> tuple[Link, ...]:
    """Return the usable uplinks, the governing one (best default route) first."""
    usable = (
        link for link in snapshot.links if link.is_uplink and link.phase is Phase.USABLE and link.id not in leaving
    )
    return tuple(sorted(usable, key=lambda link: (link.metric is None, link.metric or 0, link.id)))


def _still_leaving(snapshot: Snapshot, memory: Memory, now: float) -> dict[LinkId, float]:
    """Keep the marks of links that still have a carrier, for a minute at most."""
    return {
        identity: since
        for identity, since in memory.leaving.items()
        if now - since < LEAVING_LIMIT and (link := snapshot.link(identity)) and link.phase >= Phase.CARRIER
    }


def _arrivals(uplinks: tuple[Link, ...], memory: Memory, now: float) -> dict[LinkId, Arrival]:
    """Note when each uplink became usable on its network; a refined observation keeps the time."""
    arrivals = {}
    for link in uplinks:
        before = memory.arrivals.get(link.id)
        if before is None or before.network.conflicts(link.network):
            arrivals[link.id] = Arrival(link.network, now)
        else:
            arrivals[link.id] = replace(before, network=before.network.refined_by(link.network))
    return arrivals


def _still_valid(snapshot: Snapshot, overrides: tuple[Override, ...], now: float) -> tuple[Override, ...]:
    """Drop what was given by hand once its time is over or the network is another one."""
    usable = tuple(link for link in snapshot.links if link.is_uplink and link.phase is Phase.USABLE)
    return tuple(
        override
        for override in overrides
        if (override.until is None or override.until > now) and _on_its_network(override, usable)
    )


def _on_its_network(override: Override, usable: tuple[Link, ...]) -> bool:
    """Report whether the network that an override was given for may still be the one.

    While its own link is usable that one tells, else any other does; with none at all nothing has changed yet.
    """
    own = tuple(link for link in usable if link.id == override.uplink)
    candidates = own or usable
    return not candidates or any(not override.network.conflicts(link.network) for link in candidates)


def _judge(
    policy: Policy, link: Link, arrival: Arrival, overrides: tuple[Override, ...], now: float
) -> tuple[Judgement, Arrival]:
    """Judge one uplink: by hand where the user said so, else by the profiles.

    An unknown is waited for from when it began, not from the arrival: what was known may become unknown for a moment.
    """
    downs = [override for override in overrides if not override.up]
    barred = frozenset(
        profile.name for profile in policy.profiles for down in downs if down.profile in (None, profile.name)
    )
    judgement = judge_link(policy, link, timed_out=False, barred=barred)
    unknown_since = None
    if judgement.outcome is Outcome.PENDING:
        unknown_since = now if arrival.unknown_since is None else arrival.unknown_since
        if now - unknown_since >= policy.decide_timeout:
            judgement = judge_link(policy, link, timed_out=True, barred=barred)
    arrival = replace(arrival, unknown_since=unknown_since)
    up = next((o for o in overrides if o.up and o.uplink == link.id and policy.profile(o.profile or "")), None)
    if up is None:
        return judgement, arrival
    reason = f"{up.profile} was brought up by hand"
    return replace(judgement, outcome=Outcome.CONNECT, profile=up.profile, reason=reason, manual=True), arrival


def _begin(
    policy: Policy,
    snapshot: Snapshot,
    judgements: tuple[Judgement, ...],
    verdicts: tuple[Verdict, ...],
    next_epoch: int,
    now: float,
) -> tuple[tuple[Ride, ...], int]:
    """Keep what carries on, and begin an activation for every profile that is named and has none."""
    rides = [verdict.ride for verdict in verdicts if verdict.fate is not Fate.END]
    riding = {ride.profile for ride in rides}
    for judgement in judgements:
        profile = policy.profile(judgement.profile or "")
        link = snapshot.link(judgement.link)
        if profile is None or link is None or profile.name in riding or not starts(judgement, profile.action):
            continue
        bssid = link.wireless.bssid if link.wireless else None
        rides.append(Ride(profile.name, link.id, link.network, next_epoch, now, bssid))
        riding.add(profile.name)
        next_epoch += 1
    return tuple(rides), next_epoch


def starts(judgement: Judgement, action: Action) -> bool:
    """Report whether a judgement asks for an activation: a profile that ignores a network starts nothing there."""
    return judgement.manual or (action is not Action.IGNORE and judgement.outcome is not Outcome.PENDING)


def _decision_deadlines(
    judgements: tuple[Judgement, ...], arrivals: Mapping[LinkId, Arrival], policy: Policy
) -> list[float]:
    pending = (judgement.link for judgement in judgements if judgement.outcome is Outcome.PENDING)
    starts = (arrivals[link].unknown_since for link in pending)
    return [since + policy.decide_timeout for since in starts if since is not None]


def _cast(
    policy: Policy,
    snapshot: Snapshot,
    judgements: tuple[Judgement, ...],
    rides: tuple[Ride, ...],
    overrides: tuple[Override, ...],
) -> tuple[Activation, ...]:
    """Give every activation its role: one is exclusive, by the order of the uplinks that govern."""
    order = {judgement.link: position for position, judgement in enumerate(judgements)}
    reasons = {judgement.profile: judgement.reason for judgement in reversed(judgements)}
    exclusive: str | None = None
    owners: dict[str, str] = {}
    cast = []
    ordered = sorted(rides, key=lambda ride: (order.get(ride.uplink, len(order)), ride.epoch))
    for ride, profile in ((ride, profile) for ride in ordered if (profile := policy.profile(ride.profile))):
        role, reason = Role.SPLIT, reasons.get(ride.profile, "its uplink was lost a moment ago")
        taken = next((tunnel.name for tunnel in profile.tunnels if tunnel.name in owners), None)
        if profile.is_exclusive and exclusive:
            role, reason = Role.STANDBY, f"{exclusive} has all traffic or all names already"
        elif taken:
            role, reason = Role.BLOCKED, f"its tunnel {taken} belongs to {owners[taken]}, which is running"
        else:
            role = Role.EXCLUSIVE if profile.is_exclusive else Role.SPLIT
            exclusive = profile.name if profile.is_exclusive else exclusive
            owners.update({tunnel.name: profile.name for tunnel in profile.tunnels if profile.wants_tunnel})
        cast.append(_activation(ride, role, reason, snapshot, overrides))
    return tuple(cast)


def _activation(ride: Ride, role: Role, reason: str, snapshot: Snapshot, overrides: tuple[Override, ...]) -> Activation:
    link = snapshot.link(ride.uplink)
    named = next((o.tunnel for o in overrides if o.up and o.profile == ride.profile), None)
    return Activation(
        profile=ride.profile,
        uplink=ride.uplink,
        uplink_name=link.name if link else "",
        epoch=ride.epoch,
        role=role,
        reason=reason,
        since=ride.since,
        lingering=ride.lost_since is not None,
        bssid=ride.bssid,
        tunnel=named,
    )
