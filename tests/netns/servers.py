"""Real VPN servers in the gateway of a world: sshd, wireguard-go, and strongSwan's charon as a Cisco gateway for vpnc.

    server = Sshd(world)
    profile = server.tunnel_toml("home")     # the client's side, as a profile says it
    server.silence()                         # its host is still there, it answers no more
    server.unsilence()
    server.stop()
    server.start()

Each ends with its world. The office is reached through each once the client routes 10.20.0.0/24 into its tunnel.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from autovpn.core.settings import Endpoint, OpensshSettings, SecretRef, VpncSettings, WireguardPeer, WireguardSettings
from autovpn.core.tunnel import PinnedEndpoint, TunnelSpec
from tests.netns.world import GATEWAY, wait_until

if TYPE_CHECKING:
    from tests.netns.namespace import Program
    from tests.netns.world import World

OFFICE_NETWORK = IPv4Network("10.20.0.0/24")


class Server:
    """What the servers have in common: one program, listening on some ports of the gateway."""

    label: str
    protocol: str
    ports: tuple[int, ...]
    programs: tuple[str, ...]
    secrets: tuple[str, ...] = ()
    """What nobody but the client's program may get to see; none where the program reads its key file by itself."""

    def __init__(self, world: World) -> None:
        """Write the keys and settings of both sides, and start."""
        self.world = world
        self.gateway = world.gateway
        self.folder = world.scratch / self.label
        self.folder.mkdir()
        self.program: Program | None = None
        self.prepare()
        self.start()

    @classmethod
    def missing(cls) -> list[str]:
        """Return the programs of both sides that this machine lacks."""
        return [program for program in cls.programs if not shutil.which(program)]

    def prepare(self) -> None:
        """Make what outlives a restart of the server."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the program, and return when clients can connect."""
        raise NotImplementedError

    def stop(self) -> None:
        """End the program, and return when it has ended."""
        if self.program is not None:
            self.program.stop()
            self.program = None

    def silence(self) -> None:
        """Lose all packets to and from the server's ports; no reset and no ICMP error tells the client."""
        ports = ", ".join(map(str, self.ports))
        chains = "".join(
            f"chain {hook} {{ type filter hook {hook} priority -300; {self.protocol} {side} {{ {ports} }} drop; }}\n"
            for hook, side in (("input", "dport"), ("output", "sport"))
        )
        self.gateway.run("nft", "-f", "-", stdin=f"table inet {self._table} {{\n{chains}}}\n")

    def unsilence(self) -> None:
        """Let the packets pass again."""
        self.gateway.run("nft", "delete", "table", "inet", self._table)

    @property
    def endpoints(self) -> tuple[PinnedEndpoint, ...]:
        """The far ends as the daemon would have resolved them."""
        return tuple(PinnedEndpoint(IPv4Address(GATEWAY), port, self.protocol) for port in self.ports)

    def tunnel_toml(self, name: str) -> str:
        """Return the `[tunnel.NAME]` table of a client's profile."""
        raise NotImplementedError

    def spec(self, name: str, device: str) -> TunnelSpec:
        """Return what the configuration makes of that table."""
        raise NotImplementedError

    @property
    def _table(self) -> str:
        return f"silence_{self.label}"

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        return path


