"""An alias leads where ssh(1) would go, as far as that can be read from the file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.config.ssh_config import Destination, destination

FILE = """\
# comment
User me
Host jump !notjump
    HostName = real.example
    Port 2222
Host j*
    HostName other.example
    Port 22
Host dyn
    HostName %h.example
Host via
    ProxyJump jump
Match host x
    HostName never.example
"""


@pytest.mark.parametrize(
    ("alias", "host", "port"),
    [("jump", "real.example", 2222), ("jack", "other.example", 22), ("dyn", "dyn.example", None), ("x", None, None)],
)
def test_the_first_value_of_a_matching_block_holds(alias: str, host: str | None, port: int | None) -> None:
    found = destination(FILE, alias)
    assert (found.host, found.port) == (host, port)


def test_what_cannot_be_followed_is_named() -> None:
    assert destination(FILE, "via").opaque == ("proxyjump", "match")
    assert destination("Include other\nHostName a\n", "x") == Destination("a", None, ("include",))
    assert destination("Host !a *\nHostName b\n", "a") == Destination()


@given(st.text(max_size=80), st.text(max_size=5))
def test_any_text_is_answered(text: str, alias: str) -> None:
    destination(text, alias)
