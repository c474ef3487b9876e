"""A real IPsec gateway: strongSwan's charon with ESP in user space, for IKEv2 and IKEv1, every way to say who one is.

Its connections are told apart by what the client says of itself: `eap` alice by a password, `psk` by a shared key,
`cert` by a certificate, and by IKEv1 `xauth`, `aggressive` and `psk1`.
"""

from __future__ import annotations

import shutil
import signal
import subprocess

from autovpn.core.settings import IpsecAuth, IpsecSettings, SecretRef
from autovpn.core.tunnel import TunnelSpec
from tests.netns.servers import CHARON, OFFICE_NETWORK, Server
from tests.netns.world import GATEWAY, LAPTOP, wait_until

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")

PLUGINS = (
    "socket-default vici updown pem x509 pkcs1 pkcs8 pubkey constraints revocation curve25519 gcm"
    " eap-identity eap-mschapv2 fips-prf"
)

SWANCTL = """
connections {
  eap { version = 2
        local_addrs = %(gateway)s
        pools = cafe
        local { auth = pubkey
                certs = server.crt
                id = vpn.office.example }
        remote { auth = eap-mschapv2
                 eap_id = %%any }
        children { office { local_ts = %(office)s } } }
  psk { version = 2
        local_addrs = %(gateway)s
        pools = cafe
        local { auth = psk
                id = vpn.office.example }
        remote { auth = psk
                 id = laptop.office.example }
        children { office { local_ts = %(office)s } } }
  site { version = 2
         local_addrs = %(gateway)s
         local { auth = psk
                 id = vpn.office.example }
         remote { auth = psk
                  id = site.office.example }
         children { office { local_ts = %(office)s
                             remote_ts = 10.30.0.0/24 } } }
  cert { version = 2
         local_addrs = %(gateway)s
         pools = cafe
         local { auth = pubkey
                 certs = server.crt
                 id = vpn.office.example }
         remote { auth = pubkey
                  id = laptop.cert.example
                  cacerts = ca.crt }
         children { office { local_ts = %(office)s } } }
  xauth { version = 1
          local_addrs = %(gateway)s
          pools = cafe
          local { auth = psk
                  id = vpn.office.example }
          remote-1 { auth = psk }
          remote-2 { auth = xauth }
          children { office { local_ts = %(office)s } } }
  aggressive { version = 1
               aggressive = yes
               local_addrs = %(gateway)s
               pools = cafe
               local { auth = psk
                       id = vpn.office.example }
               remote-1 { auth = psk
                          id = group.office.example }
               remote-2 { auth = xauth }
               children { office { local_ts = %(office)s } } }
  psk1 { version = 1
         local_addrs = %(gateway)s
         pools = cafe
         local { auth = psk
                 id = vpn.office.example }
         remote { auth = psk
                  id = router.office.example }
         children { office { local_ts = %(office)s } } }
}
pools { cafe { addrs = 10.96.0.0/24
               dns = 10.20.0.53, 10.20.0.54 } }
secrets { ike-psk { id-1 = laptop.office.example
                    id-2 = site.office.example
                    id-3 = group.office.example
                    secret = "shared by both" }
          ike-any { id-2 = %(laptop)s
                    secret = "shared by both" }
          eap-alice { id = alice
                      secret = "wonder land" }
          xauth-alice { id = alice
                        secret = "wonder land" } }
"""

RUNNING = """
charon-systemd {
  start-scripts { }
  journal { default = -1 }
  filelog { stderr { default = 1
                     flush_line = yes } }
  load = random nonce openssl aes sha1 sha2 sha3 md4 md5 hmac gmp kdf gcm xauth-generic unity kernel-libipsec \
         kernel-netlink %s
  plugins { vici { socket = unix://%s }
            updown { dns_handler = yes } }
}
"""

ANOTHERS = """
connections {
  of-another { version = 2
               remote_addrs = %(gateway)s
               vips = 0.0.0.0
               local { auth = psk
                       id = laptop.office.example }
               remote { auth = psk
                        id = vpn.office.example }
               children { of-another { remote_ts = 10.20.0.1/32 } } }
}
secrets { ike-psk { secret = "shared by both" } }
"""


