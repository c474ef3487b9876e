"""A tincd in the gateway, to which one laptop connects."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from typing import TYPE_CHECKING

from autovpn.core.settings import Endpoint, TincPeer, TincSettings
from autovpn.core.tunnel import PinnedEndpoint, TunnelSpec
from tests.netns.servers import OFFICE_NETWORK, Server, accepts
from tests.netns.world import GATEWAY, wait_until

if TYPE_CHECKING:
    from pathlib import Path


class Tinc(Server):
    """A mesh of two nodes: the gateway announces itself and the office, the laptop itself."""

    label = "tinc"
    protocol = "meta l4proto { tcp, udp } th"  # as nft says it
    ports = (655,)
    programs = ("tincd",)

    device = "tincs"
    address = IPv4Interface("10.94.0.2/24")
    own = IPv4Interface("10.94.0.1/24")

    def prepare(self) -> None:
        self.theirs, self.config = (self.folder / name for name in ("server", "client"))
        addresses = f"Address = {GATEWAY}\n"
        server = self.node(self.theirs, "gateway", f"Interface = {self.device}\nPingInterval = 5\n")
        server = f"{addresses}Subnet = {self.own.ip}/32\nSubnet = {OFFICE_NETWORK}\n{server}"
        laptop = f"Subnet = {self.address.ip}/32\n" + self.node(
            self.config, "laptop", "ConnectTo = gateway\nInterface = somewhere\nPingInterval = 5\n"
        )
        key = (self.config / "rsa_key.priv").read_text().splitlines()
        self.secrets = tuple(line for line in key if line and not line.startswith("-----"))
        for folder in (self.theirs, self.config):
            (folder / "hosts/gateway").write_text(server)
            (folder / "hosts/laptop").write_text(laptop)

    def node(self, folder: Path, name: str, settings: str) -> str:
        """Make a node's folder, and return its public key."""
        (folder / "hosts").mkdir(parents=True)
        (folder / "tinc.conf").write_text(f"Name = {name}\n{settings}")
        self.gateway.run("tincd", "-c", str(folder), "-K2048")
        return (folder / "hosts" / name).read_text()

    def start(self) -> None:
        pidfile = self.folder / "server.pid"
        pidfile.unlink(missing_ok=True)
        self.program = self.gateway.spawn("tincd", "-D", "-d1", "-c", str(self.theirs), f"--pidfile={pidfile}")
        wait_until(lambda: self.gateway.call(accepts, GATEWAY, self.ports[0]), "tincd to listen")
        self.gateway.batch(f"addr add {self.own} dev {self.device}", f"link set {self.device} up")

    @property
    def endpoints(self) -> tuple[PinnedEndpoint, ...]:
        """The far end, by both protocols."""
        return tuple(PinnedEndpoint(IPv4Address(GATEWAY), self.ports[0], protocol) for protocol in ("tcp", "udp"))

    def announce(self, *subnets: str) -> None:
        """Have the server announce these networks as well."""
        own = self.theirs / "hosts/gateway"
        own.write_text("".join(f"Subnet = {subnet}\n" for subnet in subnets) + own.read_text())

    def tunnel_toml(self, name: str) -> str:
        return f'[tunnel.{name}]\ntype = "tinc"\nconfig = "{self.config}"\naddress = "{self.address}"\n'

    def spec(self, name: str, device: str) -> TunnelSpec:
        key = f"{self.config}/rsa_key.priv"
        settings = TincSettings(
            config=str(self.config),
            name="laptop",
            peers=(TincPeer("gateway", (Endpoint(GATEWAY, self.ports[0], "tcp"),)),),
            addresses=(self.address,),
            keys=(("rsa_key.priv", key),),
            settings=(f"{self.config}/tinc.conf",),
            hosts=("gateway", "laptop"),
        )
        public = (f"{self.config}/tinc.conf", f"{self.config}/hosts/gateway", f"{self.config}/hosts/laptop")
        return TunnelSpec(name, "tinc", settings, device, files=(key,), public_files=public)
