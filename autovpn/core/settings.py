"""What a user says of a tunnel, type by type. No secret is ever in here, only where one is.

Each type tells the `endpoints`, the far ends whose packets must stay outside the tunnel, and whether DNS servers can
come from the tunnel itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from autovpn.core.network import IPAddress, IPInterface, IPNetwork


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

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the far ends whose packets must stay outside the tunnel."""
        return tuple(peer.endpoint for peer in self.peers if peer.endpoint)

    @property
    def may_push_dns(self) -> bool:
        """Report whether DNS servers can come from the tunnel itself."""
        return bool(self.dns)


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

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the far ends whose packets must stay outside the tunnel."""
        return (Endpoint(self.endpoint_host or self.host, self.port, "tcp"),)

    @property
    def may_push_dns(self) -> bool:
        """Report whether DNS servers can come from the tunnel itself."""
        return False


@dataclass(frozen=True, slots=True)
class VpncSettings:
    """A vpnc tunnel (vpnc(8)); `config` is the user's own file, `gateway` what it names, None where it names none."""

    config: str
    gateway: str | None = None

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the far ends whose packets must stay outside the tunnel."""
        return tuple(Endpoint(self.gateway, port, "udp") for port in (500, 4500) if self.gateway)

    @property
    def may_push_dns(self) -> bool:
        """Report whether DNS servers can come from the tunnel itself."""
        return True


Settings = WireguardSettings | OpensshSettings | VpncSettings
