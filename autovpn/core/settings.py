"""What a user says of a tunnel, type by type. No secret is ever in here, only where one is.

Each type tells the `endpoints`, the far ends whose packets must stay outside the tunnel, and whether DNS servers can
come from the tunnel itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from autovpn.core.endpoint import Endpoint as Endpoint  # noqa: PLC0414 (handed on: every type has some)
from autovpn.core.network import IPAddress, IPInterface, IPNetwork
from autovpn.core.settings_command import CommandSettings
from autovpn.core.settings_zebedee import ZebedeeSettings


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is, never what it is: exactly one of the four is set; `ask` is for a person at a terminal."""

    file: str | None = None
    command: tuple[str, ...] = ()
    credential: str | None = None
    ask: bool = False


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
class OpenconnectSettings:
    """A tunnel of openconnect(8), whose `protocol` says whose VPN it is; `udp_port` is None where UDP is not wanted.

    `path` begins with a slash, or is empty. `ca`, `client_cert` and `client_key` are files that openconnect reads;
    `server_cert` is the fingerprint of the one certificate that is right, `os` what we say that we run.
    """

    host: str
    port: int = 443
    path: str = ""
    protocol: str = "anyconnect"
    udp_port: int | None = 443
    user: str | None = None
    ca: str | None = None
    server_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    authgroup: str | None = None
    useragent: str | None = None
    os: str | None = None

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the far ends whose packets must stay outside the tunnel: TLS, and DTLS or ESP in UDP."""
        control = Endpoint(self.host, self.port, "tcp")
        return (control, Endpoint(self.host, self.udp_port, "udp")) if self.udp_port else (control,)

    @property
    def may_push_dns(self) -> bool:
        """Report whether DNS servers can come from the tunnel itself."""
        return True


@dataclass(frozen=True, slots=True)
class VpncSettings:
    """A vpnc tunnel (vpnc(8)); `config` is the user's own file, `gateway` what it names, None where it names none.

    `cisco_port` is where the gateway takes ESP in UDP as Cisco had it.
    """

    config: str
    gateway: str | None = None
    cisco_port: int = 10000

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the far ends whose packets must stay outside the tunnel."""
        if not self.gateway:
            return ()
        ports = (500, 4500, self.cisco_port)
        return (*(Endpoint(self.gateway, port, "udp") for port in ports), Endpoint(self.gateway, None, "esp"))

    @property
    def may_push_dns(self) -> bool:
        """Report whether DNS servers can come from the tunnel itself."""
        return True


