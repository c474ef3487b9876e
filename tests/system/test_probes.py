"""An echo is asked for as RFC 792 has it, and only its own answer counts."""

from __future__ import annotations

import asyncio
import struct
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.system.probes import _answers, _echo, _request

FOUR, SIX = ip_address("10.20.0.2"), ip_address("2001:db8::2")
IP_HEADER = b"\x46" + b"\0" * 23  # with one option: six words


def reply(kind: int, identifier: int) -> bytes:
    return struct.pack(">BBHHH", kind, 0, 0, identifier, 1)


@given(st.integers(0, 0xFFFF))
def test_the_checksum_is_right_for_every_identifier(identifier: int) -> None:
    words = struct.unpack(">4H", _request(FOUR, identifier))
    total = sum(words)
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
    assert words[2] == identifier


@pytest.mark.parametrize(
    ("packet", "sender", "counts"),
    [
        (IP_HEADER + reply(0, 7), "10.20.0.2", True),
        (IP_HEADER + reply(0, 8), "10.20.0.2", False),
        (IP_HEADER + reply(8, 7), "10.20.0.2", False),
        (IP_HEADER + reply(0, 7), "10.20.0.3", False),
        (IP_HEADER + reply(0, 7)[:4], "10.20.0.2", False),
        (b"", "10.20.0.2", False),
    ],
)
def test_of_ipv4_only_the_echo_s_own_answer_counts(packet: bytes, sender: str, counts: bool) -> None:
    assert _answers((packet, (sender, 0)), FOUR, 7) is counts


@pytest.mark.parametrize(
    ("packet", "sender", "counts"),
    [
        (reply(129, 7), "2001:db8::2", True),
        (reply(129, 7), "2001:db8::2%vpn-office", True),
        (reply(129, 8), "2001:db8::2", False),
        (reply(128, 7), "2001:db8::2", False),
        (reply(129, 7), "2001:db8::3", False),
    ],
)
def test_of_ipv6_only_the_echo_s_own_answer_counts(packet: bytes, sender: str, counts: bool) -> None:
    assert _answers((packet, (sender, 0)), SIX, 7) is counts


def test_a_scoped_address_is_known_by_what_it_answers() -> None:
    assert _answers((reply(129, 7), ("fe80::2%vpn-office", 0)), ip_address("fe80::2%vpn-office"), 7)


async def test_a_flood_of_other_packets_does_not_outlast_the_patience() -> None:
    class Flood:
        """A socket in which a packet of a stranger always waits."""

        def sendto(self, data: bytes, _: object) -> int:
            return len(data)

        def recvfrom(self, _: int) -> tuple[bytes, tuple[str, int]]:
            return reply(129, 8), ("2001:db8::2", 0)

    flood: Any = Flood()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await _echo(flood, SIX, 7)
