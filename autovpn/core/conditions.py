"""Conditions: what a profile wants to observe, compared with what is observed. Three-valued: yes, no, not known yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase

from autovpn.core.escape import show_ssid
from autovpn.core.network import IPAddress, IPInterface, IPNetwork, Security
from autovpn.core.profile import Condition, Key, Wanted
from autovpn.core.snapshot import Link, LinkType


class Truth(Enum):
    """The answer to a condition. `ABSENT` is a no that comes from an observation which is not to be had."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "not known yet"
    ABSENT = "not observed"


@dataclass(frozen=True, slots=True)
class ConditionVerdict:
    """One condition's answer with its reason: what was observed, what was wanted."""

    key: str
    negated: bool
    wanted: str
    observed: str
    truth: Truth


Observed = tuple[str, ...] | tuple[bytes, ...] | tuple[IPInterface, ...] | tuple[IPAddress, ...] | tuple[Enum, ...]


def judge(condition: Condition, link: Link, *, wants_tunnel: bool, timed_out: bool) -> ConditionVerdict:
    """Compare one condition with one link.

    An absent observation never matches. Under `not` it holds in a profile that wants a tunnel and fails in one that
    wants none: the unknown may raise protection, never lower it.
    """
    values, settled = _observe(condition.key, link)
    if not values and not settled and not timed_out:
        truth = Truth.UNKNOWN
    elif not values:
        truth = Truth.YES if condition.negated and wants_tunnel else Truth.ABSENT
    else:
        met = any(_matches(condition.key, wanted, value) for wanted in condition.wanted for value in values)
        truth = Truth.YES if met is not condition.negated else Truth.NO
    return ConditionVerdict(
        key=condition.key.value,
        negated=condition.negated,
        wanted=" or ".join(show_value(wanted) for wanted in condition.wanted) or "nothing",
        observed=", ".join(show_value(value) for value in values) or ("nothing" if settled else "nothing yet"),
        truth=truth,
    )


def _observe(key: Key, link: Link) -> tuple[Observed, bool]:
    """Return what is observed for a key, and whether an empty answer is final."""
    match key:
        case Key.INTERFACE | Key.INTERFACE_GLOB:
            return (link.name,), True
        case Key.INTERFACE_TYPE:
            return (link.type,), True
        case Key.GATEWAY_MAC:
            return tuple(gateway.mac for gateway in link.gateways if gateway.mac), False
        case Key.GATEWAY:
            return tuple(gateway.address for gateway in link.gateways), False
        case Key.ADDRESS:
            return link.addresses, True
        case Key.DNS_SUFFIX:
            return (link.dns.suffixes if link.dns else ()), True
        case Key.DNS_SERVER:
            return (link.dns.servers if link.dns else ()), True
        case _:
            return _observe_wireless(key, link), not link.wireless_pending


def _observe_wireless(key: Key, link: Link) -> Observed:
    wireless = link.wireless
    if wireless is None:
        return ()
    if key is Key.BSSID:
        return (wireless.bssid,) if wireless.bssid else ()
    if key is Key.SECURITY:
        return (wireless.security,) if wireless.security else ()
    return (wireless.ssid,) if wireless.ssid else ()


def _matches(key: Key, wanted: Wanted, value: object) -> bool:
    match key:
        case Key.INTERFACE_GLOB:
            return isinstance(value, str) and isinstance(wanted, str) and fnmatchcase(value, wanted)
        case Key.SSID_GLOB:
            return isinstance(value, bytes) and isinstance(wanted, bytes) and _glob_bytes(value, wanted)
        case Key.ADDRESS:
            return isinstance(value, IPInterface) and isinstance(wanted, IPNetwork) and value.ip in wanted
        case Key.GATEWAY:
            return isinstance(value, IPAddress) and isinstance(wanted, IPNetwork) and value in wanted
        case Key.DNS_SUFFIX | Key.DNS_SERVER:
            return isinstance(value, str) and isinstance(wanted, str) and _same_name(value, wanted)
        case _:
            return value == wanted


def _glob_bytes(value: bytes, pattern: bytes) -> bool:
    # latin-1 gives each byte one character, so that a glob counts bytes and cannot fail on invalid UTF-8.
    return fnmatchcase(value.decode("latin-1"), pattern.decode("latin-1"))


def _same_name(one: str, other: str) -> bool:
    return one.rstrip(".").lower() == other.rstrip(".").lower()


def show_value(value: object) -> str:
    """Return an observed or wanted value as text that is safe to print."""
    shower: Callable[[bytes], str] = show_ssid
    match value:
        case bytes():
            return shower(value)
        case Security() | LinkType():
            return str(value.value)
        case _:
            return str(value)
