"""What protects a network is read from its elements, and no stranger's bytes are ever taken for more than they say."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.akm import UNKNOWN, Protection, is_hidden, negotiated, offered, parse_elements, ssid_of
from autovpn.core.network import Security

PRIVACY = 0x0411
CLEAR = 0x0401
CCMP = "000fac04"

# As hostapd 2.10 sent them.
HOME = bytes.fromhex("0004486f6d65 010882848b960c121824 030101")
WPA2_PSK = bytes.fromhex("3014 0100 000fac04 0100 000fac04 0100 000fac02 0c00")
WPA3_SAE = bytes.fromhex("301a 0100 000fac04 0100 000fac04 0100 000fac08 cc00 0000 000fac06")
WPA1_PSK = bytes.fromhex("dd16 0050f201 0100 0050f202 0100 0050f202 0100 0050f202")


def rsn(*akms: str, pairwise: str = CCMP) -> bytes:
    """Build an RSN element that lists these AKMs."""
    ciphers, suites = bytes.fromhex(pairwise), bytes.fromhex("".join(akms))
    body = b"\x01\x00" + bytes.fromhex(CCMP) + struct.pack("<H", len(ciphers) // 4) + ciphers
    body += struct.pack("<H", len(suites) // 4) + suites + b"\x00\x00"
    return bytes([48, len(body)]) + body


@pytest.mark.parametrize(
    ("elements", "capability", "methods"),
    [
        (HOME, CLEAR, {Security.OPEN}),
        (HOME, PRIVACY, {Security.WEP}),
        (HOME + WPA2_PSK, PRIVACY, {Security.PSK}),
        (HOME + WPA3_SAE, PRIVACY, {Security.SAE}),
        (HOME + WPA1_PSK, PRIVACY, {Security.PSK}),
        (HOME + rsn("000fac02", "000fac08"), PRIVACY, {Security.PSK, Security.SAE}),
        (HOME + rsn("000fac01"), PRIVACY, {Security.EAP}),
        (HOME + rsn("000fac03", "000fac05"), PRIVACY, {Security.EAP}),
        (HOME + rsn("000fac0c"), PRIVACY, {Security.EAP}),
        (HOME + rsn("000fac12"), CLEAR, {Security.OWE}),
        (HOME + rsn("000fac04", "000fac06"), PRIVACY, {Security.PSK}),
        (HOME + rsn("000fac09", "000fac18"), PRIVACY, {Security.SAE}),
        (HOME + WPA1_PSK + rsn("000fac01"), PRIVACY, {Security.PSK, Security.EAP}),
        (HOME + WPA2_PSK + bytes.fromhex("dd18 506f9a29") + rsn("000fac08")[2:], PRIVACY, {Security.PSK, Security.SAE}),
        (HOME + bytes.fromhex("3002 0100"), PRIVACY, {Security.EAP}),
        (HOME + bytes.fromhex("3006 0100 000fac04"), PRIVACY, {Security.EAP}),
        (HOME + bytes.fromhex("300c 0100 000fac04 0100 000fac04"), PRIVACY, {Security.EAP}),
    ],
)
def test_an_access_point_offers_what_its_elements_list(
    elements: bytes, capability: int, methods: set[Security]
) -> None:
    assert offered(elements, capability).methods == methods


@pytest.mark.parametrize(
    ("elements", "weakest"),
    [
        (HOME + rsn("000fac08", "000fac02"), Security.PSK),
        (HOME + rsn("000fac01", "000fac08"), Security.SAE),
        (HOME + WPA3_SAE, Security.SAE),
        (HOME, Security.WEP),
    ],
)
def test_where_several_are_offered_the_weakest_counts(elements: bytes, weakest: Security) -> None:
    assert offered(elements, PRIVACY).weakest is weakest


@pytest.mark.parametrize(
    "element",
    [
        rsn("000fac02", "506f9a02"),
        rsn("000fac02", "000fac07"),
        rsn("000facff"),
        rsn(),
        bytes.fromhex("3000"),
        bytes.fromhex("3002 0200"),
        bytes.fromhex("3004 0100 000f"),
        bytes.fromhex("3008 0100 000fac04 ffff"),
        bytes.fromhex("3007 0100 000fac04 01"),
        bytes.fromhex("300d 0100 000fac04 0100 000fac04 01"),
        bytes.fromhex("3012 0100 000fac04 0100 000fac04 0200 000fac02"),
        bytes.fromhex("dd04 0050f201"),
    ],
    ids=lambda element: element.hex(),
)
def test_an_element_that_nobody_understands_is_neither_open_nor_protected(element: bytes) -> None:
    assert offered(HOME + element, PRIVACY).weakest is None
    assert negotiated(HOME + element, CLEAR).weakest is None


@pytest.mark.parametrize(
    ("request_elements", "capability", "security"),
    [
        (HOME + WPA2_PSK, PRIVACY, Security.PSK),
        (HOME + WPA3_SAE, PRIVACY, Security.SAE),
        (HOME, CLEAR, Security.OPEN),
        (HOME, PRIVACY, Security.WEP),
        (WPA3_SAE, PRIVACY, Security.SAE),
        (b"", PRIVACY, None),
        (bytes.fromhex("dd07 0050f202000100"), CLEAR, None),
    ],
)
def test_what_was_negotiated_is_what_the_station_asked_for(
    request_elements: bytes, capability: int, security: Security | None
) -> None:
    assert negotiated(request_elements, capability).weakest is security


@pytest.mark.parametrize(
    ("elements", "ssid"),
    [
        (HOME, b"Home"),
        (b"\x00\x00", b""),
        (b"", b""),
        (b"\x01\x01\x82\x00\x02$(", b"$("),
        (bytes([0, 32]) + bytes(range(32)), bytes(range(32))),
        (bytes([0, 33]) + bytes(33), b""),
        (b"\x00\x05Home", b""),
        (b"\x00\x01a\x00\x01b", b"a"),
    ],
)
def test_an_ssid_is_its_exact_bytes(elements: bytes, ssid: bytes) -> None:
    assert ssid_of(elements) == ssid


@pytest.mark.parametrize(("ssid", "hidden"), [(b"", True), (b"\0\0\0\0", True), (b"\0a", False), (b" ", False)])
def test_a_name_of_nothing_or_of_nuls_is_withheld(ssid: bytes, hidden: bool) -> None:
    assert is_hidden(ssid) is hidden


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=255))))
def test_elements_are_read_back_as_they_were_written(elements: list[tuple[int, bytes]]) -> None:
    written = b"".join(bytes([number, len(body)]) + body for number, body in elements)
    assert list(parse_elements(written)) == elements


hostile = st.one_of(
    st.binary(max_size=400),
    st.binary(max_size=60).map(lambda body: bytes([48, len(body)]) + body),
    st.builds(lambda head, tail: head + tail, st.sampled_from([WPA2_PSK, WPA1_PSK, WPA3_SAE]), st.binary(max_size=40)),
    st.builds(lambda whole, cut: whole[:cut], st.sampled_from([HOME + WPA3_SAE, WPA1_PSK]), st.integers(0, 40)),
)


@given(hostile, st.integers(0, 0xFFFF))
def test_no_bytes_of_a_stranger_raise_anything(elements: bytes, capability: int) -> None:
    for protection in (offered(elements, capability), negotiated(elements, capability)):
        assert protection.weakest is None or protection.weakest in protection.methods
    assert len(ssid_of(elements)) <= 32


@given(st.binary(max_size=80), st.integers(0, 0xFFFF))
def test_a_list_with_anything_added_never_counts_for_more(extra: bytes, capability: int) -> None:
    ranks = list(Security)
    before, after = (offered(HOME + elements, capability).weakest for elements in (WPA2_PSK, WPA2_PSK + extra))
    assert after is None or ranks.index(after) <= ranks.index(before or Security.OPEN)


def test_the_unknown_has_no_weakest() -> None:
    assert UNKNOWN.weakest is None
    assert Protection(frozenset({Security.PSK}), complete=False).weakest is None
