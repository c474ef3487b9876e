"""Turn what pydantic found into sentences for a person: what is wrong, and what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from autovpn.config.fields import Table
from autovpn.config.locate import KeyPath
from autovpn.config.report import Document, Report, quoted
from autovpn.config.tunnels import TYPES

_KINDS = {
    "string_type": 'must be text in quotes, like "text"',
    "list_type": 'must be a list, like ["one", "two"]',
    "bool_type": "must be true or false",
    "int_type": "must be a whole number, without quotes",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "too_short": "is an empty list",
    "missing": "is missing",
    "union_tag_not_found": "has no 'type'",
}
_SECRET_WORDS = ("password", "passphrase", "secret", "private", "preshared", "psk", "token")


def report_errors(error: ValidationError, model: type[Table], document: Document, report: Report) -> None:
    """Report each problem that pydantic found in a document, from its first line to its last."""
    found = [(key_of(details["loc"]), details) for details in error.errors(include_url=False)]
    for key, details in sorted(found, key=lambda pair: document.line(pair[0])):
        what, meant = _describe(details, model)
        report.refuse(document.place(key), what, meant)


def key_of(location: tuple[int | str, ...]) -> KeyPath:
    """Return the path in the file for a location in the model, which also names union members and dictionary keys."""
    key = location
    if key and key[-1] == "[key]":
        key = key[:-1]
    if len(key) > 2 and key[0] == "tunnel" and key[2] in TYPES:  # noqa: PLR2004  # tunnel, its name, its type
        key = key[:2] + key[3:]
    return key


def nearest(word: str, known: Iterable[str]) -> str:
    """Return advice for an unknown word: the nearest known one, or all of them."""
    words = sorted(known)
    close = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else "known are " + ", ".join(words)


def _describe(details: ErrorDetails, model: type[Table]) -> tuple[str, str]:
    kind, value = details["type"], details["input"]
    match kind:
        case "extra_forbidden":
            return _unknown_key(str(details["loc"][-1]), _table_at(model, details["loc"][:-1]))
        case "literal_error":
            return _none_of(details["ctx"]["expected"], value)
        case "union_tag_invalid":
            return f"the type {quoted(details['ctx']['tag'])} is not known", nearest(str(details["ctx"]["tag"]), TYPES)
        case "union_tag_not_found":
            return _KINDS[kind], "known are " + ", ".join(sorted(TYPES))
        case "value_error":
            what, _, meant = str(details["ctx"]["error"]).partition("; ")
            return what, meant
        case "too_short":
            name = str(details["loc"][-1])
            field = _fields_of(_table_at(model, details["loc"][:-1])).get(name)
            required = field is not None and field.is_required()
            return _KINDS[kind], "name something" if required else "leave the key out, or name something"
        case _:
            return _KINDS.get(kind) or _as_pydantic_says(details["msg"]), ""


def _none_of(expected: str, value: object) -> tuple[str, str]:
    """Describe a value that is none of these words, or none of these numbers, or not true, as pydantic lists them."""
    if not expected.startswith("'"):
        return f"must be {expected.replace('True', 'true')}{', without quotes' if isinstance(value, str) else ''}", ""
    words = expected.replace("' or '", "', '").strip("'").split("', '")
    if not isinstance(value, str):
        return "must be text in quotes", "known are " + ", ".join(words)
    return f"{quoted(value)} is not known here", nearest(value, words)


def _as_pydantic_says(message: str) -> str:
    return message.replace("Input should be", "must be")


def _unknown_key(key: str, table: type[Table] | None) -> tuple[str, str]:
    known = list(_keys(table)) if table else []
    if any(word in key.lower() for word in _SECRET_WORDS) and "password" in known:
        return "is an unknown key, and no secret belongs into this file", 'use password = { file = "NAME" }'
    return "is an unknown key", nearest(key, known) if known else ""


def _keys(table: type[Table]) -> Iterator[str]:
    return (field.alias or name for name, field in table.model_fields.items())


def _table_at(model: type[Table], location: tuple[int | str, ...]) -> type[Table] | None:
    """Return the model of the table at a location, to tell which keys it knows."""
    if len(location) > 2 and location[0] == "tunnel":  # noqa: PLR2004  # tunnel, its name, its type
        model, location = TYPES[str(location[2])], location[3:]
    table: type[Table] | None = model
    for part in location:
        if isinstance(part, str) and table:
            fields = _fields_of(table)
            table = next(_tables_in(fields[part].annotation), None) if part in fields else None
    return table


def _fields_of(table: type[Table] | None) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in table.model_fields.items()} if table else {}


def _tables_in(annotation: Any) -> Iterator[type[Table]]:  # noqa: ANN401  # an annotation can be anything
    if isinstance(annotation, type) and issubclass(annotation, Table):
        yield annotation
    for inner in get_args(annotation):
        yield from _tables_in(inner)
