"""tinc's files, a `Variable = value` a line (tinc.conf(5)), and what of them gives way to ours.

Known to `check`, which says so, and to the driver, which does it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

OWNED = (
    "Interface",
    "Device",
    "DeviceType",
    "DeviceStandby",
    "BindToAddress",
    "BindToInterface",
    "ListenAddress",
    "PrivateKeyFile",
    "Ed25519PrivateKeyFile",
    "Hostnames",  # names of peers would be looked up, which holds everything up
    "GraphDumpFile",  # may be a pipe into a shell
    "ScriptsExtension",
    "ScriptsInterpreter",
)
"""The variables of tinc.conf that we set or leave out, whatever the user's file says."""

VARIABLES = (
    "AddressFamily", "AutoConnect", "BindToAddress", "BindToInterface", "BlockingTCP", "Broadcast", "BroadcastSubnet",
    "ConnectTo", "DecrementTTL", "Device", "DeviceStandby", "DeviceType", "DirectOnly", "Ed25519PrivateKeyFile",
    "ExperimentalProtocol", "Forwarding", "FWMark", "GraphDumpFile", "Hostnames", "IffOneQueue", "Interface",
    "InvitationExpire", "KeyExpire", "ListenAddress", "LocalDiscovery", "LocalDiscoveryAddress", "LogLevel",
    "MACExpire", "MaxConnectionBurst", "MaxOutputBufferSize", "MaxTimeout", "Mode", "MTUInfoInterval", "Name",
    "PingInterval", "PingTimeout", "PriorityInheritance", "PrivateKey", "PrivateKeyFile", "ProcessPriority", "Proxy",
    "ReplayWindow", "Sandbox", "ScriptsExtension", "ScriptsInterpreter", "StrictSubnets", "TunnelServer",
    "UDPDiscovery", "UDPDiscoveryInterval", "UDPDiscoveryKeepaliveInterval", "UDPDiscoveryTimeout", "UDPInfoInterval",
    "UDPRcvBuf", "UDPSndBuf", "UPnP", "UPnPDiscoverWait", "UPnPRefreshPeriod", "Address", "Cipher", "ClampMSS",
    "Compression", "Digest", "Ed25519PublicKey", "Ed25519PublicKeyFile", "IndirectData", "MACLength", "PMTU",
    "PMTUDiscovery", "Port", "PublicKey", "PublicKeyFile", "Subnet", "TCPOnly", "Weight",
)  # fmt: skip
"""The variables that tinc 1.0 and 1.1 know, those of a host's file last: in tinc.conf they hold for every host."""

DEFAULT_PORT = 655
RSA_KEY = "rsa_key.priv"
ED25519_KEY = "ed25519_key.priv"
KEY_FILES = {RSA_KEY: "PrivateKeyFile", ED25519_KEY: "Ed25519PrivateKeyFile"}
"""The names that tinc 1.0 and 1.1 give to private keys, and the variables by which they are elsewhere."""

_SETTING = re.compile(r"([^\t =]++)[\t ]*+=?[\t ]*+([^\t =].*)")
_NODE = re.compile(r"[A-Za-z0-9_]{1,64}")


@dataclass(frozen=True, slots=True)
class TincLine:
    """One setting; `number` is its line, from 1."""

    number: int
    name: str
    value: str

    def is_one_of(self, names: tuple[str, ...]) -> bool:
        """Report whether it sets one of these variables: tinc knows no case (conf.c)."""
        return self.name.lower() in {name.lower() for name in names}


def settings_in(text: str) -> Iterator[TincLine]:
    """Yield the settings of a file as tinc reads them: comments, keys in PEM form and nonsense are passed over."""
    for number, line in _lines(text):
        if match := _SETTING.fullmatch(line):
            yield TincLine(number, match[1], match[2])


def nonsense_in(text: str) -> Iterator[int]:
    """Yield the numbers of the lines that are no setting and that tinc passes over."""
    return (number for number, line in _lines(text) if line and not _SETTING.fullmatch(line))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    in_key = False
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip("\t \r")
        if in_key or line.startswith("-----BEGIN"):
            in_key = not line.startswith("-----END")
        elif not line.startswith("#"):
            yield number, line


def values_of(text: str, name: str) -> tuple[str, ...]:
    """Return every value of a variable, in order."""
    return tuple(line.value for line in settings_in(text) if line.is_one_of((name,)))


def without(text: str, names: tuple[str, ...]) -> str:
    """Return a file without the lines that set one of these variables."""
    dropped = {line.number for line in settings_in(text) if line.is_one_of(names)}
    return "\n".join(line for number, line in enumerate(text.split("\n"), 1) if number not in dropped)


def is_node(name: str) -> bool:
    """Report whether a node can have this name, which becomes part of paths (check_id in tinc's utils.c)."""
    return bool(_NODE.fullmatch(name))
