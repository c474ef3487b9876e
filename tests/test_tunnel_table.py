"""The measured table of docs/tunnels.md: what is made of a record, and that no type lacks its row."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from autovpn.tunnels.drivers import DRIVERS

DOCS = Path(__file__).parents[1] / "docs"
RECORD: list[dict[str, Any]] = [
    {"type": "vpnc", "seconds": 0.2, "resident": 2048},
    {"type": "vpnc", "seconds": 0.6, "resident": 4096},
    {"type": "vpnc", "seconds": 0.4, "resident": None},
    {"type": "vpnc", "class": "lost", "words": "vpnc was killed by signal 9"},
    {"type": "vpnc", "class": "lost", "words": "vpnc was killed by signal 9"},
    {
        "type": "tinc",
        "class": "auth",
        "words": "a|b `c` from 192.0.2.1 by avt4711 in /root/.autovpn-test-x_1/x/key, /tmp/avt_9/t/id",
    },
    {"type": "tinc", "class": "auth", "words": "x" * 300},
]


@pytest.fixture(scope="module")
def tunnel_table() -> ModuleType:
    """Give docs/tunnel_table.py, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("tunnel_table", DOCS / "tunnel_table.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_type_has_the_median_of_its_runs_and_each_failure_once(tunnel_table: ModuleType) -> None:
    rows = tunnel_table.table(RECORD).splitlines()
    assert [row for row in rows if "vpnc" in row] == [
        "| `vpnc` | 0.40 s | 3.0 MiB |",
        "| `vpnc` | `lost` | vpnc was killed by signal 9 |",
    ]
    assert "| `tinc` | - | - |" in rows


def test_words_lose_what_differs_from_run_to_run_and_what_would_break_the_table(tunnel_table: ModuleType) -> None:
    rows = tunnel_table.table(RECORD).splitlines()
    assert "| `tinc` | `auth` | a/b 'c' from ADDRESS by DEVICE in x/key, id |" in rows
    assert f"| `tinc` | `auth` | {'x' * tunnel_table.LONGEST}... |" in rows


def test_a_page_is_renewed_between_its_marks_alone(tunnel_table: ModuleType) -> None:
    page = f"before\n{tunnel_table.BEGIN}old\n{tunnel_table.END}after\n"
    renewed = tunnel_table.renewed(page, RECORD)
    assert renewed == f"before\n{tunnel_table.BEGIN}{tunnel_table.table(RECORD)}{tunnel_table.END}after\n"
    assert tunnel_table.renewed(renewed, RECORD) == renewed


def test_no_type_lacks_its_row_nor_how_it_fails(tunnel_table: ModuleType) -> None:
    page = (DOCS / "tunnels.md").read_text()
    costs, _, failures = page.partition(tunnel_table.BEGIN)[2].partition(tunnel_table.END)[0].partition("\n\n")
    for table in (costs, failures):
        assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(DRIVERS), "run: make tunnel-table"
