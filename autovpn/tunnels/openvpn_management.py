"""OpenVPN's management dialogue (management-notes.txt), as text: lines out of bytes, commands into them.

A line that begins with `>` is a message of its own accord, any other belongs to the answer to a command.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from dataclasses import dataclass

from autovpn.core.secret import Secret

LONGEST_WORD = 255
"""Bytes of a word in a command: OPTION_PARM_SIZE in OpenVPN's options.h, less the NUL."""

_LONGEST_LINE = 64 * 1024

AUTH, CONNECTED, RECONNECTING = "AUTH", "CONNECTED", "RECONNECTING"
"""The states that matter: the server has answered; all is well; a try has failed, or the connection was lost."""


@dataclass(frozen=True, slots=True)
class State:
    """`why` tells more of it; `remote` and `port` are the server's, once it is connected."""

    name: str
    why: str = ""
    remote: str = ""
    port: str = ""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What the server wants to know beside a password, by one of three protocols.

    `static` comes with the question for the password, `dynamic` (CRV1) with its refusal, `pending` (CR_TEXT) after it.
    """

    protocol: str
    text: str
    is_hidden: bool = True
    wants_answer: bool = True
    state: str = ""
    username: Secret | None = None


@dataclass(frozen=True, slots=True)
class Need:
    """What OpenVPN wants to be told before it goes on: the password called `kind`, maybe with a name and an answer."""

    kind: str
    wants_username: bool = False
    challenge: Challenge | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The password called `kind` was wrong, or not enough: then the server asks a question."""

    kind: str
    challenge: Challenge | None = None


def lines_in(data: bytes) -> tuple[tuple[str, ...], bytes]:
    """Return the whole lines of what was received so far, and the beginning of the next."""
    *whole, rest = data.split(b"\n")
    return tuple(line.removesuffix(b"\r").decode(errors="replace") for line in whole), rest[-_LONGEST_LINE:]


def command(*words: str | bytes) -> Secret:
    """Return one command, each word but the first in quotes.

    Raises:
        ValueError: a word that OpenVPN does not take; `fault` tells why.
    """
    first, *others = (word.encode() if isinstance(word, str) else word for word in words)
    if any(map(fault, others)):
        raise ValueError("a word that no command can have")
    return Secret(b" ".join([first, *map(_quoted, others)]) + b"\n")


def fault(word: bytes) -> str:
    """Return why OpenVPN can't be told a word, or an empty string."""
    if any(byte in word for byte in (b"\n", b"\r", b"\0")):
        return "it holds a line break"
    return f"it is longer than {LONGEST_WORD} bytes" if len(word) > LONGEST_WORD else ""


def state_in(text: str) -> State:
    """Return the state that a `>STATE:` message or the answer to `state` tells."""
    fields = [*text.split(","), *[""] * 6]
    return State(fields[1], fields[2], fields[4], fields[5])


def password_message(text: str) -> Need | Refusal | None:
    """Return what a `>PASSWORD:` message says; None for what needs no answer (the token of a session)."""
    if match := re.match(r"Need '(.*?)' (username/password|password)(?: SC:([0-9]+),(.*))?", text):
        kind, what, flags, question = match.groups()
        challenge = Challenge("static", question, is_hidden=not int(flags) & 1) if flags else None
        return Need(kind, what != "password", challenge)
    if match := re.match(r"Verification Failed: '(.*?)'(?: \['(.*)'\])?", text):
        return Refusal(match[1], _dynamic(match[2] or ""))
    return None


def pending_challenge(text: str) -> Challenge | None:
    """Return the question in an `>INFOMSG:` message, if it is one that can be answered in text."""
    if match := re.fullmatch(r"CR_TEXT:([^:]*):(.*)", text):
        flags = match[1].split(",")
        return Challenge("pending", match[2], is_hidden="E" not in flags, wants_answer="R" in flags)
    return None


def answer_to(challenge: Challenge, password: bytes, response: bytes) -> bytes:
    """Return what takes the place of the password, so that the response reaches the server with it."""
    if challenge.protocol == "static":
        return b"SCRV1:" + b64encode(password) + b":" + b64encode(response)
    return b"CRV1::" + challenge.state.encode() + b"::" + response


def encoded(response: bytes) -> bytes:
    """Return an answer as `cr-response` wants it."""
    return b64encode(response)


def _dynamic(text: str) -> Challenge | None:
    match = re.fullmatch(r"CRV1:([^:]*):([^:]*):([^:]*):(.*)", text)
    if match is None:
        return None
    flags = match[1].split(",")
    try:
        username = b64decode(match[3], validate=True)
    except NotBase64:
        return None
    return Challenge("dynamic", match[4], "E" not in flags, "R" in flags, match[2], Secret(username))


def _quoted(word: bytes) -> bytes:
    return b'"' + word.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