class Sshd(Server):
    """An sshd that lets one key have tunnel unit 0, and forward ports to the office's web server."""

    label = "sshd"
    protocol = "tcp"
    ports = (2222,)
    programs = ("ssh", "sshd", "ssh-keygen")

    address = IPv4Interface("10.98.0.2/30")
    peer = IPv4Address("10.98.0.1")

    def prepare(self) -> None:
        for key in ("host", "laptop", "stranger"):
            self.gateway.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", str(self.folder / key))
        host = (self.folder / "host.pub").read_text()
        self._write("known_hosts", f"[{GATEWAY}]:{self.ports[0]} {host}")
        stranger = (self.folder / "stranger.pub").read_text()
        self._write("known_hosts.wrong", f"[{GATEWAY}]:{self.ports[0]} {stranger}")
        rights = 'restrict,tunnel="0",port-forwarding,permitopen="10.20.0.2:80",command="/bin/false"'
        self._write("authorized_keys", f"{rights} {(self.folder / 'laptop.pub').read_text()}")
        settings = {
            "Port": self.ports[0],
            "ListenAddress": GATEWAY,
            "HostKey": self.folder / "host",
            "PidFile": "none",
            "AuthorizedKeysFile": self.folder / "authorized_keys",
            "StrictModes": "no",
            "PermitRootLogin": "prohibit-password",
            "PermitTunnel": "point-to-point",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "UsePAM": "no",
            "ClientAliveInterval": 2,
        }
        self._write("sshd_config", "".join(f"{key} {value}\n" for key, value in settings.items()))
        # sshd takes an existing tun0; its address and state are the administrator's, as at a real office.
        self.gateway.run("ip", "tuntap", "add", "dev", "tun0", "mode", "tun")
        self.gateway.batch(f"addr add {self.peer} peer {self.address.ip} dev tun0", "link set tun0 up")

    def start(self) -> None:
        self.gateway.run_private("mkdir", "-p", "/run/sshd")
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"  # it insists on its full path
        self.program = self.gateway.spawn_private(sshd, "-D", "-e", "-f", str(self.folder / "sshd_config"))
        wait_until(lambda: self.gateway.call(accepts, GATEWAY, self.ports[0]), "sshd to listen")

    def stop(self) -> None:
        """End sshd and its sessions, which would go on without it."""
        if self.program is None:
            return
        pid = self.program.pid
        sessions = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        super().stop()
        for session in map(int, sessions):
            with suppress(ProcessLookupError):
                os.kill(session, signal.SIGKILL)

    def tunnel_toml(self, name: str) -> str:
        return (
            f"[tunnel.{name}]\n"
            f'type = "openssh"\nhost = "{GATEWAY}"\nport = {self.ports[0]}\nuser = "root"\n'
            f'identity = "{self.folder}/laptop"\nknown_hosts = "{self.folder}/known_hosts"\n'
            f'remote_unit = 0\naddress = "{self.address}"\npeer = "{self.peer}"\n'
            f'[tunnel.{name}.routes]\nmode = "split"\ninclude = ["{OFFICE_NETWORK}"]\n'
        )

    def spec(self, name: str, device: str) -> TunnelSpec:
        return TunnelSpec(
            name,
            "openssh",
            OpensshSettings(
                host=GATEWAY,
                port=self.ports[0],
                user="root",
                identity=str(self.folder / "laptop"),
                known_hosts=str(self.folder / "known_hosts"),
                remote_unit=0,
                address=self.address,
                peer=self.peer,
            ),
            device,
        )


class Wireguard(Server):
    """A WireGuard server with one peer, by wireguard-go, so that it runs on every kernel."""

    label = "wireguard"
    protocol = "udp"
    ports = (51820,)
    programs = ("wireguard-go", "wg")

    device = "wgs0"
    address = IPv4Interface("10.97.0.2/24")
    keepalive: int | None = None

    def prepare(self) -> None:
        self._server_key, self._server_public = self._pair()
        self._client_key, self.client_public = self._pair()
        self._shared = self.gateway.run("wg", "genpsk").stdout.strip()
        self.secrets = (self._client_key, self._shared)
        self.config = self._write("client.conf", self.client_config(self._client_key))

    def start(self) -> None:
        self.make_device()
        settings = (
            f"[Interface]\nPrivateKey = {self._server_key}\nListenPort = {self.ports[0]}\n"
            f"[Peer]\nPublicKey = {self.client_public}\nPresharedKey = {self._shared}\n"
            f"AllowedIPs = {self.address.ip}/32\n"
        )
        self.gateway.run_private("wg", "setconf", self.device, "/dev/stdin", stdin=settings)
        self.gateway.batch(f"addr add 10.97.0.1/24 dev {self.device}", f"link set {self.device} up")

    def make_device(self) -> None:
        """Make the server's device, and return when `wg` can set it up."""
        self.program = self.gateway.spawn_private("wireguard-go", "-f", self.device)
        wait_until(lambda: self.gateway.listens_at(f"/wireguard/{self.device}.sock"), "wireguard-go to listen")

    def client_config(self, private_key: str) -> str:
        """Return the client's wg-quick file with this private key."""
        return (
            f"[Interface]\nPrivateKey = {private_key}\nAddress = {self.address}\n\n"
            f"[Peer]\nPublicKey = {self._server_public}\nPresharedKey = {self._shared}\n"
            f"Endpoint = {GATEWAY}:{self.ports[0]}\nAllowedIPs = 10.97.0.0/24, {OFFICE_NETWORK}\n"
        )

    def forget_client(self) -> None:
        """Have the server know the client's key no longer."""
        self.gateway.run_private("wg", "set", self.device, "peer", self.client_public, "remove")

    def received_handshake(self) -> int:
        """Return when the client shook hands last, in seconds since the epoch; 0 for never."""
        listing = self.gateway.run_private("wg", "show", self.device, "latest-handshakes").stdout
        return int(listing.split()[1]) if listing else 0

    def tunnel_toml(self, name: str) -> str:
        return f'[tunnel.{name}]\ntype = "wireguard"\nconfig = "{self.config}"\n'

    def spec(self, name: str, device: str) -> TunnelSpec:
        allowed = (IPv4Network("10.97.0.0/24"), OFFICE_NETWORK)
        peer = WireguardPeer(self._server_public, allowed, Endpoint(GATEWAY, self.ports[0]), self.keepalive)
        settings = WireguardSettings(str(self.config), (peer,), (self.address,))
        return TunnelSpec(name, "wireguard", settings, device, files=(str(self.config),))

    def _pair(self) -> tuple[str, str]:
        private = self.gateway.run("wg", "genkey").stdout.strip()
        return private, self.gateway.run("wg", "pubkey", stdin=private).stdout.strip()


