r"""Bytes and words from the outside, shown so that no terminal obeys them and no two of them look the same.

An SSID is any 0 to 32 bytes that a stranger chose. What is printed must be safe (no control characters, no
bidirectional overrides: Trojan Source, CVE-2021-42574), complete (a trailing space counts) and reversible: two
different inputs are never shown alike. So what is printable UTF-8 stays as it is, and the rest is written

    \xHH         an ASCII control character, or a byte that is not UTF-8
    \uHHHH       any other character that is invisible, reorders text, or passes for another spelling of the same text
    \UHHHHHHHH   the same beyond U+FFFF
    \\           a backslash
"""

from __future__ import annotations

import unicodedata

# Letters, marks and symbols by their category, which show nothing: fillers, joiners, selectors, the blank Braille cell.
INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
MARKS = frozenset({"Mn", "Mc", "Me"})
SURROGATE_ESCAPED = range(0xDC80, 0xDD00)  # PEP 383: bytes that were not UTF-8, inside a str


def show_ssid(ssid: bytes) -> str:
    """Return an SSID in double quotes, escaped; `""` is the empty one.

    Different bytes give different text: look-alikes within one script remain, names that only render alike do not.
    """
    return '"' + _escape(_decode(ssid), also='"') + '"'


def show_text(text: str | bytes) -> str:
    """Return words of another program, a file name or a peer's answer on one line, escaped, without quotes."""
    return _escape(_decode(text) if isinstance(text, bytes) else text)


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _escape(text: str, also: str = "") -> str:
    shown: list[str] = []
    run = ""  # what the next combining mark would be drawn upon: the last letter with its marks, as it is shown
    for character in text:
        if character in also:
            shown.append(f"\\{character}")
            run = ""
        elif _shows_itself(character) and not _melts(run, character):
            shown.append(character)
            run = run + character if unicodedata.combining(character) else character
        else:
            shown.append(_escaped(character))
            run = ""
    return "".join(shown)


def _shows_itself(character: str) -> bool:
    """Report whether a terminal draws the character and nothing else comes of it.

    `str.isprintable` leaves out controls, formats (the bidirectional ones among them), surrogates, private use and
    every space but the ASCII one.
    """
    return character != "\\" and character.isprintable() and character not in INVISIBLE


def _melts(run: str, character: str) -> bool:
    """Report whether the character would be drawn upon an escape or a sign, or spells the same text in another way."""
    if unicodedata.category(character) in MARKS and not run[:1].isalnum():
        return True
    return not unicodedata.is_normalized("NFC", run + character)


def _escaped(character: str) -> str:
    code = ord(character)
    if character == "\\":
        return "\\\\"
    if code in SURROGATE_ESCAPED:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:  # noqa: PLR2004 (ASCII; from here on \x means a byte that is not UTF-8)
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 (the last that four digits hold)
