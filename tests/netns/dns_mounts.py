"""What the file back end does to mount points; runs as a program inside a mount namespace of its own.

`python -m tests.netns.dns_mounts SCENARIO FOLDER` makes mounts freely: the namespace
takes them along when the program ends.
"""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from autovpn.core.dnsstanding import Standing
from autovpn.core.resolvconf import parse
from autovpn.dns.file import FileBackend
from autovpn.errors import Refused, StepFailed
from autovpn.system.files import Disk, NameWatch, is_mount_point
from tests.dns.scene import FOREIGN, LONGER, SHORTER, THEIRS, WORK, Faulty, Plug, PowerCutError, Scene, dns, fingerprint
from tests.dns.test_file_processes import READER

MOST_CHANGES = 20
LONG_TEXT = THEIRS + "# a comment that makes the file longer than ours\n" * 20


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


def mounted(root: Path, text: str = THEIRS) -> Scene:
    """Return a machine whose resolv.conf is bind-mounted from elsewhere, as in a container."""
    scene = Scene.made(root, "absent")
    (root / "host").write_text(text)
    scene.path.touch()
    mount("--bind", root / "host", scene.path)
    return scene


def unmount(scene: Scene) -> None:
    subprocess.run(["umount", scene.path], check=True)


def apply_change_and_revert(root: Path) -> None:
    """Longer, shorter, back: always in place, and byte for byte as before."""
    for number, text in enumerate((THEIRS, LONG_TEXT, "nameserver 192.0.2.1")):
        scene = mounted(root / str(number), text)
        backend = scene.backend()
        inode = scene.path.stat().st_ino
        assert is_mount_point(scene.path)
        assert not os.path.ismount(scene.path)
        for wish in (WORK, LONGER, SHORTER, WORK):
            receipt = asyncio.run(backend.apply(dns(wish)))
            assert receipt.in_force, receipt
            assert parse(scene.path.read_bytes()).nameservers == wish.servers
            assert not scene.path.read_bytes().endswith(b"\n\n")
            assert asyncio.run(backend.verify(dns(wish))) is None
        assert scene.path.stat().st_ino == inode
        assert backend.revert_now().clean
        assert scene.path.read_text() == text
        assert scene.litter() == set()
        unmount(scene)


def the_facts_say_so(root: Path) -> None:
    """The choice tells a mount point from a file that may be renamed over."""
    facts = asyncio.run(mounted(root / "a").backend().facts()).file
    assert facts.mounted
    assert facts.writable


def every_crash(root: Path) -> None:
    """A crash at every change, and another during the recovery: the bytes come back, and there is always a server."""
    count = iter(range(100_000))
    operations: dict[str, tuple[Callable[[Scene, Plug], object], bool, bool]] = {
        "apply": (lambda scene, plug: scene.swap(plug).apply(WORK), False, False),
        "change": (lambda scene, plug: scene.swap(plug).apply(LONGER), True, False),
        "adopt": (lambda scene, plug: scene.swap(plug).apply(WORK), True, True),
        "revert": (lambda scene, plug: scene.swap(plug).revert(), True, False),
    }
    for name, (run, in_force, overwritten) in operations.items():
        for text in ("nameserver 192.0.2.1\n", LONG_TEXT):
            for first in range(MOST_CHANGES):
                was_cut = True
                for second in range(MOST_CHANGES):
                    scene = mounted(root / str(next(count)), text)
                    owed = text
                    if in_force:
                        scene.swap().apply(WORK)
                    if overwritten:
                        owed = FOREIGN
                        scene.path.write_text(owed)
                    was_cut = _cut(run, scene, first)
                    where = (name, len(text), first, second, scene.path.read_text())
                    assert scene.has_nameserver, where
                    recovery_was_cut = _cut(lambda one, plug: one.swap(plug).revert(), scene, second)
                    assert scene.has_nameserver, where
                    scene.backend().revert_now()
                    assert scene.path.read_text() == owed, where
                    assert scene.litter() == set(), where
                    unmount(scene)
                    if not recovery_was_cut:
                        break
                if not was_cut:
                    break
            else:
                raise AssertionError(f"{name} has {MOST_CHANGES} changes or more")


def _cut(run: Callable[[Scene, Plug], object], scene: Scene, at: int) -> bool:
    with suppress(PowerCutError):
        run(scene, Plug(at))
        return False
    return True


def a_full_disk(root: Path) -> None:
    """A change that fails is told, and the bytes are as before."""
    at, struck = 0, True
    while struck:
        scene = mounted(root / str(at))
        fault = Faulty(at, errno.ENOSPC)
        with suppress(StepFailed):
            asyncio.run(scene.backend(disk=Disk(fault)).apply(dns(LONGER)))
        struck, at = fault.struck, at + 1
        assert scene.path.read_text() == THEIRS or not struck, at
        scene.backend().revert_now()
        assert scene.path.read_text() == THEIRS, at
        unmount(scene)


def others_write(root: Path) -> None:
    """Whoever writes, inside or on the host, is adopted, or left alone at the end."""
    for number, goes_on_top in enumerate((False, True)):
        scene = mounted(root / str(number))
        backend = scene.backend()
        asyncio.run(backend.apply(dns(WORK)))
        (scene.root / "host").write_text(FOREIGN)
        if goes_on_top:
            assert asyncio.run(backend.apply(dns(WORK))).in_force
        assert backend.revert_now().clean
        assert scene.path.read_text() == FOREIGN
        assert scene.litter() == set()
        unmount(scene)


