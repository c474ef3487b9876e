"""When to believe what another program wrote, and when to stop arguing with it; time, in seconds, is an argument."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

QUIET = 0.3
PATIENCE = 5.0
_UNREAD = object()


@dataclass(frozen=True, slots=True)
class Settling:
    """A file that somebody is writing, from the first event to the moment when its content may be believed.

    It is looked at after `quiet` without an event, and believed when two looks in a row see the same. A file that is
    missing or names no server gets until `patience` has passed: a DHCP client may be between deleting and writing
    (tailscale/tailscale#18757). So does one that never comes to rest.
    """

    began: float
    next_look: float
    quiet: float = QUIET
    patience: float = PATIENCE
    settled: bool = False
    _seen: object = _UNREAD

    @staticmethod
    def begin(now: float, quiet: float = QUIET, patience: float = PATIENCE) -> Settling:
        """Begin at the first event."""
        return Settling(now, now + quiet, quiet, patience)

    def disturbed(self, now: float) -> Settling:
        """Wait for quiet anew after another event, but never beyond the end of patience."""
        return replace(self, next_look=min(now + self.quiet, max(self.began + self.patience, now)))

    def looked(self, reading: object, now: float, *, plausible: bool) -> Settling:
        """Take what was seen; `plausible` is a file that names a server."""
        steady = reading == self._seen
        worn_out = now - self.began >= self.patience
        return replace(self, _seen=reading, next_look=now + self.quiet, settled=worn_out or (steady and plausible))


@dataclass(slots=True)
class Budget:
    """How often another program's change is answered: `most` times in `window` seconds, then not until as long a quiet.

    Without it two programs rewrite one file for ever (tailscale/tailscale#2334, mullvad/mullvadvpn-app#473).
    """

    most: int = 3
    window: float = 60.0
    _fights: list[tuple[float, object]] = field(default_factory=list)

    def allows(self, change: object, now: float) -> bool:
        """Count `change`, unless it is the one counted last, and tell whether it may be answered."""
        self._fights = [fight for fight in self._fights if now - fight[0] < self.window]
        if not self._fights or self._fights[-1][1] != change:
            self._fights.append((now, change))
        return len(self._fights) <= self.most

    @property
    def spent(self) -> int:
        """Return the number of changes counted in the window that ended with the last one."""
        return len(self._fights)
