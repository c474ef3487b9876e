"""Real programs: the user's hooks, for the executors and the moments, and the processes that carry our marks."""

from __future__ import annotations

import asyncio

from autovpn.core.hookenv import HookContext
from autovpn.core.orphans import MarkedProcess
from autovpn.core.profile import Hook
from autovpn.system import process as processes
from autovpn.system.hooks import HookResult, run_hook
from autovpn.system.procfs import find_marked


class HookPrograms:
    """Runs hooks, and ends those that outlived their daemon."""

    async def run(self, hook: Hook, context: HookContext, nonce: str) -> HookResult:
        """Run a hook to its end; the nonce marks it and what it starts."""
        return await run_hook(hook, context, nonce)

    async def end(self, nonce: str) -> None:
        """End a hook that outlived its daemon, if there is one."""
        await asyncio.to_thread(processes.recover, nonce)


class TunnelPrograms:
    """The processes of tunnels in one network namespace, known by their marks alone."""

    def __init__(self, namespace: int) -> None:
        """Take the namespace's inode: another daemon may be at work in another one."""
        self._namespace = namespace

    async def marked(self) -> tuple[MarkedProcess, ...]:
        """Return every one that carries a nonce; what hooks started is not among them."""
        return await asyncio.to_thread(find_marked, self._namespace)

    async def end(self, nonce: str) -> None:
        """End all that carries the nonce."""
        await asyncio.to_thread(processes.recover, nonce)
