"""The sweep: what a dead daemon left and no record tells of any more is found by its marks, and removed.

Nothing of it is recorded, since it takes no more than another look to go on where a crash ended it.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass

from autovpn.core.orphans import Traces, orphans
from autovpn.core.records import Entry
from autovpn.daemon.ports import Links, Processes, Routes
from autovpn.errors import AutovpnError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    """A sentence on each thing that was removed, and on each that is left and why."""

    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class Sweep:
    """Finds and removes what is nobody's."""

    def __init__(self, processes: Processes, links: Links, routes: Routes) -> None:
        """Take the ports."""
        self._processes = processes
        self._links = links
        self._routes = routes

    async def run(self, entries: Iterable[Entry]) -> Swept:
        """Remove all that carries our marks and that none of the entries names.

        The programs end first, since they may clean up behind themselves; the rules, which keep the machine closed, go
        last.
        """
        kept = tuple(entries)
        found = orphans(await self._look(), kept)
        if not found:
            return Swept()
        wrong = await self._remove(found)
        remains = orphans(await self._look(), kept)
        gone = (found - remains).words
        for one in gone:
            log.info("sweep.removed what=%s", one)
        return Swept(
            removed=tuple(f"{one}: no record tells of it; removed" for one in gone),
            left=(*wrong, *(f"{one}: no record tells of it, and it is still there" for one in remains.words)),
        )

    async def _look(self) -> Traces:
        return Traces(await self._processes.marked(), await self._links.marked(), await self._routes.marked())

    async def _remove(self, found: Traces) -> tuple[str, ...]:
        """Remove as much of it as can be; return in words what went wrong."""
        wrong: list[str] = []
        for nonce in dict.fromkeys(process.nonce for process in found.processes):
            wrong += await _failure(self._processes.end(nonce))
        for device in found.devices:
            wrong += await _failure(self._links.delete(device.index, device.alias))
        wrong += await _failure(self._routes.remove(found.plan))
        return tuple(wrong)


async def _failure(work: Coroutine[object, object, None]) -> tuple[str, ...]:
    try:
        await work
    except (AutovpnError, OSError) as error:
        return (str(error),)
    return ()
