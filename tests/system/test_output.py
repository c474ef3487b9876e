"""What programs print is shown safely, whole where it is reasonable, and never fills anything."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.system.output import FULL, LONGEST_LINE, Lines, Tail

PIECES = st.lists(st.binary(max_size=200) | st.sampled_from([b"\n", b"\r\n", b"x" * 5000]), max_size=12)


@given(PIECES)
def test_lines_do_not_depend_on_where_the_stream_is_cut(pieces: list[bytes]) -> None:
    cut, whole = Lines(), Lines()
    in_pieces = [line for piece in pieces for line in cut.feed(piece)]
    assert in_pieces + cut.rest() == whole.feed(b"".join(pieces)) + whole.rest()


@given(PIECES)
def test_a_line_is_printable_and_short_whatever_was_printed(pieces: list[bytes]) -> None:
    lines = Lines()
    for line in [line for piece in pieces for line in lines.feed(piece)] + lines.rest():
        assert len(line) <= LONGEST_LINE
        assert line.isprintable()


class Follower:
    """A tail and what it reported, with a way to wait for a line."""

    def __init__(self, path: Path, *, from_end: bool = False, full: int = FULL) -> None:
        self.lines: list[str] = []
        self._more = asyncio.Event()
        self.tail = Tail(path, self._take, from_end=from_end, full=full)

    def _take(self, line: str) -> None:
        self.lines.append(line)
        self._more.set()

    async def until(self, line: str) -> None:
        async with asyncio.timeout(60):
            while line not in self.lines:
                self._more.clear()
                await self._more.wait()


class Printer:
    """A program that appends to a file, as a child with O_APPEND does."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK)

    def print(self, data: bytes) -> None:
        os.write(self._file, data)

    def size(self) -> int:
        return os.fstat(self._file).st_size

    def close(self) -> None:
        os.close(self._file)


async def test_lines_are_reported_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "output"
    follower, printer = Follower(path), Printer(path)
    printer.print(b"one\ntw")
    await follower.until("one")
    printer.print(b"o\n\x1b[31mred\n")
    await follower.until(r"\x1b[31mred")
    assert follower.lines == ["one", "two", r"\x1b[31mred"]
    follower.tail.close()
    printer.close()


async def test_draining_reports_the_last_line_without_its_end(tmp_path: Path) -> None:
    path = tmp_path / "output"
    follower, printer = Follower(path), Printer(path)
    printer.print(b"first\nlast words")
    follower.tail.drain()
    assert follower.lines == ["first", "last words"]
    follower.tail.close()
    printer.close()


@pytest.mark.parametrize("size", [1, 1000, 16 * 1024, 40_000, FULL, 2 * FULL])
async def test_draining_ends_however_fast_somebody_prints_on(tmp_path: Path, size: int) -> None:
    path = tmp_path / "output"
    printer, reported = Printer(path), 0

    def print_on(line: str) -> None:
        nonlocal reported
        reported += 1
        assert reported < 20_000, "it reads what is printed meanwhile, without end"
        printer.print(f"{'y' * 50}\n".encode() * (2 if reported < size else 600))

    tail = Tail(path, print_on)
    printer.print(b"x" * 9 + b"\n" + b"x" * size)
    tail.drain()
    assert reported
    tail.close()
    printer.close()


async def test_an_adopted_file_is_followed_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "output"
    printer = Printer(path)
    printer.print(b"of the time before\n")
    follower = Follower(path, from_end=True)
    printer.print(b"new\n")
    await follower.until("new")
    assert follower.lines == ["new"]
    follower.tail.close()
    printer.close()


async def test_a_full_file_begins_again_and_the_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "output"
    follower, printer = Follower(path, full=1000), Printer(path)
    for number in range(300):
        printer.print(f"line {number}\n".encode())
        await follower.until(f"line {number}")
        assert printer.size() < 2000
    assert follower.lines == [f"line {number}" for number in range(300)]
    follower.tail.close()
    printer.close()


async def test_a_flood_is_left_out_and_said_so(tmp_path: Path) -> None:
    path = tmp_path / "output"
    follower, printer = Follower(path, full=1000), Printer(path)
    printer.print(b"x" * 50 + b"\n")
    await follower.until("x" * 50)
    printer.print(b"noise\n" * 10_000)
    await follower.until("(60000 bytes of output left out)")
    printer.print(b"quiet\n")
    await follower.until("quiet")
    assert "noise" not in follower.lines
    assert printer.size() < 2000
    follower.tail.close()
    printer.close()


async def test_a_closed_tail_reports_nothing_and_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "output"
    follower, printer = Follower(path), Printer(path)
    follower.tail.close()
    follower.tail.close()
    printer.print(b"unheard\n")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert follower.lines == []
    assert printer.size() == len(b"unheard\n")
    printer.close()
