"""Short ways to write links, profiles and policies in the tests of the core."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_interface

from autovpn.core.network import Gateway, Grade, Security, Wireless
from autovpn.core.profile import Action, Condition, DnsSettings, Key, Policy, Profile, Wanted
from autovpn.core.routing import Place, RoutePlan, TunnelRoutes, guard, pin_rules, tunnel_routing
from autovpn.core.settings import OpensshSettings
from autovpn.core.snapshot import Link, LinkId, LinkType, Phase, Snapshot
from autovpn.core.tunnel import PinnedEndpoint, RouteMode, RouteWish, TunnelSpec


def wifi(ssid: bytes = b"Campus", index: int = 2, security: Security = Security.PSK, **changes: object) -> Link:
    """Return a usable station interface on a network of this name."""
    association = Wireless(ssid, "02:00:00:00:00:01", security=security, authorized=True)
    link = Link(
        LinkId(index, 1),
        f"wlan{index}",
        LinkType.WIFI,
        Phase.USABLE,
        is_uplink=True,
        addresses=(ip_interface("192.0.2.10/24"),),
        gateways=(Gateway(ip_address("192.0.2.1"), "02:00:00:00:00:aa"),),
        metric=600,
        wireless=association,
    )
    return replace(link, **changes)  # type: ignore[arg-type]


def cable(
    index: int = 3, prefix: str = "198.51.100.10/24", mac: str | None = "02:00:00:00:00:bb", **changes: object
) -> Link:
    """Return a usable wired link."""
    gateway = ip_address(str(next(iter(ip_interface(prefix).network.hosts()))))
    link = Link(
        LinkId(index, 1),
        f"eth{index}",
        LinkType.ETHERNET,
        Phase.USABLE,
        is_uplink=True,
        addresses=(ip_interface(prefix),),
        gateways=(Gateway(gateway, mac),),
        metric=100,
    )
    return replace(link, **changes)  # type: ignore[arg-type]


def ssh(name: str = "office", mode: RouteMode = RouteMode.SPLIT, host: str = "203.0.113.1") -> TunnelSpec:
    """Return an OpenSSH layer 3 tunnel."""
    settings = OpensshSettings(host=host, address=ip_interface("10.98.0.2/30"), peer=ip_address("10.98.0.1"))
    return TunnelSpec(name, "openssh", settings, device=f"av-{name}"[:15], routes=RouteWish(mode))


def on(key: Key, *wanted: Wanted, negated: bool = False) -> Condition:
    """Return a condition."""
    return Condition(key, wanted, negated)


def connect(name: str, *conditions: Condition, full: bool = False, **changes: object) -> Profile:
    """Return a profile that connects by one tunnel of its own."""
    tunnel = ssh(f"{name}-tunnel", RouteMode.FULL if full else RouteMode.SPLIT)
    return replace(Profile(name, conditions=conditions, tunnels=(tunnel,)), **changes)  # type: ignore[arg-type]


def trusted(name: str, *conditions: Condition, require: Grade = Grade.HINT, **changes: object) -> Profile:
    """Return a profile that wants no tunnel on its network."""
    profile = Profile(name, action=Action.DISCONNECT, conditions=conditions, require=require, dns=DnsSettings())
    return replace(profile, **changes)  # type: ignore[arg-type]


def policy(*profiles: Profile, **changes: object) -> Policy:
    """Return a policy of these profiles."""
    return replace(Policy(profiles=profiles), **changes)  # type: ignore[arg-type]


def routing_for(tunnel: TunnelRoutes, endpoints: Iterable[PinnedEndpoint], uplink: str, place: Place) -> RoutePlan:
    """Return all of it together: pin, guard where the tunnel is a full one, and the tunnel's own rules and routes."""
    plan = pin_rules(endpoints, place) | tunnel_routing(tunnel, place)
    return plan | guard(uplink, place, tunnel.local) if tunnel.mode is RouteMode.FULL else plan


def seen(*links: Link) -> Snapshot:
    """Return a snapshot of these links."""
    return Snapshot(links)


def gone(link: Link) -> Link:
    """Return the link after its carrier was lost."""
    return replace(link, phase=Phase.DOWN, wireless=None, addresses=(), gateways=(), metric=None)
