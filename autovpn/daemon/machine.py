"""What the daemon has to work with: put together by `wiring`, and piece by piece by tests."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from autovpn.core.dnschoice import Choice
from autovpn.core.network import UplinkDns
from autovpn.core.profile import Policy
from autovpn.core.records import Origin
from autovpn.core.snapshot import Link
from autovpn.daemon.health import Probes
from autovpn.daemon.lookup import Resolve
from autovpn.daemon.moments import RunHook
from autovpn.daemon.remember import Memories
from autovpn.daemon.sessions import Sessions
from autovpn.system.runner import Runner


class Kernel(Protocol):
    """The kernel's links; `Watch` is the real one."""

    def links(self, policy: Policy, dns: UplinkDns | None) -> tuple[Link, ...]:
        """Take in all that the kernel has said, and return every link that is no device of ours."""
        ...

    def indexes(self) -> Mapping[str, int]:
        """Return the index of every link by its name as of the last look, those of ours too."""
        ...

    def has_link(self, name: str) -> bool:
        """Report whether there is a link of this name now."""
        ...

    def paused(self) -> AbstractContextManager[None]:
        """Let the kernel's news wait meanwhile."""
        ...

    def has_resumed(self) -> bool:
        """Report, once, that the machine slept or its clock was set."""
        ...

    def counters(self) -> Mapping[str, int]:
        """Return what was lost and read again since the start."""
        ...


class MachineDns(Protocol):
    """The machine's resolver."""

    async def original(self) -> UplinkDns | None:
        """Return the resolvers of the machine as they are without us."""
        ...

    async def upstream(self) -> tuple[str, ...]:
        """Return the servers to ask for a tunnel's endpoint."""
        ...

    async def choice(self) -> Choice:
        """Return which back end would be used now, and why."""
        ...

    async def reconsider(self) -> None:
        """Try again a wish that is not in force."""
        ...


@dataclass(frozen=True, slots=True)
class Machine:
    """All of it. `clock` counts monotonic seconds, as the event loop does."""

    kernel: Kernel
    runner: Runner
    origin: Origin
    sessions: Sessions
    dns: MachineDns
    memories: Memories
    resolve: Resolve
    resolve_gateways: Callable[[Link], Coroutine[Any, Any, None]]
    run_hook: RunHook
    probes: Probes
    clock: Callable[[], float]
