"""How far a link has come, whether it can be an uplink, and what its network is."""

from __future__ import annotations

from itertools import product

import pytest

from autovpn.core.snapshot import LinkId, LinkType, Phase, counts_as_uplink, phase_of
from tests.core.builders import cable, seen, wifi


@pytest.mark.parametrize(
    ("admin_up", "carrier", "dormant", "operational", "has_address"), list(product([False, True], repeat=5))
)
def test_a_link_is_as_far_as_the_first_thing_that_it_lacks(
    *, admin_up: bool, carrier: bool, dormant: bool, operational: bool, has_address: bool
) -> None:
    phase = phase_of(
        admin_up=admin_up, carrier=carrier, dormant=dormant, operational=operational, has_address=has_address
    )

    if not (admin_up and carrier):
        assert phase is Phase.DOWN
    elif dormant:
        assert phase is Phase.DORMANT
    elif not operational:
        assert phase is Phase.CARRIER
    else:
        assert phase is (Phase.USABLE if has_address else Phase.ADDRESSING)


@pytest.mark.parametrize("kind", [None, "bond", "team", "vlan", "macvlan", "ipvlan", "ppp", "wwan"])
def test_hardware_and_what_stands_for_it_are_uplinks(kind: str | None) -> None:
    assert counts_as_uplink("x0", kind, enslaved=False, has_default_route=False)
    assert not counts_as_uplink("x0", kind, enslaved=True, has_default_route=True)


@pytest.mark.parametrize("kind", ["veth", "bridge"])
def test_a_veth_or_bridge_is_one_with_a_default_route(kind: str) -> None:
    assert counts_as_uplink("x0", kind, enslaved=False, has_default_route=True)
    assert not counts_as_uplink("x0", kind, enslaved=False, has_default_route=False)


@pytest.mark.parametrize("kind", ["tun", "wireguard", "dummy", "ifb", "gre", "sit", "xfrm", "vti", "unheard-of"])
def test_tunnels_and_toys_never_are_unless_the_user_says_so(kind: str) -> None:
    assert not counts_as_uplink("x0", kind, enslaved=False, has_default_route=True)
    assert counts_as_uplink("x0", kind, enslaved=False, has_default_route=False, include=frozenset({"x0"}))


def test_the_user_is_taken_at_their_word_and_excluding_wins() -> None:
    named = frozenset({"x0"})

    assert not counts_as_uplink("x0", None, enslaved=False, has_default_route=True, exclude=named)
    assert not counts_as_uplink("x0", "tun", enslaved=False, has_default_route=True, include=named, exclude=named)


def test_a_link_is_found_by_its_identity_and_by_its_name() -> None:
    snapshot = seen(wifi(index=2), cable(index=3))

    assert snapshot.link(LinkId(3, 1)) == snapshot.named("eth3") == cable(index=3)
    assert snapshot.link(LinkId(3, 2)) is None, "the index was used again by another link"
    assert snapshot.named("eth4") is None


def test_the_network_of_a_link_holds_what_tells_it_apart_and_no_bssid() -> None:
    network = wifi(b"Campus").network

    assert (network.wireless, network.ssid) == (True, b"Campus")
    assert network.gateway_macs == {"02:00:00:00:00:aa"}
    assert wifi(wireless=None).network.ssid is None
    assert cable(type=LinkType.OTHER).network.wireless is False
