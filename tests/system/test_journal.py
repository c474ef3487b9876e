"""What the journal has recorded survives whatever happens to its files, and nothing is recorded that did not."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.records import Begin, Done, Entry, EntryState, Note, Origin, Undoing, Undone
from autovpn.core.steps import Step, StepKind
from autovpn.errors import JournalError
from autovpn.system import journal as journals
from autovpn.system.journal import Journal, this_origin
from autovpn.system.logfile import LogFile
from tests.daemon import steps
from tests.daemon.fake_machine import Machine

HERE = Origin("boot-1", 1)
GUARD, DNS, BRACKET = steps.guard(), steps.dns(), steps.bracket(StepKind.PREUP)


class Files:
    """The two files of a journal, and daemons that come and go."""

    def __init__(self, folder: Path) -> None:
        self.boot = folder / "run" / "journal" / "steps"
        self.disk = folder / "lib" / "journal" / "steps"
        self.report: tuple[str, ...] = ()
        self._logs: list[LogFile] = []

    async def open(self, origin: Origin = HERE) -> Journal:
        logs = LogFile(self.boot, durable=False), LogFile(self.disk, durable=True)
        self._logs += logs
        journal = Journal(*logs, origin)
        self.report = await journal.open()
        return journal

    def close(self) -> None:
        for log in self._logs:
            log.close()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture(autouse=True)
def closed(files: Files) -> object:
    yield files
    files.close()


async def begin(journal: Journal, *all_steps: Step) -> None:
    for step in all_steps:
        await journal.record(Begin(step, "before", HERE))


async def test_another_daemon_reads_what_the_first_recorded(files: Files) -> None:
    journal = await files.open()
    await begin(journal, BRACKET, GUARD, DNS)
    await journal.record(Done(GUARD.key, ("receipt", b"\xff", None)))

    again = await files.open()

    assert again.entries == journal.entries
    assert again.entry(GUARD.key) == Entry(GUARD, "before", HERE, ("receipt", b"\xff", None), EntryState.DONE)
    assert again.entry(BRACKET.key).step.context == BRACKET.context  # type: ignore[union-attr]
    assert not files.report


async def test_reading_makes_no_file(files: Files) -> None:
    assert not (await files.open()).entries
    assert not files.boot.parent.exists()


async def test_what_a_reboot_undoes_is_kept_where_a_reboot_forgets_it(files: Files) -> None:
    silent = replace(steps.bracket(StepKind.POSTUP), context=replace(BRACKET.context, up=(), down=()))  # type: ignore[type-var]
    await begin(await files.open(), BRACKET, DNS, GUARD, silent)

    assert {kinds(files.disk), kinds(files.boot)} == {("preup", "dns"), ("guard", "postup")}


def kinds(path: Path) -> tuple[str, ...]:
    records = [json.loads(line)["record"] for line in path.read_bytes().splitlines()]
    return tuple(record["step"]["kind"]["value"] for record in records if record["$"] == "Begin")


async def test_nobody_else_can_read_it(files: Files) -> None:
    await begin(await files.open(), GUARD, DNS)

    assert [mode(path) for path in (files.boot, files.disk)] == [0o600, 0o600]
    assert [mode(path.parent) for path in (files.boot, files.disk)] == [0o700, 0o700]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("which", ["boot", "disk"])
async def test_a_journal_cut_anywhere_keeps_what_is_whole(files: Files, which: str) -> None:
    first, second = (GUARD, steps.pin()) if which == "boot" else (DNS, BRACKET)
    await begin(await files.open(), first, second)
    path = files.boot if which == "boot" else files.disk
    whole = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == 0x0A]
    for cut in sorted({*range(1, len(whole), 23), *(end + near for end in ends[:-1] for near in (-1, 0, 1))}):
        path.write_bytes(whole[:cut])

        journal = await files.open()

        expected = [step for step, end in zip((first, second), ends[1:], strict=True) if end <= cut]
        assert [entry.step for entry in journal.entries] == expected
        assert bool(files.report) == (cut not in ends), files.report
        files.close()


async def test_a_torn_journal_is_mended_by_the_next_record(files: Files) -> None:
    await begin(await files.open(), GUARD, steps.pin())
    files.boot.write_bytes(files.boot.read_bytes()[:-20])

    await begin(await files.open(), steps.pin())
    assert len(files.report) == 1

    assert [entry.step for entry in (await files.open()).entries] == [GUARD, steps.pin()]
    assert not files.report


async def test_a_damaged_journal_is_mended_once_and_a_whole_one_left_alone(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(await files.open(), GUARD, DNS)
    files.boot.write_bytes(files.boot.read_bytes()[:-20])

    await (await files.open()).mend()
    journal = await files.open()

    assert not files.report
    assert [entry.step for entry in journal.entries] == [DNS]
    monkeypatch.setattr(LogFile, "replace", pytest.fail)
    await journal.mend()


@given(data=st.data())
async def test_any_damaged_bytes_cost_no_more_than_their_lines(data: st.DataObject) -> None:
    machine = Machine()
    journal = await machine.journal()
    for step in (GUARD, steps.pin(), steps.routes()):
        await journal.record(Begin(step, None, machine.origin))
    whole = machine.boot_log.content
    content = bytearray(whole)
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[place] ^= data.draw(st.integers(1, 255))
    machine.boot_log.content = bytes(content)

    damaged = Journal(machine.boot_log, machine.disk_log, machine.origin)
    report = await damaged.open()

    _, *lines = whole.splitlines()
    intact = {entry.key for line, entry in zip(lines, journal.entries, strict=True) if line in content.split(b"\n")}
    assert {entry.key for entry in damaged.entries} == intact
    assert bool(report) == (content != whole)


async def test_another_boots_changes_of_the_kernel_are_forgotten_and_said(files: Files) -> None:
    await begin(await files.open(), GUARD, DNS)

    journal = await files.open(Origin("boot-2", 1))

    assert [entry.step for entry in journal.entries] == [DNS]
    assert "1 changes of another boot are gone" in files.report[0]


@pytest.mark.parametrize("is_torn", [False, True])
async def test_mending_takes_nothing_that_another_network_namespace_can_still_undo(
    files: Files, *, is_torn: bool
) -> None:
    await begin(await files.open(), GUARD, steps.pin())
    if is_torn:
        files.boot.write_bytes(files.boot.read_bytes()[:-20])

    elsewhere = await files.open(Origin(HERE.boot, HERE.namespace + 1))

    assert not elsewhere.entries
    assert "changes in another network namespace are left as they are" in files.report[-1]
    await elsewhere.mend()
    assert GUARD in [entry.step for entry in (await files.open()).entries]


async def test_records_of_another_version_are_used_as_far_as_they_are_understood(files: Files) -> None:
    await begin(await files.open(), GUARD, steps.pin())
    lines = files.boot.read_bytes().splitlines(keepends=True)
    strange = {"number": 2, "record": {"$": "Begin", "step": {"$": "StepOfTomorrow"}, "before": None, "origin": None}}
    lines[2] = journals._text({"crc": journals._crc(strange), **strange}) + b"\n"
    files.boot.write_bytes(b"".join(lines))

    journal = await files.open()

    assert [entry.step for entry in journal.entries] == [GUARD]
    assert "line 3 is left out" in files.report[0]
    await journal.mend()
    assert lines[2] in files.boot.read_bytes(), "the other version may come back for it"


@pytest.mark.parametrize(
    "line", [b"[]", b"7", b"{}", b"null", b"\xff", b"[" * 100_000, b'{"crc":1,"number":1,"record":{}}']
)
async def test_a_line_that_is_no_record_is_left_out(files: Files, line: bytes) -> None:
    await begin(await files.open(), GUARD)
    with files.boot.open("ab") as file:
        file.write(line + b"\n")

    assert [entry.step for entry in (await files.open()).entries] == [GUARD]
    assert len(files.report) == 1


async def test_lines_that_are_missing_are_noticed(files: Files) -> None:
    await begin(await files.open(), GUARD, steps.pin(), steps.routes())
    lines = files.boot.read_bytes().splitlines(keepends=True)
    files.boot.write_bytes(b"".join((*lines[:2], *lines[3:])))

    await files.open()

    assert "line 3 has number 3 instead of 2" in files.report[0]


async def test_it_shrinks_when_everything_is_undone(files: Files) -> None:
    journal = await files.open()
    for _ in range(3):
        await begin(journal, GUARD, DNS)
        for step in (GUARD, DNS):
            await journal.record(Done(step.key, None))
            await journal.record(Undoing(step.key))
            await journal.record(Undone(step.key))

    assert [len(path.read_bytes().splitlines()) for path in (files.boot, files.disk)] == [1, 1]


async def test_it_stays_small_however_long_one_step_lives(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "LARGE", 4096)
    journal = await files.open()
    journal._boot.limit = 4096
    await begin(journal, GUARD)
    for number in range(200):
        await journal.record(Note(GUARD.key, f"receipt {number}"))

        assert files.boot.stat().st_size <= 4096

    assert (await files.open()).entry(GUARD.key).receipt == "receipt 199"  # type: ignore[union-attr]
    assert not files.report


async def test_a_removed_file_is_made_anew_with_all_that_is_known(files: Files) -> None:
    journal = await files.open()
    await begin(journal, GUARD)
    files.boot.unlink()

    await begin(journal, steps.pin())

    assert [entry.step for entry in (await files.open()).entries] == [GUARD, steps.pin()]


@pytest.mark.parametrize("open_to_others", [0o720, 0o702, 0o770, 0o777])
async def test_a_folder_in_which_others_can_write_is_refused(files: Files, open_to_others: int) -> None:
    files.boot.parent.mkdir(parents=True)
    files.boot.parent.chmod(open_to_others)

    with pytest.raises(JournalError, match="only we can write"):
        await begin(await files.open(), GUARD)


@pytest.mark.parametrize("open_to_others", [0o710, 0o755])
async def test_a_folder_that_others_may_pass_through_holds_a_file_that_they_cannot_open(
    files: Files, open_to_others: int
) -> None:
    """The group `autovpn` passes through it to the control socket."""
    files.boot.parent.mkdir(parents=True)
    files.boot.parent.chmod(open_to_others)

    await begin(await files.open(), GUARD)

    assert mode(files.boot) == 0o600
    assert mode(files.boot.parent) == open_to_others


@pytest.mark.parametrize("kind", ["symlink", "fifo", "folder"])
async def test_what_is_no_plain_file_is_refused(files: Files, kind: str) -> None:
    files.boot.parent.mkdir(parents=True, mode=0o700)
    if kind == "symlink":
        files.boot.symlink_to("/dev/null")
    elif kind == "fifo":
        os.mkfifo(files.boot)
    else:
        files.boot.mkdir()

    with pytest.raises(JournalError):
        await files.open()


async def test_a_failed_write_leaves_the_file_and_the_entries_as_they_were(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up in the middle of a line, and has no room for another file either."""
    journal = await files.open()
    await begin(journal, GUARD)
    before = files.boot.read_bytes()
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
        full.setattr("autovpn.system.files.disk._write_all", _no_room)
        with pytest.raises(JournalError, match="No space left"):
            await begin(journal, steps.pin())

    assert files.boot.read_bytes() == before
    assert [entry.step for entry in journal.entries] == [GUARD]
    await begin(journal, steps.pin())
    assert [entry.step for entry in (await files.open()).entries] == [GUARD, steps.pin()]


