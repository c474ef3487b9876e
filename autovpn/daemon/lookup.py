"""Looking up the far ends of tunnels, through the uplink's own resolvers; the last good answer is kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

from autovpn.core.decide import Decision
from autovpn.core.endpoint import Endpoint
from autovpn.core.network import IPAddress
from autovpn.core.profile import Policy
from autovpn.core.snapshot import Snapshot
from autovpn.core.supervise import Broke, Resolved, TunnelEvent
from autovpn.core.tunnel import Failure, FailureClass, PinnedEndpoint, TunnelPhase, TunnelSpec
from autovpn.core.wanted import TunnelKey, current_tunnel
from autovpn.daemon.tunnels import jitter
from autovpn.errors import SystemFault

log = logging.getLogger(__name__)

Resolve = Callable[[str, str, Sequence[str], float], Awaitable[tuple[IPAddress, ...]]]
Tell = Callable[[TunnelKey, str, int, TunnelEvent], None]
Errand = tuple[TunnelKey, str, int]


class Lookups:
    """The look-ups that are under way, one for each attempt of a tunnel."""

    def __init__(self, resolve: Resolve, servers: Callable[[], Awaitable[Sequence[str]]], tell: Tell) -> None:
        """Ask by `resolve`, through the uplink's `servers`; `tell` gets the answer for the attempt that asked."""
        self._resolve = resolve
        self._servers = servers
        self._tell = tell
        self._running: dict[Errand, asyncio.Task[None]] = {}
        self._known: dict[str, tuple[IPAddress, ...]] = {}

    def want(self, errands: Iterable[tuple[Errand, TunnelSpec, str]]) -> None:
        """Look up what these attempts need (each with its uplink's name), and give up what no attempt waits for."""
        wanted = {errand: (spec, uplink) for errand, spec, uplink in errands}
        for errand in self._running.keys() - wanted.keys():
            self._running.pop(errand).cancel()
        for errand in wanted.keys() - self._running.keys():
            task = asyncio.get_running_loop().create_task(self._look_up(errand, *wanted[errand]))
            self._running[errand] = task

    async def _look_up(self, errand: Errand, spec: TunnelSpec, uplink: str) -> None:
        key, instance, attempt = errand
        hosts = dict.fromkeys(endpoint.host for endpoint in spec.endpoints)
        try:
            servers = await self._servers()
            outcomes = await asyncio.gather(*(self._outcome(host, uplink, servers, spec) for host in hosts))
        except SystemFault as error:
            outcomes = [error]
        faults = [outcome for outcome in outcomes if isinstance(outcome, SystemFault)]
        if faults and len(faults) == len(outcomes):
            words = "; ".join(map(str, faults))
            self._tell(key, instance, attempt, Broke(Failure(FailureClass.NAME, words), jitter()))
            return
        for fault in faults:
            log.warning("lookup.unresolved tunnel=%s the other far ends are tried; %s", spec.name, fault)
        found = {host: outcome for host, outcome in zip(hosts, outcomes, strict=True) if isinstance(outcome, tuple)}
        pins = tuple(_pinned(end, found[end.host], attempt) for end in spec.endpoints if end.host in found)
        self._tell(key, instance, attempt, Resolved(pins))

    async def _outcome(
        self, host: str, uplink: str, servers: Sequence[str], spec: TunnelSpec
    ) -> tuple[IPAddress, ...] | SystemFault:
        try:
            return await self._addresses(host, uplink, servers, spec)
        except SystemFault as fault:
            return fault

    async def _addresses(
        self, host: str, uplink: str, servers: Sequence[str], spec: TunnelSpec
    ) -> tuple[IPAddress, ...]:
        """Return the addresses of a host; where nobody answers, those of the last time."""
        try:
            self._known[host] = await self._resolve(host, uplink, servers, spec.connect_timeout / 2)
        except SystemFault:
            if host not in self._known:
                raise
            log.warning("lookup.stale host=%s", host)
        return _usable(host, self._known[host], spec)


def _pinned(end: Endpoint, addresses: tuple[IPAddress, ...], attempt: int) -> PinnedEndpoint:
    """Return a far end at the address whose turn it is."""
    return PinnedEndpoint(addresses[(attempt - 1) % len(addresses)], end.port, end.protocol, end.host)


def _usable(host: str, addresses: tuple[IPAddress, ...], spec: TunnelSpec) -> tuple[IPAddress, ...]:
    """Return those addresses of a host at which its far ends can be called; SystemFault where there are none."""
    ends = [end for end in spec.endpoints if end.host == host]
    usable = tuple(address for address in addresses if all(end.is_reached_at(address) for end in ends))
    if not usable:
        msg = f"{host} has no address of the only version of IP that a tunnel of type {spec.type} speaks"
        raise SystemFault(msg)
    return usable


def errands(decision: Decision, snapshot: Snapshot, policy: Policy) -> list[tuple[Errand, TunnelSpec, str]]:
    """Return what is to be looked up: for each tunnel that waits for it, its attempt, itself and its uplink's name."""
    found: list[tuple[Errand, TunnelSpec, str]] = []
    for activation in decision.activations:
        profile = policy.profile(activation.profile)
        spec = current_tunnel(activation, profile, snapshot.tunnels) if profile else None
        state = snapshot.tunnels.get((activation.profile, spec.name)) if spec else None
        if spec and state and state.phase is TunnelPhase.RESOLVING:
            errand = ((activation.profile, spec.name), state.instance, state.attempt)
            found.append((errand, spec, activation.uplink_name))
    return found
