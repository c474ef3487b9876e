"""Every system call under the swap of resolv.conf fails in every way: it is told, and the original comes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autovpn.errors import AutovpnError
from tests.dns.scene import LONGER, WORK, Scene
from tests.strikes import ERRORS, Strike, count, descriptors, striking

MakeScene = Callable[[str], Scene]
MOST_CALLS = 300
OPERATIONS: dict[str, tuple[Callable[[Scene], object], bool]] = {
    # the operation, and whether we were in force before it
    "apply": (lambda scene: scene.swap().apply(WORK), False),
    "change": (lambda scene: scene.swap().apply(LONGER), True),
    "revert": (lambda scene: scene.swap().revert(), True),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("kind", "turn"), [("file", 0), ("file", 3), ("symlink", 1)])
def test_a_call_that_fails_costs_neither_a_server_nor_the_original(
    scene_of: MakeScene, kind: str, turn: int, operation: str
) -> None:
    """The errors take turns, since each call meets many of them in the three operations."""
    run, in_force = OPERATIONS[operation]
    before = descriptors()
    for at in range(MOST_CALLS):
        scene, error = scene_of(kind), ERRORS[(at + turn) % len(ERRORS)]
        owed = scene.fingerprint()
        if in_force:
            scene.swap().apply(WORK)
        with striking(Strike(at, error)) as strike:
            try:
                run(scene)
            except (OSError, AutovpnError):
                assert strike.struck, "it fails of itself"
        where = f"{strike.struck}, call {at}"
        assert scene.has_nameserver, where
        scene.swap().revert()
        assert scene.fingerprint() == owed, where
        assert scene.litter() == set(), where
        if strike.struck is None:
            break
        count("system calls on resolv.conf that failed", strike.struck)
    else:
        pytest.fail(f"it takes {MOST_CALLS} calls or more, so not all were tried")
    assert at, "it makes no call, or the seam is somewhere else"
    assert descriptors() <= before, "a failed call leaves a descriptor open"
