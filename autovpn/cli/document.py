"""What a command prints, before it is known on what: blocks of labelled rows and tables, in plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum


class Tone(Enum):
    """How a piece of text is meant; a terminal with colours shows it."""

    PLAIN = ""
    GOOD = "green"
    BAD = "red"
    WARN = "yellow"
    FAINT = "dim"


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled line."""

    label: str
    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Table:
    """Cells below headers; the tones belong to the rows."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    tones: Sequence[Tone] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """A title, what is said beside it, and what stands below it; `depth` says how far inside another it stands.

    No string in it needs to be safe to print.
    """

    title: str
    aside: str = ""
    tone: Tone = Tone.PLAIN
    body: Sequence[Row | Table] = field(default_factory=list)
    depth: int = 0
