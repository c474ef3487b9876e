"""Files that survive a power cut, files that may be trusted, and names that are watched."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from autovpn.errors import Refused, SystemFault
from autovpn.system.files import (
    Disk,
    Dress,
    NameWatch,
    is_immutable,
    is_mount_point,
    open_trusted,
    read_small,
    temporary,
    write_durably,
)
from autovpn.system.libc import Inotify, Watched

ME = os.geteuid()


class TestWriting:
    """One name, one whole content, at every moment."""

    def test_the_new_file_has_the_bytes_the_mode_and_the_attributes(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        before = os.umask(0o077)
        try:
            write_durably(path, b"text", Dress(mode=0o644, uid=ME, gid=os.getegid(), xattrs={"user.test": b"x"}))
        finally:
            os.umask(before)

        assert path.read_bytes() == b"text"
        assert path.stat().st_mode == stat.S_IFREG | 0o644

    def test_nobody_else_can_open_it_before_it_is_whole(self, tmp_path: Path) -> None:
        path, modes = tmp_path / "file", []

        def look(_what: str) -> None:
            if temporary(path).exists():
                modes.append(temporary(path).stat().st_mode & 0o777)

        Disk(look).replace(path, b"secret", Dress(mode=0o640))

        assert modes[0] == 0o600
        assert path.stat().st_mode & 0o777 == 0o640

    def test_a_symlink_in_the_place_is_replaced_and_its_target_is_not_touched(self, tmp_path: Path) -> None:
        target, path = tmp_path / "target", tmp_path / "file"
        target.write_text("theirs")
        path.symlink_to(target)
        temporary(path).symlink_to(target)

        write_durably(path, b"ours")

        assert not path.is_symlink()
        assert target.read_text() == "theirs"

    def test_the_leftover_of_a_crash_does_not_stand_in_the_way(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        temporary(path).write_text("half")

        write_durably(path, b"whole")

        assert [name.name for name in tmp_path.iterdir()] == ["file"]

    def test_the_bytes_are_on_disk_before_the_name_and_the_name_before_the_end(self, tmp_path: Path) -> None:
        changes: list[str] = []

        Disk(changes.append).replace(tmp_path / "file", b"text")

        assert changes == ["create", "write", "chmod", "fsync", "rename", "fsync directory"]

    @pytest.mark.parametrize("old", [b"", b"short\n", b"a much longer text\nof two lines\n", b"just as long\n"])
    def test_a_file_is_rewritten_in_place_and_is_empty_at_no_moment(self, tmp_path: Path, old: bytes) -> None:
        path = tmp_path / "file"
        path.write_bytes(old)
        inode = path.stat().st_ino
        seen: list[bytes] = []

        Disk(lambda _what: seen.append(path.read_bytes())).rewrite(path, b"just as long\n")

        assert path.read_bytes() == b"just as long\n"
        assert path.stat().st_ino == inode
        assert {text.rstrip(b"\n") for text in seen} <= {old.rstrip(b"\n"), b"just as long"}

    @pytest.mark.parametrize("old", [b"short\n", b"a much longer text\nof two lines\n"])
    def test_the_write_that_changes_the_text_does_not_change_the_length(self, tmp_path: Path, old: bytes) -> None:
        path = tmp_path / "file"
        path.write_bytes(old)
        sizes: dict[str, int] = {}

        Disk(lambda what: sizes.setdefault(what, path.stat().st_size)).rewrite(path, b"just as long\n")  # type: ignore[arg-type]

        assert sizes["overwrite"] == max(len(old), len(b"just as long\n"))

    def test_rewriting_does_not_go_through_a_symlink(self, tmp_path: Path) -> None:
        (tmp_path / "target").write_text("theirs")
        (tmp_path / "file").symlink_to("target")

        with pytest.raises(OSError, match="symbolic links"):
            Disk().rewrite(tmp_path / "file", b"ours")


class TestAsking:
    """What a name is."""

    @pytest.mark.parametrize(("size", "answer"), [(0, True), (10, True), (11, False)])
    def test_no_more_is_read_than_was_asked_for(self, tmp_path: Path, size: int, answer: bool) -> None:
        (tmp_path / "file").write_bytes(b"x" * size)

        assert (read_small(tmp_path / "file", 10) is not None) == answer

    def test_a_fifo_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")

        assert read_small(tmp_path / "fifo", 10) is None
        assert not is_immutable(tmp_path / "fifo")

    def test_a_symlink_is_followed_only_when_asked(self, tmp_path: Path) -> None:
        (tmp_path / "target").write_text("text")
        (tmp_path / "link").symlink_to("target")

        assert read_small(tmp_path / "link", 10, follow=True) == b"text"
        with pytest.raises(OSError, match="symbolic links"):
            read_small(tmp_path / "link", 10)

    @pytest.mark.parametrize("flag", ["i", "a"])
    def test_immutable_and_append_only_are_seen(self, tmp_path: Path, flag: str) -> None:
        path = tmp_path / "file"
        path.touch()
        assert not is_immutable(path)
        if not shutil.which("chattr") or subprocess.run(["chattr", f"+{flag}", path], check=False).returncode:
            pytest.skip(f"no chattr +{flag} here")
        try:
            assert is_immutable(path)
        finally:
            subprocess.run(["chattr", f"-{flag}", path], check=True)

    def test_what_is_missing_or_has_no_such_flags_is_not_immutable(self, tmp_path: Path) -> None:
        assert not is_immutable(tmp_path / "missing")
        assert not is_immutable(Path("/proc/self/status"))

    def test_a_mount_point_is_known_by_the_kernels_own_list(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        table = tmp_path / "mountinfo"
        odd = f"{tmp_path}/real/a\\040b\\134c"
        table.write_text(f"1 0 8:1 / / rw - ext4 x rw\n2 1 8:1 /x {odd} rw shared:1 - ext4 /dev/x rw\n")

        assert is_mount_point(tmp_path / "real" / "a b\\c", table)
        assert is_mount_point(tmp_path / "link" / "a b\\c", table)
        assert not is_mount_point(tmp_path / "real" / "a", table)
        assert is_mount_point(Path("/proc"))
        assert not is_mount_point(tmp_path / "real")


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """Give /top/etc/hooks/run below a directory from which on all is ours alone."""
    top = tmp_path / "top"
    (top / "etc" / "hooks").mkdir(parents=True)
    (top / "etc" / "hooks" / "run").write_text("text")
    for path in (top, top / "etc", top / "etc" / "hooks", top / "etc" / "hooks" / "run"):
        path.chmod(0o755)
    yield top
    for path in tmp_path.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o700)


def content(path: Path, top: Path) -> str:
    with open(open_trusted(path, owner=ME, below=top)) as file:  # noqa: PTH123
        return file.read()


class TestTrust:
    """A file counts as root's only if nobody else can have written, moved or chosen it."""

    def test_what_only_the_owner_can_have_written_is_opened(self, tree: Path) -> None:
        assert content(tree / "etc" / "hooks" / "run", tree) == "text"

    @pytest.mark.parametrize("which", ["", "etc", "etc/hooks", "etc/hooks/run"])
    @pytest.mark.parametrize("mode", [0o775, 0o757])
    def test_a_file_or_any_directory_above_it_that_others_may_write_is_refused(
        self, tree: Path, which: str, mode: int
    ) -> None:
        (tree / which).chmod(mode)

        with pytest.raises(Refused, match="may be written by others") as refused:
            content(tree / "etc" / "hooks" / "run", tree)

        assert refused.value.hint == f"mend it with 'chmod go-w {tree / which}'"

    @pytest.mark.skipif(ME != 0, reason="only root can give a file away")
    @pytest.mark.parametrize("which", ["", "etc", "etc/hooks", "etc/hooks/run"])
    def test_a_file_or_any_directory_above_it_of_another_user_is_refused(self, tree: Path, which: str) -> None:
        os.chown(tree / which, 1234, 0)

        with pytest.raises(Refused, match="belongs to user 1234") as refused:
            content(tree / "etc" / "hooks" / "run", tree)

        assert refused.value.hint == f"mend it with 'chown root {tree / which}'"

    @pytest.mark.parametrize("target", ["../lib/run", "absolute"])
    def test_a_symlink_is_followed_and_the_way_to_its_target_is_checked_too(self, tree: Path, target: str) -> None:
        (tree / "etc" / "lib").mkdir(mode=0o755)
        (tree / "etc" / "lib" / "run").write_text("there")
        (tree / "etc" / "lib" / "run").chmod(0o644)
        link = tree / "etc" / "hooks" / "link"
        link.symlink_to(tree / "etc" / "lib" / "run" if target == "absolute" else target)
        assert content(link, tree) == "there"

        (tree / "etc" / "lib").chmod(0o777)

        with pytest.raises(Refused, match="etc/lib may be written by others"):
            content(link, tree)

    def test_a_symlink_in_a_directory_of_others_is_refused_though_its_target_is_fine(self, tree: Path) -> None:
        (tree / "open").mkdir()
        (tree / "open" / "link").symlink_to(tree / "etc" / "hooks" / "run")
        (tree / "open").chmod(0o777)

        with pytest.raises(Refused, match="open may be written by others"):
            content(tree / "open" / "link", tree)

    def test_a_loop_of_symlinks_ends(self, tree: Path) -> None:
        (tree / "a").symlink_to("b")
        (tree / "b").symlink_to("a")

        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            content(tree / "a", tree)

    def test_a_directory_or_a_fifo_is_refused_without_waiting(self, tree: Path) -> None:
        os.mkfifo(tree / "fifo", 0o600)
        for path in (tree / "fifo", tree / "etc"):
            with pytest.raises(Refused, match="it is not a plain file"):
                content(path, tree)

    def test_a_file_that_is_not_there_is_an_ordinary_error(self, tree: Path) -> None:
        with pytest.raises(FileNotFoundError):
            content(tree / "etc" / "missing", tree)

    def test_the_descriptor_is_the_file_that_was_checked(self, tree: Path) -> None:
        path = tree / "etc" / "hooks" / "run"
        descriptor = open_trusted(path, owner=ME, below=tree)
        path.unlink()
        path.write_text("exchanged")

        with open(descriptor) as file:  # noqa: PTH123
            assert file.read() == "text"

    def test_no_descriptor_is_left_open(self, tree: Path) -> None:
        def count() -> int:
            return len(list(Path("/proc/self/fd").iterdir()))

        (tree / "loop").symlink_to("loop")
        before = count()
        for path in (tree / "etc" / "hooks" / "run", tree / "etc", tree / "missing", tree / "loop"):
            try:
                os.close(open_trusted(path, owner=ME, below=tree))
            except (OSError, Refused):
                continue

        assert count() == before


