"""Every system call that the journal makes fails in every way: what it has said it recorded stays recorded."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from autovpn.core.records import Amended, Amending, Begin, Done, Note, Origin, Record, Undoing, Undone, fold, key_of
from autovpn.core.steps import StepKind
from autovpn.errors import JournalError
from autovpn.system import journal as journals
from autovpn.system.journal import Journal, _parse
from autovpn.system.logfile import LogFile
from tests.daemon import steps
from tests.daemon.fake_machine import Machine
from tests.strikes import ERRORS, Strike, count, descriptors, striking

HERE = Origin("boot-1", 1)
GUARD, BRACKET = steps.guard(), steps.bracket(StepKind.PREUP)
STORY: tuple[Record, ...] = (
    Begin(BRACKET, "before", HERE),
    Done(BRACKET.key, "done"),
    Begin(GUARD, "before", HERE),
    Done(GUARD.key, "done"),
    Amending(steps.guard(1)),
    Amended(GUARD.key, "amended"),
    Note(GUARD.key, "later"),
    Undoing(GUARD.key),
    Undone(GUARD.key),
    Undoing(BRACKET.key),
    Undone(BRACKET.key),
)
MOST_CALLS = 300


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder in memory, where a sync costs nothing."""
    shared = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None, prefix="autovpn-test-"))
    yield made
    shutil.rmtree(made)


class Told:
    """A journal with its files, and what it said about each record of the story."""

    def __init__(self, folder: Path) -> None:
        self.logs = LogFile(folder / "run", durable=False), LogFile(folder / "lib", durable=True)
        self.journal = Journal(*self.logs, HERE)
        self.taken: list[Record] = []
        self.refused: list[Record] = []

    async def tell(self, story: tuple[Record, ...]) -> None:
        """Tell of changes as the runner does: one whose beginning was refused is not made."""
        for record in story:
            if not isinstance(record, Begin) and self.journal.entry(key_of(record)) is None:
                continue
            try:
                await self.journal.record(record)
            except JournalError:
                self.refused.append(record)
            else:
                self.taken.append(record)

    def close(self) -> None:
        for log in self.logs:
            log.close()


async def struck(folder: Path, strike: Strike) -> Told:
    """Tell the story while a call of it fails."""
    told = Told(folder)
    await told.journal.open()
    with striking(strike):
        await told.tell(STORY)
    return told


async def reread(folder: Path) -> Journal:
    told = Told(folder)
    await told.journal.open()
    return told.journal


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.__getitem__)
async def test_what_was_recorded_survives_the_failure_of_any_call(folder: Path, error: int, *, lasting: bool) -> None:
    """A record that was refused may have reached the file all the same, as in a crash right after the writing."""
    before = descriptors()
    for at in range(MOST_CALLS):
        place = folder / str(at)
        strike = Strike(at, error, lasting=lasting)
        told = await struck(place, strike)
        if strike.struck is None:
            break
        count("system calls of the journal that failed", strike.struck)
        where = f"{strike.struck}, call {at}"
        assert {entry.key: entry for entry in told.journal.entries} == fold(told.taken), where
        left = {entry.key: entry for entry in (await reread(place)).entries}
        assert left in [fold(told.taken), *_with_one_refused(told)], where

        await told.tell((Begin(GUARD, "again", HERE), Begin(BRACKET, "again", HERE)))  # all is well once more
        again = await reread(place)
        assert again.entries == told.journal.entries, where
        assert not await again.open(), where
        told.close()
    else:
        pytest.fail(f"the story takes {MOST_CALLS} calls or more, so not all were tried")
    told.close()
    assert not told.refused
    assert at > len(STORY), "each record takes a call, or the seam is somewhere else"
    assert descriptors() <= before, "a failed call leaves a descriptor open"


def _with_one_refused(told: Told) -> list[object]:
    """Return what the file says where a record that was refused is in it."""
    known = [[one for one in STORY if one in told.taken or one is refused] for refused in told.refused]
    return [fold(records) for records in known]


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.__getitem__)
async def test_a_journal_that_cannot_be_read_is_never_taken_for_an_empty_one(folder: Path, error: int) -> None:
    told = Told(folder)
    await told.journal.open()
    await told.tell(STORY[:4])
    told.close()
    whole = {entry.key: entry for entry in (await reread(folder)).entries}
    for at in range(MOST_CALLS):
        journal = Told(folder).journal
        with striking(Strike(at, error)) as strike:
            refusal = await _refusal(journal)
        known = {entry.key: entry for entry in journal.entries}
        assert f"{os.strerror(error)}; it tells what is to be undone" in refusal if refusal else known == whole
        if strike.struck is None:
            return
        count("system calls of the journal that failed", strike.struck)
    pytest.fail(f"reading takes {MOST_CALLS} calls or more")


async def _refusal(journal: Journal) -> str:
    try:
        await journal.open()
    except JournalError as error:
        return str(error)
    return ""


async def test_a_journal_cut_at_any_byte_keeps_what_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "_whole", functools.cache(journals._whole))  # the lines are the same each time
    machine = Machine()
    journal = await machine.journal()
    for step in steps.activation()[1:4]:
        await journal.record(Begin(step, None, machine.origin))
        await journal.record(Done(step.key, None))
    whole = machine.boot_log.content
    _, every, _, _ = _parse(whole)
    ends = {0, *(place + 1 for place, byte in enumerate(whole) if byte == 0x0A)}
    for cut in range(len(whole) + 1):
        _, records, wrong, _ = _parse(whole[:cut])
        lines = whole[:cut].count(b"\n")
        assert records == every[: max(lines - 1, 0)], cut
        assert bool(wrong) == (cut not in ends), cut
    count("places at which a journal was cut", "any byte", cut + 1)


async def test_a_plan_is_recorded_before_it_is_carried_out_whichever_call_fails(folder: Path) -> None:
    """The journal is in real files, the rest of the machine in memory: nothing of it is there that is not recorded."""
    wanted = steps.activation()
    for at in range(MOST_CALLS):
        machine = Machine()
        machine.remembers = False
        before = machine.view()
        logs = LogFile(folder / str(at) / "run", durable=False), LogFile(folder / str(at) / "lib", durable=True)
        machine.boot_log, machine.disk_log = logs  # type: ignore[assignment]
        with striking(Strike(at, ERRORS[at % len(ERRORS)])) as strike:
            try:
                first = await machine.steer(*wanted)
            except JournalError:
                first = None
        if strike.struck is None:
            assert first is not None
            assert first.failed is None
            count("system calls under a whole plan that failed", "of any kind", at)
            break
        if first and not first.failed:
            await machine.assert_as_recorded()
        recovered = await machine.recover()
        assert not recovered.left, (at, strike.struck)
        assert machine.view() == before, (at, strike.struck)
        assert len(set(machine.hooks_run)) == len(machine.hooks_run), (at, strike.struck)
        for log in logs:
            log.close()
    else:
        pytest.fail(f"the plan takes {MOST_CALLS} calls or more")
    for log in logs:
        log.close()
