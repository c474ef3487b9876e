"""What strangers choose is shown safely, completely, and never alike for two different inputs."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autovpn.core.escape import show_ssid, show_text

ssids = st.one_of(
    st.binary(max_size=32),
    st.text(max_size=16).map(lambda text: text.encode("utf-8", "surrogatepass")[:32]),
    st.text(alphabet='\\"x0aue\u0301\u0323\u202e\u0085 ', max_size=16).map(str.encode),
)

ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))", re.DOTALL)


def unescape(shown: str) -> bytes:
    """Read the documented notation back, as a careful reader would."""
    raw, at = b"", 0
    while at < len(shown):
        match = ESCAPE.match(shown, at)
        if match is None:
            raw += shown[at].encode()
            at += 1
            continue
        byte, short, long, itself = match.groups()
        if byte:
            raw += bytes.fromhex(byte)
        else:
            raw += (itself or chr(int(short or long, 16))).encode()
        at = match.end()
    return raw


@pytest.mark.parametrize(
    ("ssid", "shown"),
    [
        (b"", '""'),
        (b"Free Cafe", '"Free Cafe"'),
        (b"Home ", '"Home "'),
        ("Büro".encode(), '"Büro"'),
        ("घर की वाईफाई".encode(), '"घर की वाईफाई"'),
        ("カフェ☕".encode(), '"カフェ☕"'),
        (b"$(reboot)", '"$(reboot)"'),
        (b"a\nb", '"a\\x0ab"'),
        (b"\0" * 3, '"\\x00\\x00\\x00"'),
        (b"\x1b[2J", '"\\x1b[2J"'),
        (b"\xff\xfe", '"\\xff\\xfe"'),
        (rb"\x41", '"\\\\x41"'),
        (rb"C:\new", '"C:\\\\new"'),
        (b'"Home"', '"\\"Home\\""'),
        ("\u0085".encode(), '"\\u0085"'),
        ("ab\u202egnp".encode(), '"ab\\u202egnp"'),
        ("Home\u200b".encode(), '"Home\\u200b"'),
        ("Home\u3164".encode(), '"Home\\u3164"'),
        ("Cafe\u0301".encode(), '"Cafe\\u0301"'),
        ("\u0301x".encode(), '"\\u0301x"'),
        ("\ue000".encode(), '"\\ue000"'),
        ("\U000e0041".encode(), '"\\U000e0041"'),
    ],
)
def test_an_ssid_is_shown_as_documented(ssid: bytes, shown: str) -> None:
    assert show_ssid(ssid) == shown


@given(ssids)
@example(b"\\x41")
@example(b'\\"')
@example(b"\x85")
@example("\u0085".encode())
@example("x\x0a\u0301".encode())
def test_what_is_shown_names_exactly_one_ssid(ssid: bytes) -> None:
    shown = show_ssid(ssid)
    assert shown[0] == shown[-1] == '"'
    assert unescape(shown[1:-1]) == ssid


@given(ssids)
def test_what_is_shown_is_one_line_that_a_terminal_prints_and_does_not_obey(ssid: bytes) -> None:
    shown = show_ssid(ssid)
    assert shown.isprintable()
    assert not re.search(r'(?<!\\)(?:\\\\)*"', shown[1:-1]), "a quote inside that seems to end the name"


@given(st.text(max_size=40))
def test_two_spellings_of_one_text_never_render_alike(text: str) -> None:
    assert unicodedata.is_normalized("NFC", show_ssid(text.encode("utf-8", "surrogatepass")))


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60)))
def test_any_text_is_shown_on_one_line_and_read_back(text: str | bytes) -> None:
    shown = show_text(text)
    assert shown.isprintable()
    assert unescape(shown) == (text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))


def test_text_keeps_its_quotes_and_shows_undecodable_bytes_alike_in_both_types() -> None:
    assert show_text('say "hi"\n') == 'say "hi"\\x0a'
    assert show_text(b"\xff") == show_text("\udcff") == "\\xff"


def test_a_lone_surrogate_that_stands_for_no_byte_is_still_shown() -> None:
    assert show_text("\ud800") == "\\ud800"
