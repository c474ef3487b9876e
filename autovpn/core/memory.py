"""What the decision remembers from one look to the next. It is a value too: decide() takes one and returns the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autovpn.core.network import Network
from autovpn.core.snapshot import LinkId

LEAVING_LIMIT = 60.0
"""Seconds after which the mark *leaving* ends by itself."""


@dataclass(frozen=True, slots=True)
class Ride:
    """One activation as it stands: which profile, on which uplink, since when. Times are monotonic seconds.

    `epoch` grows with every activation, so that an undone one is never mistaken for its successor. `lost_since` is
    set while its uplink does not name it any more, `lower_since` while its uplink is trusted and protection waits.
    """

    profile: str
    uplink: LinkId
    network: Network
    epoch: int
    since: float
    bssid: str | None = None
    lost_since: float | None = None
    lower_since: float | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a link became usable on its present network, and since when a rule there hangs on something unknown."""

    network: Network
    since: float
    unknown_since: float | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """A wish given by hand: `up` names a profile, `down` one or (None) all.

    It wins while the uplink's network does not conflict with `network`, and until `until` where that is given.
    """

    up: bool
    profile: str | None
    uplink: LinkId
    network: Network
    tunnel: str | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Flap:
    """How often protection was about to be lowered and was not, and when last."""

    count: int
    last: float


@dataclass(frozen=True, slots=True)
class Memory:
    """All of it. `leaving` holds links that a network manager is about to take down, with the time of the mark."""

    rides: tuple[Ride, ...] = ()
    arrivals: Mapping[LinkId, Arrival] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()
    leaving: Mapping[LinkId, float] = field(default_factory=dict)
    flaps: Mapping[str, Flap] = field(default_factory=dict)
    next_epoch: int = 1

    def ride(self, profile: str) -> Ride | None:
        """Return the profile's activation, if it has one."""
        return next((ride for ride in self.rides if ride.profile == profile), None)
