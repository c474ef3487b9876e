"""A resolver of the machine's own is asked only where nobody knows whom it asks."""

from __future__ import annotations

import pytest

from autovpn.core.upstream import is_local, upstream_of

STUB = "127.0.0.53"


@pytest.mark.parametrize(
    ("server", "local"),
    [
        (STUB, True),
        ("127.0.0.1", True),
        ("127.0.1.1", True),
        ("::1", True),
        ("::ffff:127.0.0.53", True),
        ("0.0.0.0", True),
        ("::", True),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("2001:db8::1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_loopback_is_this_machine(server: str, local: bool) -> None:
    assert is_local(server) is local


@pytest.mark.parametrize(
    ("servers", "behind", "asked"),
    [
        (["192.0.2.1"], [["198.51.100.1"]], ["192.0.2.1"]),  # no resolver of our own in between
        ([STUB], [["192.0.2.1", "192.0.2.2"], ["198.51.100.1"]], ["192.0.2.1", "192.0.2.2"]),
        ([STUB], [[], ["198.51.100.1"]], ["198.51.100.1"]),
        ([STUB], [["127.0.0.1"], ["198.51.100.1"]], ["198.51.100.1"]),  # one stub behind another
        ([STUB], [["127.0.0.1", "192.0.2.1"]], ["192.0.2.1"]),
        ([STUB], [], [STUB]),
        ([STUB], [[], ["::1"]], [STUB]),
        ([STUB, "192.0.2.9"], [["192.0.2.1"]], ["192.0.2.1", "192.0.2.9"]),  # each in its place
        ([STUB, "::1", "192.0.2.1"], [["192.0.2.1"]], ["192.0.2.1"]),  # and once
        ([], [["192.0.2.1"]], []),
    ],
)
def test_the_servers_behind_a_local_one_take_its_place(
    servers: list[str], behind: list[list[str]], asked: list[str]
) -> None:
    assert upstream_of(servers, behind) == tuple(asked)
