"""When two observations are the same network: unless they conflict, and the unknown never does."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.network import Grade, Network, Security, Wireless

MACS = st.frozensets(st.sampled_from(["02:00:00:00:00:01", "02:00:00:00:00:02"]))
GATEWAYS = st.frozensets(st.sampled_from([ip_address("192.0.2.1"), ip_address("198.51.100.1")]))
PREFIXES = st.frozensets(st.sampled_from([ip_network("192.0.2.0/24"), ip_network("198.51.100.0/24")]))
SSIDS = st.none() | st.sampled_from([b"One", b"Two"])
NETWORKS = st.builds(Network, st.booleans(), SSIDS, st.none() | st.sampled_from(Security), MACS, GATEWAYS, PREFIXES)


@given(NETWORKS, NETWORKS)
def test_a_conflict_is_mutual(one: Network, other: Network) -> None:
    assert one.conflicts(other) is other.conflicts(one)


@given(NETWORKS)
def test_no_network_conflicts_with_itself(network: Network) -> None:
    assert not network.conflicts(network)


@given(NETWORKS)
def test_the_unknown_conflicts_with_nothing_of_its_medium(network: Network) -> None:
    assert not network.conflicts(Network(wireless=network.wireless))
    assert network.conflicts(Network(wireless=not network.wireless))


@given(NETWORKS, NETWORKS)
def test_a_refined_network_conflicts_with_neither_of_its_observations(older: Network, newer: Network) -> None:
    if not older.conflicts(newer):
        assert not older.refined_by(newer).conflicts(newer)


@given(NETWORKS)
def test_refining_forgets_nothing(known: Network) -> None:
    assert known.refined_by(Network(wireless=known.wireless)) == known
    assert Network(wireless=known.wireless).refined_by(known) == known


@given(SSIDS, MACS, MACS, PREFIXES)
def test_a_wireless_network_is_told_by_its_name_alone(
    ssid: bytes | None, here: frozenset[str], there: frozenset[str], prefixes: frozenset[object]
) -> None:
    """Roaming to another gateway and prefix under one name is no other network."""
    one = Network(wireless=True, ssid=ssid, gateway_macs=here)
    other = Network(wireless=True, ssid=ssid, gateway_macs=there, prefixes=prefixes)  # type: ignore[arg-type]

    assert not one.conflicts(other)


def test_a_wireless_network_of_another_security_is_another() -> None:
    one = Network(wireless=True, ssid=b"One", security=Security.PSK)

    assert one.conflicts(Network(wireless=True, ssid=b"One", security=Security.OPEN))
    assert one.conflicts(Network(wireless=True, ssid=b"Two", security=Security.PSK))


def test_gateways_in_common_outweigh_prefixes() -> None:
    mac, here, there = frozenset({"02:00:00:00:00:01"}), ip_network("192.0.2.0/24"), ip_network("198.51.100.0/24")
    one = Network(gateway_macs=mac, prefixes=frozenset({here}))

    assert not one.conflicts(Network(gateway_macs=mac, prefixes=frozenset({there})))
    assert Network(prefixes=frozenset({here})).conflicts(Network(prefixes=frozenset({there})))


@pytest.mark.parametrize("authorized", [False, True])
@pytest.mark.parametrize("security", [None, *Security])
def test_only_a_finished_handshake_with_a_shared_key_is_more_than_a_hint(
    security: Security | None, *, authorized: bool
) -> None:
    evidence = Wireless(b"One", "", security=security, authorized=authorized).evidence

    shared = authorized and security in (Security.PSK, Security.SAE)
    assert evidence is (Grade.SHARED_KEY if shared else Grade.HINT)


def test_grades_are_spelled_as_in_the_configuration() -> None:
    assert [grade.word for grade in Grade] == ["none", "hint", "shared-key", "proof"]
