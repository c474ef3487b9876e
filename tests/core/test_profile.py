"""What a profile claims: protection, evidence, all traffic or all names."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from autovpn.core.network import Grade
from autovpn.core.profile import Action, DnsSettings, Key, Profile
from autovpn.core.settings import Endpoint, OpensshSettings, Settings, VpncSettings, WireguardPeer, WireguardSettings
from autovpn.core.tunnel import TunnelSpec
from tests.core.builders import connect, on, policy, ssh, trusted

PEERS = (
    WireguardPeer("a", (ip_network("10.0.0.0/8"),), Endpoint("vpn.example", 51820)),
    WireguardPeer("b", (ip_network("10.1.0.0/16"),)),
)


def by(settings: Settings, **changes: object) -> Profile:
    """Return a profile with one split tunnel of these settings."""
    return replace(Profile("it", tunnels=(TunnelSpec("t", "any", settings, "av-t"),)), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("profile", "exclusive"),
    [
        (connect("full", full=True), True),
        (connect("split"), False),
        (by(VpncSettings("x"), dns=DnsSettings(domains=("corp.example",))), False),
        (by(VpncSettings("x"), dns=DnsSettings(servers=("10.0.0.1",))), True),
        (by(VpncSettings("x"), dns=DnsSettings(servers=())), False),
        (by(VpncSettings("x")), True),
        (by(WireguardSettings("x", dns=("10.0.0.1",))), True),
        (by(WireguardSettings("x")), False),
        (by(OpensshSettings("h"), dns=DnsSettings(file="resolv.conf-wlan")), True),
        (by(VpncSettings("x"), action=Action.DISCONNECT), False),
    ],
)
def test_only_one_profile_can_have_all_traffic_or_all_names(profile: Profile, *, exclusive: bool) -> None:
    assert profile.is_exclusive is exclusive


def test_only_what_lowers_protection_and_could_be_forged_needs_evidence() -> None:
    named = on(Key.SSID, b"Home")

    assert trusted("home", named, require=Grade.PROOF).needed_evidence is Grade.PROOF
    assert trusted("dock", on(Key.INTERFACE, "eth0"), require=Grade.PROOF).needed_evidence is Grade.NONE
    assert connect("campus", named).needed_evidence is Grade.NONE
    assert replace(connect("hooks", named), tunnels=()).needed_evidence is Grade.PROOF


def test_profiles_and_tunnels_are_found_by_name() -> None:
    campus = connect("campus")

    assert policy(campus).profile("campus") is campus
    assert policy(campus).profile("other") is None
    assert campus.tunnel("campus-tunnel") is campus.tunnels[0]
    assert campus.tunnel("other") is None


def test_every_far_end_with_an_address_is_named_for_the_pin() -> None:
    wireguard = by(WireguardSettings("x", PEERS)).tunnels[0]
    vpnc = by(VpncSettings("x", "vpn.example")).tunnels[0]

    assert wireguard.endpoints == (Endpoint("vpn.example", 51820),)
    assert vpnc.endpoints == (
        *(Endpoint("vpn.example", port) for port in (500, 4500, 10000)),
        Endpoint("vpn.example", None, "esp"),
    )
    assert by(VpncSettings("x")).tunnels[0].endpoints == ()
    assert ssh(host="alias").endpoints == (Endpoint("alias", 22, "tcp"),)
    real = by(OpensshSettings("alias", endpoint_host="real.example")).tunnels[0]
    assert real.endpoints == (Endpoint("real.example", 22, "tcp"),)
