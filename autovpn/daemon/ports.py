"""What the executors need of the machine, as narrow as they need it; the fake machine of the tests offers the same.

All that change something raise an AutovpnError or OSError when the machine refuses, and do no harm when called twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from autovpn.core.dnschoice import MachineDns
from autovpn.core.hookenv import HookContext
from autovpn.core.network import IPAddress, IPInterface
from autovpn.core.orphans import MarkedDevice, MarkedProcess
from autovpn.core.profile import Hook
from autovpn.core.routing import RoutePlan
from autovpn.core.steps import Step
from autovpn.dns.backend import Outcome, Receipt
from autovpn.system.hooks import HookResult

TunnelReceipt = Mapping[str, Any]
"""What finds a tunnel again: pid, start_time, device, index (None where there is none); no secret is in it."""


@dataclass(frozen=True, slots=True)
class Occupied:
    """The routing tables and rule priorities that other programs use."""

    tables: frozenset[int] = frozenset()
    priorities: frozenset[int] = frozenset()


class Hooks(Protocol):
    """The programs that a user has us run."""

    async def run(self, hook: Hook, context: HookContext, nonce: str) -> HookResult:
        """Run a hook to its end; the nonce marks it and what it starts."""
        ...

    async def end(self, nonce: str) -> None:
        """End a hook that outlived its daemon, if there is one."""
        ...


class Processes(Protocol):
    """The processes of tunnels, whichever daemon started them."""

    async def marked(self) -> tuple[MarkedProcess, ...]:
        """Return every one in this network namespace that carries a nonce; what hooks started is not among them."""
        ...

    async def end(self, nonce: str) -> None:
        """End all that carries the nonce."""
        ...


class Routes(Protocol):
    """The kernel's policy rules and routes."""

    async def occupied(self) -> Occupied:
        """Return what others use."""
        ...

    async def apply(self, plan: RoutePlan) -> None:
        """Add what is not there yet."""
        ...

    async def amend(self, before: RoutePlan, after: RoutePlan) -> None:
        """Turn one plan into the other without a moment in which a packet meets neither."""
        ...

    async def remove(self, plan: RoutePlan) -> None:
        """Remove what is there exactly as the plan and our protocol number say, the catch-all rules first."""
        ...

    async def missing(self, plan: RoutePlan) -> RoutePlan:
        """Return what of the plan is not there, leaving out what this kernel can't have."""
        ...

    async def marked(self) -> RoutePlan:
        """Return all that carries our protocol number."""
        ...


class Links(Protocol):
    """The kernel's links, as far as our devices are concerned."""

    async def index_of(self, name: str) -> int | None:
        """Return the index of the device that has this name now."""
        ...

    async def with_alias(self, alias: str) -> int | None:
        """Return the index of the device that was made with this alias (IFLA_IFALIAS)."""
        ...

    async def marked(self) -> tuple[MarkedDevice, ...]:
        """Return every device that has an alias of ours."""
        ...

    async def delete(self, index: int, alias: str) -> None:
        """Delete a device if it is still there; Refused when it has not this alias."""
        ...

    async def set_up(self, index: int, mtu: int) -> None:
        """Set a device's MTU, in bytes, and set it up."""
        ...

    async def add_address(self, index: int, address: IPInterface, peer: IPAddress | None) -> None:
        """Give a device an address; `peer` is the far end of a point-to-point one."""
        ...

    async def remove_address(self, index: int, address: IPInterface, peer: IPAddress | None) -> None:
        """Take an address away; a device that is gone has none."""
        ...


class Tunnels(Protocol):
    """The running tunnels."""

    async def start(self, step: Step, nonce: str) -> TunnelReceipt:
        """Start a tunnel: return when its process is spawned or its device made. The nonce marks both."""
        ...

    async def amend(self, step: Step) -> None:
        """Tell a running tunnel that its uplink or its endpoints have changed."""
        ...

    async def stop(self, step: Step, nonce: str, receipt: TunnelReceipt | None) -> None:
        """End every process of a tunnel, by the nonce where there is no receipt, whichever daemon started it."""
        ...


class Resolver(Protocol):
    """The machine's DNS, by whichever back end."""

    async def apply(self, dns: MachineDns) -> Receipt:
        """Put `dns` in force, or change what is in force to it."""
        ...

    async def revert(self) -> Outcome:
        """Undo whatever is left of us."""
        ...
