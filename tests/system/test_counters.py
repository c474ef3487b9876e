"""The kernel's answer about a link is read, and nothing in it is trusted to be there."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.health import Traffic
from autovpn.system.counters import IFLA_STATS64, traffic_in
from autovpn.system.rtnl_abi import RTM_NEWLINK

LINK = b"\0" * 16
STATS = struct.pack("=QQQQ", 5, 6, 1500, 2500) + b"\0" * 160


def answer(*attributes: tuple[int, bytes], kind: int = RTM_NEWLINK) -> bytes:
    rows = b"".join(
        struct.pack("=HH", 4 + len(value), number) + value + b"\0" * (-len(value) % 4) for number, value in attributes
    )
    return struct.pack("=IHHII", 16 + len(LINK) + len(rows), kind, 0, 1, 0) + LINK + rows


@pytest.mark.parametrize(
    ("message", "traffic"),
    [
        (answer((3, b"eth0\0"), (IFLA_STATS64, STATS)), Traffic(1500, 2500)),
        (answer((3, b"eth0\0")), None),
        (answer((IFLA_STATS64, STATS[:24])), None),
        (answer((IFLA_STATS64, STATS), kind=2), None),  # NLMSG_ERROR
        (answer() + b"\0" * 8, None),
        (b"", None),
    ],
)
def test_the_counters_are_found_among_what_else_is_said(message: bytes, traffic: Traffic | None) -> None:
    assert traffic_in(message) == traffic


@given(st.binary(max_size=200))
def test_no_answer_is_too_odd(rows: bytes) -> None:
    traffic_in(answer() + rows)
