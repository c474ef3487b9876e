"""The two programs that a tunnel of type `ipsec` may be the work of, and which of them it is: the settings say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autovpn.core.settings import LibreswanSettings
from autovpn.tunnels.ipsec import IpsecDriver, IpsecState
from autovpn.tunnels.libreswan import LibreswanDriver, LibreswanState

if TYPE_CHECKING:
    from autovpn.core.actions import LastWord
    from autovpn.core.driving import DriverEvent, Launch, Recovered, Step

State = IpsecState | LibreswanState

_STRONGSWAN = IpsecDriver()
_LIBRESWAN = LibreswanDriver()


class ChosenIpsec:
    """Drives strongSwan or libreswan."""

    def start(self, launch: Launch, now: float) -> Step[State]:
        """Begin an attempt."""
        return _driver(launch).start(launch, now)

    def adopt(self, launch: Launch, recovered: Recovered, now: float) -> Step[State]:
        """Take over what a dead daemon left running."""
        return _driver(launch).adopt(launch, recovered, now)

    def feed(self, state: State, event: DriverEvent, now: float) -> Step[State]:
        """Take one event."""
        if isinstance(state, LibreswanState):
            return _LIBRESWAN.feed(state, event, now)
        return _STRONGSWAN.feed(state, event, now)

    def farewell(self, launch: Launch) -> tuple[LastWord, ...]:
        """Return what must be done before the program is ended."""
        return _driver(launch).farewell(launch)


def _driver(launch: Launch) -> IpsecDriver | LibreswanDriver:
    return _LIBRESWAN if isinstance(launch.spec.settings, LibreswanSettings) else _STRONGSWAN
