"""How a back end meets programs that rewrite what it has put in force: not before they are done, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from autovpn.dns.file_patience import Budget, Settling


class Defence:
    """The budget of answers to other programs' changes of `what`, and the sentence where it is used up."""

    def __init__(self, what: str, clock: Callable[[], float], *, on_conflict: str) -> None:
        """Begin with nothing spent; `on_conflict` is "reapply", or "yield" to give in at once."""
        self._what = what
        self._clock = clock
        self._yields = on_conflict == "yield"
        self._budget = Budget()

    def refuses(self, change: object) -> str:
        """Count `change`, once, and return why it is left alone, or an empty string: it may be answered."""
        if self._yields:
            return f"{self._what}: another program rewrote it, and dns.on_conflict is 'yield'"
        if self._budget.allows(change, self._clock()):
            return ""
        seconds = round(self._budget.window)
        return f"{self._what}: is rewritten by another program ({self._budget.spent} times in {seconds} s)"


async def settled(
    disturbed: Callable[[], Awaitable[None]],
    read: Callable[[], tuple[object, bool]],
    clock: Callable[[], float],
    settling: Settling,
) -> None:
    """Return when what `read` gives has come to rest; it runs in a thread and tells whether it is plausible."""
    while not settling.settled:
        if await _is_quiet(disturbed, settling.next_look - clock()):
            reading, plausible = await asyncio.to_thread(read)
            settling = settling.looked(reading, clock(), plausible=plausible)
        else:
            settling = settling.disturbed(clock())


async def _is_quiet(disturbed: Callable[[], Awaitable[None]], delay: float) -> bool:
    """Wait that many seconds, or for an event; tell whether there was none."""
    if delay <= 0:
        return True
    try:
        async with asyncio.timeout(delay):
            await disturbed()
    except TimeoutError:
        return True
    return False