class Ipsec(Server):
    """A gateway for alice, who has a password; what else a client may be is up to `tunnel_toml`."""

    label = "ipsec"
    secrets = ("wonder land", "shared by both")
    protocol = "udp"
    ports = (500, 4500)
    programs = ("charon-systemd", "swanctl", "openssl")

    dns = ("10.20.0.53", "10.20.0.54")

    def prepare(self) -> None:
        self._write("strongswan.conf", CHARON % PLUGINS)
        for folder in ("swanctl", "swanctl/x509", "swanctl/x509ca", "swanctl/private"):
            (self.folder / folder).mkdir()
        self._write("swanctl/swanctl.conf", SWANCTL % {"gateway": GATEWAY, "laptop": LAPTOP, "office": OFFICE_NETWORK})
        self.certify()
        self._write("alice.pw", "wonder land\n")
        self._write("shared.key", "shared by both\n")

    def certify(self) -> None:
        """Make the authorities and certificates, over those that there are."""
        self._authority("ca")
        self._authority("strangers")
        self._certificate("server", "ca", "vpn.office.example")
        self._certificate("laptop", "ca", "laptop.cert.example")
        self._certificate("stranger", "strangers", "laptop.cert.example")
        for name, place in (("ca.crt", "x509ca"), ("server.crt", "x509"), ("server.key", "private")):
            shutil.copy(self.folder / name, self.folder / "swanctl" / place)

    def start(self) -> None:
        charon = shutil.which("charon-systemd") or "/usr/sbin/charon-systemd"
        self.gateway.run_private("rm", "-f", "/run/charon.vici")  # a killed charon leaves it behind
        self.program = self.gateway.spawn_private("env", f"STRONGSWAN_CONF={self.folder}/strongswan.conf", charon)
        wait_until(lambda: self.swanctl("--load-all", check=False) == 0, "charon to take its settings")

    def swanctl(self, *arguments: str, check: bool = True) -> int:
        """Have the server do something."""
        command = ("env", f"SWANCTL_DIR={self.folder}/swanctl", "swanctl", *arguments)
        return self.gateway.run_private(*command, "--uri", "unix:///run/charon.vici", check=check).returncode

    def tunnel_toml(self, name: str) -> str:
        return (
            f'[tunnel.{name}]\ntype = "ipsec"\nserver = "{GATEWAY}"\nremote_id = "vpn.office.example"\n'
            f'auth = "eap"\nuser = "alice"\nca = "{self.folder}/ca.crt"\n'
            f'password = {{ file = "{self.folder}/alice.pw" }}\n'
            f'[tunnel.{name}.routes]\nmode = "split"\n'
        )

    def spec(self, name: str, device: str) -> TunnelSpec:
        ca = str(self.folder / "ca.crt")
        settings = IpsecSettings(GATEWAY, IpsecAuth.EAP, user="alice", remote_id="vpn.office.example", ca=ca)
        return TunnelSpec(name, "ipsec", settings, device, password=SecretRef(file="alice.pw"))

    def running_client(self, socket: str) -> None:
        """Have a strongSwan run on the laptop that has a connection of its own, whoever else it may serve."""
        self._write("running.conf", RUNNING % (PLUGINS, socket))
        (self.folder / "running").mkdir()
        self._write("running/swanctl.conf", ANOTHERS % {"gateway": GATEWAY})
        charon = shutil.which("charon-systemd") or "/usr/sbin/charon-systemd"
        laptop = self.world.laptop
        laptop.spawn("env", f"STRONGSWAN_CONF={self.folder}/running.conf", charon)

        def swanctl(*arguments: str, check: bool = True) -> int:
            command = ("env", f"SWANCTL_DIR={self.folder}/running", "swanctl", *arguments, "--uri", f"unix://{socket}")
            done = laptop.run(*command, check=False)
            assert done.returncode == 0 or not check, done.stdout + done.stderr
            return done.returncode

        wait_until(lambda: swanctl("--load-all", check=False) == 0, "the laptop's strongSwan to take its settings")
        swanctl("--initiate", "--child", "of-another")

    def _authority(self, name: str) -> None:
        self._openssl("req", "-x509", *NEW_KEY, "-days", "30", "-keyout", f"{name}.key", "-out", f"{name}.crt",
                      "-subj", f"/CN={name}")  # fmt: skip

    def _certificate(self, name: str, authority: str, host: str) -> None:
        self._openssl("req", *NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={host}")
        self._write("extensions", f"subjectAltName=DNS:{host}\n")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.crt", "-CAkey", f"{authority}.key",
                      "-CAcreateserial", "-days", "30", "-out", f"{name}.crt", "-extfile", "extensions")  # fmt: skip

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(("openssl", *arguments), cwd=self.folder, check=True, capture_output=True)


class PowerlessIpsec(Ipsec):
    """A gateway that stops without a word, as one without power does: an orderly end would be told to its clients."""

    def stop(self) -> None:
        if self.program is not None:
            self.program.stop(signal.SIGKILL)
            self.program = None
