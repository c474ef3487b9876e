"""The station interfaces of a machine: which of them must be read, how often still, and what is shown of them.

No input or output here; `wireless` does that.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from autovpn.system.station import Happening, Station

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from autovpn.core.network import Wireless
    from autovpn.system.station import Bss, Event

# Seconds from one reading to the next of a station of which something is still to come without an event: a hidden
# name, a CONNECT that the driver owes us, the end of a handshake. After the last one what is known has to do.
PATIENCE: Final = (0.25, 0.5, 1.0, 2.0, 4.0)


class Stations:
    """What is known of every station interface, by its index."""

    def __init__(self, patience: tuple[float, ...] = PATIENCE) -> None:
        """Know nothing yet."""
        self.list_again = True
        """Whether the interfaces themselves have to be listed first."""
        self.complete = False
        """Whether every station that no event has named yet is known."""
        self.associations: Mapping[int, Wireless | None] = MappingProxyType({})
        self.pending: frozenset[int] = frozenset()
        self._patience = patience
        self._known: dict[int, Station] = {}
        self._to_read: set[int] = set()
        self._tries: dict[int, int] = {}

    @property
    def delays(self) -> Mapping[int, float]:
        """In how many seconds which station has to be read again."""
        return {
            index: self._patience[self._tries.get(index, 0)]
            for index, station in self._known.items()
            if station.unfinished and self._tries.get(index, 0) < len(self._patience)
        }

    def look_again(self, index: int | None = None) -> bool:
        """Note that one station, or each, must be read if it is unfinished; report whether there is anything to do."""
        asked = self._known.keys() if index is None else self._known.keys() & {index}
        unfinished = {each for each in asked if self._known[each].unfinished}
        self._to_read |= unfinished
        return bool(unfinished)

    def retry(self, index: int) -> None:
        """Note that a delay is over."""
        self._tries[index] = self._tries.get(index, 0) + 1
        self._to_read.add(index)

    def take(self, event: Event) -> None:
        """Fold an event, which always means that its station must be read."""
        if event.happening is Happening.REMOVED:
            self.forget(event.index)
            return
        # One that nobody knows is pending until the list tells whether it is a station.
        self.list_again |= event.index not in self._known or event.happening is Happening.APPEARED
        self._known[event.index] = self._known.get(event.index, Station()).after(event)
        self._tries.pop(event.index, None)
        self._to_read.add(event.index)

    def listed(self, indexes: Iterable[int]) -> None:
        """Take over the list of interfaces; all of them must be read."""
        present = frozenset(indexes)
        self.complete = True
        for index in self._known.keys() - present:
            self.forget(index)
        for index in present:
            self._known.setdefault(index, Station())
        self._to_read |= present

    def next_to_read(self) -> int | None:
        """Return a station that must be read, taking it off the list; None when there is none."""
        return self._to_read.pop() if self._to_read else None

    def read(self, index: int, bss: Bss | None, *, authorized: bool) -> None:
        """Fold a reading, unless something happened to the station meanwhile: then the next one counts."""
        if index in self._to_read or index not in self._known:
            return
        last = self._tries.get(index, 0) >= len(self._patience)
        self._known[index] = self._known[index].read(bss, authorized=authorized, last=last)

    def forget(self, index: int) -> None:
        """Drop an interface that is gone."""
        self._known.pop(index, None)
        self._tries.pop(index, None)
        self._to_read.discard(index)

    def doubt(self) -> None:
        """Trust nothing after events were lost, until it is read again; what was known is still shown, as pending."""
        self._known = {index: station.doubted() for index, station in self._known.items()}
        self.list_again = True
        self.complete = False

    def clear(self) -> None:
        """Know nothing: there is no nl80211 any more."""
        self._known.clear()
        self._tries.clear()
        self._to_read.clear()
        self.list_again = True
        self.complete = False

    def publish(self) -> bool:
        """Show what is known now; report whether that is news. The strength of a signal alone is none."""
        associations = {index: station.association for index, station in self._known.items()}
        pending = frozenset(index for index, station in self._known.items() if station.pending)
        news = pending != self.pending or _without_signal(associations) != _without_signal(self.associations)
        self.associations, self.pending = MappingProxyType(associations), pending
        return news


def _without_signal(associations: Mapping[int, Wireless | None]) -> dict[int, Wireless | None]:
    return {index: association and replace(association, signal=None) for index, association in associations.items()}
