"""The VPN server in the gateway: WireGuard by the kernel, else by wireguard-go, else an OpenSSH server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from autovpn.demo.namespaces import OFFICE_NETWORK, VPN, Networks, await_that
from autovpn.demo.needs import OPENSSH, WIREGUARD, which
from autovpn.demo.stage import SCRATCH
from autovpn.errors import Unsupported

LAPTOP_FILES = Path("/etc/autovpn")
TUNNELS = ("office", "everything")
"""The tunnels of the laptop: the office's network alone, and all of its traffic."""


class Server(ABC):
    """One VPN server, and what the laptop has to know of it."""

    words: str

    def __init__(self, networks: Networks) -> None:
        """Make the keys of both sides, and start; once this returns, clients can connect."""
        self.networks = networks
        self.gateway = networks.gateway

    @abstractmethod
    def tunnel(self, name: str) -> str:
        """Return the `[tunnel.NAME]` table for one of TUNNELS."""


class Wireguard(Server):
    """A WireGuard server with the laptop as its one peer."""

    device = "wg0"
    address = "10.97.0.2"

    def __init__(self, networks: Networks) -> None:
        super().__init__(networks)
        self.words = f"WireGuard, by {self._make_device()}"
        server, public = self._keys()
        client, client_public = self._keys()
        settings = (
            f"[Interface]\nPrivateKey = {server}\nListenPort = 51820\n"
            f"[Peer]\nPublicKey = {client_public}\nAllowedIPs = {self.address}/32\n"
        )
        self.gateway.run("wg", "setconf", self.device, "/dev/stdin", stdin=settings)
        self.gateway.ip(f"address add 10.97.0.1/24 dev {self.device}", f"link set {self.device} up")
        for name, prefixes in zip(TUNNELS, (f"10.97.0.0/24, {OFFICE_NETWORK}", "0.0.0.0/0"), strict=True):
            _write_secret(
                LAPTOP_FILES / f"{name}.conf",
                f"[Interface]\nPrivateKey = {client}\nAddress = {self.address}/24\n\n"
                f"[Peer]\nPublicKey = {public}\nEndpoint = {VPN}:51820\nAllowedIPs = {prefixes}\n",
            )

    def tunnel(self, name: str) -> str:
        """Name the wg-quick file."""
        return f'[tunnel.{name}]\ntype   = "wireguard"\nconfig = "{LAPTOP_FILES}/{name}.conf"\n'

    def _make_device(self) -> str:
        """Make the server's device and return who drives it."""
        if self.gateway.succeeds("ip", "link", "add", self.device, "type", "wireguard"):
            return "the kernel"
        if not which("wireguard-go"):
            raise Unsupported("this kernel has no WireGuard, and wireguard-go is not installed")
        self.gateway.spawn("wireguard-go", "-f", self.device, log=SCRATCH / "server.log")
        # `wg` must not look before: it removes a socket that is bound and does not listen yet, as one whose program is
        # gone (userspace_interface_file in wireguard-tools' ipc-uapi-unix.h). 00010000 is __SO_ACCEPTCON: it listens.
        listening = ("grep", "-q", f" 00010000 .*/wireguard/{self.device}[.]sock$", "/proc/net/unix")
        await_that(lambda: self.gateway.succeeds(*listening), "wireguard-go to listen")
        return "wireguard-go, since this kernel has none"

    def _keys(self) -> tuple[str, str]:
        private = self.gateway.run("wg", "genkey").strip()
        return private, self.gateway.run("wg", "pubkey", stdin=private).strip()


class Openssh(Server):
    """An sshd that has a tun device for each tunnel of the laptop."""

    words = "OpenSSH (ssh -w)"

    def __init__(self, networks: Networks) -> None:
        super().__init__(networks)
        for key in ("host", "laptop"):
            self.gateway.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", str(SCRATCH / key))
        _write_secret(LAPTOP_FILES / "key", (SCRATCH / "laptop").read_text())
        _write_secret(LAPTOP_FILES / "known_hosts", f"{VPN} {(SCRATCH / 'host.pub').read_text()}")
        for unit in range(len(TUNNELS)):
            self.gateway.ip(f"tuntap add dev tun{unit} mode tun")
            self.gateway.ip(f"address add 10.98.{unit}.1 peer 10.98.{unit}.2 dev tun{unit}", f"link set tun{unit} up")
        self._start()

    def tunnel(self, name: str) -> str:
        """Say all that ssh needs, which pushes nothing."""
        unit = TUNNELS.index(name)
        routes = ('mode    = "split"\ninclude = ["10.20.0.0/24"]', 'mode = "full"')[unit]
        return (
            f'[tunnel.{name}]\ntype        = "openssh"\nhost        = "{VPN}"\nuser        = "root"\n'
            f'identity    = "{LAPTOP_FILES}/key"\nknown_hosts = "{LAPTOP_FILES}/known_hosts"\n'
            f'remote_unit = {unit}\naddress     = "10.98.{unit}.2/30"\npeer        = "10.98.{unit}.1"\n\n'
            f"[tunnel.{name}.routes]\n{routes}\n"
        )

    def _start(self) -> None:
        settings = {
            "ListenAddress": VPN,
            "HostKey": SCRATCH / "host",
            "PidFile": "none",
            "AuthorizedKeysFile": SCRATCH / "laptop.pub",
            "StrictModes": "no",
            "PermitRootLogin": "prohibit-password",
            "PermitTunnel": "point-to-point",
        }
        path = SCRATCH / "sshd_config"
        path.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        program = which("sshd") or "sshd"  # sshd insists on its full path
        self.gateway.spawn(program, "-D", "-e", "-f", str(path), log=SCRATCH / "server.log")
        listening = ("ss", "--listening", "--tcp", "--numeric", "--no-header", "src", f"{VPN}:22")
        await_that(lambda: self.gateway.run(*listening), "sshd to listen")


def start_server(networks: Networks) -> Server:
    """Start the first kind of server that this machine can have, and return it.

    Raises:
        Unsupported: there is none, and why.
    """
    why = "WireGuard's wg is not installed"
    if all(which(program) for program in WIREGUARD):
        try:
            return Wireguard(networks)
        except Unsupported as error:
            why = str(error)
    if not all(which(program) for program in OPENSSH):
        raise Unsupported(f"{why}; and OpenSSH is not whole: apt install wireguard-go, or openssh-server")
    server = Openssh(networks)
    server.words += f", since {why}"
    return server


def _write_secret(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
