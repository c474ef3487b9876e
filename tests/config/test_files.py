"""A file is believed only when nobody else could have put it there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autovpn.config.files import LARGEST, Files, fingerprint, folders_on_the_way, reason
from autovpn.errors import Refused

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "file"
    path.parent.mkdir(mode=0o755)
    path.write_text("content\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def files() -> Files:
    return Files(os.geteuid())


def test_a_file_of_ours_is_read(file: Path, files: Files) -> None:
    assert files.read(file, secret=True) == "content\n"


@pytest.mark.parametrize(("mode", "secret"), [(0o620, False), (0o602, False), (0o640, True), (0o604, True)])
def test_a_file_open_to_others_is_refused(file: Path, files: Files, mode: int, secret: bool) -> None:
    file.chmod(mode)
    with pytest.raises(Refused, match=f"{mode:04o}"):
        files.read(file, secret=secret)


def test_a_file_that_others_may_read_is_no_secret_but_fine(file: Path, files: Files) -> None:
    file.chmod(0o644)
    assert files.read(file) == "content\n"


@needs_root
def test_the_file_of_another_user_is_refused(file: Path) -> None:
    os.chown(file, NOBODY, -1)
    with pytest.raises(Refused, match="belongs to user 65534"):
        Files().read(file)


@needs_root
def test_a_file_in_the_folder_of_another_user_is_refused(file: Path) -> None:
    os.chown(file.parent, NOBODY, -1)
    with pytest.raises(Refused, match=r"its folder .* belongs to user 65534"):
        Files().read(file)


def test_a_file_in_a_folder_that_others_may_write_is_refused(file: Path, files: Files) -> None:
    file.parent.chmod(0o777)
    with pytest.raises(Refused, match="its folder"):
        files.read(file)


def test_a_link_is_followed_through_trusted_folders_only(file: Path, files: Files, tmp_path: Path) -> None:
    between = tmp_path / "between"
    between.mkdir(mode=0o755)
    (between / "link").symlink_to("../folder/file")
    outer = tmp_path / "outer"
    outer.symlink_to(between / "link")
    assert files.read(outer) == "content\n"
    between.chmod(0o777)  # whoever writes here decides what `outer` is
    with pytest.raises(Refused, match="between"):
        Files(os.geteuid()).read(outer)


def test_a_link_is_judged_by_its_own_way_though_its_folder_is_known(file: Path, files: Files, tmp_path: Path) -> None:
    unsafe = tmp_path / "unsafe"
    unsafe.mkdir()
    unsafe.chmod(0o777)
    (unsafe / "link").symlink_to(file)
    (file.parent / "other").symlink_to(unsafe / "link")
    files.check(file)
    with pytest.raises(Refused, match="unsafe"):
        files.check(file.parent / "other")


def test_every_folder_on_the_way_is_named(file: Path, tmp_path: Path) -> None:
    (tmp_path / "short").symlink_to("folder/../folder")
    way = list(folders_on_the_way(tmp_path / "short" / "file"))
    assert way[0] == "/"
    assert way[-1] == str(file.parent)
    assert str(tmp_path) in way


def test_links_in_a_circle_are_refused(tmp_path: Path, files: Files) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(Refused, match="too many"):
        files.read(tmp_path / "a")


def test_a_fifo_does_not_hold_the_reader(tmp_path: Path, files: Files) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(Refused, match="not a regular file"):
        files.read(tmp_path / "fifo")


def test_a_folder_is_no_file(tmp_path: Path, files: Files) -> None:
    with pytest.raises(Refused, match="not a regular file"):
        files.check(tmp_path)


@pytest.mark.parametrize("name", ["absent", "nul\0", "x" * 300, "absent/absent"])
def test_what_cannot_be_opened_is_refused_in_words(tmp_path: Path, files: Files, name: str) -> None:
    with pytest.raises(Refused, match="can't be read"):
        files.read(f"{tmp_path}/{name}")


def test_a_huge_file_is_refused(file: Path, files: Files) -> None:
    file.write_bytes(b"x" * (LARGEST + 1))
    with pytest.raises(Refused, match="longer than 1 MiB"):
        files.read(file)


def test_text_that_is_not_utf8_is_refused_with_its_line(file: Path, files: Files) -> None:
    file.write_bytes(b"one\ntwo \xff\n")
    with pytest.raises(Refused, match="line 2 is not UTF-8"):
        files.read(file)


def test_a_fingerprint_changes_with_the_file_and_never_shows_it(file: Path) -> None:
    before = fingerprint([str(file)])
    assert before == fingerprint([str(file)])
    assert "content" not in before
    other = file.with_name("other")
    other.write_text("content\n")
    other.replace(file)
    assert fingerprint([str(file)]) != before
    assert fingerprint([str(file) + "\0", "/absent"]) == "absent absent"


def test_reasons_are_the_systems_own_words() -> None:
    assert reason(FileNotFoundError(2, "No such file or directory")) == "no such file or directory"
    assert reason(ValueError("embedded null byte")) == "embedded null byte"
