"""Which DNS back ends a daemon has: all where the machine's own resolv.conf is its business, else the file alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from autovpn.core.dnscandidates import CANDIDATES
from autovpn.daemon.backends import OF_THE_MACHINE, machine_resolver
from autovpn.daemon.places import Directories


@pytest.mark.parametrize(
    ("path", "names"),
    [(OF_THE_MACHINE, [candidate.name for candidate in CANDIDATES]), (Path("/elsewhere/resolv.conf"), ["file"])],
)
def test_every_candidate_is_there_for_the_machines_own_file_and_none_but_the_file_for_another(
    tmp_path: Path, path: Path, names: list[str]
) -> None:
    directories = Directories(config=tmp_path, run=tmp_path, state=tmp_path, resolv_conf=path)

    assert [*machine_resolver(directories)._backends] == names
