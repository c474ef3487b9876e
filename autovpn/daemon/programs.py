"""The user's hooks as real programs: the port that the executors and the moments use."""

from __future__ import annotations

import asyncio

from autovpn.core.hookenv import HookContext
from autovpn.core.profile import Hook
from autovpn.system import process as processes
from autovpn.system.hooks import HookResult, run_hook


class HookPrograms:
    """Runs hooks, and ends those that outlived their daemon."""

    async def run(self, hook: Hook, context: HookContext, nonce: str) -> HookResult:
        """Run a hook to its end; the nonce marks it and what it starts."""
        return await run_hook(hook, context, nonce)

    async def end(self, nonce: str) -> None:
        """End a hook that outlived its daemon, if there is one."""
        await asyncio.to_thread(processes.recover, nonce)
