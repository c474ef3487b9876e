"""The real checks of a tunnel's health: by its device's counters, a ping, a connection, a program, a handshake."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from autovpn.core.driving import WireguardStatus
from autovpn.core.health import Traffic, stale_handshake
from autovpn.core.tunnel import HealthCheck
from autovpn.daemon.executors.nonce import new_nonce
from autovpn.daemon.health import Watched
from autovpn.errors import SystemFault
from autovpn.system import probes, wireguard
from autovpn.system.counters import link_traffic
from autovpn.tunnels import uapi
from autovpn.tunnels.wireguard import SOCKETS

LONGEST_CHECK = 30.0
"""Seconds that a program has, however long the interval is."""

_LARGEST_ANSWER = 1 << 20


class TunnelProbes:
    """Asks real tunnels."""

    def __init__(self, sockets: Path = Path(SOCKETS)) -> None:
        """Find wireguard-go's sockets in this folder."""
        self._sockets = sockets

    async def traffic(self, tunnel: Watched) -> Traffic | None:
        """Return the device's counters; WireGuard's own where handshakes count, which are no traffic of the device."""
        if tunnel.health.check is HealthCheck.HANDSHAKE:
            status = await self._wireguard(tunnel.device)
            return Traffic(status.received, status.sent) if status else None
        return link_traffic(tunnel.device) if tunnel.device else None

    async def check(self, tunnel: Watched) -> str:
        """Check the tunnel once; return what is wrong."""
        health = tunnel.health
        patience = min(health.interval, probes.PATIENCE)
        if health.check is HealthCheck.HANDSHAKE:
            status = await self._wireguard(tunnel.device)
            return stale_handshake(status.age, tunnel.device) if status else f"{tunnel.device} tells nothing of itself"
        if health.check is HealthCheck.COMMAND:
            deadline = min(max(health.interval, probes.PATIENCE), LONGEST_CHECK)
            return await probes.succeed(health.command, _environment(tunnel), new_nonce(), deadline)
        if health.address is None:
            return f"the check {health.check.value} has no address"
        if health.check is HealthCheck.TCP:
            return await probes.connect(health.address, health.port or 0, tunnel.device, patience)
        if health.check is HealthCheck.DNS:
            return await probes.ask(health.address, tunnel.device, patience)
        return await probes.ping(health.address, tunnel.device, patience)

    async def _wireguard(self, device: str) -> WireguardStatus | None:
        """Ask the kernel, else wireguard-go."""
        try:
            return await wireguard.status(device)
        except SystemFault:
            pass
        try:
            async with asyncio.timeout(probes.PATIENCE):
                return await self._userspace(device)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return None

    async def _userspace(self, device: str) -> WireguardStatus | None:
        path = self._sockets / f"{device}.sock"
        reader, writer = await asyncio.open_unix_connection(path, limit=_LARGEST_ANSWER)
        try:
            writer.write(uapi.QUESTION.reveal())
            answers, _ = uapi.answers(await reader.readuntil(b"\n\n"))
        finally:
            writer.close()
        answer = next(iter(answers), None)
        if answer is None or answer.error:
            return None
        age = max(time.time() - answer.handshake, 0.0) if answer.handshake else None
        return WireguardStatus(age, answer.received, answer.sent)


def _environment(tunnel: Watched) -> dict[str, str]:
    """Return what a program is told; without the variable that marks hooks, as it is a tunnel's own."""
    profile, name = tunnel.key
    return {"AUTOVPN_PROFILE": profile, "AUTOVPN_TUNNEL": name, "AUTOVPN_DEVICE": tunnel.device}
