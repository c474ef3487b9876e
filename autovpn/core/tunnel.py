"""What a tunnel is: what the user asked for, what it told us, and how it is doing. No secret is ever in here."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from autovpn.core.network import IPAddress, IPInterface, IPNetwork


class RouteMode(Enum):
    """What goes through the tunnel: everything, the tunnel's prefixes, or nothing that we would route."""

    FULL = "full"
    SPLIT = "split"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class RouteWish:
    """The routes that a profile asks for; `include` is added to what the tunnel pushes."""

    mode: RouteMode = RouteMode.SPLIT
    include: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is, never what it is: exactly one of the three is set."""

    file: str | None = None
    command: tuple[str, ...] = ()
    credential: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The far end of a tunnel as the user names it; `host` may be a name or an address.

    `protocol` is the IP protocol of the tunnel's own packets ("tcp", "udp", "esp", "gre").
    """

    host: str
    port: int | None
    protocol: str = "udp"


@dataclass(frozen=True, slots=True)
class WireguardPeer:
    """One peer of a WireGuard tunnel, without its preshared key. `keepalive` is in seconds."""

    public_key: str
    allowed_ips: tuple[IPNetwork, ...] = ()
    endpoint: Endpoint | None = None
    keepalive: int | None = None


@dataclass(frozen=True, slots=True)
class WireguardSettings:
    """A WireGuard tunnel. Its keys stay in `config`, a wg-quick file (wg-quick(8)) that is read again at each start."""

    config: str
    peers: tuple[WireguardPeer, ...] = ()
    addresses: tuple[IPInterface, ...] = ()
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    mtu: int | None = None
    listen_port: int | None = None


@dataclass(frozen=True, slots=True)
class SshForward:
    """One `-L` forward: connections to `listen` on this machine come out at `target` on the far side."""

    listen: str
    target: str


@dataclass(frozen=True, slots=True)
class OpensshSettings:
    """An OpenSSH tunnel (ssh(1)): layer 3 (`-w`) with an `address`, else only `socks` (`-D`) and `forwards` (`-L`).

    `endpoint_host` is where `host`, an alias in `config`, really leads, for the pin.
    """

    host: str
    port: int = 22
    user: str | None = None
    identity: str | None = None
    known_hosts: str | None = None
    config: str | None = None
    remote_unit: int | None = None
    address: IPInterface | None = None
    peer: IPAddress | None = None
    socks: str | None = None
    forwards: tuple[SshForward, ...] = ()
    endpoint_host: str | None = None


@dataclass(frozen=True, slots=True)
class VpncSettings:
    """A vpnc tunnel (vpnc(8)); `config` is the user's own file, `gateway` what it names, None where it names none."""

    config: str
    gateway: str | None = None


Settings = WireguardSettings | OpensshSettings | VpncSettings


@dataclass(frozen=True, slots=True)
class TunnelSpec:
    """One tunnel as configured.

    `files` are read at each start; `fingerprint` tells their versions apart (inode, size and time of change, never
    their content), so that a changed secret replaces the tunnel. `connect_timeout` is in seconds.
    """

    name: str
    type: str
    settings: Settings
    device: str
    routes: RouteWish = field(default_factory=RouteWish)
    password: SecretRef | None = None
    files: tuple[str, ...] = ()
    fingerprint: str = ""
    mtu: int | None = None
    connect_timeout: float = 30.0

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the far ends whose packets must stay outside the tunnel."""
        match self.settings:
            case WireguardSettings(peers=peers):
                return tuple(peer.endpoint for peer in peers if peer.endpoint)
            case OpensshSettings(host=host, port=port, endpoint_host=real):
                return (Endpoint(real or host, port, "tcp"),)
            case VpncSettings(gateway=gateway):
                return tuple(Endpoint(gateway, port, "udp") for port in (500, 4500) if gateway)

    @property
    def may_push_dns(self) -> bool:
        """Report whether DNS servers can come from the tunnel itself."""
        match self.settings:
            case WireguardSettings(dns=dns):
                return bool(dns)
            case OpensshSettings():
                return False
            case VpncSettings():
                return True


@dataclass(frozen=True, slots=True)
class PinnedEndpoint:
    """A far end after its name was resolved: what the pin lets out."""

    address: IPAddress
    port: int | None
    protocol: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a ready tunnel told us. Everything in it came from outside and was checked.

    `device` is None for a tunnel without a device (port forwards); `overhead` is in bytes per packet.
    """

    device: str | None = None
    addresses: tuple[IPInterface, ...] = ()
    peer: IPAddress | None = None
    prefixes: tuple[IPNetwork, ...] = ()
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    mtu: int | None = None
    overhead: int = 80
    banner: str = ""


class FailureClass(Enum):
    """Why a tunnel failed, which decides whether another try can help."""

    AUTH = "auth"
    UNREACHABLE = "unreachable"
    NAME = "name"
    TRUST = "trust"
    LOCAL = "local"
    LOST = "lost"

    @property
    def is_final(self) -> bool:
        """Report whether trying again with the same secrets could only make it worse (locked accounts)."""
        return self in (FailureClass.AUTH, FailureClass.TRUST)

    @property
    def heals_with_time(self) -> bool:
        """Report whether the same attempt may well work later on the same network."""
        return self in (FailureClass.UNREACHABLE, FailureClass.LOST, FailureClass.NAME)


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt: its class, and the program's own words."""

    kind: FailureClass
    words: str


class TunnelPhase(Enum):
    """How a tunnel is doing."""

    REST = "rest"
    RESOLVING = "resolving"
    CONNECTING = "connecting"
    VERIFYING = "verifying"
    UP = "up"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TunnelState:
    """How one tunnel is doing, folded from its events by `supervise`.

    `instance` names the configuration and activation that it runs for; `attempt` counts from 1; `not_before` is when
    a retry is due and `since` when the phase began (both monotonic seconds); `cooldowns` counts the long pauses.
    `launched` says that the program runs or the device is made: hooks may have taken their time before that.
    """

    phase: TunnelPhase = TunnelPhase.REST
    instance: str = ""
    attempt: int = 0
    not_before: float | None = None
    since: float = 0.0
    endpoints: tuple[PinnedEndpoint, ...] = ()
    facts: Facts | None = None
    last_failure: Failure | None = None
    cooldowns: int = 0
    launched: bool = False

    @property
    def counts_as_up(self) -> bool:
        """Report whether packets may flow: an adopted tunnel counts while it is verified."""
        return self.phase in (TunnelPhase.UP, TunnelPhase.VERIFYING) and self.facts is not None
