"""The management dialogue's lines are read and written as management-notes.txt has them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.tunnels import openvpn_management as management
from autovpn.tunnels.openvpn_management import Challenge, Need, Refusal, State


@given(st.lists(st.binary()), st.integers(1, 7))
def test_lines_come_out_whole_however_they_arrive(lines: list[bytes], size: int) -> None:
    data = b"".join(re.sub(rb"[\r\n]", b"", line) + b"\r\n" for line in lines)
    read: list[str] = []
    rest = b""
    for at in range(0, len(data), size):
        found, rest = management.lines_in(rest + data[at : at + size])
        read += found
    assert (tuple(read), rest) == management.lines_in(data)
    assert len(read) == len(lines)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("hold", "release"), b'hold "release"\n'),
        (("password", "Auth", b'won"der\\ land'), b'password "Auth" "won\\"der\\\\ land"\n'),
        (("username", "Auth", "ä b"), 'username "Auth" "ä b"\n'.encode()),
    ],
)
def test_words_are_quoted(words: tuple[str | bytes, ...], line: bytes) -> None:
    assert management.command(*words).reveal() == line


@pytest.mark.parametrize("word", [b"a\nsignal SIGTERM", b"a\r", b"a\0b", b"x" * 256])
def test_a_word_that_would_be_two_commands_or_is_too_long_is_never_sent(word: bytes) -> None:
    assert management.fault(word)
    with pytest.raises(ValueError, match="no command"):
        management.command("password", "Auth", word)


def test_the_longest_word_is_sent() -> None:
    assert management.fault(b"x" * 255) == ""


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (
            "1,CONNECTED,SUCCESS,10.96.0.2,192.0.2.1,1194,,,2001:db8::2",
            State("CONNECTED", "SUCCESS", "192.0.2.1", "1194"),
        ),
        ("1,RECONNECTING,ping-restart,,,,,", State("RECONNECTING", "ping-restart")),
        ("", State("")),
    ],
)
def test_states_are_read(text: str, state: State) -> None:
    assert management.state_in(text) == state


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Need 'Auth' username/password", Need("Auth", wants_username=True)),
        ("Need 'Auth' password", Need("Auth")),
        ("Need 'Private Key' password", Need("Private Key")),
        ("Need 'Auth' username/password SC:1,Enter, token",
         Need("Auth", True, Challenge("static", "Enter, token", is_hidden=False))),
        ("Need 'Auth' username/password SC:0,PIN", Need("Auth", True, Challenge("static", "PIN"))),
        ("Verification Failed: 'Auth'", Refusal("Auth")),
        ("Verification Failed: 'Auth' ['locked']", Refusal("Auth")),
        ("Verification Failed: 'Auth' ['CRV1:R:s:no base64:x']", Refusal("Auth")),
        ("Auth-Token:SESS_ID_x", None),
        ("", None),
    ],
)  # fmt: skip
def test_questions_and_refusals_are_told_apart(text: str, message: Need | Refusal | None) -> None:
    assert management.password_message(text) == message


def test_a_dynamic_challenge_is_read_and_answered() -> None:
    message = management.password_message("Verification Failed: 'Auth' ['CRV1:R,E:st4te:YWxpY2U=:Code: please']")
    assert isinstance(message, Refusal)
    challenge = message.challenge
    assert challenge
    assert (challenge.text, challenge.is_hidden, challenge.wants_answer) == ("Code: please", False, True)
    assert challenge.username
    assert challenge.username.reveal() == b"alice"
    assert management.answer_to(challenge, b"ignored", b"123") == b"CRV1::st4te::123"


def test_a_static_challenge_is_answered_beside_the_password() -> None:
    assert management.answer_to(Challenge("static", "PIN"), b"bar", b"8675309") == b"SCRV1:YmFy:ODY3NTMwOQ=="


@pytest.mark.parametrize(
    ("text", "challenge"),
    [
        ("CR_TEXT:R,E:What: now?", Challenge("pending", "What: now?", is_hidden=False)),
        ("CR_TEXT::Look at your phone", Challenge("pending", "Look at your phone", wants_answer=False)),
        ("WEB_AUTH::https://vpn.example", None),
    ],
)
def test_questions_that_come_later_are_read(text: str, challenge: Challenge | None) -> None:
    assert management.pending_challenge(text) == challenge
    assert management.encoded(b"Hallo Welt") == b"SGFsbG8gV2VsdA=="
