"""Drivers without their programs: launches to start from, recorded transcripts to play, and what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autovpn.core.actions import Action, Failed, Ready
from autovpn.core.driving import (
    Answered,
    Closed,
    DeviceCreated,
    DeviceRefused,
    Dialled,
    DialOutcome,
    Driver,
    DriverEvent,
    Exited,
    Launch,
    Line,
    LinkAppeared,
    LinkVanished,
    Opened,
    Ran,
    Received,
    Recovered,
    Report,
    Uplink,
    ViciAnswer,
    ViciEvent,
    ViciReply,
)
from autovpn.core.endpoint import Listener
from autovpn.core.secret import Secret
from autovpn.core.settings import (
    Endpoint,
    IpsecAuth,
    IpsecSettings,
    LibreswanSettings,
    OpenconnectSettings,
    OpensshSettings,
    OpenvpnSettings,
    PptpSettings,
    Settings,
    TincPeer,
    TincSettings,
    VpncSettings,
    WireguardPeer,
    WireguardSettings,
)
from autovpn.core.settings_command import CommandSettings, ReadyBy
from autovpn.core.settings_zebedee import ZebedeeForward, ZebedeeSettings
from autovpn.core.snapshot import LinkId
from autovpn.core.tunnel import Facts, PinnedEndpoint, TunnelSpec
from autovpn.tunnels.drivers import DRIVERS

if TYPE_CHECKING:
    from collections.abc import Iterable

A = TypeVar("A")

TRANSCRIPTS = Path(__file__).parent / "transcripts"
GATEWAY = IPv4Address("192.0.2.1")
UPLINK = Uplink(LinkId(2), "eth0")
TIMEOUT = 30.0
START = 1000.0

PRIVATE_KEY = "YAnV3d7Aaz0P2CVrmPZXg5mkgPTsVvSRJTJTJTJTJVE="
SHARED_KEY = "FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE="
PUBLIC_KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
PASSWORD = "wonder land"
TINC_KEY = "the key of this laptop"
ZEBEDEE_KEY = "5eed" * 10
SECRETS = (ZEBEDEE_KEY, PRIVATE_KEY, SHARED_KEY, PASSWORD, "group secret", TINC_KEY)

WIREGUARD_FILE = f"""
[Interface]
PrivateKey = {PRIVATE_KEY}
Address = 10.97.0.2/24
[Peer]
PublicKey = {PUBLIC_KEY}
PresharedKey = {SHARED_KEY}
Endpoint = 192.0.2.1:51820
AllowedIPs = 10.20.0.0/24
"""

VPNC_FILE = """IPSec gateway vpn.example
IPSec ID vpngroup
IPSec secret group secret
Xauth username alice
Xauth password an old one
Script /usr/share/vpnc-scripts/vpnc-script
Debug 99
"""

OPENVPN_FILE = """client
remote vpn.example 1194 udp
dev tun7
ca ca.crt
<key>
group secret
</key>
auth-user-pass old.txt
up /bin/evil
"""

TINC_FILES = {
    "tinc.conf": "Name = laptop\nConnectTo = gateway\nInterface = wrong\n",
    "rsa_key.priv": TINC_KEY,
    "hosts/laptop": "Subnet = 10.94.0.2/32\nours\n",
    "hosts/gateway": "Address = vpn.example\nSubnet = 10.20.0.0/24\n-----BEGIN RSA PUBLIC KEY-----\ntheirs\n",
    "hosts/printer": "Subnet = 10.94.0.3/32\n",
}

SETTINGS: dict[str, Settings] = {
    "command": CommandSettings(
        ("vpn-up", "office"),
        ReadyBy.CHECK,
        stop=("vpn-down", "office"),
        check=("vpn-check",),
        endpoints=(Endpoint("vpn.example", 443, "tcp"),),
        addresses=(IPv4Interface("10.98.0.2/30"),),
    ),
    "ipsec": IpsecSettings(
        "vpn.example", IpsecAuth.XAUTH, 1, user="alice", remote_id="vpn.office.example", psk="/etc/ipsec/group.psk"
    ),
    "libreswan": LibreswanSettings(
        "vpn.example", IpsecAuth.XAUTH, 1, user="alice", remote_id="vpn.office.example", psk="/etc/ipsec/group.psk"
    ),
    "openconnect": OpenconnectSettings("vpn.example", 4443, udp_port=4443, user="alice", ca="/etc/ssl/office.crt"),
    "openssh": OpensshSettings(
        "vpn.example",
        2222,
        "root",
        "/keys/laptop",
        "/keys/known_hosts",
        remote_unit=0,
        address=IPv4Interface("10.98.0.2/30"),
        peer=IPv4Address("10.98.0.1"),
    ),
    "openvpn": OpenvpnSettings("/etc/openvpn/office.ovpn", (Endpoint("vpn.example", 1194),), "alice"),
    "pptp": PptpSettings("vpn.example", "alice"),
    "tinc": TincSettings(
        "/etc/tinc/office",
        "laptop",
        (TincPeer("gateway", (Endpoint("vpn.example", 655, "tcp"),)),),
        (IPv4Interface("10.94.0.2/24"),),
        (("rsa_key.priv", "/etc/tinc/office/rsa_key.priv"),),
        ("/etc/tinc/office/tinc.conf",),
        ("gateway", "laptop", "printer"),
    ),
    "zebedee": ZebedeeSettings(
        "vpn.example",
        (ZebedeeForward(Listener(IPv4Address("127.0.0.1"), 8080), "10.20.0.2:80"),),
        key="/etc/zebedee/client.key",
        server_id="0123456789" * 4,
    ),
    "vpnc": VpncSettings("/etc/vpnc/office.conf", "vpn.example"),
    "wireguard": WireguardSettings(
        "/etc/wireguard/office.conf",
        (WireguardPeer(PUBLIC_KEY, (IPv4Network("10.20.0.0/24"),), Endpoint("192.0.2.1", 51820)),),
        (IPv4Interface("10.97.0.2/24"),),
        dns=("10.20.0.53",),
    ),
}
FILES = {
    "/etc/zebedee/client.key": f'privatekey "{ZEBEDEE_KEY}"\n',
    "/etc/openvpn/office.ovpn": OPENVPN_FILE,
    "/etc/ipsec/group.psk": "group secret\n",
    "/etc/vpnc/office.conf": VPNC_FILE,
    "/etc/wireguard/office.conf": WIREGUARD_FILE,
    **{f"/etc/tinc/office/{name}": text for name, text in TINC_FILES.items()},
}
PORTS = {
    "zebedee": (11965, "tcp"),
    "command": (443, "tcp"),
    "ipsec": (500, "udp"),
    "libreswan": (500, "udp"),
    "openconnect": (4443, "tcp"),
    "openssh": (2222, "tcp"),
    "openvpn": (1194, "udp"),
    "pptp": (1723, "tcp"),
    "tinc": (655, "tcp"),
    "vpnc": (500, "udp"),
    "wireguard": (51820, "udp"),
}
DEVICES = {
    "command": "avtcmd",
    "zebedee": "",
    "ipsec": "avtipsec",
    "libreswan": "ipsec7",
    "openconnect": "avtoc",
    "openssh": "tun712345",
    "openvpn": "avtovpn",
    "pptp": "avtpptp",
    "tinc": "avttinc",
    "vpnc": "avtvpnc",
    "wireguard": "avtwg",
}
KINDS = tuple(SETTINGS)
"""The types, and what else is the work of a driver of its own."""

TYPE_OF = {"libreswan": "ipsec"}
"""The type of a kind that is not called as its type."""


def launch(kind: str, **changes: Any) -> Launch:  # noqa: ANN401 - fields of the launch, or of its settings
    """Return a launch of this type; `changes` are fields of it or of its settings."""
    settings = SETTINGS[kind]
    own = {name: value for name, value in changes.items() if name in Launch.__dataclass_fields__}
    theirs = {name: value for name, value in changes.items() if name not in own}
    settings = replace(settings, **theirs)
    port, protocol = PORTS[kind]
    made = Launch(
        spec=TunnelSpec("office", TYPE_OF.get(kind, kind), settings, DEVICES[kind], connect_timeout=TIMEOUT),
        uplink=UPLINK,
        endpoints=(PinnedEndpoint(GATEWAY, port, protocol, next((end.host for end in settings.endpoints), "")),),
        directory="/run/autovpn/t",
        nonce="0123456789abcdef",
        notifier=("/usr/bin/python3", "-I", "/opt/auto vpn/100%/notify.py"),
        files={path: Secret(text.encode()) for path, text in FILES.items()},
        password=Secret(PASSWORD.encode() + b"\n")
        if kind in {"command", "ipsec", "libreswan", "openconnect", "openvpn", "pptp", "vpnc"}
        else None,
    )
    return replace(made, **own)


def recovered(kind: str, *, pid: int | None = 4711, epoch: float = 0.0) -> Recovered:
    """Return what the journal would know of such a tunnel."""
    facts = Facts(DEVICES[kind], (IPv4Interface("10.9.9.9/32"),), dns=("10.20.0.53",))
    return Recovered(pid, DEVICES[kind], facts, epoch)


def transcript(name: str) -> list[DriverEvent]:
    """Return what the real program did."""
    return [
        _ipsec_event(row) or _event(row)
        for row in map(json.loads, (TRANSCRIPTS / f"{name}.jsonl").read_text().splitlines())
    ]


def _event(row: dict[str, Any]) -> DriverEvent:
    match row:
        case {"line": text}:
            return Line(text)
        case {"opened": channel}:
            return Opened(channel)
        case {"channel": channel, "received": text}:
            return Received(channel, text.encode())
        case {"closed": channel}:
            return Closed(channel)
        case {"answered": name, "answer": answer}:
            return Answered(name, None if answer is None else Secret(answer.encode()))
        case {"report": values}:
            return Report(values)
        case {"ran": name, "status": status, "errors": errors, "secret": hidden}:
            return Ran(name, status, errors, Secret(hidden.encode()))
        case _:
            return Exited(row["exited"])


def _ipsec_event(row: dict[str, Any]) -> DriverEvent | None:
    match row:
        case {"vici": event, "message": message}:
            return ViciEvent(event, _frozen(message))
        case {"vici_answered": name, "words": words}:
            return ViciAnswer(name, words)
        case {"refused": device, "unsupported": unsupported}:
            return DeviceRefused(device, unsupported, row.get("words", "Unknown device type"))
        case {"created": device}:
            return DeviceCreated(device)
        case {"appeared": device}:
            return LinkAppeared(device, 9)
        case {"vanished": device}:
            return LinkVanished(device)
        case {"dialled": name, "outcome": outcome, "words": words}:
            return Dialled(name, DialOutcome(outcome), words)
        case _:
            return None


def _frozen(message: dict[str, Any]) -> ViciReply:
    """Return a message of strongSwan's as it is reported, with tuples for lists."""
    return {
        name: tuple(value) if isinstance(value, list) else _frozen(value) if isinstance(value, dict) else value
        for name, value in message.items()
    }


