"""What the journal says, as values: each change is recorded before it is made and again when it has been made.

Folding the records gives the entries: what is, or may be, on the machine because of us. Any prefix of the records
folds, since a crash may end them anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

from autovpn.core.steps import Step, StepKey

VERSION = 1
"""The version of the journal's form."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where changes were made: in this boot (/proc/sys/kernel/random/boot_id) and network namespace (its inode).

    What the kernel was told elsewhere is gone or out of reach here.
    """

    boot: str
    namespace: int


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a journal."""

    version: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class Begin:
    """A step is about to be carried out; `before` is what its undoing must know even if nothing else gets written."""

    step: Step
    before: object
    origin: Origin


@dataclass(frozen=True, slots=True)
class Done:
    """The step has been carried out; `receipt` is what came of it."""

    key: StepKey
    receipt: object


@dataclass(frozen=True, slots=True)
class Amending:
    """The step is about to become `step`, in place."""

    step: Step


@dataclass(frozen=True, slots=True)
class Amended:
    """The step has become what the amendment said."""

    key: StepKey
    receipt: object


@dataclass(frozen=True, slots=True)
class Note:
    """A newer receipt, in the middle of the work or long after it."""

    key: StepKey
    receipt: object


@dataclass(frozen=True, slots=True)
class Undoing:
    """The step is about to be taken back."""

    key: StepKey


@dataclass(frozen=True, slots=True)
class Undone:
    """Nothing of the step is left."""

    key: StepKey


Record = Begin | Done | Amending | Amended | Note | Undoing | Undone


class EntryState(Enum):
    """How far a step has come."""

    BEGUN = "begun"
    DONE = "done"
    AMENDING = "amending"
    UNDOING = "undoing"


@dataclass(frozen=True, slots=True)
class Entry:
    """One step that is, or may be, on the machine.

    `before` is from the first value and survives amendments; `amending` is the value that was being put in its place
    when the records end, and stays known while it is undone.
    """

    step: Step
    before: object
    origin: Origin
    receipt: object = None
    state: EntryState = EntryState.BEGUN
    amending: Step | None = None

    @property
    def key(self) -> StepKey:
        """Return the step's key."""
        return self.step.key


Entries = dict[StepKey, Entry]


def fold(records: Iterable[Record], entries: Entries | None = None) -> Entries:
    """Return the entries after the records, in the order in which they were begun.

    A record about something that was never begun, or is undone, changes nothing: its beginning was lost.
    """
    after = dict(entries or {})
    for record in records:
        key = key_of(record)
        entry = _after(after.get(key), record)
        if entry is None:
            after.pop(key, None)
        else:
            after[key] = entry
    return after


def key_of(record: Record) -> StepKey:
    """Return the key of the step that a record is about."""
    return record.step.key if isinstance(record, Begin | Amending) else record.key


def records_of(entry: Entry) -> Iterator[Record]:
    """Yield the fewest records that fold to this entry."""
    yield Begin(entry.step, entry.before, entry.origin)
    if entry.state is EntryState.DONE or entry.amending is not None:
        yield Done(entry.key, entry.receipt)
    elif entry.receipt is not None:
        yield Note(entry.key, entry.receipt)
    if entry.amending is not None:
        yield Amending(entry.amending)
    if entry.state is EntryState.UNDOING:
        yield Undoing(entry.key)


def _after(entry: Entry | None, record: Record) -> Entry | None:
    if entry is None:
        return Entry(record.step, record.before, record.origin) if isinstance(record, Begin) else None
    match record:
        case Begin(step):
            return replace(entry, step=step, state=EntryState.BEGUN, amending=None)
        case Done(_, receipt):
            return replace(entry, receipt=receipt, state=EntryState.DONE)
        case Amending(step):
            return replace(entry, amending=step, state=EntryState.AMENDING)
        case Amended(_, receipt):
            now = entry.amending or entry.step
            return replace(entry, step=now, amending=None, receipt=receipt, state=EntryState.DONE)
        case Note(_, receipt):
            return replace(entry, receipt=receipt)
        case Undoing():
            return replace(entry, state=EntryState.UNDOING)
        case Undone():  # pragma: no branch (there is no other record)
            return None
