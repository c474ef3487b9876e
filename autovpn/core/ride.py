"""Carrying activations on: kept, moved to another uplink, left lingering, or ended, each with its reason.

Raising protection is immediate. Lowering it waits `settle_trusted`, twice as long for every flap up to a cap. An
activation outlives the loss of its uplink by `linger`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from autovpn.core.judgement import Judgement, Outcome
from autovpn.core.memory import Flap, Memory, Override, Ride
from autovpn.core.profile import Action, Policy, Profile
from autovpn.core.snapshot import Link, Snapshot

FLAP_CAP = 4
"""The settle time doubles at most this often."""

CALM = 600.0
"""Seconds without a flap after which the settle time is the configured one again."""


class Fate(Enum):
    """What becomes of an activation."""

    KEEP = "keep"
    MOVE = "move"
    LINGER = "linger"
    LOWER = "lower"
    END = "end"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one activation, why, and when to look again."""

    ride: Ride
    fate: Fate
    reason: str = ""
    next_look: float | None = None
    flap: Flap | None = None


@dataclass(frozen=True, slots=True)
class _View:
    """What the carrying on of every activation shares."""

    snapshot: Snapshot
    policy: Policy
    memory: Memory
    judgements: tuple[Judgement, ...]
    overrides: tuple[Override, ...]
    now: float


def carry_on(
    snapshot: Snapshot,
    policy: Policy,
    memory: Memory,
    judgements: tuple[Judgement, ...],
    overrides: tuple[Override, ...],
    now: float,
) -> tuple[Verdict, ...]:
    """Return a verdict for every activation that exists; `judgements` come in governing order."""
    view = _View(snapshot, policy, memory, judgements, overrides, now)
    return tuple(_carry(ride, view) for ride in memory.rides)


def _carry(ride: Ride, view: _View) -> Verdict:
    profile = view.policy.profile(ride.profile)
    if profile is None:
        return Verdict(ride, Fate.END, "profile-removed")
    if any(not o.up and o.profile in (None, ride.profile) for o in view.overrides):
        return Verdict(ride, Fate.END, "down")
    for judgement in view.judgements:
        link = view.snapshot.link(judgement.link)
        if link and judgement.profile == ride.profile and _asks_for_it(judgement, profile):
            return _stay(ride, link, view)
    here = next((judgement for judgement in view.judgements if judgement.link == ride.uplink), None)
    return _without_uplink(ride, view) if here is None else _unwanted_here(ride, here, view)


def _asks_for_it(judgement: Judgement, profile: Profile) -> bool:
    return judgement.manual or profile.action is not Action.IGNORE


def _stay(ride: Ride, link: Link, view: _View) -> Verdict:
    """Keep an activation on the best uplink that names it; on another network it ends, so that a new one begins."""
    bssid = link.wireless.bssid if link.wireless else None
    moved = link.id != ride.uplink
    if not moved and ride.network.conflicts(link.network):
        return Verdict(ride, Fate.END, "network-changed")
    network = link.network if moved else ride.network.refined_by(link.network)
    kept = replace(ride, uplink=link.id, network=network, bssid=bssid, lost_since=None, lower_since=None)
    flap = None
    if ride.lower_since is not None:
        flap = Flap(_flaps(ride, view) + 1, view.now)
    return Verdict(kept, Fate.MOVE if moved else Fate.KEEP, flap=flap)


def _without_uplink(ride: Ride, view: _View) -> Verdict:
    if ride.uplink in view.memory.leaving and view.snapshot.link(ride.uplink):
        return Verdict(ride, Fate.END, "leaving")
    governing = view.judgements[0] if view.judgements else None
    if governing and _lowers(ride, governing, view):
        lowered = _lower(ride, view)
        if lowered.fate is Fate.END:
            return lowered
        lingered = _linger(lowered.ride, view)
        looks = [look for look in (lowered.next_look, lingered.next_look) if look is not None]
        return replace(lingered, next_look=min(looks, default=None))
    if governing and governing.outcome in (Outcome.CONNECT, Outcome.DISCONNECT):
        return Verdict(ride, Fate.END, "another-uplink")
    return _linger(ride, view)


def _unwanted_here(ride: Ride, here: Judgement, view: _View) -> Verdict:
    """Decide for an activation whose uplink is usable but does not name it any more."""
    link = view.snapshot.link(ride.uplink)
    if _lowers(ride, here, view):
        return _lower(ride, view)
    if link and ride.network.conflicts(link.network):
        return Verdict(ride, Fate.END, "network-changed")
    if here.outcome in (Outcome.CONNECT, Outcome.DISCONNECT):
        return Verdict(ride, Fate.END, "another-profile")
    return _linger(ride, view)


def _lowers(ride: Ride, judgement: Judgement, view: _View) -> bool:
    """Report whether going over to what a judgement wants would switch a tunnel off: by a profile that wants none."""
    profile, wanted = view.policy.profile(ride.profile), view.policy.profile(judgement.profile or "")
    opinion = judgement.outcome in (Outcome.CONNECT, Outcome.DISCONNECT) and wanted is not None
    return bool(opinion and profile and profile.wants_tunnel and wanted and not wanted.wants_tunnel)


def _linger(ride: Ride, view: _View) -> Verdict:
    since = view.now if ride.lost_since is None else ride.lost_since
    until = since + view.policy.linger
    if until <= view.now:
        return Verdict(ride, Fate.END, "uplink-lost")
    return Verdict(replace(ride, lost_since=since), Fate.LINGER, "its uplink is gone", until)


def _lower(ride: Ride, view: _View) -> Verdict:
    """Wait before protection is lowered, and look again at the end."""
    since = view.now if ride.lower_since is None else ride.lower_since
    until = since + view.policy.settle_trusted * 2 ** min(_flaps(ride, view), FLAP_CAP)
    if until <= view.now:
        return Verdict(ride, Fate.END, "trusted")
    return Verdict(replace(ride, lower_since=since), Fate.LOWER, "the network is trusted, it settles", until)


def _flaps(ride: Ride, view: _View) -> int:
    flap = view.memory.flaps.get(ride.profile)
    return flap.count if flap and view.now - flap.last < CALM else 0
