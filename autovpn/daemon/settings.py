"""The configuration as the daemon holds it: the one in force, and what is wrong with the files as they are now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from autovpn.core.profile import Policy


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of reading the files: a policy, unless there are problems."""

    policy: Policy | None
    problems: tuple[str, ...] = ()


class Settings:
    """Reads the configuration; a reading with a problem changes nothing but what `status` says."""

    def __init__(self, read: Callable[[], Reading]) -> None:
        """Read by `read`, which may take its time over files."""
        self._read = read
        self.problems: tuple[str, ...] = ()
        self.reload_failed = False

    async def reload(self) -> Policy | None:
        """Read the files; return the policy, or None where they have problems."""
        reading = await asyncio.to_thread(self._read)
        self.problems = reading.problems
        self.reload_failed = reading.policy is None
        return reading.policy
