"""A Zebedee server in the gateway of a world: the real program where it is installed, else its stand-in."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from autovpn.core.endpoint import Listener
from autovpn.core.settings_zebedee import ZebedeeForward, ZebedeeSettings
from autovpn.core.tunnel import RouteMode, RouteWish, TunnelSpec
from tests.netns.servers import Server, accepts
from tests.netns.world import GATEWAY, OFFICE, wait_until

LOCAL_PORT = 8080
TARGET = f"{OFFICE}:80"
STAND_IN = Path(__file__).parent / "zebedee_stand_in.py"

SERVICE = """
import socket, threading
def greet(connection):
    with connection:
        while data := connection.recv(100):
            connection.sendall(data.upper())
with socket.create_server(("10.20.0.2", 80)) as server:
    while True:
        threading.Thread(target=greet, args=server.accept()[:1], daemon=True).start()
"""


class Zebedee(Server):
    """A Zebedee server that knows one client, and lets it through to a service in the office that shouts back."""

    label = "zebedee"
    protocol = "tcp"
    ports = (11965,)
    programs = ()

    def prepare(self) -> None:
        self.binary = self._installed()
        for name in ("server", "client", "stranger"):
            key = self._write(f"{name}.key", self.gateway.run(self.binary, "-p").stdout)
            self._write(f"{name}.id", self.gateway.run(self.binary, "-P", "-f", str(key)).stdout)
        self._write(
            "server.zbd",
            f"server true\ndetached false\nipv4only true\ninclude '{self.folder}/server.key'\n"
            f"checkidfile '{self.folder}/client.id'\nlistenip {GATEWAY}\nserverport {self.ports[0]}\n"
            f"target {TARGET}/tcp\nkeylength 128\nminkeylength 128\n",
        )
        self.service = self.world.office.spawn(sys.executable, "-c", SERVICE)

    def start(self) -> None:
        self.program = self.gateway.spawn(self.binary, "-f", str(self.folder / "server.zbd"))
        wait_until(lambda: self.gateway.call(accepts, GATEWAY, self.ports[0]), "zebedee to listen")

    def fingerprint(self, name: str) -> str:
        """Return the fingerprint of one of the keys."""
        return (self.folder / f"{name}.id").read_text().split()[0]

    def tunnel_toml(self, name: str) -> str:
        return (
            f'[tunnel.{name}]\ntype = "zebedee"\nserver = "{GATEWAY}"\nport = {self.ports[0]}\n'
            f'key = "{self.folder}/client.key"\nserver_id = "{self.fingerprint("server")}"\n'
            f'forwards = [{{ listen = "{LOCAL_PORT}", target = "{TARGET}" }}]\n'
        )

    def spec(self, name: str, device: str) -> TunnelSpec:
        key = f"{self.folder}/client.key"
        forward = ZebedeeForward(Listener(self.endpoints[0].address, LOCAL_PORT), TARGET)
        settings = ZebedeeSettings(GATEWAY, (forward,), self.ports[0], key, self.fingerprint("server"))
        return TunnelSpec(name, "zebedee", settings, device, RouteWish(RouteMode.NONE), files=(key,))

    def _installed(self) -> str:
        """Return the program, which the laptop's daemon finds under its own name."""
        if found := shutil.which("zebedee"):
            return found
        folder = self.folder / "sbin"
        folder.mkdir(mode=0o755)
        program = folder / "zebedee"
        program.write_text(f"#!{sys.executable} -I\n{STAND_IN.read_text()}")
        program.chmod(0o755)
        self.world.laptop.run_private("mount", "--bind", str(folder), "/usr/local/sbin")
        return str(program)
