"""PPTP servers: the real pptpd where the kernel has PPP, else a stand-in for both sides that needs only TUN and GRE."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from autovpn.core.settings import PptpSettings, SecretRef
from autovpn.core.tunnel import PinnedEndpoint, TunnelSpec
from tests.netns import pppd_stand_in
from tests.netns.servers import OFFICE_NETWORK, Server, accepts
from tests.netns.world import GATEWAY, wait_until

USER, PASSWORD = "alice", "wonder land"


def has_ppp() -> bool:
    """Report whether the running kernel has PPP."""
    try:
        os.close(os.open("/dev/ppp", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


class PptpServer(Server):
    """What both kinds of PPTP server have: a control connection, GRE, and one user."""

    label = "pptp"
    secrets = (PASSWORD,)
    protocol = "tcp"
    ports = (1723,)

    dns = ("10.20.0.53", "10.20.0.54")
    encrypts = True

    def silence(self) -> None:
        """Lose the control connection's packets and those of the tunnel."""
        super().silence()
        self.world.drop("gre")

    def unsilence(self) -> None:
        super().unsilence()
        self.world.let_pass("gre")

    @property
    def endpoints(self) -> tuple[PinnedEndpoint, ...]:
        control = super().endpoints
        return (*control, PinnedEndpoint(control[0].address, None, "gre"))

    def tunnel_toml(self, name: str) -> str:
        return (
            f'[tunnel.{name}]\ntype = "pptp"\nhost = "{GATEWAY}"\nuser = "{USER}"\n'
            f'password = {{ file = "{self.password}" }}\n'
            f'[tunnel.{name}.routes]\nmode = "split"\ninclude = ["{OFFICE_NETWORK}"]\n'
        )

    def spec(self, name: str, device: str) -> TunnelSpec:
        secret = SecretRef(file=str(self.password))
        return TunnelSpec(name, "pptp", PptpSettings(GATEWAY, USER), device, password=secret)

    @property
    def password(self) -> Path:
        """The client's file with the password."""
        return self.folder / "pptp.pw"


class Pptpd(PptpServer):
    """The real pptpd; each call is a pppd of its own in the gateway."""

    programs = ("pppd", "pptp", "pptpd")

    @classmethod
    def missing(cls) -> list[str]:
        """Return the programs of both sides that this machine lacks, and PPP where the kernel has none."""
        return [*super().missing(), *([] if has_ppp() else ["a kernel with PPP (modprobe ppp_async ppp_mppe)"])]

    def prepare(self) -> None:
        self._write("pptp.pw", f"{PASSWORD}\n")
        self._write("pptpd.conf", f"option {self.folder}/options\nlocalip 10.99.0.1\nremoteip 10.99.0.100-199\n")
        secrets = self.gateway.file("/etc/ppp/chap-secrets")
        secrets.write_text(f'"{USER}" pptpd "{PASSWORD}" *\n')

    def start(self) -> None:
        dns = "".join(f"ms-dns {server}\n" for server in self.dns)
        mppe = "require-mppe-128" if self.encrypts else "nomppe"
        self._write(
            "options",
            f"name pptpd\nrefuse-pap\nrefuse-chap\nrefuse-mschap\nrequire-mschap-v2\n{mppe}\n{dns}nobsdcomp\nnovj\n",
        )
        pptpd = shutil.which("pptpd") or "/usr/sbin/pptpd"
        self.program = self.gateway.spawn_private(pptpd, "--fg", "--conf", str(self.folder / "pptpd.conf"))
        wait_until(lambda: self.gateway.call(accepts, GATEWAY, self.ports[0]), "pptpd to listen")

    def stop(self) -> None:
        """End pptpd and its calls, which would go on without it."""
        super().stop()
        self.gateway.run_private(
            "pkill", "--ns", "self", "--nslist", "net", "-KILL", "-x", "pppd|pptpctrl", check=False
        )


class PptpStandIn(PptpServer):
    """Both sides of our own: the laptop finds the client under pppd's name, in its own file system alone."""

    programs = ("pppd", "pptp")

    def prepare(self) -> None:
        self._write("pptp.pw", f"{PASSWORD}\n")
        self.client = self.folder / "bin" / "pppd"
        self.client.parent.mkdir()
        self.client.write_text(f"#!{sys.executable} -IS\n{Path(pppd_stand_in.__file__).read_text()}")
        self.client.chmod(0o755)
        pppd = shutil.which("pppd") or "/usr/sbin/pppd"
        self.world.laptop.run_private("mount", "--bind", str(self.client), os.path.realpath(pppd))

    def start(self) -> None:
        mppe = "128" if self.encrypts else "none"
        service = (sys.executable, "-IS", pppd_stand_in.__file__, "serve", GATEWAY, USER, PASSWORD, mppe)
        self.program = self.gateway.spawn(*service)
        wait_until(lambda: self.gateway.call(accepts, GATEWAY, self.ports[0]), "the stand-in to listen")


Pptp: type[PptpServer] = Pptpd if has_ppp() else PptpStandIn
