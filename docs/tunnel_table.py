"""Make the table of tunnels in docs/tunnels.md from the record of a test run: `make tunnel-table`."""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

BEGIN = "<!-- measured: made by docs/tunnel_table.py from a run of the tests -->\n"
END = "<!-- measured ends -->\n"
LONGEST = 110
"""Characters of a failure's words; the rest says little more."""

_ADDRESS = re.compile(r"\b\d+\.\d+\.\d+\.\d+\b")
_FOLDER = re.compile(r"/[\w./-]*autovpn-test-\w+/|/tmp/avt\w+/t/")
_DEVICE = re.compile(r"\bav[a-z]*\d+\b")


def table(record: list[dict[str, Any]]) -> str:
    """Return the two tables: the costs of each type, and how each of its failures is classed."""
    kinds: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in record:
        kinds[line["type"]].append(line)
    costs = ["| type | time to connected | resident memory |", "| --- | --- | --- |"]
    failures = ["| type | class | in the words of its program, or ours |", "| --- | --- | --- |"]
    for kind, lines in sorted(kinds.items()):
        costs.append(f"| `{kind}` | {_time(lines)} | {_memory(lines)} |")
        said = dict.fromkeys((line["class"], _plain(line["words"])) for line in lines if "class" in line)
        failures += [f"| `{kind}` | `{one}` | {words} |" for one, words in sorted(said)]
    return "\n".join([*costs, "", *failures, ""])


def renewed(text: str, record: list[dict[str, Any]]) -> str:
    """Return the page with the tables of this record."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table(record)}{END}{after}"


def _time(lines: list[dict[str, Any]]) -> str:
    times = [line["seconds"] for line in lines if "seconds" in line]
    return f"{median(times):.2f} s" if times else "-"


def _memory(lines: list[dict[str, Any]]) -> str:
    sizes = [line["resident"] for line in lines if line.get("resident")]
    return f"{median(sizes) / 1024:.1f} MiB" if sizes else "-"


def _plain(words: str) -> str:
    """Return the words without what differs from run to run, and harmless in a table."""
    words = _DEVICE.sub("DEVICE", _ADDRESS.sub("ADDRESS", _FOLDER.sub("", words))).replace("|", "/").replace("`", "'")
    return f"{words[:LONGEST]}..." if len(words) > LONGEST else words


if __name__ == "__main__":
    page = Path(__file__).with_name("tunnels.md")
    seen = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    page.write_text(renewed(page.read_text(), seen))
