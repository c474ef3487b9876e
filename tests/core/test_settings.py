"""What each type of tunnel says of itself before it is started."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autovpn.core.endpoint import Endpoint
from autovpn.core.settings import IpsecSettings, TincPeer, TincSettings

IPSEC = IpsecSettings("vpn.example")
TINC = TincSettings("/etc/tinc/mesh", "laptop", (TincPeer("gateway", (Endpoint("vpn.example", 655, "tcp"),)),), (), ())


@pytest.mark.parametrize(
    ("settings", "may"), [(IPSEC, True), (replace(IPSEC, virtual_address=False), False), (TINC, False)]
)
def test_dns_comes_from_a_tunnel_that_can_be_told_of_it(settings: IpsecSettings | TincSettings, may: bool) -> None:
    assert settings.may_push_dns is may


def test_all_packets_of_a_tunnel_have_their_way_out() -> None:
    assert [(end.port, end.protocol) for end in IPSEC.endpoints] == [(500, "udp"), (4500, "udp"), (None, "esp")]
    assert [(end.port, end.protocol) for end in TINC.endpoints] == [(655, "tcp"), (655, "udp")]
