"""A crash at every change of every operation, and another at every change of the recovery: nothing is ever lost."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from autovpn.core.dnsstanding import Standing
from autovpn.errors import StepFailed
from autovpn.system.files import Disk
from tests.dns.scene import KINDS, LONGER, WORK, Faulty, Fingerprint, Plug, PowerCutError, Scene, WithoutLinks, dns

Boundary = Callable[[str], None]
MakeScene = Callable[[str], Scene]
MOST_CHANGES = 20


def _apply(scene: Scene, boundary: Boundary, disk: type[Disk] = Disk) -> None:
    scene.swap(boundary, disk).apply(WORK)


def _change(scene: Scene, boundary: Boundary, disk: type[Disk] = Disk) -> None:
    scene.swap(boundary, disk).apply(LONGER)


def _revert(scene: Scene, boundary: Boundary, disk: type[Disk] = Disk) -> None:
    scene.swap(boundary, disk).revert()


Operation = Callable[[Scene, Boundary, type[Disk]], None]

OPERATIONS: dict[str, tuple[Operation, bool, bool]] = {
    # the operation, whether we were in force before it, whether another program overwrote us before it
    "apply": (_apply, False, False),
    "change": (_change, True, False),
    "adopt": (_apply, True, True),
    "revert": (_revert, True, False),
    "revert under a foreign file": (_revert, True, True),
}


def prepared(make: MakeScene, kind: str, operation: str, disk: type[Disk]) -> tuple[Scene, Fingerprint, bool]:
    """Return a machine right before the operation, what must be there in the end, and whether it had a server."""
    scene = make(kind)
    _, in_force, overwritten = OPERATIONS[operation]
    owed, had_server = scene.fingerprint(), scene.has_nameserver
    if in_force:
        scene.swap(disk=disk).apply(WORK)
    if overwritten:
        scene.rewrite_as_others_do()
        owed, had_server = scene.fingerprint(), True
    return scene, owed, had_server


def cut(run: Operation, scene: Scene, at: int, disk: type[Disk] = Disk) -> bool:
    """Run until the change numbered `at`; report whether there was one to cut."""
    try:
        run(scene, Plug(at), disk)
    except PowerCutError:
        return True
    return False


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_after_a_crash_and_a_crash_of_the_recovery_the_original_is_back(
    scene_of: MakeScene, kind: str, operation: str
) -> None:
    run = OPERATIONS[operation][0]
    was_cut = True
    for first in range(MOST_CHANGES):
        for second in range(MOST_CHANGES):
            scene, owed, had_server = prepared(scene_of, kind, operation, Disk)
            was_cut = cut(run, scene, first)
            assert scene.has_nameserver or not had_server, (first, second)
            recovery_was_cut = cut(_revert, scene, second)
            assert scene.has_nameserver or not had_server, (first, second)
            scene.backend().revert_now()
            assert scene.fingerprint() == owed, (first, second)
            assert scene.litter() == set(), (first, second)
            if not recovery_was_cut:
                break
        if not was_cut:
            return
    pytest.fail(f"the operation has {MOST_CHANGES} changes or more, so not all crashes were tried")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_after_a_crash_the_next_apply_works_and_loses_nothing(scene_of: MakeScene, kind: str, operation: str) -> None:
    run = OPERATIONS[operation][0]
    was_cut, at = True, -1
    while was_cut:
        at += 1
        scene, owed, _ = prepared(scene_of, kind, operation, Disk)
        was_cut = cut(run, scene, at)

        assert scene.swap().apply(LONGER).standing is Standing.APPLIED
        scene.swap().revert()

        assert scene.fingerprint() == owed, at
        assert scene.litter() == set(), at


@pytest.mark.parametrize("kind", ["file", "symlink", "dangling"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_without_hard_links_the_copy_comes_back_through_every_crash(
    scene_of: MakeScene, kind: str, operation: str
) -> None:
    """The inode and the time of change are another's then; all the rest is the original's."""
    run = OPERATIONS[operation][0]
    was_cut, at = True, -1
    while was_cut:
        at += 1
        scene, owed, had_server = prepared(scene_of, kind, operation, WithoutLinks)
        was_cut = cut(run, scene, at, WithoutLinks)
        assert scene.has_nameserver or not had_server, at

        scene.swap(disk=WithoutLinks).revert()

        assert without_inode(scene.fingerprint()) == without_inode(owed), at
        assert scene.litter() == set(), at


def without_inode(fingerprint: Fingerprint) -> Fingerprint:
    return fingerprint and (*fingerprint[1:4], *fingerprint[5:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_change_that_fails_is_told_and_leaves_the_machine_as_it_was(
    scene_of: MakeScene, kind: str, operation: str, error: int
) -> None:
    run, in_force, _ = OPERATIONS[operation]
    struck, at = True, -1
    while struck:
        at += 1
        scene, owed, had_server = prepared(scene_of, kind, operation, Disk)
        fault = Faulty(at, error)
        try:
            run(scene, fault, Disk)
        except OSError:
            if run is _apply and not in_force:
                assert scene.fingerprint() == owed, at
                assert scene.litter() == set(), at
        assert scene.has_nameserver or not had_server, at
        scene.swap().revert()
        assert scene.fingerprint() == owed, at
        assert scene.litter() == set(), at
        struck = fault.struck


async def test_a_failed_apply_names_the_file_the_error_and_what_became_of_it(scene_of: MakeScene) -> None:
    scene = scene_of("file")
    owed = scene.fingerprint()
    backend = scene.backend(disk=Disk(Faulty(2, errno.ENOSPC)))

    with pytest.raises(StepFailed, match=r"dns: .*No space left on device; it is left as it was"):
        await backend.apply(dns(WORK))

    assert scene.fingerprint() == owed


def test_a_failed_revert_says_how_to_try_again(scene_of: MakeScene) -> None:
    scene = scene_of("file")
    scene.swap().apply(WORK)

    with pytest.raises(StepFailed, match=r"Input/output error; 'autovpn recover' tries again"):
        scene.backend(disk=Disk(Faulty(0, errno.EIO))).revert_now()