def emptied(root: Path) -> None:
    """A file that was truncated is no wish: the original comes back."""
    scene = mounted(root / "a")
    backend = scene.backend()
    asyncio.run(backend.apply(dns(WORK)))
    os.truncate(scene.path, 0)
    assert scene.swap().view().standing is Standing.VACATED
    assert backend.revert_now().clean
    assert scene.path.read_text() == THEIRS


def a_host_edit_is_noticed(root: Path) -> None:
    """The directory sees nothing of it; the watch on the file does."""

    async def watch(scene: Scene) -> None:
        backend = scene.backend()
        name = NameWatch(scene.path)
        for _ in range(3):
            await asyncio.to_thread((scene.root / "host").write_text, THEIRS)
            async with asyncio.timeout(60):
                await name.disturbed()
        name.close()
        await backend.apply(dns(WORK))
        async with aclosing(backend.changes()) as changes, asyncio.timeout(60):
            news = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(0)
            await asyncio.to_thread((scene.root / "host").write_text, FOREIGN)
            assert "another program has written it" in (await news).why

    asyncio.run(watch(mounted(root / "a")))


def a_reader(root: Path) -> None:
    """A reader never finds the file empty while it is rewritten in place."""
    scene = mounted(root / "a")
    stop = scene.root / "stop"
    command = [sys.executable, "-c", READER, str(scene.path), str(stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        swap = scene.swap()
        for number in range(300):
            swap.apply((WORK, LONGER, SHORTER)[number % 3])
        stop.touch()
        reads, empty, _without = map(int, reader.stdout.read().split())
    assert reads > 100
    assert empty == 0


def read_only(root: Path) -> None:
    """A read-only mount, of the file or of its directory, is refused in words."""
    scene = mounted(root / "a")
    mount("-o", "remount,bind,ro", scene.path)
    _refused(scene.backend(), "it is on a read-only file system", scene)
    unmount(scene)
    other = Scene.made(root / "b", "relative")
    mount("--bind", other.root / "etc", other.root / "etc")
    mount("-o", "remount,bind,ro", other.root / "etc")
    _refused(other.backend(), "(a symlink to ../managed/resolv.conf)", other)


def _refused(backend: FileBackend, why: str, scene: Scene) -> None:
    before = fingerprint(scene.path)
    with pytest.raises(Refused) as refused:
        asyncio.run(backend.apply(dns(WORK)))
    assert why in refused.value.why
    assert "postup hook" in refused.value.hint
    assert fingerprint(scene.path) == before


def mounted_over_us(root: Path) -> None:
    """Somebody mounts over our file: what is mounted is left alone, and after the unmount ours is undone."""
    scene = Scene.made(root / "a", "file")
    owed = scene.fingerprint()
    backend = scene.backend()
    asyncio.run(backend.apply(dns(WORK)))
    (scene.root / "host").write_text(FOREIGN)
    mount("--bind", scene.root / "host", scene.path)

    outcome = backend.revert_now()
    assert not outcome.clean
    assert "unmount that, then run 'autovpn recover'" in outcome.why[0]
    assert scene.path.read_text() == FOREIGN
    unmount(scene)

    assert backend.revert_now().clean
    assert scene.fingerprint() == owed


def mounted_where_there_was_nothing(root: Path) -> None:
    """Our file over nothing, mounted onto itself since: it cannot be removed, and the error says what to do."""
    scene = Scene.made(root / "a", "absent")
    asyncio.run(scene.backend().apply(dns(WORK)))
    mount("--bind", scene.path, scene.path)
    with pytest.raises(StepFailed, match="unmount it, then run 'autovpn recover'"):
        scene.backend().revert_now()
    unmount(scene)
    assert scene.backend().revert_now().clean
    assert not scene.path.exists()


def overlay(root: Path) -> None:
    """On an overlay file system the original comes back from the lower as from the upper layer."""
    for layer in ("lower", "upper"):
        base = root / layer
        for name in ("lower", "upper", "work", "etc"):
            (base / name).mkdir(parents=True)
        (base / layer / "resolv.conf").write_text(THEIRS)
        (base / layer / "resolv.conf").chmod(0o640)
        options = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
        mount("-t", "overlay", "overlay", "-o", options, base / "etc")
        scene = Scene(base, "file")
        backend = scene.backend()
        assert asyncio.run(backend.apply(dns(WORK))).in_force
        assert asyncio.run(backend.apply(dns(LONGER))).in_force
        assert backend.revert_now().clean
        assert scene.path.read_text() == THEIRS
        assert scene.path.stat().st_mode & 0o777 == 0o640
        assert scene.litter() == set()


SCENARIOS: dict[str, Callable[[Path], None]] = {
    scenario.__name__: scenario
    for scenario in (
        apply_change_and_revert,
        the_facts_say_so,
        every_crash,
        a_full_disk,
        others_write,
        emptied,
        a_host_edit_is_noticed,
        a_reader,
        read_only,
        mounted_over_us,
        mounted_where_there_was_nothing,
        overlay,
    )
}

if __name__ == "__main__":
    # A file system in memory: fsync costs nothing, and an overlay needs layers that are not one themselves.
    folder = Path(sys.argv[2])
    mount("-t", "tmpfs", "tmpfs", folder)
    SCENARIOS[sys.argv[1]](folder)
