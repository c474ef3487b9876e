"""docs/faults.md can't rot: each row says what is done, and names tests that are there."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs" / "faults.md").read_text()
SHOWN, WAITING = PAGE.split("\n## Not yet\n")
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)(?:\[[^`]*\])?`")


def rows(text: str) -> list[list[str]]:
    """Return the cells of every row of the tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not re.fullmatch(r"[|\s-]+", line)]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] != "fault"]


@functools.cache
def names_in(path: str) -> frozenset[str]:
    """Return the names of the tests in a file, those in classes too."""
    file = HERE / path
    tree = ast.parse(file.read_bytes()) if file.is_file() else ast.Module([], [])
    functions = (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return frozenset(node.name for node in functions)


@pytest.mark.parametrize("row", rows(SHOWN), ids=lambda row: row[0][:60])
def test_a_fault_has_a_behaviour_and_tests_that_show_it(row: list[str]) -> None:
    assert len(row) == 3, "a row is a fault, a behaviour and its tests"
    fault, behaviour, shown = row
    assert fault
    assert behaviour, f"{fault}: what is done?"
    named = NAMED.findall(shown)
    assert named, f"{fault}: no test is named"
    assert not NAMED.sub("", shown).strip(" ,"), f"{fault}: {shown!r} is not a list of `file.py::test_name`"
    for path, name in named:
        assert name in names_in(path), f"{fault}: there is no {name} in tests/{path}"


@pytest.mark.parametrize("row", rows(WAITING), ids=lambda row: row[0][:60])
def test_a_fault_that_waits_says_for_what(row: list[str]) -> None:
    assert len(row) == 2, "a row is a fault and what it waits for"
    assert all(row)


def test_no_fault_stands_twice() -> None:
    faults = [row[0] for row in (*rows(SHOWN), *rows(WAITING))]
    assert len(faults) == len(set(faults))
    assert len(rows(SHOWN)) > 50
