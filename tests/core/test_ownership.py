"""The rule on owners and modes, mode by mode."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.ownership import distrust_file, distrust_folder

ROOT = frozenset({0})
modes = st.integers(0, 0o7777)


@given(modes)
def test_what_others_may_write_is_never_trusted(mode: int) -> None:
    assert (distrust_file(0, mode, ROOT) is None) is (mode & 0o022 == 0)


@given(modes)
def test_a_secret_is_for_its_owner_alone(mode: int) -> None:
    assert (distrust_file(0, mode, ROOT, secret=True) is None) is (mode & 0o077 == 0)


@given(modes)
def test_the_owner_can_change_it_whatever_the_mode(mode: int) -> None:
    assert distrust_file(1000, mode, ROOT) is not None
    assert distrust_folder(1000, mode, ROOT) is not None
    assert (distrust_file(1000, mode, ROOT | {1000}) is None) is (distrust_file(0, mode, ROOT) is None)


@given(modes)
def test_a_folder_that_others_may_write_must_be_sticky(mode: int) -> None:
    assert (distrust_folder(0, mode, ROOT) is None) is (mode & 0o022 == 0 or mode & 0o1000 != 0)
