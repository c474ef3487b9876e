"""The kernel's WireGuard devices, set and asked by generic netlink (linux/wireguard.h)."""

from __future__ import annotations

import errno
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic.wireguard import (
    WG_CMD_GET_DEVICE,
    WG_CMD_SET_DEVICE,
    WG_GENL_VERSION,
    WGPEER_F_REPLACE_ALLOWEDIPS,
    AsyncWireGuard,
    wgmsg,
)

from autovpn.core.actions import ConfigureWireguard
from autovpn.core.driving import WireguardStatus
from autovpn.core.network import IPNetwork
from autovpn.core.settings import WireguardPeer
from autovpn.core.tunnel import PinnedEndpoint
from autovpn.errors import SystemFault, Unsupported

Attributes = list[Any]  # [name, value] pairs, as pyroute2 takes them


async def configure(settings: ConfigureWireguard) -> None:
    """Set the device's key and port, then add or update its peers.

    Raises Unsupported on a kernel without WireGuard, SystemFault when it refuses.
    """
    async with _connection(settings.device) as kernel:
        for message in messages(settings):
            answers = await kernel.nlm_request(message, msg_type=kernel.prid, msg_flags=NLM_F_REQUEST | NLM_F_ACK)
            async for _ in answers:
                pass


async def status(device: str) -> WireguardStatus:
    """Return the device's newest handshake and its byte counters; raise as `configure` does."""
    question = wgmsg()
    question["cmd"] = WG_CMD_GET_DEVICE
    question["version"] = WG_GENL_VERSION
    question["attrs"] = [["WGDEVICE_A_IFNAME", device]]
    async with _connection(device) as kernel:
        answers = await kernel.nlm_request(question, msg_type=kernel.prid, msg_flags=NLM_F_REQUEST | NLM_F_DUMP)
        return status_in([answer async for answer in answers], time.time())


def messages(settings: ConfigureWireguard) -> tuple[wgmsg, ...]:
    """Return what sets the device: one message for itself and one for each peer, so that none grows too large.

    pyroute2's own `set` waits for its answer in a way that loses a refusal's number, and hides the messages.
    """
    own: Attributes = []
    if settings.private_key is not None:
        own.append(["WGDEVICE_A_PRIVATE_KEY", settings.private_key.reveal().decode()])
    if settings.listen_port is not None:
        own.append(["WGDEVICE_A_LISTEN_PORT", settings.listen_port])
    endpoints = iter(settings.endpoints)
    peers = [
        _peer(peer, next(endpoints, None) if peer.endpoint else None, settings.preshared_keys)
        for peer in settings.peers
    ]
    parts: list[Attributes] = [own, *([["WGDEVICE_A_PEERS", [{"attrs": peer}]]] for peer in peers)]
    return tuple(_set(settings.device, part) for part in parts)


def status_in(answers: Iterable[Any], now: float) -> WireguardStatus:
    """Return what the kernel's answers add up to; a device with many peers comes in several."""
    newest, received, sent = 0.0, 0, 0
    for answer in answers:
        for peer in answer.get_attr("WGDEVICE_A_PEERS") or ():
            handshake = peer.get_attr("WGPEER_A_LAST_HANDSHAKE_TIME")
            if handshake:
                newest = max(newest, handshake["tv_sec"] + handshake["tv_nsec"] / 1e9)
            received += peer.get_attr("WGPEER_A_RX_BYTES") or 0
            sent += peer.get_attr("WGPEER_A_TX_BYTES") or 0
    return WireguardStatus(max(now - newest, 0.0) if newest else None, received, sent)


def _set(device: str, attributes: Attributes) -> wgmsg:
    message = wgmsg()
    message["cmd"] = WG_CMD_SET_DEVICE
    message["version"] = WG_GENL_VERSION
    message["attrs"] = [["WGDEVICE_A_IFNAME", device], *attributes]
    return message


def _peer(peer: WireguardPeer, endpoint: PinnedEndpoint | None, preshared: Mapping[str, Any]) -> Attributes:
    attributes: Attributes = [
        ["WGPEER_A_PUBLIC_KEY", peer.public_key],
        ["WGPEER_A_FLAGS", WGPEER_F_REPLACE_ALLOWEDIPS],
        ["WGPEER_A_ALLOWEDIPS", [{"attrs": _allowed(network)} for network in peer.allowed_ips]],
    ]
    if peer.public_key in preshared:
        attributes.append(["WGPEER_A_PRESHARED_KEY", preshared[peer.public_key].reveal().decode()])
    if endpoint is not None:
        attributes.append(["WGPEER_A_ENDPOINT", {"addr": str(endpoint.address), "port": endpoint.port}])
    if peer.keepalive is not None:
        attributes.append(["WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL", peer.keepalive])
    return attributes


def _allowed(network: IPNetwork) -> Attributes:
    family = {4: 2, 6: 10}[network.version]  # AF_INET, AF_INET6
    return [
        ["WGALLOWEDIP_A_FAMILY", family],
        ["WGALLOWEDIP_A_IPADDR", network.network_address.packed],
        ["WGALLOWEDIP_A_CIDR_MASK", network.prefixlen],
    ]


@asynccontextmanager
async def _connection(device: str) -> AsyncIterator[Any]:
    kernel = AsyncWireGuard()
    try:
        await kernel.setup_endpoint()
    except NetlinkError as error:
        kernel.close()
        if error.code == errno.ENOENT:
            msg = "this kernel has no WireGuard"
            raise Unsupported(msg) from error
        raise _fault(device, error) from error
    try:
        yield kernel
    except NetlinkError as error:
        raise _fault(device, error) from error
    finally:
        kernel.close()


def _fault(device: str, error: NetlinkError) -> SystemFault:
    return SystemFault(f"{device}: the kernel refused to set or show it: {error.args[-1]}")
