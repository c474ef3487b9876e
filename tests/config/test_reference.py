"""The reference in docs/configuration.md names every key and every default that the models have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from autovpn.config.fields import Table
from autovpn.config.model import MainFile, ProfileFile
from autovpn.config.tunnel import TunnelTable
from autovpn.config.tunnels import TYPES
from autovpn.core.profile import Event, Key
from autovpn.core.vpncfile import OWNED
from tests.config.conftest import Etc

REFERENCE = (Path(__file__).parents[2] / "docs/configuration.md").read_text()


def _tables(annotation: object) -> Iterator[type[Table]]:
    if isinstance(annotation, type) and issubclass(annotation, Table):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _tables(field.annotation)
    for inner in get_args(annotation):
        yield from _tables(inner)


TABLES = sorted({*_tables(MainFile), *_tables(ProfileFile)}, key=lambda table: table.__name__)


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_in_the_reference(table: type[Table]) -> None:
    keys = {field.alias or name for name, field in table.model_fields.items()}
    containers = {"match", "trust", "dns", "hooks", "tunnel", "daemon", "uplinks", "routes"}
    missing = {key for key in keys - containers if f"`{key}`" not in REFERENCE and f".{key}`" not in REFERENCE}
    assert missing == set()


def test_every_word_with_a_meaning_is_in_the_reference() -> None:
    words = {*TYPES, *(event.value for event in Event), *(key.value for key in Key), *OWNED}
    assert {word for word in words if f"`{word}`" not in REFERENCE} == set()


def test_the_table_of_types_and_the_union_agree() -> None:
    union = ProfileFile.model_fields["tunnel"].annotation
    assert {table for table in _tables(union) if issubclass(table, TunnelTable)} == set(TYPES.values())
    for name, table in TYPES.items():
        assert get_args(table.model_fields["type"].annotation) == (name,)


def test_the_defaults_that_it_shows_are_the_defaults(etc: Etc) -> None:
    written = REFERENCE.partition("## `autovpn.toml`")[2].partition("```toml\n")[2].partition("```")[0]
    before = etc.policy()
    etc.write("autovpn.toml", written)
    assert etc.policy() == before
