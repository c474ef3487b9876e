"""A real ocserv in the gateway of a world, for tunnels of type openconnect."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from hashlib import sha1, sha256
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from autovpn.core.settings import OpenconnectSettings, SecretRef
from autovpn.core.tunnel import PinnedEndpoint, TunnelSpec
from tests.netns.servers import OFFICE_NETWORK, Server, accepts
from tests.netns.world import GATEWAY, wait_until

NAME = "vpn.office.example"
PORT = 4443
NAMES = f"subjectAltName=IP:{GATEWAY},DNS:{NAME}"
OTP_KEY = bytes.fromhex("00112233445566778899aabbccddeeff00112233")

SILENT_UDP = """add chain inet {table} input_udp {{ type filter hook input priority -300; }}
add chain inet {table} output_udp {{ type filter hook output priority -300; }}
add rule inet {table} input_udp udp dport {port} drop
add rule inet {table} output_udp udp sport {port} drop
"""

OCSERV = """
auth = "{auth}"
tcp-port = {port}
udp-port = {port}
listen-host = {gateway}
run-as-user = root
run-as-group = root
socket-file = /run/ocserv.sock
pid-file = /run/ocserv.pid
server-cert = {folder}/server.crt
server-key = {folder}/server.key
isolate-workers = false
max-ban-score = 0
use-occtl = false
device = ocs
predictable-ips = true
ipv4-network = 10.95.0.0
ipv4-netmask = 255.255.255.0
ipv6-network = 2001:db8:95::/112
dns = 10.20.0.53
default-domain = office.example
route = {office}
route = 2001:db8:20::/64
banner = "Welcome to the office"
dpd = 10
auth-timeout = 40
cookie-timeout = 300
{more}
"""


class Ocserv(Server):
    """An AnyConnect server that knows one user, and whose certificate is of an authority of its own."""

    label = "ocserv"
    secrets = ("wonder land",)
    protocol = "tcp"
    ports = (PORT,)
    programs = ("openconnect", "ocserv", "ocpasswd", "openssl")

    dns = ("10.20.0.53",)
    search = ("office.example",)
    banner = "Welcome to the office"
    mtu = 1434
    prefixes = (OFFICE_NETWORK, IPv6Network("2001:db8:20::/64"), IPv4Network("10.95.0.0/24"))
    addresses = (IPv4Interface("10.95.0.50/32"), IPv6Interface("2001:db8:95::58ef/128"))
    """Which it gives to a user it tells by the name."""
    auth = "plain[passwd={folder}/passwd]"
    more = ""
    """Further lines of its settings."""

    def prepare(self) -> None:
        self._authority("ca")
        self._authority("stranger")
        self._certify("server", NAME, "-addext", NAMES, "-addext", "extendedKeyUsage=serverAuth")
        self.password = self._write("openconnect.pw", "wonder land\n")
        self.gateway.run("ocpasswd", "-c", str(self.folder / "passwd"), "alice", stdin="wonder land\n" * 2)
        self._write("otp", f"HOTP/E/6 alice - {OTP_KEY.hex()}\n")

    def start(self) -> None:
        places = {"folder": self.folder, "gateway": GATEWAY, "port": PORT, "office": OFFICE_NETWORK}
        auth = self.auth.format(**places)
        settings = self._write("ocserv.conf", OCSERV.format(auth=auth, more=self.more.format(**places), **places))
        self.program = self.gateway.spawn_private("ocserv", "-f", "-d", "1", "-c", str(settings))
        wait_until(lambda: self.gateway.call(accepts, GATEWAY, PORT), "ocserv to listen")

    def stop(self) -> None:
        """End ocserv with all its workers at once: told to end it takes seconds, and clients come back in between."""
        if self.program is not None:
            self.program.end()
            self.program = None

    def silence(self) -> None:
        """Lose all packets of TLS and DTLS alike."""
        super().silence()
        self.gateway.run("nft", "-f", "-", stdin=SILENT_UDP.format(table=self._table, port=PORT))

    def take_strangers_certificate(self) -> None:
        """Be in the right name, but of an authority that nobody knows."""
        self._openssl("server", NAME, "-addext", NAMES)

    @property
    def pin(self) -> str:
        """The fingerprint of the server's certificate, as openconnect has it."""
        public = self.gateway.run("openssl", "x509", "-in", f"{self.folder}/server.crt", "-noout", "-pubkey").stdout
        body = b64decode("".join(line for line in public.splitlines() if "-----" not in line))
        return f"pin-sha256:{b64encode(sha256(body).digest()).decode()}"

    @property
    def endpoints(self) -> tuple[PinnedEndpoint, ...]:
        return tuple(PinnedEndpoint(IPv4Address(GATEWAY), PORT, protocol) for protocol in ("tcp", "udp"))

    def tunnel_toml(self, name: str) -> str:
        return (
            f'[tunnel.{name}]\ntype = "openconnect"\nserver = "{GATEWAY}:{PORT}"\nuser = "alice"\n'
            f'ca = "{self.folder}/ca.crt"\npassword = {{ file = "{self.password}" }}\n'
            f'[tunnel.{name}.routes]\nmode = "split"\n'
        )

    def spec(self, name: str, device: str) -> TunnelSpec:
        settings = OpenconnectSettings(GATEWAY, PORT, udp_port=PORT, user="alice", ca=str(self.folder / "ca.crt"))
        return TunnelSpec(name, "openconnect", settings, device, password=SecretRef(file=str(self.password)))

    def _authority(self, name: str) -> None:
        self._openssl(name, name)

    def _certify(self, name: str, subject: str, *extensions: str) -> None:
        authority = ("-CA", f"{self.folder}/ca.crt", "-CAkey", f"{self.folder}/ca.key")
        self._openssl(name, subject, "-addext", "basicConstraints=critical,CA:FALSE", *extensions, *authority)

    def _openssl(self, name: str, subject: str, *options: str) -> None:
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{self.folder}/{name}.key")
        made = ("-subj", f"/CN={subject}", "-days", "30", "-out", f"{self.folder}/{name}.crt")
        self.gateway.run("openssl", "req", "-x509", *key, *made, *options)


def one_time_code(counter: int) -> str:
    """Return the code that the server expects next (RFC 4226)."""
    digest = hmac.new(OTP_KEY, counter.to_bytes(8, "big"), sha1).digest()
    offset = digest[-1] & 15
    return f"{(int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFFFFFF) % 10**6:06}"