CHARON = """
charon-systemd {
  i_dont_care_about_security_and_use_aggressive_mode_psk = yes
  cisco_unity = yes
  start-scripts { }
  journal { default = -1 }
  filelog { stderr { default = 1
                     flush_line = yes } }
  load = random nonce openssl aes sha1 sha2 md5 hmac gmp kdf xauth-generic attr unity kernel-libipsec kernel-netlink %s
  plugins { vici { socket = unix:///run/charon.vici } }
}
"""

SWANCTL = """
connections { cisco {
    version = 1
    aggressive = yes
    local_addrs = %(gateway)s
    proposals = aes128-sha1-modp1024,aes256-sha1-modp1024
    pools = cafe
    unique = replace
    local { auth = psk
            id = %(gateway)s }
    remote-1 { auth = psk
               id = keyid:vpngroup }
    remote-2 { auth = xauth }
    children { office { local_ts = %(office)s
                        esp_proposals = aes128-sha1,aes256-sha1 } } } }
pools { cafe { addrs = 10.99.0.0/24
               dns = 10.20.0.53, 10.20.0.54
               28672 = "Welcome to the office"
               28674 = "office.example" } }
secrets { ike-g { id-1 = keyid:vpngroup
                  secret = "group secret" }
          xauth-alice { id = alice
                        secret = "wonder land" } }
"""


class Charon(Server):
    """A Cisco-style gateway (IKEv1 aggressive, XAUTH, mode config) with ESP in user space."""

    label = "charon"
    protocol = "udp"
    ports = (500, 4500)
    programs = ("vpnc", "charon-systemd", "swanctl")

    dns = ("10.20.0.53", "10.20.0.54")
    search = ("office.example",)
    banner = "Welcome to the office"
    secrets = ("wonder land", "group secret")

    def prepare(self) -> None:
        self._write("strongswan.conf", CHARON % "socket-default vici updown")
        (self.folder / "swanctl").mkdir()
        self._write("swanctl/swanctl.conf", SWANCTL % {"gateway": GATEWAY, "office": OFFICE_NETWORK})
        self.config = self._write(
            "vpnc.conf",
            f"IPSec gateway {GATEWAY}\nIPSec ID vpngroup\nIPSec secret group secret\nXauth username alice\n"
            "NAT Traversal Mode force-natt\nDPD idle timeout (our side) 10\n",
        )
        self.password = self._write("vpnc.pw", "wonder land\n")

    def start(self) -> None:
        charon = shutil.which("charon-systemd") or "/usr/sbin/charon-systemd"
        self.gateway.run_private("rm", "-f", "/run/charon.vici")  # a killed charon leaves it behind
        self.program = self.gateway.spawn_private("env", f"STRONGSWAN_CONF={self.folder}/strongswan.conf", charon)
        load = (
            "env",
            f"SWANCTL_DIR={self.folder}/swanctl",
            "swanctl",
            "--load-all",
            "--uri",
            "unix:///run/charon.vici",
        )
        wait_until(lambda: self.gateway.run_private(*load, check=False).returncode == 0, "charon to take its settings")

    def tunnel_toml(self, name: str) -> str:
        return (
            f'[tunnel.{name}]\ntype = "vpnc"\nconfig = "{self.config}"\npassword = {{ file = "{self.password}" }}\n'
            f'[tunnel.{name}.routes]\nmode = "split"\n'
        )

    def spec(self, name: str, device: str) -> TunnelSpec:
        settings = VpncSettings(str(self.config), GATEWAY)
        secret = SecretRef(file=str(self.password))
        files = (str(self.config), str(self.password))
        return TunnelSpec(name, "vpnc", settings, device, password=secret, files=files)


def accepts(host: str, port: int) -> bool:
    """Report whether a TCP connection is accepted."""
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True
