"""The locator finds the line of every key in whatever the parser accepts."""

from __future__ import annotations

import tomli
from hypothesis import given
from hypothesis import strategies as st

from autovpn.config.locate import KeyPath, line_of, lines_of

DOCUMENT = '''\
# a comment with = and [brackets]
action = "connect"
text = """
[not.a.table]
fake = 1
"""
literal = \'\'\'
fake = 2\'\'\'
when = 1979-05-27 07:32:00
list = [ # comment ]
  "one", # two
  { a = 1, "b.c" = [1, 2] },
]
"quoted \\" key" = 1
a.b.c = 1

[match] # why
ssid = ["x"]
not.ssid = ["y"]

[[hooks]]
on = "postup"
[[hooks]]
on = "preup"
[hooks.deep]
x = 1
[[hooks.deeper]]
y = 1
[[hooks.deeper]]
y = 2

[tunnel."a b".routes]
mode = 'split'
'''


def test_each_key_is_found_on_its_line() -> None:
    lines = lines_of(DOCUMENT)
    text = DOCUMENT.splitlines()
    expected: dict[KeyPath, str] = {
        ("action",): "action =",
        ("text",): "text =",
        ("literal",): "literal =",
        ("when",): "when =",
        ("list",): "list =",
        ("list", 1): "{ a = 1",
        ("list", 1, "a"): "{ a = 1",
        ("list", 1, "b.c", 1): '"b.c"',
        ('quoted " key',): "quoted",
        ("a", "b", "c"): "a.b.c",
        ("match",): "[match]",
        ("match", "not", "ssid"): "not.ssid",
        ("hooks",): "[[hooks]]",
        ("hooks", 0, "on"): 'on = "postup"',
        ("hooks", 1, "on"): 'on = "preup"',
        ("hooks", 1, "deep", "x"): "x = 1",
        ("hooks", 1, "deeper", 0, "y"): "y = 1",
        ("hooks", 1, "deeper", 1, "y"): "y = 2",
        ("tunnel", "a b", "routes", "mode"): "mode =",
    }
    assert {path: needle for path, needle in expected.items() if needle not in text[lines[path] - 1]} == {}
    assert ("fake",) not in lines
    assert ("not",) not in lines


def test_a_key_that_is_missing_stands_where_its_table_does() -> None:
    lines = lines_of("\n\n[match]\nssid = []\n")
    assert line_of(lines, ("match", "absent")) == 3
    assert line_of(lines, ("absent",)) == 1


_words = st.text("ab =#[]{}'\"\\\n\tü.", max_size=6)
_scalars = st.one_of(st.integers(), st.booleans(), _words)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _basic(value)
    if isinstance(value, list):
        return "[" + ",\n ".join(map(_toml, value)) + "\n]"
    assert isinstance(value, dict)
    return "{" + ", ".join(f"{_basic(key)} = {_toml(item)}" for key, item in value.items()) + "}"


def _basic(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'


_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3), max_leaves=6
)


def _paths(value: object, path: KeyPath = ()) -> list[KeyPath]:
    if isinstance(value, dict):
        return [path, *(inner for key, item in value.items() for inner in _paths(item, (*path, key)))]
    if isinstance(value, list):
        return [path, *(inner for number, item in enumerate(value) for inner in _paths(item, (*path, number)))]
    return [path]


@given(st.dictionaries(_words, _values, max_size=4))
def test_every_path_of_a_document_is_found(data: dict[str, object]) -> None:
    text = "".join(f"{_basic(key)} = {_toml(value)}\n" for key, value in data.items())
    assert tomli.loads(text) == data
    lines = lines_of(text)
    assert {path for path in _paths(data) if path} == set(lines)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


@given(st.text("ab=[]{}\",'\n# \\.1", max_size=40))
def test_whatever_the_text_is_it_ends(text: str) -> None:
    lines_of(text)


def test_deep_nesting_is_given_up() -> None:
    assert lines_of("a = " + "[" * 100_000) is not None
