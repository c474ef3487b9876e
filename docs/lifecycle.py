"""Draw the life cycle of a tunnel from the table in code: `python docs/lifecycle.py --write` renews docs/design.md."""

from __future__ import annotations

import sys
from pathlib import Path

from autovpn.core.supervise import TABLE

BEGIN = "<!-- lifecycle: drawn from autovpn/core/supervise.py by docs/lifecycle.py -->\n"
END = "<!-- lifecycle ends -->\n"


def diagram() -> str:
    """Return the table as a Mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> rest"]
    for phase, events in TABLE.items():
        arrows: dict[str, list[str]] = {}
        for event, targets in events.items():
            for target in targets:
                arrows.setdefault(target.value, []).append(event.__name__)
        lines += [f"    {phase.value} --> {target}: {', '.join(names)}" for target, names in arrows.items()]
    return "\n".join([*lines, "```", ""])


def renewed(text: str) -> str:
    """Return the page with the diagram of today's table."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{diagram()}{END}{after}"


if __name__ == "__main__":
    page = Path(__file__).with_name("design.md")
    fresh = renewed(page.read_text())
    if "--write" in sys.argv:
        page.write_text(fresh)
    sys.exit(0 if page.read_text() == fresh else "docs/design.md is out of date: run python docs/lifecycle.py --write")
