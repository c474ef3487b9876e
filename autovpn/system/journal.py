"""The journal: the durable record of what we did to this machine, which makes a crash harmless.

It has two volumes. What the kernel forgets in a reboot is recorded where a reboot forgets it too (/run); what outlives
a reboot, the brackets that have hooks and a DNS that is in use, is recorded on disk. A line is a JSON object with the
record, its number and the CRC-32 of both; whatever is whole is used, whatever is not is reported.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from autovpn.core.codec import CodecError, decode, encode
from autovpn.core.records import (
    VERSION,
    Begin,
    Entries,
    Entry,
    Header,
    Note,
    Origin,
    Record,
    fold,
    key_of,
    records_of,
)
from autovpn.core.steps import HookMoment, Step, StepKey, StepKind
from autovpn.errors import JournalError
from autovpn.system.logfile import Log

LARGE = 256 * 1024
"""Bytes from which a volume is written anew when most of it is history."""


@dataclass(slots=True)
class _Volume:
    """One file of the journal. Where it is not `sound` the next record is written together with all that is known.

    A file of another boot is not sound, and a `damaged` one is neither sound nor as we wrote it.
    """

    log: Log
    entries: Entries = field(default_factory=dict)
    sequence: int = 0
    size: int = 0
    sound: bool = False
    damaged: bool = False
    limit: int = LARGE
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)


class Journal:
    """Records changes and knows what they add up to.

    `record` raises JournalError before anything is changed that could not be recorded (a full disk, a read-only
    folder); what it has returned from survives a crash.
    """

    def __init__(self, boot: Log, disk: Log, origin: Origin) -> None:
        """Take the two logs; `open` reads them."""
        self.origin = origin
        self._boot = _Volume(boot)
        self._disk = _Volume(disk)

    async def open(self) -> tuple[str, ...]:
        """Read what is there, and return in sentences what was wrong with it; JournalError for an unreadable file."""
        return (*await self._load(self._boot, keep_foreign=False), *await self._load(self._disk, keep_foreign=True))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Return what is, or may be, on the machine because of us; what outlives a boot first."""
        return (*self._disk.entries.values(), *self._boot.entries.values())

    def entry(self, key: StepKey) -> Entry | None:
        """Return the entry of a step, if there is one."""
        return self._disk.entries.get(key) or self._boot.entries.get(key)

    async def record(self, record: Record) -> None:
        """Write a record down. A cancelled caller leaves it written."""
        await asyncio.shield(asyncio.ensure_future(self._record(record)))

    async def mend(self) -> None:
        """Write anew what was found damaged, so that the next reader finds nothing wrong; raise as `record` does.

        Nothing is written where that would take what another version, or another network namespace, can still use.
        """
        for volume in (self._disk, self._boot):
            async with volume.writing:
                if volume.damaged and not volume.sound:
                    await self._rewrite(volume, volume.entries)

    async def _record(self, record: Record) -> None:
        volume = self._volume(record)
        async with volume.writing:
            entries = fold((record,), volume.entries)
            line = _line(volume.sequence + 1, record)
            if not volume.sound:
                await self._rewrite(volume, entries)
            elif entries and volume.size + len(line) <= volume.limit:
                try:
                    await self._append(volume, line, record)
                except JournalError:  # a file that was removed can be made anew
                    await self._rewrite(volume, entries)
            else:
                try:
                    await self._rewrite(volume, entries)
                except JournalError:  # a disk that is too full for a new file may still take a line
                    await self._append(volume, line, record)
            volume.entries = entries

    async def _append(self, volume: _Volume, line: bytes, record: Record) -> None:
        # What a power cut may lose of the others is found out again: undoing twice does no harm.
        await volume.log.append(line, sync=isinstance(record, Begin | Note))
        volume.sequence += 1
        volume.size += len(line)

    async def _rewrite(self, volume: _Volume, entries: Entries) -> None:
        records: Iterable[Record] = (record for entry in entries.values() for record in records_of(entry))
        lines = [_line(number, record) for number, record in enumerate((Header(VERSION, self.origin), *records))]
        content = b"".join(lines)
        await volume.log.replace(content)
        volume.sequence, volume.size, volume.sound = len(lines) - 1, len(content), True
        volume.limit = max(LARGE, 2 * len(content))

    async def _load(self, volume: _Volume, *, keep_foreign: bool) -> list[str]:
        content = await volume.log.read()
        header, records, wrong, strange = _parse(content)
        volume.entries = fold(records)
        home = header is not None and header.origin == self.origin and header.version == VERSION
        if content and header is None:
            wrong.append("the first line is damaged")
        if not keep_foreign:
            foreign = [entry for entry in volume.entries.values() if entry.origin != self.origin]
            for entry in foreign:
                del volume.entries[entry.step.key]
            elsewhere = sum(entry.origin.boot == self.origin.boot for entry in foreign)
            if gone := len(foreign) - elsewhere:
                wrong.append(f"{gone} changes of another boot are gone, and forgotten")
            if elsewhere:
                wrong.append(f"{elsewhere} changes in another network namespace are left as they are")
            strange |= elsewhere > 0
        volume.sequence, volume.size = len(records), len(content)
        volume.damaged = bool(wrong) and not strange
        volume.sound = home and not wrong
        return [f"{volume.log.name}: {words}" for words in wrong]

    def _volume(self, record: Record) -> _Volume:
        if isinstance(record, Begin):
            return self._disk if outlives_boot(record.step) else self._boot
        return self._disk if key_of(record) in self._disk.entries else self._boot