@dataclass
class Play:
    """One driver being played to; `now` moves only when told to."""

    launch: Launch
    now: float = START
    state: Any = None
    actions: list[Action] = field(default_factory=list)

    @property
    def driver(self) -> Driver[Any]:
        """The driver of the launch's type."""
        return DRIVERS[self.launch.spec.type]

    def start(self) -> Play:
        """Start the tunnel."""
        self.state, actions = self.driver.start(self.launch, self.now)
        self.actions.extend(actions)
        return self

    def adopt(self, found: Recovered) -> Play:
        """Take over the tunnel."""
        self.state, actions = self.driver.adopt(self.launch, found, self.now)
        self.actions.extend(actions)
        return self

    def feed(self, *events: DriverEvent) -> tuple[Action, ...]:
        """Feed events, and return the actions that they led to."""
        fresh: list[Action] = []
        for event in events:
            self.state, actions = self.driver.feed(self.state, event, self.now)
            fresh.extend(actions)
        self.actions.extend(fresh)
        return tuple(fresh)

    @property
    def news(self) -> list[Ready | Failed]:
        """What the driver said of its tunnel."""
        return news_in(self.actions)


def news_in(actions: Iterable[Action]) -> list[Ready | Failed]:
    """Return what actions say of the tunnel."""
    return [action for action in actions if isinstance(action, Ready | Failed)]


def only(kind: type[A], actions: Iterable[object]) -> A:
    """Return the one action of a kind."""
    (found,) = [action for action in actions if isinstance(action, kind)]
    return found
