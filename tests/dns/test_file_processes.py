"""Real processes: one that is killed, one that reads without pause."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dns.scene import LONGER, SHORTER, WORK, Scene

MakeScene = Callable[[str], Scene]
ROOT = Path(__file__).parents[2]
KILLS = 12

pytestmark = pytest.mark.timeout(120)  # real processes, on a machine that may be busy

SWAPPER = """
import sys
from pathlib import Path
from tests.dns.scene import LONGER, WORK, Scene
scene = Scene(Path(sys.argv[1]), "file")
while True:
    for wish in (WORK, LONGER):
        scene.swap().apply(wish)
        sys.stdout.write(".")
        sys.stdout.flush()
    scene.swap().revert()
    sys.stdout.write(".")
    sys.stdout.flush()
"""

READER = """
import os, sys
path, stop = sys.argv[1:]
empty = without = reads = 0
print("ready", flush=True)
while not os.path.exists(stop):
    with open(path, "rb") as file:
        data = file.read()
    reads += 1
    empty += not data
    without += b"nameserver " not in data
print(reads, empty, without)
"""


def test_a_process_killed_at_any_moment_leaves_what_can_be_given_back(scene_of: MakeScene) -> None:
    """The moment is random and the seed fixed; some kills land between two changes, some inside one."""
    dice = random.Random(3)
    scene = scene_of("file")
    owed = scene.fingerprint()
    for _ in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", SWAPPER, str(scene.root)], cwd=ROOT, stdout=subprocess.PIPE
        ) as child:
            try:
                assert child.stdout is not None
                child.stdout.read(dice.randrange(1, 200))
            finally:
                child.kill()
        assert scene.has_nameserver

        scene.backend().revert_now()

        assert scene.fingerprint() == owed
        assert scene.litter() == set()


def test_a_reader_never_finds_an_empty_file_nor_one_without_a_server(scene_of: MakeScene) -> None:
    scene = scene_of("file")
    stop = scene.root / "stop"
    command = [sys.executable, "-c", READER, str(scene.path), str(stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        try:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
            swap = scene.swap()
            for number in range(1000):
                swap.apply((WORK, LONGER, SHORTER)[number % 3])
                if number % 10 == 0:
                    swap.revert()
            stop.touch()
            reads, empty, without = map(int, reader.stdout.read().split())
        finally:
            reader.kill()

    assert reads > 100
    assert (empty, without) == (0, 0)
