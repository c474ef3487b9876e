"""`autovpn hook`: never in the way of a network that goes up or down, and never silent about a failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.cli import hook
from autovpn.cli.client import quoted
from tests.cli.fake import FakeDaemon


@pytest.mark.parametrize("event", hook.EVENTS)
def test_the_daemon_learns_of_every_event(daemon: FakeDaemon, event: str) -> None:
    daemon.answers["hook"] = {"message": "fine", "problems": [], "exit": 0}
    assert hook.main([event, "wlan0", "--run-dir", str(daemon.directory), "--wait", "2m", "--strict"]) == 0
    assert daemon.asked == [
        ("hook", {"event": event, "interface": "wlan0", "wait": 120.0, "strict": True, "from_hook": False})
    ]


def test_success_is_silent(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["hook"] = {"message": "campus is up", "problems": [], "exit": 0}
    assert hook.main(["postup", "wlan0", f"--run-dir={daemon.directory}"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("options", "status"), [([], 0), (["--strict"], 1)])
def test_a_failure_is_a_warning_unless_strict(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], options: list[str], status: int
) -> None:
    daemon.answers["hook"] = {"message": "", "problems": ["campus: wrong\x1b[2Jpassword"], "exit": 1}
    assert hook.main(["postup", "wlan0", f"--run-dir={daemon.directory}", *options]) == status
    assert capsys.readouterr().err == "autovpn: campus: wrong\\x1b[2Jpassword\n"


def test_a_failure_without_problems_says_its_message(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["hook"] = {"message": "not settled after 30 s", "problems": [], "exit": 1}
    assert hook.main(["postup", "wlan0", f"--run-dir={daemon.directory}", "--strict"]) == 1
    assert "not settled" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "status"), [([], 0), (["--strict"], 1)])
def test_a_refusal_is_a_warning_unless_strict(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], options: list[str], status: int
) -> None:
    assert hook.main(["postup", "wlan0", f"--run-dir={daemon.directory}", *options]) == status
    assert "there is no hook" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--strict"]])
def test_without_a_daemon_it_warns_and_is_fine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert hook.main(["predown", "wlan0", "--run-dir", str(tmp_path), *options]) == 0
    assert "the daemon isn't running" in capsys.readouterr().err


def test_from_inside_a_hook_the_daemon_is_told_so(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.answers["hook"] = {"exit": 0}
    monkeypatch.setenv("AUTOVPN_EVENT", "postup")
    hook.main(["postup", "wlan0", f"--run-dir={daemon.directory}"])
    assert daemon.asked[0][1]["from_hook"] is True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "an event and an interface"),
        (["postup"], "an event and an interface"),
        (["postup", "wlan0", "more"], "an event and an interface"),
        (["posttup", "wlan0"], "no event 'posttup'"),
        (["postup", ""], "name of an interface"),
        (["postup", "."], "name of an interface"),
        (["postup", "a/b"], "name of an interface"),
        (["postup", "a b"], "name of an interface"),
        (["postup", "sixteen-letters!"], "name of an interface"),
        (["postup", "wlan0", "--wait"], "needs a value"),
        (["postup", "wlan0", "--wait="], "needs a value"),
        (["postup", "wlan0", "--wait", "soon"], "is no time"),
        (["postup", "wlan0", "--wait", "-1s"], "is no time"),
        (["postup", "wlan0", "--wait", "inf"], "is no time"),
        (["postup", "wlan0", "--wait", "\u0661s"], "is no time"),
        (["postup", "wlan0", "--wait", "2h"], "longer than 1 h"),
        (["postup", "wlan0", "--run-dir"], "needs a value"),
        (["postup", "wlan0", "--no-such"], "no option"),
        (["postup", "wlan0", "-\x1b[2J"], r"\x1b"),
    ],
)
def test_wrong_usage_says_what_is_wrong_and_ends_with_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert hook.main(arguments) == 2
    said = capsys.readouterr().err
    assert words in said
    assert hook.USAGE in said
    assert "\x1b" not in said


def test_after_two_dashes_everything_is_a_word() -> None:
    call = hook.parse(["--strict", "--", "postup", "-odd"])
    assert (call.event, call.interface, call.strict) == ("postup", "-odd", True)


@given(st.text() | st.binary(max_size=15).map(os.fsdecode))
def test_any_text_survives_the_hand_made_json(text: str) -> None:
    assert json.loads(quoted(text)) == text


@given(st.binary(min_size=1, max_size=15).map(os.fsdecode).filter(hook.is_interface_name))
def test_the_request_is_one_line_of_json_for_every_name_of_an_interface(name: str) -> None:
    call = hook.Call()
    call.event, call.interface = "postup", name
    line = call.line(from_hook=False)
    assert line.count(b"\n") == 1
    assert json.loads(line)["arguments"]["interface"] == name


def test_it_starts_without_what_is_slow_to_import() -> None:
    program = "import sys; from autovpn.cli.main import main; main(['hook', 'postup', 'eth0', '--run-dir', '/nowhere'])"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"{program}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path.cwd())},
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"click", "rich", "json", "socket", "re", "enum", "typing", "dataclasses", "pathlib", "asyncio"}
