"""The state of the machine as the decision sees it: one immutable value, our own effects left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from autovpn.core.network import Gateway, IPInterface, Network, UplinkDns, Wireless
from autovpn.core.tunnel import TunnelState

UPLINK_KINDS = frozenset({None, "bond", "team", "vlan", "macvlan", "ipvlan", "ppp", "wwan"})
UPLINK_KINDS_WITH_DEFAULT_ROUTE = frozenset({"veth", "bridge"})


class Phase(IntEnum):
    """How far a link has come. Rules are judged at `usable` only."""

    ABSENT = 0
    DOWN = 1
    CARRIER = 2
    DORMANT = 3
    ADDRESSING = 4
    USABLE = 5


class LinkType(Enum):
    """What a user calls the link; `any` in the configuration stands for all of them."""

    WIFI = "wifi"
    ETHERNET = "ethernet"
    WWAN = "wwan"
    OTHER = "other"


@dataclass(frozen=True, slots=True, order=True)
class LinkId:
    """A link since its last appearance: the kernel reuses an index, never an index with its generation."""

    index: int
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface that is no device of ours.

    `addresses` are those wider than link scope and not tentative; `metric` is that of the best default route, None
    without one; `wireless_pending` says that a station's association is not known yet.
    """

    id: LinkId
    name: str
    type: LinkType
    phase: Phase
    is_uplink: bool = False
    addresses: tuple[IPInterface, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    metric: int | None = None
    mtu: int = 1500
    wireless: Wireless | None = None
    wireless_pending: bool = False
    dns: UplinkDns | None = None

    @property
    def network(self) -> Network:
        """Return what the link is attached to."""
        return Network(
            wireless=self.type is LinkType.WIFI,
            ssid=self.wireless.ssid if self.wireless and self.wireless.ssid else None,
            security=self.wireless.security if self.wireless else None,
            gateway_macs=frozenset(gateway.mac for gateway in self.gateways if gateway.mac),
            gateways=frozenset(gateway.address for gateway in self.gateways),
            prefixes=frozenset(address.network for address in self.addresses),
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a decision rests on: the links, and how each tunnel is doing (by activation and tunnel)."""

    links: tuple[Link, ...] = ()
    tunnels: Mapping[tuple[str, str], TunnelState] = field(default_factory=dict)

    def link(self, identity: LinkId) -> Link | None:
        """Return the link, unless it has vanished."""
        return next((link for link in self.links if link.id == identity), None)

    def named(self, name: str) -> Link | None:
        """Return the link that has this name now."""
        return next((link for link in self.links if link.name == name), None)


def phase_of(*, admin_up: bool, carrier: bool, dormant: bool, operational: bool, has_address: bool) -> Phase:
    """Return how far a present link has come.

    `operational` is operstate UP, or UNKNOWN with carrier (Documentation/networking/operstates.rst); `dormant` is a
    wireless link whose handshake is not finished.
    """
    if not admin_up or not carrier:
        return Phase.DOWN
    if dormant:
        return Phase.DORMANT
    if not operational:
        return Phase.CARRIER
    return Phase.USABLE if has_address else Phase.ADDRESSING


def counts_as_uplink(
    name: str,
    kind: str | None,
    *,
    enslaved: bool,
    has_default_route: bool,
    include: frozenset[str] = frozenset(),
    exclude: frozenset[str] = frozenset(),
) -> bool:
    """Report whether a link can be an uplink, judged by its kind (IFLA_INFO_KIND) and never by its name.

    What the user names in `uplinks.include` or `uplinks.exclude` is taken at their word.
    """
    if enslaved or name in exclude:
        return False
    if name in include or kind in UPLINK_KINDS:
        return True
    return kind in UPLINK_KINDS_WITH_DEFAULT_ROUTE and has_default_route
