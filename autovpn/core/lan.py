"""What stays reachable around an uplink beside a full tunnel: its own private network, where that is what it says."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from autovpn.core.network import IPNetwork, collapsed, is_within

# A wider prefix is not somebody's home but an attempt to pull traffic past the tunnel ("TunnelCrack", LocalNet).
_WIDEST_LAN: Final = {4: 16, 6: 48}
_PRIVATE: Final = (
    IPv4Network("10.0.0.0/8"),  # RFC 1918
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("169.254.0.0/16"),  # RFC 3927
    IPv6Network("fc00::/7"),  # RFC 4193
)


def private_lan(on_link: Iterable[IPNetwork], offered: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """Return the uplink's prefixes that stay reachable beside a full tunnel.

    A network that calls itself by a public, a very wide, or one of the tunnel's prefixes would pull the traffic to
    those places out of the tunnel, so it stays unreachable (vanhoefm/vpnleaks#2).
    """
    taken = tuple(offered)
    kept = [prefix for prefix in on_link if _is_private_lan(prefix) and not any(map(prefix.overlaps, taken))]
    return collapsed(kept)


def _is_private_lan(prefix: IPNetwork) -> bool:
    narrow = prefix.prefixlen >= _WIDEST_LAN[prefix.version]
    return narrow and any(is_within(prefix, private) for private in _PRIVATE)
