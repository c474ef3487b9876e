"""A shadowed profile is found, and one that can still win never is."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.network import Grade
from autovpn.core.profile import Action, Condition, Key, Profile, Wanted
from autovpn.core.shadow import implies, shadows
from autovpn.core.snapshot import LinkType


def _condition(key: Key, *wanted: Wanted, negated: bool = False) -> Condition:
    return Condition(key, wanted, negated)


def _profile(
    name: str,
    *conditions: Condition,
    action: Action = Action.CONNECT,
    require: Grade = Grade.NONE,
    default: bool = False,
) -> Profile:
    return Profile(name, action=action, conditions=conditions, require=require, is_default=default)


CAFE = _condition(Key.SSID, b"cafe")
WIFI = _condition(Key.INTERFACE_TYPE, LinkType.WIFI)
NET8 = _condition(Key.ADDRESS, ip_network("10.0.0.0/8"))
NET24 = _condition(Key.ADDRESS, ip_network("10.1.2.0/24"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (CAFE, CAFE),
        (CAFE, _condition(Key.SSID, b"bar", b"cafe")),
        (CAFE, _condition(Key.SSID_HEX, b"cafe")),
        (CAFE, _condition(Key.SSID_GLOB, b"c*")),
        (_condition(Key.SSID_GLOB, b"c*"), _condition(Key.SSID_GLOB, b"b*", b"c*")),
        (_condition(Key.INTERFACE, "wlan0"), _condition(Key.INTERFACE_GLOB, "wl*")),
        (NET24, NET8),
        (_condition(Key.GATEWAY, ip_network("2001:db8::1/128")), _condition(Key.GATEWAY, ip_network("2001:db8::/32"))),
        (
            _condition(Key.SSID, b"a", b"b", negated=True),
            _condition(Key.SSID, b"a", negated=True),
        ),
    ],
)
def test_the_narrower_condition_implies_the_wider(one: Condition, other: Condition) -> None:
    assert implies(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (_condition(Key.SSID, b"bar", b"cafe"), CAFE),
        (_condition(Key.SSID_GLOB, b"c*"), CAFE),
        (CAFE, _condition(Key.SSID_GLOB, b"b*")),
        (CAFE, _condition(Key.INTERFACE_GLOB, "c*")),
        (CAFE, _condition(Key.BSSID, "cafe")),
        (NET8, NET24),
        (NET24, _condition(Key.ADDRESS, ip_network("2001:db8::/32"))),
        (_condition(Key.ADDRESS, ip_network("2001:db8::/32")), NET8),
        (NET24, _condition(Key.GATEWAY, ip_network("10.0.0.0/8"))),
        (CAFE, _condition(Key.SSID, b"bar", negated=True)),
        (_condition(Key.SSID, b"a", negated=True), _condition(Key.SSID, b"a", b"b", negated=True)),
    ],
)
def test_nothing_else_is_implied(one: Condition, other: Condition) -> None:
    assert not implies(one, other)


def test_a_profile_behind_a_wider_one_never_wins() -> None:
    wide, narrow = _profile("wide", WIFI), _profile("narrow", WIFI, CAFE)
    assert [(shadow.later.name, shadow.earlier.name) for shadow in shadows((wide, narrow))] == [("narrow", "wide")]
    assert shadows((narrow, wide)) == ()


def test_the_default_is_shadowed_by_nothing_that_has_a_condition() -> None:
    assert shadows((_profile("wide", WIFI), _profile("default", default=True))) == ()


def test_one_that_may_lack_evidence_shadows_nothing_that_needs_less() -> None:
    trusted = _profile("home", CAFE, action=Action.DISCONNECT, require=Grade.SHARED_KEY)
    ignored = _profile("same", CAFE, action=Action.IGNORE, require=Grade.SHARED_KEY)
    hinted = _profile("hint", CAFE, action=Action.IGNORE, require=Grade.HINT)
    assert shadows((trusted, hinted)) == ()
    assert [shadow.later.name for shadow in shadows((trusted, ignored))] == ["same"]


_conditions = st.builds(
    Condition,
    st.sampled_from([Key.SSID, Key.SSID_HEX, Key.SSID_GLOB, Key.BSSID]),
    st.lists(st.sampled_from([b"a", b"b", b"ab", b"*", b"a*"]), min_size=1, max_size=2).map(tuple),
    st.booleans(),
)


@given(st.lists(st.lists(_conditions, max_size=3).map(tuple), max_size=6))
def test_the_index_finds_what_comparing_every_pair_finds(all_conditions: list[tuple[Condition, ...]]) -> None:
    profiles = tuple(_profile(str(number), *conditions) for number, conditions in enumerate(all_conditions))
    every_pair = {
        later.name
        for number, later in enumerate(profiles)
        if any(
            all(any(implies(one, other) for one in later.conditions) for other in earlier.conditions)
            and earlier.needed_evidence <= later.needed_evidence
            for earlier in profiles[:number]
        )
    }
    assert {shadow.later.name for shadow in shadows(profiles)} == every_pair
