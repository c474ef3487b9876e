"""One executor per kind of step, each written against the ports; `executors` has them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from autovpn.core.steps import StepKind
from autovpn.daemon.executors.address import AddressExecutor
from autovpn.daemon.executors.dns import DnsExecutor
from autovpn.daemon.executors.hooks import HooksExecutor
from autovpn.daemon.executors.nonce import new_nonce
from autovpn.daemon.executors.routing import RoutingExecutor
from autovpn.daemon.executors.tunnel import TunnelExecutor
from autovpn.daemon.ports import Hooks, Links, Resolver, Routes, Tunnels
from autovpn.system.runner import Executor

__all__ = ["executors"]


def executors(
    hooks: Hooks,
    routes: Routes,
    links: Links,
    tunnels: Tunnels,
    resolver: Resolver,
    *,
    nonce: Callable[[], str] = new_nonce,
) -> Mapping[StepKind, Executor]:
    """Return what the runner needs to carry out every kind of step."""
    brackets = HooksExecutor(hooks, nonce)
    routing = RoutingExecutor(routes, links)
    return {
        StepKind.PREUP: brackets,
        StepKind.GUARD: routing,
        StepKind.PIN: routing,
        StepKind.TUNNEL: TunnelExecutor(tunnels, links, nonce),
        StepKind.ADDRESS: AddressExecutor(links),
        StepKind.ROUTES: routing,
        StepKind.DNS: DnsExecutor(resolver),
        StepKind.POSTUP: brackets,
    }
