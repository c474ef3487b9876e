"""A strongSwan whose packets the kernel moves: the gateway, and one that runs on the laptop already."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.netns.server_ipsec import Ipsec
from tests.netns.world import GATEWAY, wait_until

if TYPE_CHECKING:
    from tests.netns.laptop import Laptop
    from tests.netns.namespace import Program

MODULES = ("ah4", "authenc", "echainiv", "esp4", "gcm", "seqiv", "xfrm_interface", "xfrm_user")

# What a client gets depends on who it says it is.
FORMS = """
  %(name)s { version = %(version)d
    local_addrs = %(gateway)s
    %(pools)s
    local { auth = psk
            id = vpn.office.example }
    remote { auth = psk
             id = %(name)s.office.example }
    children { office { %(child)s } } }
"""
BEHIND = "local_ts = 10.20.0.0/24"
CHILDREN = {
    "transport": "mode = transport",
    "transport-ah": "mode = transport\nah_proposals = default",
    "ah": f"{BEHIND}\nah_proposals = default",
    "ikev1": BEHIND,
}
SECRET = 'secrets { ike-forms { secret = "shared by both" }\n'

RUNNING = """
charon-systemd {
  start-scripts { }
  journal { default = -1 }
  filelog { stderr { default = 1
                     flush_line = yes } }
  load = random nonce openssl aes sha1 sha2 hmac kdf gcm kernel-netlink socket-default vici updown
  plugins { vici { socket = unix://%s }
            updown { dns_handler = yes } }
}
"""


class KernelIpsec(Ipsec):
    """A gateway with forms that only the kernel has: AH, transport mode, ESP without UDP."""

    def prepare(self) -> None:
        super().prepare()
        subprocess.run(("modprobe", "--all", *MODULES), check=True)
        # It refuses questions, which is an answer too: whoever asks knows that packets pass.
        self.world.office.run("ip", "address", "add", f"{self.dns[0]}/24", "dev", "eth0")
        settings = self.folder / "strongswan.conf"
        settings.write_text(settings.read_text().replace("kernel-libipsec ", ""))
        connections = "".join(map(self._form, CHILDREN))
        written = self.folder / "swanctl" / "swanctl.conf"
        text = written.read_text().replace("connections {", f"connections {{{connections}", 1)
        written.write_text(text.replace("secrets {", SECRET, 1))

    def client(self, name: str, who: str, *lines: str) -> str:
        """Return the `[tunnel.NAME]` table of a client with the shared key."""
        return (
            f'[tunnel.{name}]\ntype = "ipsec"\nserver = "{GATEWAY}"\nauth = "psk"\npsk = "{self.folder}/shared.key"\n'
            f'local_id = "{who}.office.example"\nremote_id = "vpn.office.example"\n'
            + "".join(f"{it}\n" for it in lines)
        )

    def alice(self, name: str) -> str:
        """Return the table of a client with the secret of the group and a password, by IKEv1."""
        password = f'user = "alice"\npassword = {{ file = "{self.folder}/alice.pw" }}\n'
        table = self.client(name, "alice", "version = 1").replace('auth = "psk"', 'auth = "xauth"')
        return table.replace('local_id = "alice.office.example"\n', password)

    def certified(self, name: str) -> str:
        """Return the table of a client with a certificate."""
        return (
            f'[tunnel.{name}]\ntype = "ipsec"\nserver = "{GATEWAY}"\nauth = "certificate"\n'
            f'ca = "{self.folder}/ca.crt"\ncertificate = "{self.folder}/laptop.crt"\nkey = "{self.folder}/laptop.key"\n'
            'local_id = "laptop.cert.example"\nremote_id = "vpn.office.example"\n'
        )

    def running_on(self, laptop: Laptop, socket: str) -> Program:
        """Have a strongSwan run on the laptop."""
        settings = self._write("running.conf", RUNNING % socket)
        charon = shutil.which("charon-systemd") or "/usr/sbin/charon-systemd"
        program = laptop.namespace.spawn_private("env", f"STRONGSWAN_CONF={settings}", charon)
        asking = ("swanctl", "--stats", "--uri", f"unix://{socket}")
        wait_until(lambda: not laptop.namespace.run_private(*asking, check=False).returncode, "charon to answer")
        return program

    @staticmethod
    def _form(name: str) -> str:
        return FORMS % {
            "name": name,
            "version": 1 if name == "ikev1" else 2,
            "gateway": GATEWAY,
            "pools": "" if "transport" in name else "pools = cafe",
            "child": CHILDREN[name],
        }
