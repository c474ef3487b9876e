"""Work in a thread that is never left half done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def to_its_end(work: Callable[..., T], *arguments: object) -> T:
    """Run `work` in a thread; a caller that is cancelled meanwhile ends only when the work has.

    Nobody can stop a thread, so what comes after a plain `asyncio.to_thread` that was cancelled runs beside it.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen here, and overruled by the cancellation
        raise
