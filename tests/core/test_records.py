"""Any prefix of the journal's records folds to what may be on the machine."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.records import (
    Amended,
    Amending,
    Begin,
    Done,
    Entry,
    EntryState,
    Note,
    Origin,
    Record,
    Undoing,
    Undone,
    fold,
    key_of,
    records_of,
)
from autovpn.core.steps import GuardValue, Step, StepKind

HERE = Origin("boot-1", 1)
STEPS = st.builds(
    lambda kind, owner, uplink: Step(kind, owner, "", GuardValue(uplink)),
    st.sampled_from([StepKind.GUARD, StepKind.DNS]),
    st.sampled_from("ab"),
    st.sampled_from(["wlan0", "eth0"]),
)
KEYS = STEPS.map(lambda step: step.key)
RECEIPTS = st.one_of(st.none(), st.text(max_size=3))
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(Begin, STEPS, RECEIPTS, st.builds(Origin, st.sampled_from(["boot-1", "boot-2"]), st.just(1))),
    st.builds(Done, KEYS, RECEIPTS),
    st.builds(Amending, STEPS),
    st.builds(Amended, KEYS, RECEIPTS),
    st.builds(Note, KEYS, RECEIPTS),
    st.builds(Undoing, KEYS),
    st.builds(Undone, KEYS),
)
OLD, NEW = (Step(StepKind.GUARD, "campus", "", GuardValue(uplink)) for uplink in ("wlan0", "eth0"))


def one(*records: Record) -> Entry | None:
    return fold(records).get(OLD.key)


@given(st.lists(RECORDS), st.integers(0, 20))
def test_folding_is_total_and_can_be_taken_up_anywhere(records: list[Record], cut: int) -> None:
    first = fold(records[:cut])

    assert fold(records[cut:], first) == fold(records)


@given(st.lists(RECORDS))
def test_entries_are_rebuilt_from_the_fewest_records(records: list[Record]) -> None:
    entries = fold(records)

    rebuilt = fold(record for entry in entries.values() for record in records_of(entry))

    assert list(rebuilt.items()) == list(entries.items())


@given(st.lists(RECORDS))
def test_only_what_was_begun_and_is_not_undone_is_there(records: list[Record]) -> None:
    begun = {key_of(record) for record in records if isinstance(record, Begin)}

    assert set(fold(records)) <= begun


def test_a_step_goes_from_begun_to_done_to_undoing_to_nothing() -> None:
    story = (Begin(OLD, "before", HERE), Done(OLD.key, "receipt"), Undoing(OLD.key), Undone(OLD.key))

    states = [one(*story[:length]) for length in range(len(story) + 1)]

    assert [entry and entry.state for entry in states] == [
        None,
        EntryState.BEGUN,
        EntryState.DONE,
        EntryState.UNDOING,
        None,
    ]


def test_an_amendment_keeps_the_first_before_and_knows_both_values_while_it_lasts() -> None:
    story = (Begin(OLD, "first", HERE), Done(OLD.key, "old"), Amending(NEW))

    assert one(*story) == Entry(OLD, "first", HERE, "old", EntryState.AMENDING, NEW)
    assert one(*story, Undoing(OLD.key)) == Entry(OLD, "first", HERE, "old", EntryState.UNDOING, NEW)
    assert one(*story, Amended(OLD.key, "new")) == Entry(NEW, "first", HERE, "new", EntryState.DONE)


def test_beginning_what_is_there_already_keeps_the_first_before() -> None:
    assert one(Begin(OLD, "first", HERE), Begin(NEW, "second", HERE)) == Entry(NEW, "first", HERE)


def test_a_note_changes_the_receipt_alone() -> None:
    assert one(Begin(OLD, "first", HERE), Note(OLD.key, "half")) == Entry(OLD, "first", HERE, "half")
