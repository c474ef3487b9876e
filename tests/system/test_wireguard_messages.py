"""What is sent to the kernel's WireGuard says what the configuration says, and its answers add up."""

from __future__ import annotations

import base64
from ipaddress import ip_address, ip_network

import pytest
from pyroute2.netlink.generic.wireguard import wgmsg

from autovpn.core.actions import ConfigureWireguard
from autovpn.core.driving import WireguardStatus
from autovpn.core.secret import Secret
from autovpn.core.settings import Endpoint, WireguardPeer
from autovpn.core.tunnel import PinnedEndpoint
from autovpn.system.wireguard import messages, status_in

PRIVATE, ALICE, BOB, SHARED = (base64.b64encode(bytes([number]) * 32).decode() for number in range(1, 5))

SETTINGS = ConfigureWireguard(
    device="avoffice",
    private_key=Secret(PRIVATE.encode()),
    peers=(
        WireguardPeer(ALICE, (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))),
        WireguardPeer(BOB, (ip_network("0.0.0.0/0"),), Endpoint("vpn.example", 51820), keepalive=25),
    ),
    endpoints=(PinnedEndpoint(ip_address("2001:db8::1"), 51820, "udp"),),
    preshared_keys={BOB: Secret(SHARED.encode())},
    listen_port=51821,
)


def as_the_kernel_reads(message: wgmsg) -> wgmsg:
    message.encode()
    read = wgmsg(message.data)
    read.decode()
    return read


def peer_of(message: wgmsg) -> wgmsg:
    (peer,) = as_the_kernel_reads(message).get_attr("WGDEVICE_A_PEERS")
    return peer


def test_the_device_is_set_first_and_each_peer_in_a_message_of_its_own() -> None:
    device, *peers = map(as_the_kernel_reads, messages(SETTINGS))
    assert device.get_attr("WGDEVICE_A_PRIVATE_KEY") == PRIVATE.encode()
    assert device.get_attr("WGDEVICE_A_LISTEN_PORT") == 51821
    assert len(peers) == 2
    assert {message.get_attr("WGDEVICE_A_IFNAME") for message in (device, *peers)} == {"avoffice"}
    assert all(peer.get_attr("WGDEVICE_A_PRIVATE_KEY") is None for peer in peers)


def test_a_peer_has_its_key_prefixes_endpoint_and_keepalive() -> None:
    bob = peer_of(messages(SETTINGS)[2])
    assert bob.get_attr("WGPEER_A_PUBLIC_KEY") == BOB.encode()
    assert bob.get_attr("WGPEER_A_PRESHARED_KEY") == SHARED.encode()
    assert bob.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") == 25
    endpoint = bob.get_attr("WGPEER_A_ENDPOINT")
    assert (endpoint["addr"], endpoint["port"]) == ("2001:db8::1", 51820)
    assert [prefix["addr"] for prefix in bob.get_attr("WGPEER_A_ALLOWEDIPS")] == ["0.0.0.0/0"]


def test_a_peer_that_calls_us_has_no_endpoint_and_its_keepalive_is_left_alone() -> None:
    alice = peer_of(messages(SETTINGS)[1])
    assert alice.get_attr("WGPEER_A_ENDPOINT") is None
    assert alice.get_attr("WGPEER_A_PRESHARED_KEY") is None
    assert alice.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") is None
    assert [prefix["addr"] for prefix in alice.get_attr("WGPEER_A_ALLOWEDIPS")] == ["10.0.0.0/8", "fd00::/8"]


def answer(*peers: tuple[int, int, int]) -> wgmsg:
    message = wgmsg()
    message["attrs"] = [
        [
            "WGDEVICE_A_PEERS",
            [
                {
                    "attrs": [
                        ["WGPEER_A_LAST_HANDSHAKE_TIME", {"tv_sec": handshake, "tv_nsec": 0}],
                        ["WGPEER_A_RX_BYTES", received],
                        ["WGPEER_A_TX_BYTES", sent],
                    ]
                }
                for handshake, received, sent in peers
            ],
        ]
    ]
    return as_the_kernel_reads(message)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], WireguardStatus(None, 0, 0)),
        ([answer((0, 0, 148))], WireguardStatus(None, 0, 148)),
        ([answer((970, 5, 7), (0, 1, 1)), answer((990, 10, 20))], WireguardStatus(10.0, 16, 28)),
        ([answer((1010, 1, 1))], WireguardStatus(0.0, 1, 1)),
    ],
    ids=["no peer", "never", "several", "the clock went back"],
)
def test_the_newest_handshake_of_any_peer_counts(answers: list[wgmsg], expected: WireguardStatus) -> None:
    assert status_in(answers, now=1000.0) == expected
