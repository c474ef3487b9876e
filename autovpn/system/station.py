"""One wireless station as events and readings tell of it. Pure: each gives the next value.

What was negotiated stands in the association request alone, which the kernel hands out once, with the event CONNECT or
ROAM. So an association counts from that event on. The access point's own list, which a stranger may change while the
association runs, is believed only for one that was there before we looked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from autovpn.core.akm import is_hidden, negotiated, offered, ssid_of
from autovpn.core.network import Wireless
from autovpn.errors import SystemFault


class Gone(SystemFault):
    """The interface that was asked about is no more, or is no wireless one."""


class Happening(Enum):
    """What an event says about a station; all of them also say "look again"."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    CHANGED = "changed"
    APPEARED = "appeared"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the interface `index`; `request` holds the elements of its association request, where it has any."""

    happening: Happening
    index: int
    request: bytes | None = None


@dataclass(frozen=True, slots=True)
class Bss:
    """An access point's radio as the scan list has it: elements of its last probe response or beacon.

    `frequency` is in MHz, `signal` in dBm, `capability` the field of IEEE 802.11-2020, 9.4.1.4.
    """

    bssid: str
    elements: bytes
    capability: int
    frequency: int | None = None
    signal: float | None = None


@dataclass(frozen=True, slots=True)
class Station:
    """What is known about one station interface.

    `association` is None when it has none; `pending` says that this isn't known yet. `connected` means that the
    association is complete (or was, when we first looked), `request` is what it asked for, if we saw that.
    """

    association: Wireless | None = None
    pending: bool = True
    connected: bool = True
    request: bytes | None = None

    def after(self, event: Event) -> Station:
        """Fold one event; what it leaves pending the next reading resolves."""
        if event.happening is Happening.CONNECTED:
            return Station(self.association, request=event.request)
        if event.happening is Happening.DISCONNECTED:
            return Station(pending=False, connected=False)
        return self

    @property
    def unfinished(self) -> bool:
        """Whether something is still to come: its network, or the end of the handshake."""
        return self.pending or (self.association is not None and not self.association.authorized)

    def doubted(self) -> Station:
        """Return the station after events were lost: another association may run by now."""
        return Station(self.association)

    def read(self, bss: Bss | None, *, authorized: bool, last: bool) -> Station:
        """Fold a reading: the associated BSS and the station's flag. The `last` of a row leaves nothing pending."""
        if bss is None:
            return Station(pending=False, connected=False)
        if not self.connected and not last:  # between association and CONNECT
            return replace(self, association=None, pending=True)
        association = self._association(bss, authorized=authorized)
        return Station(association, pending=is_hidden(association.ssid) and not last, request=self.request)

    def _association(self, bss: Bss, *, authorized: bool) -> Wireless:
        ssid, listed = ssid_of(bss.elements), offered(bss.elements, bss.capability)
        asked = listed if self.request is None else negotiated(self.request, bss.capability)
        if is_hidden(ssid) and self.request is not None:
            ssid = ssid_of(self.request) or ssid
        return Wireless(ssid, bss.bssid, bss.frequency, bss.signal, asked.weakest, listed.methods, authorized)
