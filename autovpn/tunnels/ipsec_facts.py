"""What strongSwan tells of a connection, read as hostile input: its child, and what that means for the machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autovpn.tunnels import pushed
from autovpn.tunnels.charon import settings_of
from autovpn.tunnels.offer import Offer, accepted

if TYPE_CHECKING:
    from autovpn.core.driving import Launch, ViciReply
    from autovpn.core.network import IPInterface
    from autovpn.core.tunnel import Facts

OVERHEAD = 88
"""Bytes of IPv4, UDP, ESP, padding and check value around a packet, with the widest of the usual ciphers."""

OVERHEAD_IPV6 = OVERHEAD + 20

_STATES = frozenset(("INSTALLED", "REKEYING", "REKEYED"))
_DNS = ("PLUTO_DNS4_", "PLUTO_DNS6_")


@dataclass(frozen=True, slots=True)
class Child:
    """A child SA that passes packets: `addresses` are ours in the tunnel, `networks` what is reached through it.

    `host` is the address of this machine's that its IKE SA is bound to.
    """

    host: str
    addresses: tuple[str, ...]
    networks: tuple[str, ...]
    is_in_udp: bool
    has_nat: bool


def child_in(listed: ViciReply, name: str) -> Child | None:
    """Return the child of this name in one of the events of list-sas; None where there is none that works."""
    ike = listed.get(name)
    children = ike.get("child-sas") if isinstance(ike, Mapping) else None
    if not isinstance(ike, Mapping) or not isinstance(children, Mapping):
        return None
    for child in children.values():
        if isinstance(child, Mapping) and child.get("name") == name and child.get("state") in _STATES:
            return Child(
                str(ike.get("local-host", "")),
                _texts(ike, "local-vips"),
                _texts(child, "remote-ts"),
                is_in_udp=child.get("encap") == "yes",
                has_nat=ike.get("nat-any") == "yes",
            )
    return None


def is_given_up(told: ViciReply, name: str) -> bool:
    """Report whether an IKE SA has ended in the middle of its life, as one does that gets no answer any more.

    One that either side deletes is in the state DELETING by then, in IKEv2 and IKEv1.
    """
    ike = told.get(name)
    return told.get("up") != "yes" and isinstance(ike, Mapping) and ike.get("state") == "ESTABLISHED"


def resolvers(values: Mapping[str, str]) -> tuple[str, ...]:
    """Return the name servers in the environment of an updown script, in their order."""
    return tuple(values[name] for name in sorted(values) if name.startswith(_DNS))


def facts(child: Child, launch: Launch, device: str | None, dns: tuple[str, ...], why: str) -> Facts:
    """Return what the tunnel told, checked; `why` is the reason for the form that its packets have."""
    is_transport = settings_of(launch).mode == "transport"
    routes = () if is_transport else tuple(map(_pair, child.networks))
    by_ipv6 = launch.endpoints[0].address.version == 6  # noqa: PLR2004
    return replace(
        accepted(Offer(routes=routes, dns=dns), launch),
        device=device,
        addresses=tuple(_addresses(child)),
        mtu=launch.spec.mtu,
        overhead=OVERHEAD_IPV6 if by_ipv6 else OVERHEAD,
        form=_form(child, launch, why),
        on_trial=settings_of(launch).protocol == "esp" and not is_transport and not child.is_in_udp,
    )


def _addresses(child: Child) -> Iterator[IPInterface]:
    for text in child.addresses:
        if found := pushed.address(text, 6 if ":" in text else 4):
            yield found


def _pair(selector: str) -> pushed.Pair:
    """Return the two halves of a traffic selector such as 10.20.0.0/24 or 10.20.0.2/32[tcp/80]."""
    base, _, length = selector.partition("[")[0].partition("/")
    return base, length


def _form(child: Child, launch: Launch, why: str) -> str:
    settings = settings_of(launch)
    plain = settings.protocol.upper() + (" in transport mode" if settings.mode == "transport" else "")
    if not child.is_in_udp:
        return f"{plain}: {why}" if why else plain
    reason = why or ("a NAT is on the way" if child.has_nat else "")
    return f"{plain} in UDP: {reason}" if reason else f"{plain} in UDP"


def _texts(section: ViciReply, name: str) -> tuple[str, ...]:
    value = section.get(name)
    return value[: pushed.MAX_PREFIXES + 1] if isinstance(value, tuple) else ()
