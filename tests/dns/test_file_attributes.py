"""What our file wears: labels and attributes of the original, and nothing that would lock readers out of it."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from autovpn.errors import StepFailed
from tests.dns.scene import WORK, Scene, WithoutLinks, dns

MakeScene = Callable[[str], Scene]

SELINUX, SMACK = "security.selinux", "security.SMACK64"
NET_CONF = b"system_u:object_r:net_conf_t:s0"

_ENTRY = struct.Struct("<HHI")  # linux/posix_acl_xattr.h: tag, permissions, id
_NOBODY_ELSE = struct.pack("<I", 2) + b"".join(
    _ENTRY.pack(tag, permissions, identity)
    for tag, permissions, identity in (
        (0x01, 6, 0xFFFFFFFF),
        (0x02, 4, 1234),
        (0x04, 0, 0xFFFFFFFF),
        (0x10, 4, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    )
)
ACL = "system.posix_acl_access"


def wear(path: Path, name: str, value: bytes) -> None:
    """Set an attribute; where this machine or user can't, there is nothing to test."""
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        pytest.skip(f"no {name} here: {error.strerror}")


def worn(path: Path) -> dict[str, bytes]:
    """Return all attributes of a file."""
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


def put(scene: Scene, **options: object) -> None:
    """Put a wish in force."""
    scene.swap(**options).apply(WORK)  # type: ignore[arg-type]
    assert scene.has_nameserver


@pytest.mark.parametrize("name", [SELINUX, SMACK, "user.note"])
def test_our_file_wears_the_label_and_the_notes_of_the_original_file(scene_of: MakeScene, name: str) -> None:
    scene = scene_of("file")
    wear(scene.path, name, NET_CONF)

    put(scene)

    assert worn(scene.path)[name] == NET_CONF


@pytest.mark.parametrize("kind", ["symlink", "dangling", "absent"])
def test_where_no_file_was_there_the_type_is_the_one_that_policies_give_resolv_conf(
    scene_of: MakeScene, kind: str
) -> None:
    scene = scene_of(kind)
    wear(scene.path.parent, SELINUX, b"system_u:object_r:etc_t:s0")

    scene.swap().apply(WORK)

    assert os.getxattr(scene.path, SELINUX) == NET_CONF


def test_an_acl_that_shuts_readers_out_stays_with_the_original(scene_of: MakeScene) -> None:
    scene = scene_of("file")
    wear(scene.path, ACL, _NOBODY_ELSE)
    owed = scene.fingerprint()

    put(scene)

    assert ACL not in worn(scene.path)
    assert stat.S_IMODE(scene.path.stat().st_mode) == 0o644
    scene.swap().revert()
    assert scene.fingerprint() == owed


def test_what_belongs_to_the_content_or_to_the_file_system_is_not_copied_onto_other_content(
    scene_of: MakeScene,
) -> None:
    scene = scene_of("file")
    wear(scene.path, "trusted.overlay.opaque", b"y")

    put(scene)

    assert "trusted.overlay.opaque" not in worn(scene.path)


def test_without_hard_links_the_copy_wears_all_that_the_original_wore(scene_of: MakeScene) -> None:
    scene = scene_of("file")
    for name, value in ((SELINUX, NET_CONF), ("user.note", b"kept"), (ACL, _NOBODY_ELSE)):
        wear(scene.path, name, value)
    owed, facts = worn(scene.path), scene.path.stat()

    put(scene, disk=WithoutLinks)
    scene.swap(disk=WithoutLinks).revert()

    assert worn(scene.path) == owed
    back = scene.path.stat()
    assert (back.st_mode, back.st_uid, back.st_gid) == (facts.st_mode, facts.st_uid, facts.st_gid)


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_with_neither_hard_links_nor_attributes_does(
    scene_of: MakeScene, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def none(*_: object, **__: object) -> list[str]:
        raise OSError(error, os.strerror(error))

    scene = scene_of("file")
    before = scene.path.read_bytes()
    monkeypatch.setattr(os, "listxattr", none)

    put(scene, disk=WithoutLinks)
    scene.swap(disk=WithoutLinks).revert()

    assert scene.path.read_bytes() == before


async def test_attributes_that_cannot_be_read_for_another_reason_leave_the_file_as_it_was(
    scene_of: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> list[str]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    scene = scene_of("file")
    before = scene.path.read_bytes()
    monkeypatch.setattr(os, "listxattr", broken)

    with pytest.raises(StepFailed, match="Input/output error"):
        await scene.backend().apply(dns(WORK))

    assert scene.path.read_bytes() == before
    assert scene.litter() == set()
