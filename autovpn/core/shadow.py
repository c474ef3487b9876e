"""Find profiles that can never win, because an earlier one matches everything that they match.

The answer is careful: it names a profile only where the implication is certain from the conditions alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network

from autovpn.core.network import IPNetwork
from autovpn.core.profile import Condition, Key, Profile, Wanted

_EXACT = {  # exact keys and the observable that they compare, so that `ssid` and `ssid_hex` meet
    Key.INTERFACE: "interface",
    Key.INTERFACE_TYPE: "interface_type",
    Key.SSID: "ssid",
    Key.SSID_HEX: "ssid",
    Key.BSSID: "bssid",
    Key.SECURITY: "security",
    Key.GATEWAY_MAC: "gateway_mac",
    Key.DNS_SUFFIX: "dns_suffix",
    Key.DNS_SERVER: "dns_server",
}
_GLOB = {Key.INTERFACE_GLOB: "interface", Key.SSID_GLOB: "ssid"}
_PREFIX = frozenset({Key.GATEWAY, Key.ADDRESS})


@dataclass(frozen=True, slots=True)
class Shadow:
    """`later` never wins: wherever it matches, `earlier` has matched already."""

    later: Profile
    earlier: Profile


def shadows(profiles: tuple[Profile, ...]) -> tuple[Shadow, ...]:
    """Return each profile that is shadowed, with the first that shadows it; `profiles` in the order they are tried."""
    found = []
    index = _Index()
    for later in profiles:
        earlier = next((profile for profile in index.candidates(later) if covers(profile, later)), None)
        if earlier is not None:
            found.append(Shadow(later, earlier))
        index.add(later)
    return tuple(found)


def covers(earlier: Profile, later: Profile) -> bool:
    """Report whether `earlier` matches wherever `later` does: each of its conditions is implied by one of the other.

    One that may need better evidence than the later one can fall through to it, and so covers nothing.
    """
    if earlier.needed_evidence > later.needed_evidence:
        return False
    return all(any(implies(one, other) for one in later.conditions) for other in earlier.conditions)


def implies(one: Condition, other: Condition) -> bool:
    """Report whether `other` certainly holds wherever `one` holds."""
    if one.negated or other.negated:
        return one.negated and other.negated and one.key is other.key and set(one.wanted) >= set(other.wanted)
    return all(any(_within(one.key, value, other.key, wide) for wide in other.wanted) for value in one.wanted)


def _within(key: Key, value: Wanted, other: Key, wide: Wanted) -> bool:
    """Report whether everything that `value` matches under `key` is matched by `wide` under `other`."""
    if key in _EXACT and other in _EXACT:
        return _EXACT[key] == _EXACT[other] and value == wide
    if key in _EXACT and other in _GLOB:
        return _EXACT[key] == _GLOB[other] and _globbed(value, wide)
    if key is not other:
        return False
    if key in _PREFIX and isinstance(value, IPv4Network | IPv6Network) and isinstance(wide, IPv4Network | IPv6Network):
        return _inside(value, wide)
    return value == wide


def _inside(value: IPNetwork, wide: IPNetwork) -> bool:
    if isinstance(value, IPv4Network):
        return isinstance(wide, IPv4Network) and value.subnet_of(wide)
    return isinstance(wide, IPv6Network) and value.subnet_of(wide)


def _globbed(value: Wanted, pattern: Wanted) -> bool:
    if isinstance(value, bytes) and isinstance(pattern, bytes):
        return fnmatchcase(value, pattern)
    return isinstance(value, str) and isinstance(pattern, str) and fnmatchcase(value, pattern)


@dataclass(slots=True)
class _Index:
    """Earlier profiles, found by an exact value that they want, so that a thousand profiles aren't a million pairs."""

    exact: defaultdict[tuple[str, Wanted], list[int]] = field(default_factory=lambda: defaultdict(list))
    rest: list[int] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)

    def add(self, profile: Profile) -> None:
        number = len(self.profiles)
        self.profiles.append(profile)
        exact = [condition for condition in profile.conditions if not condition.negated and condition.key in _EXACT]
        if not exact:
            self.rest.append(number)
            return
        rarest = min(exact, key=lambda condition: _EXACT[condition.key] == "interface_type")
        for value in rarest.wanted:
            self.exact[_EXACT[rarest.key], value].append(number)

    def candidates(self, later: Profile) -> Iterator[Profile]:
        numbers = set(self.rest)
        for condition in later.conditions:
            if condition.key in _EXACT and not condition.negated:
                numbers.update(self.exact.get((_EXACT[condition.key], condition.wanted[0]), ()))
        return (self.profiles[number] for number in sorted(numbers))
