"""The peers of a WireGuard tunnel, and where those that we call were found."""

from __future__ import annotations

from dataclasses import replace

from autovpn.core.driving import Launch
from autovpn.core.settings import WireguardPeer, WireguardSettings
from autovpn.core.tunnel import PinnedEndpoint


def settings_of(launch: Launch) -> WireguardSettings:
    """Return the tunnel's settings."""
    if not isinstance(launch.spec.settings, WireguardSettings):
        raise TypeError(f"tunnel {launch.spec.name} is not of type wireguard")
    return launch.spec.settings


def calls_somebody(launch: Launch) -> bool:
    """Report whether there is a peer that we call; the others call us."""
    return any(peer.endpoint for peer in settings_of(launch).peers)


def placed(launch: Launch) -> tuple[tuple[WireguardPeer, ...], tuple[PinnedEndpoint, ...]]:
    """Return the peers, and the addresses of those that have an endpoint, in their order.

    A peer whose name has no address has no endpoint either: it may still call us, and the others are called.
    """
    wanted = settings_of(launch).peers
    found = [_found(peer, launch) for peer in wanted]
    peers = (peer if end else replace(peer, endpoint=None) for peer, end in zip(wanted, found, strict=True))
    return tuple(peers), tuple(end for end in found if end)


def far_ends(launch: Launch) -> str:
    """Return in words whom we call."""
    ends = (peer.endpoint for peer in settings_of(launch).peers)
    return ", ".join(f"{end.host} port {end.port}" for end in ends if end) or "any peer"


def _found(peer: WireguardPeer, launch: Launch) -> PinnedEndpoint | None:
    return next((end for end in launch.endpoints if peer.endpoint and end.stands_for(peer.endpoint)), None)
