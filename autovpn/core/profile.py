"""What the user wants: profiles, their conditions and hooks, as plain values made by the configuration layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from autovpn.core.network import Grade, IPNetwork, Security
from autovpn.core.snapshot import LinkType
from autovpn.core.tunnel import RouteMode, TunnelSpec


class Action(Enum):
    """What a profile wants done on its network."""

    CONNECT = "connect"
    DISCONNECT = "disconnect"
    IGNORE = "ignore"


class Key(Enum):
    """The observable that a condition compares."""

    INTERFACE = "interface"
    INTERFACE_GLOB = "interface_glob"
    INTERFACE_TYPE = "interface_type"
    SSID = "ssid"
    SSID_HEX = "ssid_hex"
    SSID_GLOB = "ssid_glob"
    BSSID = "bssid"
    SECURITY = "security"
    GATEWAY_MAC = "gateway_mac"
    GATEWAY = "gateway"
    ADDRESS = "address"
    DNS_SUFFIX = "dns_suffix"
    DNS_SERVER = "dns_server"

    @property
    def is_local(self) -> bool:
        """Report whether the observable belongs to this machine, so that nobody outside can forge it."""
        return self in (Key.INTERFACE, Key.INTERFACE_GLOB, Key.INTERFACE_TYPE)


Wanted = str | bytes | Security | LinkType | IPNetwork


@dataclass(frozen=True, slots=True)
class Condition:
    """One key of `[match]`: any of `wanted` satisfies it, or none when `negated` (from `[match.not]`).

    The values fit the key: bytes for SSIDs, networks for addresses and gateways, lower-case text for MAC addresses.
    """

    key: Key
    wanted: tuple[Wanted, ...]
    negated: bool = False


class Event(Enum):
    """The moments at which hooks run."""

    PREUP = "preup"
    POSTUP = "postup"
    PREDOWN = "predown"
    POSTDOWN = "postdown"
    FAILUP = "failup"
    FAILDOWN = "faildown"
    ROAM = "roam"
    PORTAL = "portal"


class OnFail(Enum):
    """What a hook's failure means; `default` is the event's own meaning."""

    DEFAULT = "default"
    IGNORE = "ignore"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Hook:
    """A program to run at a moment: an argument list, never a shell line. `timeout` is in seconds."""

    event: Event
    run: tuple[str, ...]
    timeout: float = 30.0
    user: str | None = None
    on_fail: OnFail = OnFail.DEFAULT


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """`[dns]` of a profile. `servers` None means what the tunnel pushes; `file` is a whole file's path."""

    servers: tuple[str, ...] | None = None
    search: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    file: str | None = None
    file_text: str | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile: what to do on which network. `linger` and the other times are in seconds."""

    name: str
    source: str = ""
    action: Action = Action.CONNECT
    conditions: tuple[Condition, ...] = ()
    is_default: bool = False
    require: Grade = Grade.PROOF
    tunnels: tuple[TunnelSpec, ...] = ()
    dns: DnsSettings = field(default_factory=DnsSettings)
    hooks: tuple[Hook, ...] = ()

    @property
    def wants_tunnel(self) -> bool:
        """Report whether the profile protects anything."""
        return self.action is Action.CONNECT and bool(self.tunnels)

    @property
    def observes_network(self) -> bool:
        """Report whether it matches on something that a network could forge."""
        return any(not condition.key.is_local for condition in self.conditions)

    @property
    def needed_evidence(self) -> Grade:
        """Return the evidence without which this profile may not match: only protection may rest on weak evidence."""
        return self.require if not self.wants_tunnel and self.observes_network else Grade.NONE

    @property
    def is_exclusive(self) -> bool:
        """Report whether it claims all traffic or all names, which only one activation can have."""
        if not self.wants_tunnel:
            return False
        if any(tunnel.routes.mode is RouteMode.FULL for tunnel in self.tunnels):
            return True
        if self.dns.domains:
            return False
        if self.dns.servers is not None:
            return bool(self.dns.servers)
        return self.dns.file is not None or any(tunnel.may_push_dns for tunnel in self.tunnels)

    def tunnel(self, name: str) -> TunnelSpec | None:
        """Return the tunnel of this name, if the profile lists it."""
        return next((tunnel for tunnel in self.tunnels if tunnel.name == name), None)


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole configuration as the core sees it: profiles in the order in which they are tried, times in seconds."""

    profiles: tuple[Profile, ...] = ()
    settle_trusted: float = 5.0
    linger: float = 15.0
    decide_timeout: float = 10.0
    include: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()
    dns_backend: str = "auto"
    dns_on_conflict: str = "reapply"

    def profile(self, name: str) -> Profile | None:
        """Return the profile of this name."""
        return next((profile for profile in self.profiles if profile.name == name), None)
