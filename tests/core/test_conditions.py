"""Conditions: each observable compared with what is wanted of it, and what an absent one means."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.conditions import Truth, judge, show_value
from autovpn.core.network import Security, UplinkDns, Wireless
from autovpn.core.profile import Condition, Key, Wanted
from autovpn.core.snapshot import Link, LinkType
from tests.core.builders import cable, on, wifi

SSIDS = st.binary(min_size=1, max_size=32)
NAMED = UplinkDns(("192.0.2.53",), ("Corp.Example.",))
BOTH = cable(addresses=(ip_interface("198.51.100.10/24"), ip_interface("2001:db8::9/64")), dns=NAMED)


def truth(condition: Condition, link: Link, *, wants_tunnel: bool = True, timed_out: bool = False) -> Truth:
    return judge(condition, link, wants_tunnel=wants_tunnel, timed_out=timed_out).truth


def named(ssid: bytes) -> Link:
    return replace(wifi(), wireless=Wireless(ssid, "02:00:00:00:00:01", security=Security.PSK, authorized=True))


@pytest.mark.parametrize(
    ("key", "right", "wrong", "link"),
    [
        (Key.INTERFACE, "eth3", "eth", BOTH),
        (Key.INTERFACE_GLOB, "eth?", "eth", BOTH),
        (Key.INTERFACE_TYPE, LinkType.ETHERNET, LinkType.WIFI, BOTH),
        (Key.SSID, b"Campus", b"Camp", wifi()),
        (Key.SSID_HEX, b"Campus", b"campus", wifi()),
        (Key.SSID_GLOB, b"Cam*", b"Cam", wifi()),
        (Key.BSSID, "02:00:00:00:00:01", "02:00:00:00:00:02", wifi()),
        (Key.SECURITY, Security.PSK, Security.SAE, wifi()),
        (Key.GATEWAY_MAC, "02:00:00:00:00:bb", "02:00:00:00:00:aa", BOTH),
        (Key.GATEWAY, ip_network("198.51.100.0/28"), ip_network("198.51.100.2/32"), BOTH),
        (Key.GATEWAY, ip_network("0.0.0.0/0"), ip_network("::/0"), BOTH),
        (Key.ADDRESS, ip_network("198.51.100.8/29"), ip_network("198.51.100.0/29"), BOTH),
        (Key.ADDRESS, ip_network("2001:db8::/32"), ip_network("2001:db9::/32"), BOTH),
        (Key.DNS_SUFFIX, "corp.example", "example", BOTH),
        (Key.DNS_SERVER, "192.0.2.53", "192.0.2.5", BOTH),
    ],
)
def test_each_observable_is_compared_in_its_own_way(key: Key, right: Wanted, wrong: Wanted, link: Link) -> None:
    assert truth(on(key, right), link) is Truth.YES
    assert truth(on(key, wrong), link) is Truth.NO
    assert truth(on(key, wrong, right), link) is Truth.YES, "any of a list is enough"
    assert truth(on(key, right, negated=True), link) is Truth.NO
    assert truth(on(key, wrong, negated=True), link) is Truth.YES


@given(SSIDS, SSIDS)
def test_an_ssid_matches_its_own_bytes_and_no_others(here: bytes, wanted: bytes) -> None:
    assert (truth(on(Key.SSID, wanted), named(here)) is Truth.YES) is (here == wanted)
    assert (truth(on(Key.SSID_HEX, wanted), named(here)) is Truth.YES) is (here == wanted)


@given(SSIDS)
def test_a_glob_counts_bytes(ssid: bytes) -> None:
    assert truth(on(Key.SSID_GLOB, b"?" * len(ssid)), named(ssid)) is Truth.YES
    assert truth(on(Key.SSID_GLOB, b"?" * (len(ssid) + 1)), named(ssid)) is Truth.NO
    assert truth(on(Key.SSID_GLOB, b"*"), named(ssid)) is Truth.YES


@pytest.mark.parametrize("key", [Key.SSID, Key.SSID_GLOB, Key.BSSID, Key.SECURITY])
def test_a_station_that_is_asked_for_is_waited_for_and_one_without_association_is_not(key: Key) -> None:
    condition = on(key, Security.PSK if key is Key.SECURITY else b"Campus")

    assert truth(condition, wifi(wireless=None, wireless_pending=True)) is Truth.UNKNOWN
    assert truth(condition, wifi(wireless=None)) is Truth.ABSENT
    assert truth(condition, wifi(wireless=Wireless(b"", ""))) is Truth.ABSENT, "an empty one names nothing"


@pytest.mark.parametrize("key", [Key.GATEWAY, Key.GATEWAY_MAC])
def test_a_gateway_is_waited_for_until_the_deadline(key: Key) -> None:
    bare = cable(gateways=())

    assert truth(on(key, "02:00:00:00:00:bb"), bare) is Truth.UNKNOWN
    assert truth(on(key, "02:00:00:00:00:bb"), bare, timed_out=True) is Truth.ABSENT


@pytest.mark.parametrize("key", [Key.ADDRESS, Key.DNS_SUFFIX, Key.DNS_SERVER, Key.SSID])
def test_the_unknown_under_not_raises_protection_and_never_lowers_it(key: Key) -> None:
    bare = cable(addresses=())

    assert truth(on(key, "any", negated=True), bare, wants_tunnel=True) is Truth.YES
    assert truth(on(key, "any", negated=True), bare, wants_tunnel=False) is Truth.ABSENT


def test_a_verdict_says_what_was_wanted_and_what_was_there() -> None:
    here = judge(on(Key.SSID, b"One", b"T\xffwo"), wifi(b"\x1b[2J"), wants_tunnel=True, timed_out=False)
    waiting = judge(on(Key.GATEWAY_MAC, "02:00:00:00:00:bb"), cable(mac=None), wants_tunnel=True, timed_out=False)
    empty = judge(Condition(Key.DNS_SERVER, ()), cable(), wants_tunnel=True, timed_out=False)

    assert (here.key, here.wanted, here.observed) == ("ssid", r'"One" or "T\xffwo"', r'"\x1b[2J"')
    assert waiting.observed == "nothing yet"
    assert (empty.wanted, empty.observed) == ("nothing", "nothing")


def test_values_are_shown_in_the_words_of_the_configuration() -> None:
    shown = [show_value(value) for value in (Security.SAE, LinkType.WIFI, b"a\n", ip_network("10.0.0.0/8"))]

    assert shown == ["sae", "wifi", r'"a\x0a"', "10.0.0.0/8"]
