"""A watch on a name and on the file behind it: what it holds open when the machine has no watches left."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from autovpn.dns.follow import FollowWatch
from autovpn.errors import SystemFault
from autovpn.system.files import NameWatch
from autovpn.system.libc import Inotify, Watched


def descriptors() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def no_watches_left(_queue: Inotify, path: Path, _what: Watched) -> int | None:
    raise SystemFault(f"inotify_add_watch {path}: No space left on device")


def test_a_watch_that_cannot_be_made_holds_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inotify, "add", no_watches_left)
    before = descriptors()
    with pytest.raises(SystemFault, match="No space left"):
        NameWatch(tmp_path / "resolv.conf")

    assert descriptors() <= before


async def test_closing_after_a_watch_could_not_be_made_closes_nobody_elses_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of a descriptor that is closed is soon another's."""
    name = tmp_path / "resolv.conf"
    for server in ("first", "second"):
        (tmp_path / server).write_text("nameserver 192.0.2.1\n")
    name.symlink_to("first")
    watch = FollowWatch(name)
    await asyncio.wait_for(watch.disturbed(), 20)
    name.unlink()
    name.symlink_to("second")
    monkeypatch.setattr(Inotify, "add", no_watches_left)
    with pytest.raises(SystemFault, match="No space left"):
        await asyncio.wait_for(watch.disturbed(), 20)

    read, write = os.pipe()
    watch.close()
    for descriptor in (read, write):
        os.close(descriptor)


async def test_a_watch_that_could_not_be_made_is_made_by_the_next_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = tmp_path / "resolv.conf"
    (tmp_path / "first").write_text("nameserver 192.0.2.1\n")
    name.symlink_to("first")
    watch = FollowWatch(name)
    with monkeypatch.context() as full:
        full.setattr(Inotify, "add", no_watches_left)
        with pytest.raises(SystemFault, match="No space left"):
            await asyncio.wait_for(watch.disturbed(), 20)
    try:
        await asyncio.wait_for(watch.disturbed(), 20)  # it leads elsewhere than the watch knew
        (tmp_path / "first").write_text("nameserver 192.0.2.2\n")
        await asyncio.wait_for(watch.disturbed(), 20)
    finally:
        watch.close()
