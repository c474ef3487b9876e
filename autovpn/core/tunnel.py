"""What a tunnel is: what the user asked for, what it told us, and how it is doing. No secret is ever in here."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from autovpn.core.network import IPAddress, IPInterface, IPNetwork
from autovpn.core.settings import Endpoint, SecretRef, Settings


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


class HealthCheck(Enum):
    """How a tunnel that is up is asked whether it still passes packets."""

    HANDSHAKE = "handshake"
    DPD = "dpd"
    PING = "ping"
    TCP = "tcp"
    COMMAND = "command"
    DNS = "dns"  # no word of a profile's: what a tunnel is asked that is on trial


@dataclass(frozen=True, slots=True)
class Health:
    """When a tunnel that is up counts as dead: `fail_after` checks in a row fail, one every `interval` seconds.

    `address` (and `port` for `tcp`) is behind the tunnel; `command` succeeds while the tunnel is well.
    """

    check: HealthCheck
    address: IPAddress | None = None
    port: int | None = None
    command: tuple[str, ...] = ()
    interval: float = 30.0
    fail_after: int = 3


@dataclass(frozen=True, slots=True)
class TunnelSpec:
    """One tunnel as configured.

    `files` are read at each start, and so are `public_files`, which hold no secret; `fingerprint` tells their versions
    apart (inode, size and time of change, never their content), so that a changed secret replaces the tunnel.
    `connect_timeout` is in seconds. `local` are the networks behind this machine that the far end reaches through the
    tunnel. `secrets` are those beside the password, by a name that its driver knows.
    """

    name: str
    type: str
    settings: Settings
    device: str
    routes: RouteWish = field(default_factory=RouteWish)
    password: SecretRef | None = None
    files: tuple[str, ...] = ()
    public_files: tuple[str, ...] = ()
    fingerprint: str = ""
    mtu: int | None = None
    connect_timeout: float = 30.0
    local: tuple[IPNetwork, ...] = ()
    health: Health | None = None
    secrets: tuple[tuple[str, SecretRef], ...] = ()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the far ends whose packets must stay outside the tunnel."""
        return self.settings.endpoints

    @property
    def may_push_dns(self) -> bool:
        """Report whether DNS servers can come from the tunnel itself."""
        return self.settings.may_push_dns


@dataclass(frozen=True, slots=True)
class PinnedEndpoint:
    """A far end after its name was resolved: what the pin lets out.

    `host` is the name that has this address, empty where the far end was named by its address; it makes no difference.
    """

    address: IPAddress
    port: int | None
    protocol: str
    host: str = field(default="", compare=False)

    def stands_for(self, end: Endpoint) -> bool:
        """Report whether this is what became of a far end as the user names it."""
        return (self.host or str(self.address), self.port, self.protocol) == (end.host, end.port, end.protocol)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a ready tunnel told us. Everything in it came from outside and was checked.

    `device` is None for a tunnel without a device (port forwards); `overhead` is in bytes per packet; `form` says which
    of several forms the tunnel's own packets have ("ESP in UDP") and why; `refused` what of the far end's words was
    not taken, in sentences. `on_trial` says that its packets can have another form, should this one pass nothing.
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
    form: str = ""
    refused: tuple[str, ...] = ()
    on_trial: bool = False


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
    """One failed attempt: its class, and the program's own words.

    `passed_nothing` says that the tunnel was up and nothing at all came through it, which another form of its packets
    may mend.
    """

    kind: FailureClass
    words: str
    passed_nothing: bool = False


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
    `fruitless` counts how often this instance came up and passed nothing.
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
    fruitless: int = 0

    @property
    def counts_as_up(self) -> bool:
        """Report whether packets may flow: an adopted tunnel counts while it is verified."""
        return self.phase in (TunnelPhase.UP, TunnelPhase.VERIFYING) and self.facts is not None
