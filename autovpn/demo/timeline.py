"""What the demo prints: scenes with events and claims, each with its milliseconds since the scene began."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

MARGIN = 12
"""Columns before the text: those of the time."""

ASIDE = 58
"""The column at which what was measured stands beside a claim."""


class Timeline:
    """Prints each line when it happens, and remembers how many claims held."""

    def __init__(self) -> None:
        """Begin; the clock of the whole runs from here."""
        # Lines never wrap: in a pipe each is a whole, and a terminal folds by itself.
        self._console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="replace")  # a terminal without a tick still tells the story
        self._begun = self._scene = time.monotonic()
        self._scenes = 0
        self.held = self.broken = 0

    @property
    def seconds(self) -> float:
        """The seconds since the beginning."""
        return time.monotonic() - self._begun

    def text(self, *lines: tuple[str, str]) -> None:
        """Print lines, each with its style."""
        for line, style in lines:
            self._console.print(Text(line, style))

    def scene(self, title: str, story: str) -> None:
        """Begin a scene, and its clock."""
        self._scenes += 1
        self._console.print(Text.assemble("\n", (f"{self._scenes}  {title}", "bold"), (f"  {story}", "dim")))
        self.restart_clock()

    def restart_clock(self) -> None:
        """Count the milliseconds from now."""
        self._scene = time.monotonic()

    def event(self, words: str, aside: str = "") -> None:
        """Print what has just happened."""
        self._line("·", "dim", words, aside)

    def claim(self, words: str, aside: str = "", *, held: bool) -> None:
        """Print a claim with whether it holds, and remember that."""
        self.held += held
        self.broken += not held
        self._line(*(("✓", "bold green") if held else ("✗", "bold red")), words, aside)

    def block(self, title: str, lines: Iterable[str], style: str = "") -> None:
        """Print the lines of a file beside a rule, below its name."""
        self._console.print(Text.assemble(" " * MARGIN, (title, "dim")))
        for line in lines:
            self._console.print(Text.assemble(" " * MARGIN, ("│ ", "dim"), (line, style)))

    def conclude(self) -> None:
        """Print the sum of all."""
        total, seconds = self.held + self.broken, f"{self.seconds:.1f} s"
        if self.broken:
            self.text((f"\n✗ {self.broken} of {total} claims did not hold, in {seconds}", "bold red"))
        else:
            self.text((f"\n✓ all {total} claims held, in {seconds}; nothing is left on this machine", "bold green"))

    @property
    def milliseconds(self) -> float:
        """The milliseconds since the scene began."""
        return 1000 * (time.monotonic() - self._scene)

    def _line(self, mark: str, style: str, words: str, aside: str) -> None:
        moment = f"{self.milliseconds:6.0f} ms  "
        padding = " " * max(2, ASIDE - MARGIN - 2 - len(words)) if aside else ""
        self._console.print(Text.assemble((moment, "cyan"), (mark, style), f" {words}", padding, (aside, "dim")))


class JsonTimeline(Timeline):
    """Prints an object a line: scenes, events, claims, and at last the sum. What is there for the eye is left out."""

    def text(self, *lines: tuple[str, str]) -> None:
        """Print nothing: a picture tells a program nothing."""

    def block(self, title: str, lines: Iterable[str], style: str = "") -> None:  # noqa: ARG002 (the text's)
        """Print the lines of a file."""
        _print({"file": title, "lines": list(lines)})

    def scene(self, title: str, story: str) -> None:
        """Begin a scene, and its clock."""
        _print({"scene": title, "story": story})
        self.restart_clock()

    def event(self, words: str, aside: str = "") -> None:
        """Print what has just happened."""
        _print({"event": words, "detail": aside, "ms": round(self.milliseconds)})

    def claim(self, words: str, aside: str = "", *, held: bool) -> None:
        """Print a claim with whether it holds, and remember that."""
        self.held += held
        self.broken += not held
        _print({"claim": words, "detail": aside, "held": held, "ms": round(self.milliseconds)})

    def conclude(self) -> None:
        """Print the sum of all."""
        _print({"claims": self.held + self.broken, "held": self.held, "seconds": round(self.seconds, 1)})


def _print(entry: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(entry) + "\n")
    sys.stdout.flush()
