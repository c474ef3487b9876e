"""Advice for every class of failure of every type of tunnel."""

from __future__ import annotations

import pytest

from autovpn.core.advice import advice
from autovpn.core.settings import (
    OpenconnectSettings,
    OpensshSettings,
    OpenvpnSettings,
    PptpSettings,
    Settings,
    TincSettings,
    VpncSettings,
    WireguardSettings,
)
from autovpn.core.tunnel import Failure, FailureClass, TunnelSpec

SETTINGS: tuple[Settings | None, ...] = (
    None,
    OpenconnectSettings("vpn.example"),
    OpensshSettings("vpn.example"),
    OpenvpnSettings("/etc/openvpn/x.ovpn"),
    PptpSettings("vpn.example", "alice"),
    TincSettings("/etc/tinc/x", "laptop", (), (), ()),
    VpncSettings("/etc/vpnc/x.conf"),
    WireguardSettings("/etc/wireguard/x.conf"),
)


def spec_of(settings: Settings | None) -> TunnelSpec | None:
    return TunnelSpec("t", "type", settings, "avpn0") if settings else None


@pytest.mark.parametrize("kind", FailureClass)
@pytest.mark.parametrize("settings", SETTINGS)
def test_every_failure_of_every_tunnel_has_advice_in_whole_sentences(
    kind: FailureClass, settings: Settings | None
) -> None:
    words = advice(Failure(kind, "{profile} %s"), spec_of(settings), "campus")
    assert words[0].isupper()
    assert "{" not in words
    assert len(words) > 60


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_is_tried_once_only_says_how_to_try_again(settings: Settings | None) -> None:
    assert "autovpn up campus" in advice(Failure(FailureClass.AUTH, ""), spec_of(settings), "campus")


def test_special_advice_goes_before_the_general() -> None:
    failure = Failure(FailureClass.UNREACHABLE, "")
    assert "handshake" in advice(failure, spec_of(WireguardSettings("x")))
    assert "handshake" not in advice(failure, spec_of(OpensshSettings("x")))
