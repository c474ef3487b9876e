"""Steps: the reversible changes to the machine. What is wanted is an ordered set of them.

A step has a key (kind, activation, object), a rank by its kind, and a value. Two steps of one key are the same change
when their values are equal; `context` goes along to whoever carries the step out and is not compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from autovpn.core.dnschoice import DnsWish
from autovpn.core.driving import Uplink
from autovpn.core.hookenv import HookContext
from autovpn.core.network import IPAddress, IPInterface, IPNetwork
from autovpn.core.profile import Hook
from autovpn.core.tunnel import Failure, PinnedEndpoint, RouteMode, TunnelSpec


class StepKind(Enum):
    """The kinds of change, with the rank at which each is done; undoing goes the other way."""

    PREUP = "preup"
    GUARD = "guard"
    PIN = "pin"
    TUNNEL = "tunnel"
    ADDRESS = "address"
    ROUTES = "routes"
    DNS = "dns"
    POSTUP = "postup"

    @property
    def rank(self) -> int:
        """Return the place in the order of doing."""
        return _RANKS[self]


_RANKS = {kind: 10 * (position + 1) for position, kind in enumerate(StepKind)}


@dataclass(frozen=True, slots=True)
class HookValue:
    """A bracket of hooks; it is done anew when the activation is, and, for `postup`, when the tunnel is."""

    epoch: int
    tunnel: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class HookMoment:
    """The programs of a bracket as configured when it was opened, and what they are told."""

    up: tuple[Hook, ...]
    down: tuple[Hook, ...]
    context: HookContext


@dataclass(frozen=True, slots=True)
class GuardValue:
    """Keep everything from leaving in clear but what is bound to this uplink; `local` are the networks behind us."""

    uplink: str
    local: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class PinValue:
    """Keep the tunnel's own packets outside the tunnel."""

    endpoints: tuple[PinnedEndpoint, ...]


@dataclass(frozen=True, slots=True)
class TunnelValue:
    """A running tunnel: `instance` and `attempt` make it this one, the uplink and endpoints can be amended.

    What came before goes along to whoever starts it, and is not compared: a success forgets it.
    """

    instance: str
    attempt: int
    uplink: Uplink
    endpoints: tuple[PinnedEndpoint, ...]
    last_failure: Failure | None = field(default=None, compare=False)
    fruitless: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class AddressValue:
    """The addresses and the MTU of a tunnel's device."""

    device: str
    addresses: tuple[IPInterface, ...]
    peer: IPAddress | None
    mtu: int


@dataclass(frozen=True, slots=True)
class RoutesValue:
    """What goes through the tunnel, and what does not."""

    mode: RouteMode
    device: str
    prefixes: tuple[IPNetwork, ...]
    dns: tuple[IPAddress, ...]
    uplink: str
    on_link: tuple[IPNetwork, ...]
    has_ipv4: bool
    has_ipv6: bool
    local: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class DnsValue:
    """One activation's wish. The machine's resolver gets the merge of all that are in force."""

    wish: DnsWish


StepValue = HookValue | GuardValue | PinValue | TunnelValue | AddressValue | RoutesValue | DnsValue
StepContext = HookMoment | TunnelSpec | None
StepKey = tuple[StepKind, str, str]


@dataclass(frozen=True, slots=True)
class Step:
    """One reversible change; `object` tells steps of one kind and activation apart (the tunnel's name)."""

    kind: StepKind
    activation: str
    object: str
    value: StepValue
    context: StepContext = field(default=None, compare=False)

    @property
    def key(self) -> StepKey:
        """Return what makes it this step, whatever its value."""
        return (self.kind, self.activation, self.object)

    @property
    def rank(self) -> int:
        """Return its place in the order of doing."""
        return self.kind.rank

    @property
    def stands_on(self) -> str | None:
        """Return the device that the step changes or leads to, and that takes it away when it goes; None without."""
        return self.value.device if isinstance(self.value, AddressValue | RoutesValue) else None

    def __str__(self) -> str:
        """Name the step for people."""
        of = f" {self.object}" if self.object else ""
        return f"{self.kind.value}{of} of {self.activation}"


def can_amend(old: Step, new: Step) -> bool:
    """Report whether a step can be changed in place: hooks cannot, nor a tunnel that has become another one."""
    match old.value, new.value:
        case TunnelValue() as before, TunnelValue() as after:
            return (before.instance, before.attempt) == (after.instance, after.attempt)
        case HookValue(), HookValue():
            return False
        case AddressValue() as before, AddressValue() as after:
            return before.device == after.device
        case before, after:
            return type(before) is type(after)
