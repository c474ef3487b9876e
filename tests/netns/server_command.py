"""A server for tunnels that are made by programs of the user's own: here by a plain ssh, told what to do on its way."""

from __future__ import annotations

from autovpn.core.endpoint import Endpoint
from autovpn.core.settings_command import CommandSettings, ReadyBy
from autovpn.core.tunnel import RouteMode, RouteWish, TunnelSpec
from tests.netns.servers import OFFICE_NETWORK, Sshd
from tests.netns.world import GATEWAY

DEVICE = "tun77"


class Command(Sshd):
    """An sshd, to which `ssh -w` is a command like any other; whether it is there, its control socket tells."""

    label = "command"

    @property
    def start_argv(self) -> tuple[str, ...]:
        """The argument list of `start`."""
        return (
            *("ssh", "-N", "-v", "-F", "none", "-p", str(self.ports[0]), "-i", f"{self.folder}/laptop"),
            *("-o", "Tunnel=point-to-point", "-w", f"{DEVICE.removeprefix('tun')}:0", "-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={self.folder}/known_hosts", "-o", "StrictHostKeyChecking=yes"),
            *("-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=1", "-o", "RekeyLimit=16K"),
            *("-o", "ControlMaster=yes", "-o", f"ControlPath={self.folder}/ctl", f"root@{GATEWAY}"),
        )

    @property
    def check_argv(self) -> tuple[str, ...]:
        """The argument list of `check`."""
        return ("ssh", "-F", "none", "-S", f"{self.folder}/ctl", "-O", "check", GATEWAY)

    @property
    def stop_argv(self) -> tuple[str, ...]:
        """The argument list of `stop`: a killed ssh leaves its socket, which keeps the next one from having one."""
        return ("rm", "-f", f"{self.folder}/ctl")

    def tunnel_toml(self, name: str) -> str:
        return (
            f'[tunnel.{name}]\ntype = "command"\ndevice = "{DEVICE}"\n'
            f"start = {_toml(self.start_argv)}\nstop = {_toml(self.stop_argv)}\ncheck = {_toml(self.check_argv)}\n"
            f'ready = {{ check = true }}\nendpoints = ["{GATEWAY}:{self.ports[0]}/tcp"]\n'
            f'addresses = ["{self.address}"]\npeer = "{self.peer}"\n'
            'failures = { auth = ["Permission denied"], trust = ["Host key verification failed"] }\n'
            f'[tunnel.{name}.routes]\nmode = "split"\ninclude = ["{OFFICE_NETWORK}"]\n'
        )

    def spec(self, name: str, device: str) -> TunnelSpec:
        settings = CommandSettings(
            start=self.start_argv,
            ready=ReadyBy.CHECK,
            stop=self.stop_argv,
            check=self.check_argv,
            endpoints=(Endpoint(GATEWAY, self.ports[0], "tcp"),),
            addresses=(self.address,),
            peer=self.peer,
            auth_words=("Permission denied",),
            trust_words=("Host key verification failed",),
        )
        routes = RouteWish(RouteMode.SPLIT, (OFFICE_NETWORK,))
        return TunnelSpec(name, "command", settings, device, routes=routes)


def _toml(argv: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in argv) + "]"
