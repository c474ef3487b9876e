"""A resolv.conf that a manager writes for us: what is taken for somebody else's change, and what never is."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from autovpn.core.dnschoice import DnsWish
from autovpn.core.dnsseen import Seen
from autovpn.dns.backend import Outcome
from autovpn.dns.managed import ManagedFile
from tests.dns.scene import LONGER, WORK, dns


@pytest.fixture
def managed(tmp_path: Path) -> ManagedFile:
    """Give the file of a manager, which comes to rest at once."""
    made = ManagedFile(tmp_path / "resolv.conf", time.monotonic, on_conflict="reapply")
    made.quiet, made.patience = 0.01, 0.2
    return made


def written(path: Path, wish: DnsWish) -> None:
    path.write_text("".join(f"nameserver {server}\n" for server in wish.servers))


async def nothing_to_undo() -> Outcome:
    return Outcome(clean=True)


async def test_what_the_manager_writes_while_it_is_told_is_our_own_change(managed: ManagedFile) -> None:
    """However long it takes to end after it has written."""

    async def tell(wish: DnsWish) -> None:
        await asyncio.to_thread(written, managed.path, wish)

    async def tell_slowly(wish: DnsWish) -> None:
        await tell(wish)
        assert await asyncio.wait({told}, timeout=0.2) == (set(), {told})

    await managed.apply("manager", dns(WORK), tell, nothing_to_undo)
    async with aclosing(managed.changes()) as changes:
        told = asyncio.ensure_future(anext(changes))
        await managed.apply("manager", dns(LONGER), tell_slowly, nothing_to_undo)
        written(managed.path, WORK)

        assert "10.0.0.3 is not among the servers" in (await asyncio.wait_for(told, 20)).why


async def test_a_look_at_a_wish_that_was_changed_meanwhile_is_no_news(managed: ManagedFile) -> None:
    looked = asyncio.Event()
    look = managed.seen

    async def seen_late(wish: DnsWish) -> Seen:
        await asyncio.to_thread(written, managed.path, LONGER)
        found = await look(wish)
        managed.applied = LONGER
        looked.set()
        return found

    written(managed.path, WORK)
    managed.applied = WORK
    managed.seen = seen_late  # type: ignore[method-assign]
    async with aclosing(managed.changes()) as changes:
        told = asyncio.ensure_future(anext(changes))
        await asyncio.wait_for(looked.wait(), 20)

        assert await asyncio.wait({told}, timeout=0.1) == (set(), {told})
        told.cancel()
        await asyncio.gather(told, return_exceptions=True)
