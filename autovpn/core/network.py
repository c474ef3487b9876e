"""What an uplink is attached to: its association, its gateways, its prefixes, and when two observations agree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    collapse_addresses,
)

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network


class Security(Enum):
    """How a wireless association is protected, weakest first where an access point offers several."""

    OPEN = "open"
    WEP = "wep"
    OWE = "owe"
    PSK = "psk"
    SAE = "sae"
    EAP = "eap"


class Grade(IntEnum):
    """How much the evidence for a network is worth: anyone can copy a hint, nobody a proof."""

    NONE = 0
    HINT = 1
    SHARED_KEY = 2
    PROOF = 3

    @property
    def word(self) -> str:
        """Return the grade as the configuration spells it."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Wireless:
    """One association of a station interface, as nl80211 tells it.

    `ssid` is the raw 0 to 32 bytes; `frequency` is in MHz and `signal` in dBm. `offered` is what the access point
    lists, `security` what was negotiated (after a restart: the weakest that is offered). `authorized` says that the
    handshake is finished (NL80211_STA_FLAG_AUTHORIZED in linux/nl80211.h).
    """

    ssid: bytes
    bssid: str
    frequency: int | None = None
    signal: float | None = None
    security: Security | None = None
    offered: frozenset[Security] = frozenset()
    authorized: bool = False

    @property
    def evidence(self) -> Grade:
        """Return what this association proves: a finished handshake with a shared key, or no more than a name."""
        if self.authorized and self.security in (Security.PSK, Security.SAE):
            return Grade.SHARED_KEY
        return Grade.HINT


@dataclass(frozen=True, slots=True)
class Gateway:
    """A next hop of a default route; `mac` is None until its neighbour entry is resolved."""

    address: IPAddress
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class UplinkDns:
    """The resolvers and search suffixes that belong to the uplink itself, never to a tunnel of ours."""

    servers: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Network:
    """What an uplink is attached to, for telling one network from the next. Empty and None mean unknown."""

    wireless: bool = False
    ssid: bytes | None = None
    security: Security | None = None
    gateway_macs: frozenset[str] = frozenset()
    gateways: frozenset[IPAddress] = field(default_factory=frozenset)
    prefixes: frozenset[IPNetwork] = field(default_factory=frozenset)

    def conflicts(self, other: Network) -> bool:
        """Report whether the two cannot be one network. The unknown never conflicts; a BSSID is no part of it."""
        if self.wireless != other.wireless:
            return True
        if self.wireless:
            return _differ(self.ssid, other.ssid) or _differ(self.security, other.security)
        if self.gateway_macs and other.gateway_macs:
            return not self.gateway_macs & other.gateway_macs
        if self.gateways or other.gateways:
            return False
        return bool(self.prefixes and other.prefixes) and not self.prefixes & other.prefixes

    def refined_by(self, newer: Network) -> Network:
        """Return the newer observation of the same network, keeping what only the older one knew."""
        return Network(
            wireless=newer.wireless,
            ssid=self.ssid if newer.ssid is None else newer.ssid,
            security=newer.security or self.security,
            gateway_macs=newer.gateway_macs or self.gateway_macs,
            gateways=newer.gateways or self.gateways,
            prefixes=newer.prefixes or self.prefixes,
        )


def _differ(one: object, other: object) -> bool:
    return one is not None and other is not None and one != other


def is_within(inner: IPNetwork, outer: IPNetwork) -> bool:
    """Report whether all addresses of one prefix are of the other."""
    return inner.version == outer.version and inner.overlaps(outer) and inner.prefixlen >= outer.prefixlen


def collapsed(prefixes: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """Return the same addresses as few prefixes, in order, so that equal wishes are equal values."""
    four = [prefix for prefix in prefixes if isinstance(prefix, IPv4Network)]
    six = [prefix for prefix in prefixes if isinstance(prefix, IPv6Network)]
    return (*collapse_addresses(four), *collapse_addresses(six))
