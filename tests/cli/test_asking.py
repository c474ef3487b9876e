"""What 'autovpn up' asks at a terminal, and never elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.fake import ROOT, FakeDaemon, Ran, run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autovpn.system.control import Reply, Request

QUESTION = {"number": 4, "prompt": "Code\x1b[2J", "hidden": True}
UP: Reply = {"ok": True, "message": "campus is up", "problems": []}


@pytest.fixture(autouse=True)
def asking(daemon: FakeDaemon) -> None:
    """Let the daemon want a password before it starts, and a code after that."""

    def reply(request: Request) -> Reply:
        answered = [command for command, _ in daemon.asked].count("answer")
        if request.command == "answer":
            return {**UP, "again": True} if answered == 1 else UP
        if "attended" not in request.arguments or answered > 1:
            return UP
        return {"ok": True, "message": "", "problems": [], "question": QUESTION, "interface": "wlan0"}

    daemon.script = reply


def up_at_a_terminal(daemon: FakeDaemon, typed: list[str], *options: str) -> Ran:
    """Run the command with a terminal as its input; each text is typed at the next prompt, as getpass wants it."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "autovpn", "up", "campus", "--run-dir", str(daemon.directory), *options]
    child = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,  # without a terminal of its own it can't ask at the developer's
    )
    os.close(theirs)
    assert child.stderr
    said = b""
    with child:
        for text in typed:
            while said.count(b": ") < typed.index(text) + 1:
                said += (piece := os.read(child.stderr.fileno(), 4096))
                assert piece, said
            os.write(ours, text.encode())
        out, rest = child.communicate(timeout=100)
    os.close(ours)
    return Ran(child.returncode, out.decode(), (said + rest).decode())


def sent(daemon: FakeDaemon) -> list[Mapping[str, object]]:
    return [arguments for _, arguments in daemon.asked]


def test_it_asks_until_nothing_is_left_to_ask_and_shows_no_control_characters(daemon: FakeDaemon) -> None:
    done = up_at_a_terminal(daemon, ["wonder land\n", "123456\n"])

    assert (done.status, done.out) == (0, "campus is up\n"), done.err
    assert [command for command, _ in daemon.asked] == ["up", "answer", "up", "answer"]
    answers = [arguments for arguments in sent(daemon) if "answer" in arguments]
    assert [arguments["answer"] for arguments in answers] == ["wonder land", "123456"]
    assert answers[0] == {"profile": "campus", "number": 4, "interface": "wlan0", "answer": "wonder land"}
    assert r"Code\x1b[2J" in done.err
    assert "\x1b" not in done.err
    assert "wonder land" not in done.out + done.err


def test_a_person_who_gives_up_ends_it(daemon: FakeDaemon) -> None:
    done = up_at_a_terminal(daemon, ["\x04"])

    assert done.status != 0
    assert [command for command, _ in daemon.asked] == ["up"]
    assert "Traceback" not in done.err


def test_a_script_is_asked_nothing(daemon: FakeDaemon) -> None:
    assert run("up", "campus", "--run-dir", str(daemon.directory)).status == 0
    assert up_at_a_terminal(daemon, [], "--json").status == 0
    assert ["attended" in arguments for arguments in sent(daemon)] == [False, False]
