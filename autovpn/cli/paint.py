"""Printing blocks: plain text for a pipe, colours and wrapped columns for a terminal.

This is the one place where text from outside meets a terminal, so every string is made safe here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from autovpn.cli.document import Block, Row, Table, Tone
from autovpn.cli.safe import clean

if TYPE_CHECKING:
    from rich.console import RenderableType

INDENT = 2
GAP = 2


def paint(blocks: Iterable[Block]) -> None:
    """Print the blocks on stdout."""
    if sys.stdout.isatty():
        _paint_rich(blocks)
    else:
        sys.stdout.write(plain(blocks))


def plain(blocks: Iterable[Block]) -> str:
    """Return the blocks as text for a pipe or a file: no colours, and no line is wrapped."""
    return "\n".join("".join(_plain_lines(block)) for block in blocks)


def _plain_lines(block: Block) -> Iterator[str]:
    margin = " " * block.depth * INDENT
    return (f"{margin}{line}".rstrip() + "\n" for line in _plain_block(block))


def _plain_block(block: Block) -> Iterator[str]:
    aside = f"  {clean(block.aside)}" if block.aside else ""
    yield f"{clean(block.title)}{aside}"
    widest = max((len(part.label) for part in block.body if isinstance(part, Row)), default=0)
    for part in block.body:
        if isinstance(part, Row):
            yield f"{' ' * INDENT}{part.label:<{widest}}{' ' * GAP}{clean(part.text)}"
        else:
            yield from _plain_table(part)


def _plain_table(table: Table) -> Iterator[str]:
    rows = [list(table.headers), *([clean(cell) for cell in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield " " * INDENT + (" " * GAP).join(cells)


def _paint_rich(blocks: Iterable[Block]) -> None:
    from rich.console import Console
    from rich.padding import Padding

    # Markup, emoji codes and highlighting are off: a profile or a network may be called [red] or :bomb:.
    console = Console(markup=False, emoji=False, highlight=False)
    for number, block in enumerate(blocks):
        if number:
            console.print()
        console.print(Padding(_rich_title(block), (0, 0, 0, block.depth * INDENT), expand=False))
        for part in _rich_parts(block.body):
            console.print(Padding(part, (0, 0, 0, (block.depth + 1) * INDENT), expand=False))


def _rich_title(block: Block) -> RenderableType:
    from rich.text import Text

    title = Text.assemble((clean(block.title), "bold"))
    if block.aside:
        title.append(f"  {clean(block.aside)}", style=block.tone.value)
    return title


def _rich_parts(body: Sequence[Row | Table]) -> Iterator[RenderableType]:
    """Yield what stands below a title; neighbouring rows share their columns."""
    for _, run in groupby(body, key=lambda part: isinstance(part, Row)):
        parts = list(run)
        if rows := [part for part in parts if isinstance(part, Row)]:
            yield _rich_rows(rows)
        yield from (_rich_table(part) for part in parts if isinstance(part, Table))


def _rich_rows(rows: Sequence[Row]) -> RenderableType:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid(padding=(0, GAP, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(Text(row.label, style=Tone.FAINT.value), Text(clean(row.text), style=row.tone.value))
    return grid


def _rich_table(table: Table) -> RenderableType:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style=Tone.FAINT.value)
    for header in table.headers:
        grid.add_column(Text(header), overflow="fold")
    for number, row in enumerate(table.rows):
        tone = table.tones[number] if number < len(table.tones) else Tone.PLAIN
        grid.add_row(*(Text(clean(cell)) for cell in row), style=tone.value)
    return grid
