"""What the two names on disk say, and what is done about it."""

from __future__ import annotations

import pytest

from autovpn.core.dnsstanding import ON_APPLY, ON_REVERT, Action, Kind, Look, Standing, is_blank, standing
from autovpn.core.resolvconf import Original, seal

THEIRS = Look(Kind.FILE, b"nameserver 192.0.2.1\n", 1, 10)
COPY = Look(Kind.FILE, b"nameserver 192.0.2.1\n", 1, 11)
PADDED = Look(Kind.FILE, b"nameserver 192.0.2.1\n\n\n\n", 1, 11)
NEWER = Look(Kind.FILE, b"nameserver 192.0.2.9\n", 1, 12)
LINK = Look(Kind.SYMLINK, b"../run/resolv.conf", 1, 13)
SAME_LINK = Look(Kind.SYMLINK, b"../run/resolv.conf", 1, 14)
DIRECTORY = Look(Kind.OTHER, b"", 1, 15)
EMPTY = Look(Kind.FILE, b"", 1, 16)
BLANK = Look(Kind.FILE, b" \n\n", 1, 17)
OURS = Look(Kind.FILE, seal("nameserver 10.0.0.1\n", Original.FILE), 1, 20)
OURS_ALONE = Look(Kind.FILE, seal("nameserver 10.0.0.1\n", Original.ABSENT), 1, 20)
EDITED = Look(Kind.FILE, OURS.data + b"nameserver 10.0.0.2\n", 1, 20)


@pytest.mark.parametrize(
    ("current", "kept", "expected"),
    [
        (None, None, Standing.CLEAN),
        (THEIRS, None, Standing.CLEAN),
        (LINK, None, Standing.CLEAN),
        (EMPTY, None, Standing.CLEAN),
        (DIRECTORY, None, Standing.CLEAN),
        (THEIRS, THEIRS, Standing.UNSWAPPED),
        (THEIRS, COPY, Standing.UNSWAPPED),
        (PADDED, THEIRS, Standing.UNSWAPPED),
        (LINK, LINK, Standing.UNSWAPPED),
        (LINK, SAME_LINK, Standing.UNSWAPPED),
        (EMPTY, EMPTY, Standing.UNSWAPPED),
        (OURS, THEIRS, Standing.APPLIED),
        (OURS, LINK, Standing.APPLIED),
        (OURS_ALONE, None, Standing.APPLIED),
        (None, THEIRS, Standing.VACATED),
        (EMPTY, THEIRS, Standing.VACATED),
        (BLANK, LINK, Standing.VACATED),
        (NEWER, THEIRS, Standing.FOREIGN),
        (NEWER, LINK, Standing.FOREIGN),
        (LINK, THEIRS, Standing.FOREIGN),
        (DIRECTORY, EMPTY, Standing.FOREIGN),
        (EDITED, THEIRS, Standing.EDITED),
        (EDITED, None, Standing.EDITED),
        (OURS, None, Standing.ORPHAN),
    ],
)
def test_each_pair_of_names_has_one_meaning(current: Look | None, kept: Look | None, expected: Standing) -> None:
    assert standing(current, kept) is expected


def test_the_text_of_a_symlink_that_looks_like_our_file_is_not_ours() -> None:
    assert standing(Look(Kind.SYMLINK, OURS.data), None) is Standing.CLEAN


@pytest.mark.parametrize(
    ("where", "on_apply", "on_revert"),
    [
        (Standing.CLEAN, Action.SWAP, Action.NOTHING),
        (Standing.UNSWAPPED, Action.UNDO_THEN_SWAP, Action.UNKEEP),
        (Standing.APPLIED, Action.REWRITE, Action.RESTORE),
        (Standing.VACATED, Action.UNDO_THEN_SWAP, Action.RESTORE),
        (Standing.FOREIGN, Action.UNDO_THEN_SWAP, Action.FORGET),
        (Standing.EDITED, Action.LEAVE, Action.LEAVE),
        (Standing.ORPHAN, Action.REWRITE, Action.LEAVE),
    ],
)
def test_the_table_answers_every_standing(where: Standing, on_apply: Action, on_revert: Action) -> None:
    assert (ON_APPLY[where], ON_REVERT[where]) == (on_apply, on_revert)


def test_the_table_is_complete() -> None:
    assert set(ON_APPLY) == set(ON_REVERT) == set(Standing)


def test_a_state_of_a_file_is_more_than_its_inode() -> None:
    later = Look(Kind.FILE, THEIRS.data, 1, 10, changed=5)

    assert later.is_same_object(THEIRS)
    assert not later.is_unchanged(THEIRS)
    assert THEIRS.is_unchanged(THEIRS)


def test_only_a_file_can_be_blank() -> None:
    assert is_blank(EMPTY)
    assert not is_blank(DIRECTORY)
    assert not is_blank(THEIRS)
