"""`autovpn hook`: what network managers' hooks call. Hand-written parsing, since it must start in no time."""

from __future__ import annotations

import os
import sys

from autovpn.cli.client import RUN_DIRECTORY, NotRunning, complain, exchange, opened, quoted
from autovpn.cli.times import seconds
from autovpn.errors import ControlError

EVENTS = ("preup", "postup", "predown", "postdown", "failup", "faildown", "roam", "portal")
USAGE = "autovpn hook EVENT IFACE [--wait TIME] [--strict] [--run-dir DIR]"
WAIT = 30.0
"""Seconds that `postup` and `predown` wait for the activation unless told otherwise."""

MARGIN = 5.0
"""Seconds beyond the wait that the daemon has for saying that it is over."""

LONGEST_NAME = 15  # IFNAMSIZ less its NUL (net/if.h)


class UsageError(Exception):
    """The command line is wrong; the text says how."""


class Call:
    """What the command line asks for."""

    __slots__ = ("event", "interface", "run_directory", "strict", "wait")

    def __init__(self) -> None:
        """Start from the defaults."""
        self.event = ""
        self.interface = ""
        self.wait = WAIT
        self.strict = False
        self.run_directory = RUN_DIRECTORY

    def line(self, *, from_hook: bool) -> bytes:
        """Return the request as the control socket wants it."""
        return (
            f'{{"command":"hook","terse":true,"arguments":{{"event":{quoted(self.event)},'
            f'"interface":{quoted(self.interface)},"wait":{self.wait!r},"strict":{_word(self.strict)},'
            f'"from_hook":{_word(from_hook)}}}}}\n'
        ).encode()


def main(arguments: list[str]) -> int:
    """Tell the daemon what a network manager is about to do or has done; return the exit status.

    That is 0 unless `--strict` asks for more: netifrc lets a predown that fails block the teardown of the interface.
    """
    try:
        call = parse(arguments)
    except UsageError as error:
        complain(f"{error}\nusage: {USAGE}")
        return 2
    try:
        answer = exchange(call.run_directory, call.line(from_hook="AUTOVPN_EVENT" in os.environ), call.wait + MARGIN)
        return 0 if answer == b"ok\n" else _tell(opened(answer), call)
    except NotRunning as error:
        complain(f"warning: {error}")
        return 0
    except ControlError as error:
        complain(str(error))
        return 1 if call.strict else 0


def _tell(reply: dict[str, object], call: Call) -> int:
    from autovpn.cli.safe import clean

    problems = reply.get("problems")
    for problem in problems if isinstance(problems, list) and problems else [reply.get("message")]:
        complain(clean(str(problem)))
    return 1 if call.strict and reply.get("exit") else 0


def parse(arguments: list[str]) -> Call:
    """Return what the arguments ask for.

    Raises:
        UsageError: they are wrong.
    """
    call = Call()
    words: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            words += rest
            break
        if argument.startswith("-"):
            _option(call, argument, rest)
        else:
            words.append(argument)
    if len(words) != 2:  # noqa: PLR2004  # the event and the interface
        raise UsageError("an event and an interface are needed, and nothing else")
    call.event, call.interface = words
    if call.event not in EVENTS:
        raise UsageError(f"there is no event {call.event!a}; there are {', '.join(EVENTS)}")
    if not is_interface_name(call.interface):
        raise UsageError(f"{call.interface!a} can't be the name of an interface")
    return call


def _option(call: Call, argument: str, rest: list[str]) -> None:
    name, equals, value = argument.partition("=")
    if argument == "--strict":
        call.strict = True
        return
    if name not in ("--wait", "--run-dir"):
        raise UsageError(f"there is no option {argument!a}")
    given = value if equals or not rest else rest.pop(0)
    if not given:
        raise UsageError(f"{name} needs a value")
    if name == "--wait":
        call.wait = _wait(given)
    else:
        call.run_directory = given


def _wait(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


def is_interface_name(name: str) -> bool:
    """Report whether the kernel would take the name for an interface (dev_valid_name in net/core/dev.c)."""
    raw = os.fsencode(name)
    if not raw or len(raw) > LONGEST_NAME or name in (".", ".."):
        return False
    return not any(byte in b"/: \t\n\v\f\r\x00\xa0" for byte in raw)


def _word(truth: bool) -> str:  # noqa: FBT001  # a value, not a switch
    return "true" if truth else "false"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
