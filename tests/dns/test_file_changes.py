"""Noticing what others do to the file, and not what we do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from autovpn.dns.backend import DnsChanged
from autovpn.dns.file import FileBackend
from tests.dns.scene import KINDS, LONGER, WORK, Scene, dns

MakeScene = Callable[[str], Scene]


async def _on_disk(work: Callable[..., object], *arguments: object) -> None:
    await asyncio.to_thread(work, *arguments)


async def _next(changes: AsyncIterator[DnsChanged]) -> str:
    async with asyncio.timeout(60):
        return (await anext(changes)).why


async def _judged(backend: FileBackend) -> None:
    """Wait until the watch has looked at what is there now, and made up its mind."""
    judge, judged, loop = backend._trouble, asyncio.Event(), asyncio.get_running_loop()

    def judge_and_tell() -> str:
        why = judge()
        loop.call_soon_threadsafe(judged.set)
        return why

    backend._trouble = judge_and_tell  # type: ignore[method-assign]
    async with asyncio.timeout(60):
        await judged.wait()
    for _ in range(10):  # for the news to get through, if there is any
        await asyncio.sleep(0)


def _watching(backend: FileBackend) -> aclosing[AsyncGenerator[DnsChanged, None]]:
    return aclosing(backend.changes())


FOREIGN_CHANGES: list[tuple[str, Callable[[Scene], object], str]] = [
    ("rename over it", lambda scene: scene.rewrite_as_others_do(), "another program has written it"),
    ("write in place", lambda scene: scene.path.write_text("nameserver 192.0.2.9\n"), "another program has written it"),
    ("remove", lambda scene: scene.path.unlink(), "removed or emptied"),
    ("empty", lambda scene: scene.path.write_text(""), "removed or emptied"),
    ("put the original back", lambda scene: scene.kept.rename(scene.path), "our file is not in place"),
    ("edit", lambda scene: scene.path.write_text(scene.path.read_text() + "#\n"), "edited by hand"),
    ("lose the original", lambda scene: scene.kept.unlink(), "the original that we kept is gone"),
]


@pytest.mark.parametrize(
    ("change", "why"), [row[1:] for row in FOREIGN_CHANGES], ids=[row[0] for row in FOREIGN_CHANGES]
)
async def test_what_another_program_does_is_noticed(
    scene_of: MakeScene, change: Callable[[Scene], object], why: str
) -> None:
    scene = await asyncio.to_thread(scene_of, "file")
    backend = scene.backend()
    await backend.apply(dns(WORK))
    async with _watching(backend) as changes:
        noticed = asyncio.ensure_future(_next(changes))
        await asyncio.sleep(0)
        await _on_disk(change, scene)

        assert why in await noticed


@pytest.mark.parametrize("kind", KINDS)
async def test_a_fight_is_noticed_round_after_round(scene_of: MakeScene, kind: str) -> None:
    """A watch on the file alone would be dead after the first."""
    scene = await asyncio.to_thread(scene_of, kind)
    backend = scene.backend()
    await backend.apply(dns(WORK))
    async with _watching(backend) as changes:
        for _ in range(3):
            await _on_disk(scene.rewrite_as_others_do)
            assert str(scene.path) in await _next(changes)
            assert (await backend.apply(dns(WORK))).in_force
            await _on_disk(scene.path.write_text, "nameserver 192.0.2.8\n")
            assert str(scene.path) in await _next(changes)
            await _on_disk(backend._defence._budget._fights.clear)
            assert (await backend.apply(dns(WORK))).in_force


async def test_our_own_changes_are_not_news(scene_of: MakeScene) -> None:
    """What we do between two foreign changes yields nothing: the first news is the foreign one."""
    scene = await asyncio.to_thread(scene_of, "file")
    backend = scene.backend()
    await backend.apply(dns(WORK))
    async with _watching(backend) as changes:
        news = asyncio.ensure_future(_next(changes))
        await backend.apply(dns(LONGER))
        await backend.revert()
        await backend.apply(dns(WORK))
        await _judged(backend)
        assert not news.done()
        await _on_disk(scene.path.unlink)

        assert "removed or emptied" in await news


async def test_a_change_from_before_the_watch_is_noticed_at_its_start(scene_of: MakeScene) -> None:
    scene = await asyncio.to_thread(scene_of, "file")
    backend = scene.backend()
    await backend.apply(dns(WORK))
    await _on_disk(scene.rewrite_as_others_do)
    async with _watching(backend) as changes:
        assert "another program has written it" in await _next(changes)


async def test_a_file_deleted_and_made_anew_is_news_only_once_it_is_there(scene_of: MakeScene) -> None:
    """Between the two the file is missing; a client that believes it would go back to an old original."""
    scene = await asyncio.to_thread(scene_of, "file")
    backend = scene.backend()
    backend.patience = 30.0
    await backend.apply(dns(WORK))
    async with _watching(backend) as changes:
        looked = asyncio.Event()
        reading, loop = backend._reading, asyncio.get_running_loop()

        def look_and_tell() -> tuple[object, bool]:
            found = reading()
            if found[0] is None:
                loop.call_soon_threadsafe(looked.set)
            return found

        backend._reading = look_and_tell  # type: ignore[method-assign]
        news = asyncio.ensure_future(_next(changes))
        await _on_disk(scene.path.unlink)
        async with asyncio.timeout(60):
            await looked.wait()
        assert not news.done()
        await _on_disk(scene.path.write_text, "nameserver 192.0.2.9\n")

        assert "another program has written it" in await news


async def test_a_watch_that_is_left_gives_its_descriptor_back(scene_of: MakeScene) -> None:
    scene = await asyncio.to_thread(scene_of, "file")
    backend = scene.backend()
    await backend.apply(dns(WORK))
    before = await asyncio.to_thread(_descriptors)
    for _ in range(5):
        async with _watching(backend) as changes:
            news = asyncio.ensure_future(_next(changes))
            await asyncio.sleep(0)
            news.cancel()
            with pytest.raises(asyncio.CancelledError):
                await news

    assert await asyncio.to_thread(_descriptors) == before


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
