"""What the documents say of the code is what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_life_cycle_is_drawn_from_the_table() -> None:
    spec = importlib.util.spec_from_file_location("lifecycle", DOCS / "lifecycle.py")
    assert spec
    assert spec.loader
    lifecycle = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lifecycle)
    page = (DOCS / "design.md").read_text()

    assert page == lifecycle.renewed(page), "run: python docs/lifecycle.py --write"