async def test_a_torn_line_that_could_not_be_cut_off_at_once_is_cut_off_later(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = await files.open()
    await begin(journal, GUARD)
    write = os.write
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
        broken.setattr(os, "ftruncate", _no_room)
        broken.setattr("autovpn.system.files.disk._write_all", _no_room)
        with pytest.raises(JournalError):
            await begin(journal, steps.pin())

    await begin(journal, steps.pin())

    assert [entry.step for entry in (await files.open()).entries] == [GUARD, steps.pin()]
    assert not files.report


async def test_a_disk_too_full_for_a_new_file_still_takes_the_last_line(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = await files.open()
    await begin(journal, GUARD)
    monkeypatch.setattr("autovpn.system.files.disk._write_all", _no_room)

    await journal.record(Undone(GUARD.key))

    assert not journal.entries
    assert not (await files.open()).entries


def _no_room(*_: object) -> None:
    raise OSError(28, "No space left on device")


async def test_a_line_is_synced_only_where_a_power_cut_would_cost_something(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = await files.open()
    await begin(journal, BRACKET, GUARD)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)

    await journal.record(Done(BRACKET.key, None))
    await journal.record(Note(GUARD.key, None))
    assert synced == []
    await journal.record(Note(BRACKET.key, None))
    assert len(synced) == 1


def test_the_origin_is_this_boot_and_this_namespace() -> None:
    origin = this_origin()

    assert len(origin.boot) == 36
    assert origin.namespace == Path("/proc/self/ns/net").stat().st_ino
    assert origin == this_origin()
