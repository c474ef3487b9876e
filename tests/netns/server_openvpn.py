"""A real OpenVPN server in the gateway of a world, for tunnels of type openvpn."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from autovpn.core.settings import Endpoint, OpenvpnSettings, SecretRef
from autovpn.core.tunnel import TunnelSpec
from tests.netns.servers import OFFICE_NETWORK, Server, accepts
from tests.netns.world import GATEWAY, wait_until

NAME = "vpn.office.example"
PASSWORD = 'won"der\\ land'
"""With all that has to be escaped on the management socket."""

SETTINGS = """dev ovs0
dev-type tun
proto {protocol}
port {port}
local {gateway}
topology subnet
server 10.96.0.0 255.255.255.0
server-ipv6 2001:db8:96::/64
push "route 10.20.0.0 255.255.255.0"
push "route-ipv6 2001:db8:20::/64"
push "dhcp-option DNS 10.20.0.53"
push "dhcp-option DOMAIN office.example"
ca {folder}/ca.crt
cert {folder}/server.crt
key {folder}/server.key
dh none
tls-crypt {folder}/tc.key
keepalive 2 8
script-security 2
auth-user-pass-verify {folder}/verify via-file
tmp-dir /tmp
verb 3
{more}
"""

VERIFY = """#!/bin/sh
{{ IFS= read -r user; IFS= read -r password; }} < "$1"
echo "$user" >> {folder}/users
[ "$user" = alice ] || exit 1
case "$password" in
    '{password}'|CRV1::st4te::654321) exit 0 ;;
    "SCRV1:{encoded}:MTIzNDU2") exit 0 ;;  # 123456
    "ask me") printf 'CRV1:R,E:st4te:YWxpY2U=:Your code, please' > "$auth_failed_reason_file" ;;
esac
exit 1
"""

CLIENT = """client
dev tun
proto {protocol}
remote {host} {port}
remote-cert-tls server
verify-x509-name {name} name
ca ca.crt
cert laptop.crt
key laptop.key
tls-crypt tc.key
auth-user-pass
up /bin/false
script-security 2
"""


class Openvpn(Server):
    """An OpenVPN server over UDP that wants a certificate, a name and a password."""

    label = "openvpn"
    secrets = (PASSWORD,)
    protocol = "udp"
    ports = (1194,)
    programs = ("openvpn", "openssl")

    dns = ("10.20.0.53",)
    search = ("office.example",)
    prefixes = (IPv4Network("10.96.0.0/24"), IPv6Network("2001:db8:96::/64"), OFFICE_NETWORK,
                IPv6Network("2001:db8:20::/64"))  # fmt: skip
    more = "explicit-exit-notify 1"
    """Further lines of its settings."""

    def prepare(self) -> None:
        self._authority("ca")
        self._authority("stranger")
        self._certify("server", NAME, "serverAuth")
        self._certify("laptop", "laptop", "clientAuth")
        self._certify("foreign", "laptop", "clientAuth", authority="stranger")
        for name in ("tc", "other-tc"):
            self.gateway.run("openvpn", "--genkey", "tls-crypt", str(self.folder / f"{name}.key"))
        self.password = self._write("openvpn.pw", f"{PASSWORD}\n")
        encoded = self.gateway.run("base64", "-w0", stdin=PASSWORD).stdout
        verify = self._write("verify", VERIFY.format(folder=self.folder, password=PASSWORD, encoded=encoded))
        verify.chmod(0o700)
        self.config = self._write("office.ovpn", self.client())

    def client(self, more: str = "", *, host: str = GATEWAY) -> str:
        """Return the client's own file, with further lines."""
        places = {"name": NAME, "host": host, "port": self.ports[0], "protocol": self.protocol}
        return CLIENT.format(**places) + more

    def start(self) -> None:
        places = {"folder": self.folder, "gateway": GATEWAY, "port": self.ports[0], "protocol": self.protocol}
        settings = self._write("server.conf", SETTINGS.format(more=self.more, **places))
        self.program = self.gateway.spawn_private("openvpn", "--config", str(settings))
        program = self.program
        wait_until(lambda: "Initialization Sequence Completed" in program.output, "the OpenVPN server to listen")

    @property
    def users(self) -> list[str]:
        """Who has tried to log in, one name for each time."""
        path = Path(self.folder / "users")
        return path.read_text().split() if path.exists() else []

    def tunnel_toml(self, name: str) -> str:
        return (
            f'[tunnel.{name}]\ntype = "openvpn"\nconfig = "{self.config}"\nusername = "alice"\n'
            f'password = {{ file = "{self.password}" }}\n[tunnel.{name}.routes]\nmode = "split"\n'
        )

    def spec(self, name: str, device: str) -> TunnelSpec:
        remotes = tuple(Endpoint(GATEWAY, port, self.protocol) for port in self.ports)
        settings = OpenvpnSettings(str(self.config), remotes, "alice")
        secret = SecretRef(file=str(self.password))
        return TunnelSpec(name, "openvpn", settings, device, password=secret, files=(str(self.config),))

    def _authority(self, name: str) -> None:
        self._openssl(name, name)

    def _certify(self, name: str, subject: str, purpose: str, *, authority: str = "ca") -> None:
        signed = ("-CA", f"{self.folder}/{authority}.crt", "-CAkey", f"{self.folder}/{authority}.key")
        usage = ("-addext", "keyUsage=digitalSignature", "-addext", f"extendedKeyUsage={purpose}")
        self._openssl(name, subject, "-addext", "basicConstraints=critical,CA:FALSE", *usage, *signed)

    def _openssl(self, name: str, subject: str, *options: str) -> None:
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{self.folder}/{name}.key")
        made = ("-subj", f"/CN={subject}", "-days", "30", "-out", f"{self.folder}/{name}.crt")
        self.gateway.run("openssl", "req", "-x509", *key, *made, *options)
        (self.folder / f"{name}.key").chmod(0o600)


class OpenvpnTcp(Openvpn):
    """The same over TCP."""

    label = "openvpn-tcp"
    protocol = "tcp"
    more = ""

    def start(self) -> None:
        super().start()
        wait_until(lambda: self.gateway.call(accepts, GATEWAY, self.ports[0]), "the OpenVPN server to accept")