class Mppe(Enum):
    """How much encryption (RFC 3078) a PPTP tunnel insists on: 128 bits, any, or none at all."""

    REQUIRED = "required"
    ANY = "any"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class PptpSettings:
    """A PPTP tunnel (RFC 2637) by pppd(8) and pptp(8); `ask_dns` says whether the server is asked for DNS servers."""

    host: str
    user: str
    mppe: Mppe = Mppe.REQUIRED
    ask_dns: bool = True

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the far ends whose packets must stay outside the tunnel: its control connection and its GRE."""
        return Endpoint(self.host, 1723, "tcp", version=4), Endpoint(self.host, None, "gre", version=4)

    @property
    def may_push_dns(self) -> bool:
        """Report whether DNS servers can come from the tunnel itself."""
        return self.ask_dns


@dataclass(frozen=True, slots=True)
class OpenvpnSettings:
    """An OpenVPN tunnel (openvpn(8)); `config` is the user's own file, `remotes` are the servers that it names."""

    config: str
    remotes: tuple[Endpoint, ...] = ()
    username: str | None = None

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the far ends whose packets must stay outside the tunnel."""
        return self.remotes

    @property
    def may_push_dns(self) -> bool:
        """Report whether DNS servers can come from the tunnel itself."""
        return True


class IpsecAuth(Enum):
    """How both sides of an IPsec tunnel prove who they are."""

    EAP = "eap"
    CERTIFICATE = "certificate"
    PSK = "psk"
    XAUTH = "xauth"


@dataclass(frozen=True, slots=True)
class IpsecSettings:
    """An IPsec tunnel; `ca`, `certificate`, `key` and `psk` are paths.

    `remote` are the networks that are asked for behind the server; none: all that it gives. `protocol` is "esp" or
    "ah", `mode` "tunnel" or "transport", `esp` whose work the packets are: "kernel", "user" (strongSwan's libipsec) or
    "auto". `encap` forces UDP. `vici` is the socket of a strongSwan that runs already; without one `charon` is started.
    """

    server: str
    auth: IpsecAuth = IpsecAuth.EAP
    version: int = 2
    aggressive: bool = False
    user: str | None = None
    local_id: str | None = None
    remote_id: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    psk: str | None = None
    remote: tuple[IPNetwork, ...] = ()
    virtual_address: bool = True
    mode: str = "tunnel"
    protocol: str = "esp"
    encap: bool = False
    ike_proposals: tuple[str, ...] = ()
    proposals: tuple[str, ...] = ()
    esp: str = "auto"
    vici: str | None = None
    charon: str = "charon-systemd"
    implementation: str = "strongswan"

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the far ends whose packets must stay outside the tunnel: IKE, and what carries the packets."""
        ike = (Endpoint(self.server, 500, "udp"), Endpoint(self.server, 4500, "udp"))
        return (*ike, Endpoint(self.server, None, self.protocol))

    @property
    def may_push_dns(self) -> bool:
        """Report whether DNS servers can come from the tunnel itself."""
        return self.virtual_address


@dataclass(frozen=True, slots=True)
class LibreswanSettings:
    """An IPsec tunnel by libreswan (ipsec.conf(5)); `ca` to `psk` are paths, and `ipsec` the program of libreswan's.

    `remote` is the network behind the server; None: what it gives. The rest means what it means for `IpsecSettings`.
    """

    server: str
    auth: IpsecAuth = IpsecAuth.PSK
    version: int = 2
    aggressive: bool = False
    user: str | None = None
    local_id: str | None = None
    remote_id: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    psk: str | None = None
    remote: IPNetwork | None = None
    virtual_address: bool = True
    mode: str = "tunnel"
    protocol: str = "esp"
    encap: bool = False
    ike_proposals: tuple[str, ...] = ()
    proposals: tuple[str, ...] = ()
    ipsec: str = "ipsec"

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the far ends whose packets must stay outside the tunnel: IKE, and what carries the packets."""
        return IpsecSettings(self.server, protocol=self.protocol).endpoints

    @property
    def may_push_dns(self) -> bool:
        """Report whether DNS servers can come from the tunnel itself."""
        return self.virtual_address


@dataclass(frozen=True, slots=True)
class TincPeer:
    """A node that tinc connects to, and where its `Address` lines say that it is: each takes TCP and UDP."""

    name: str
    addresses: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class TincSettings:
    """A tinc tunnel (tinc.conf(5)): `config` is the user's own folder, `name` this machine's in the mesh.

    `keys` are the private keys, by the names that tinc gives them, and where the user has them; `settings` the files
    that together are tinc.conf, and `hosts` the names of those in the folder `hosts`.
    """

    config: str
    name: str
    peers: tuple[TincPeer, ...]
    addresses: tuple[IPInterface, ...]
    keys: tuple[tuple[str, str], ...]
    settings: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the far ends whose packets must stay outside the tunnel, all of TCP before all of UDP."""
        return tuple(
            Endpoint(end.host, end.port, protocol)
            for protocol in ("tcp", "udp")
            for peer in self.peers
            for end in peer.addresses
        )

    @property
    def may_push_dns(self) -> bool:
        """Report whether DNS servers can come from the tunnel itself."""
        return False


Settings = (
    TincSettings
    | IpsecSettings
    | LibreswanSettings
    | WireguardSettings
    | OpensshSettings
    | VpncSettings
    | PptpSettings
    | CommandSettings
    | ZebedeeSettings
    | OpenvpnSettings
    | OpenconnectSettings
)