async def _disturb(watch: NameWatch) -> None:
    async with asyncio.timeout(60):
        await watch.disturbed()


class TestWatching:
    """Every change to a name is noticed."""

    @pytest.mark.parametrize(
        "change",
        [
            lambda path: path.write_text("x"),
            lambda path: path.unlink(),
            lambda path: path.chmod(0o600),
            lambda path: (path.parent / "other").rename(path),
            lambda path: path.rename(path.parent / "elsewhere"),
        ],
    )
    async def test_whatever_happens_to_the_name_is_noticed_again_and_again(
        self, tmp_path: Path, change: object
    ) -> None:
        path = tmp_path / "file"
        watch = NameWatch(path)
        try:
            for _ in range(3):
                path.write_text("before")
                (tmp_path / "other").write_text("other")
                await _disturb(watch)
                change(path)  # type: ignore[operator]
                await _disturb(watch)
        finally:
            watch.close()

    async def test_other_names_in_the_directory_are_not_news_unless_asked_for(self, tmp_path: Path) -> None:
        watch = NameWatch(tmp_path / "file", "friend")
        try:
            (tmp_path / "stranger").write_text("x")
            assert not watch._concerned()
            (tmp_path / "friend").write_text("x")
            await _disturb(watch)
        finally:
            watch.close()

    def test_a_queue_that_overflowed_says_look_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        watch = NameWatch(tmp_path / "file")
        overflow = b"\xff\xff\xff\xff\0\x40\0\0\0\0\0\0\0\0\0\0"
        answers = iter([overflow, b""])
        monkeypatch.setattr("autovpn.system.libc.os.read", lambda *_: next(answers))
        try:
            assert watch._concerned()
        finally:
            watch.close()

    def test_a_watch_that_cannot_be_had_says_which(self, tmp_path: Path) -> None:
        with Inotify() as queue, pytest.raises(SystemFault, match=r"inotify_add_watch .*: Invalid argument"):
            queue.add(tmp_path, Watched(0))

    def test_used_up_instances_are_an_error_with_a_hint(self, monkeypatch: pytest.MonkeyPatch) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            with pytest.raises(SystemFault, match=r"inotify_init1: Too many open files; raise fs\.inotify"):
                Inotify()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
