"""Steps of every kind for the tests, and what each can be amended to."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

from autovpn.core.dnschoice import DnsWish
from autovpn.core.driving import Uplink
from autovpn.core.hookenv import HookContext
from autovpn.core.profile import Event, Hook
from autovpn.core.settings import OpensshSettings
from autovpn.core.snapshot import LinkId
from autovpn.core.steps import (
    AddressValue,
    DnsValue,
    GuardValue,
    HookMoment,
    HookValue,
    PinValue,
    RoutesValue,
    Step,
    StepKind,
    TunnelValue,
)
from autovpn.core.tunnel import PinnedEndpoint, RouteMode, TunnelSpec

ENDPOINTS = (
    (PinnedEndpoint(ip_address("203.0.113.1"), 22, "tcp"),),
    (PinnedEndpoint(ip_address("203.0.113.1"), 22, "tcp"), PinnedEndpoint(ip_address("2001:db8::1"), 22, "tcp")),
)
UPLINKS = (
    Uplink(LinkId(2, 1), "wlan0", (ip_address("192.0.2.10"),), (ip_address("192.0.2.1"),)),
    Uplink(LinkId(3, 1), "eth0", (ip_address("198.51.100.10"),), (ip_address("198.51.100.1"),)),
)
PEER = ip_address("10.98.0.1")


def hooks(*events: Event) -> tuple[Hook, ...]:
    """Return two hooks of each event, whose programs are named for it."""
    return tuple(Hook(event, (f"/hooks/{event.value}-{number}",)) for event in events for number in (1, 2))


def bracket(kind: StepKind, version: int = 0, owner: str = "campus") -> Step:
    """Return a bracket with two hooks at each end; another version is another bracket."""
    up, down = (Event.PREUP, Event.POSTDOWN) if kind is StepKind.PREUP else (Event.POSTUP, Event.PREDOWN)
    moment = HookMoment(hooks(up), hooks(down), HookContext(up.value, owner, "wlan0", ssid=b"\xff\0$(reboot)"))
    return Step(kind, owner, "", HookValue(version), moment)


def guard(version: int = 0, owner: str = "campus") -> Step:
    return Step(StepKind.GUARD, owner, "", GuardValue(UPLINKS[version].name))


def pin(version: int = 0, owner: str = "campus") -> Step:
    return Step(StepKind.PIN, owner, "office", PinValue(ENDPOINTS[version]))


def tunnel(version: int = 0, owner: str = "campus", attempt: int = 1) -> Step:
    settings = OpensshSettings("vpn.example", address=ip_interface("10.98.0.2/30"), peer=PEER)
    spec = TunnelSpec("office", "openssh", settings, device=device_of(owner))
    value = TunnelValue("1-abc", attempt, UPLINKS[version], ENDPOINTS[version])
    return Step(StepKind.TUNNEL, owner, "office", value, spec)


def address(version: int = 0, owner: str = "campus") -> Step:
    addresses = (
        (ip_interface("10.98.0.2/30"), ip_interface("10.98.0.9/32")),
        (ip_interface("10.98.0.2/30"), ip_interface("fd00::2/64")),
    )
    peer = (None, PEER)[version]
    return Step(StepKind.ADDRESS, owner, "office", AddressValue(device_of(owner), addresses[version], peer, 1400))


def routes(version: int = 0, owner: str = "campus", mode: RouteMode = RouteMode.FULL) -> Step:
    value = RoutesValue(
        mode=mode,
        device=device_of(owner),
        prefixes=((ip_network("10.0.0.0/8"),), (ip_network("10.0.0.0/8"), ip_network("fd00::/8")))[version],
        dns=(ip_address("10.8.0.1"),),
        uplink=UPLINKS[version].name,
        on_link=(ip_network("192.168.1.0/24"),),
        has_ipv4=True,
        has_ipv6=bool(version),
    )
    return Step(StepKind.ROUTES, owner, "office", value)


def dns(version: int = 0, owner: str = "campus", domains: tuple[str, ...] = ()) -> Step:
    wish = DnsWish(owner, device_of(owner), (f"10.8.0.{version + 1}",), domains=domains)
    return Step(StepKind.DNS, owner, "", DnsValue(wish))


def device_of(owner: str) -> str:
    return f"av-{owner}"


def activation(version: int = 0, owner: str = "campus", top: StepKind = StepKind.POSTUP) -> tuple[Step, ...]:
    """Return the steps of a whole activation with a full tunnel, up to a kind."""
    every = (
        bracket(StepKind.PREUP, 0, owner),
        guard(version, owner),
        pin(version, owner),
        tunnel(version, owner),
        address(version, owner),
        routes(version, owner),
        dns(version, owner),
        bracket(StepKind.POSTUP, 0, owner),
    )
    return tuple(step for step in every if step.rank <= top.rank)


def one(kind: StepKind, version: int = 0) -> Step:
    """Return a step of a kind."""
    match kind:
        case StepKind.PREUP | StepKind.POSTUP:
            return bracket(kind, version)
        case StepKind.GUARD:
            return guard(version)
        case StepKind.PIN:
            return pin(version)
        case StepKind.TUNNEL:
            return tunnel(version)
        case StepKind.ADDRESS:
            return address(version)
        case StepKind.ROUTES:
            return routes(version)
        case StepKind.DNS:
            return dns(version)