def outlives_boot(step: Step) -> bool:
    """Report whether a reboot leaves something of the step to be undone: a changed file, or a hook that is owed."""
    match step.context:
        case HookMoment(up, down):
            return bool(up or down)
        case _:
            return step.kind is StepKind.DNS


def _line(number: int, record: Record | Header) -> bytes:
    body: dict[str, object] = {"number": number, "record": encode(record)}
    return _text({"crc": _crc(body), **body}) + b"\n"


def _text(body: dict[str, object]) -> bytes:
    return json.dumps(body, separators=(",", ":"), allow_nan=False).encode("ascii")


def _crc(body: dict[str, object]) -> str:
    return f"{crc32(_text(body)):08x}"


def _parse(content: bytes) -> tuple[Header | None, list[Record], list[str], bool]:
    """Return what is whole, what is wrong with the rest, and whether some of that is another version's."""
    *lines, tail = content.split(b"\n")
    wrong = ["the last record was cut off in the writing, and is left out"] if tail else []
    header: Header | None = None
    records: list[Record] = []
    expected, strange = 0, False
    for place, line in enumerate(lines, start=1):
        try:
            number, value = _whole(line)
        except (ValueError, CodecError) as error:
            wrong.append(f"line {place} is left out: {error}")
            strange |= isinstance(error, CodecError)
            expected += 1
            continue
        if number != expected:
            wrong.append(f"line {place} has number {number} instead of {expected}: records are missing")
        expected = number + 1
        if isinstance(value, Header):
            header = value
        else:
            records.append(value)
    return header, records, wrong, strange


def _whole(line: bytes) -> tuple[int, Record | Header]:
    """Return a line's number and record; ValueError when it is damaged, CodecError when another version wrote it."""
    try:
        body = json.loads(line)
        crc, number = body.pop("crc"), body["number"]
        damaged = crc != _crc(body) or type(number) is not int
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        damaged, body, number = True, {}, 0
    if damaged:
        raise ValueError("it is damaged")
    value = decode(body["record"])
    if not isinstance(value, Header | Record):
        raise CodecError(f"a {type(value).__name__} is no record")
    return number, value


def this_origin() -> Origin:
    """Return where changes are made by this thread: the boot, and the network namespace that it is in."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return Origin(boot, Path("/proc/thread-self/ns/net").stat().st_ino)
