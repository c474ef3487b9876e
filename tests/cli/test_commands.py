"""The commands: what they ask, what they print, how they end, and that nothing from outside reaches the terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from autovpn import wiring
from autovpn.cli import asking, local
from autovpn.cli.commands import cli
from autovpn.cli.main import main
from autovpn.config.load import Loaded
from autovpn.core.profile import Policy, Profile
from autovpn.errors import AlreadyRunning, ConfigError, Refused
from tests.cli.fake import Autovpn, FakeDaemon

ROOT = Path(__file__).parent.parent.parent
MESSAGE = {"message": "campus is up on wlan0", "problems": []}
ASKING = [["status"], ["up", "campus"], ["down"], ["reload"], ["restart"]]
EMPTY_STATUS = {
    "version": "1",
    "pid": 7,
    "running_for": 61.0,
    "uplinks": [],
    "activations": [],
    "undoing": [],
    "dns": None,
    "overrides": [],
    "next_look": None,
    "reload_failed": False,
    "problems": {"configuration": [], "hooks": [], "journal": []},
    "resyncs": {},
}


def test_every_command_teaches() -> None:
    for command in (*asking.COMMANDS, *local.COMMANDS):
        result = CliRunner().invoke(command, ["--help"])
        assert result.exit_code == 0, command.name
        assert "Usage:" in result.output
        assert command.get_short_help_str(65).rstrip().endswith(("..", "")), command.name
        assert "..." not in command.get_short_help_str(65), command.name


def test_help_lists_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for command in (*asking.COMMANDS, *local.COMMANDS):
        assert re.search(rf"^  {command.name} ", said, re.MULTILINE)
    assert "Exit status" in said


def test_examples_keep_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--help"]) == 0
    assert "    autovpn up campus\n    autovpn up campus --on wlan0" in capsys.readouterr().out
    assert main(["hook", "--help"]) == 0
    assert "--strict" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", ASKING)
def test_without_a_daemon_the_exit_status_is_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main([*arguments, "--run-dir", str(tmp_path)]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "the daemon isn't running" in err
    assert "autovpn run" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such"],
        ["status", "--no-such"],
        ["up"],
        ["up", "campus", "--for", "soon"],
        ["status", "too", "many"],
        ["-x"],
    ],
)
def test_wrong_usage_ends_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 2
    assert "Usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "command", "sent"),
    [
        (["up", "campus"], "up", {"profile": "campus", "from_hook": False}),
        (
            ["up", "campus", "--on", "wlan0", "--tunnel", "home-ssh", "--for", "8h"],
            "up",
            {"profile": "campus", "uplink": "wlan0", "tunnel": "home-ssh", "seconds": 28800.0, "from_hook": False},
        ),
        (["down"], "down", {"from_hook": False}),
        (["down", "campus"], "down", {"profile": "campus", "from_hook": False}),
        (["reload"], "reload", {}),
        (["restart"], "restart", {}),
    ],
)
def test_a_command_asks_for_what_was_said(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], arguments: list[str], command: str, sent: dict[str, object]
) -> None:
    daemon.answers[command] = MESSAGE
    assert main([*arguments, "--run-dir", str(daemon.directory)]) == 0
    assert daemon.asked == [(command, sent)]
    assert capsys.readouterr().out == "campus is up on wlan0\n"


def test_from_inside_a_hook_up_and_down_say_so(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.answers.update(up=MESSAGE, down=MESSAGE)
    monkeypatch.setenv("AUTOVPN_EVENT", "preup")
    main(["up", "campus", "--run-dir", str(daemon.directory)])
    main(["down", "--run-dir", str(daemon.directory)])
    assert [sent["from_hook"] for _, sent in daemon.asked] == [True, True]


def test_problems_make_the_exit_status_1(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["reload"] = {"ok": False, "error": "x", "message": "kept the old one", "problems": ["a.toml:1: x"]}
    assert main(["reload", "--run-dir", str(daemon.directory)]) == 1
    assert capsys.readouterr() == ("kept the old one\n", "autovpn: a.toml:1: x\n")
    assert main(["reload", "--json", "--run-dir", str(daemon.directory)]) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == ["a.toml:1: x"]


def test_what_failed_without_a_problem_fails_too(daemon: FakeDaemon) -> None:
    daemon.answers["up"] = {"ok": False, "message": "not settled after 45 s", "problems": []}
    assert main(["up", "campus", "--run-dir", str(daemon.directory)]) == 1


def test_a_refusal_is_one_sentence(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--run-dir", str(daemon.directory)]) == 1
    assert capsys.readouterr() == ("", "autovpn: there is no status\n")


@pytest.mark.parametrize("reply", [b"hello\n", b"[]\n", b"{}\n", b'{"ok": false}\n', b"", b'{"ok":'])
def test_an_answer_that_makes_no_sense_is_an_error_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reply: bytes
) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control.sock"))
    listener.listen()

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(reply)

    thread = threading.Thread(target=answer)
    thread.start()
    assert main(["status", "--run-dir", str(tmp_path)]) == 1
    thread.join(100)
    listener.close()
    assert capsys.readouterr().err.startswith("autovpn: the daemon ")


def test_json_is_what_the_daemon_said(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["status"] = {**EMPTY_STATUS, "version": "\x1b[2J\u202e"}
    assert main(["status", "--json", "--run-dir", str(daemon.directory)]) == 0
    out = capsys.readouterr().out
    assert json.loads(out) == {"ok": True, **EMPTY_STATUS, "version": "\x1b[2J\u202e"}
    assert out.isascii()
    assert "\x1b" not in out


def test_an_empty_machine_has_a_status(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["status"] = EMPTY_STATUS
    assert main(["status", "--run-dir", str(daemon.directory)]) == 0
    assert capsys.readouterr().out == (
        "autovpn  1, running for 1 min 1 s (process 7)\n  uplinks  none: no link that could be one is there\n"
    )


class TestCheck:
    """`autovpn check` names everything at once and says by its exit status whether there was something."""

    @pytest.fixture
    def configured(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        (tmp_path / "profiles").mkdir()
        return tmp_path

    def loaded(self, monkeypatch: pytest.MonkeyPatch, *problems: str, usable: bool = True) -> None:
        policy = Policy((Profile("campus"),)) if usable else None
        monkeypatch.setattr(wiring, "load_configuration", lambda _: Loaded(policy, problems, ("a note",)))

    def test_fine(self, configured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.loaded(monkeypatch)
        assert main(["check", "--config", str(configured)]) == 0
        assert capsys.readouterr().out == f"{configured}  fine: 1 profile\n  note  a note\n"

    @pytest.mark.parametrize(("usable", "words"), [(True, "the rest would be used"), (False, "nothing of it")])
    def test_problems(
        self,
        configured: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        usable: bool,
        words: str,
    ) -> None:
        self.loaded(monkeypatch, "a.toml:1: x: wrong", "b.toml:2: y: \x1b[2J", usable=usable)
        assert main(["check", "--config", str(configured)]) == 1
        out = capsys.readouterr().out
        assert "2 problems" in out
        assert words in out
        assert "  problem  a.toml:1: x: wrong\n  problem  b.toml:2: y: \\x1b[2J\n" in out

    def test_as_json(
        self, configured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.loaded(monkeypatch, "a.toml:1: x: wrong")
        assert main(["check", "--json", "--config", str(configured)]) == 1
        assert json.loads(capsys.readouterr().out) == {
            "ok": False,
            "directory": str(configured),
            "usable": True,
            "problems": ["a.toml:1: x: wrong"],
            "notes": ["a note"],
            "profiles": ["campus"],
        }


@pytest.mark.parametrize("command", ["check", "plan", "explain", "run"])
def test_a_configuration_that_is_named_and_is_not_there_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, "--config", str(tmp_path / "typo")]) == 2
    assert "typo is not a directory" in capsys.readouterr().err


def test_a_lost_configuration_keeps_nobody_from_recovering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "recover", lambda _: wiring.Recovery())
    assert main(["recover", "--config", str(tmp_path / "gone")]) == 0


def test_run_is_the_daemon_in_these_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[wiring.Directories] = []

    def run_daemon(directories: wiring.Directories) -> int:
        seen.append(directories)
        return 0

    monkeypatch.setattr(wiring, "run_daemon", run_daemon)
    assert main(["run", "--config", str(tmp_path), "--run-dir", "/r", "--state-dir", "/s"]) == 0
    assert (seen[0].config, seen[0].run, seen[0].state) == (tmp_path, Path("/r"), Path("/s"))


@pytest.mark.parametrize(
    ("recovery", "status", "out", "err"),
    [
        (wiring.Recovery(), 0, "nothing was left to undo\n", ""),
        (wiring.Recovery(undone=("a", "b")), 0, "undone: a; b\n", ""),
        (wiring.Recovery(left=("c stays",)), 1, "nothing was left to undo\n", "autovpn: c stays\n"),
        (wiring.Recovery(("a",), found=("a \x1b", "b")), 0, "found: a \\x1b\nfound: b\nundone: a\n", ""),
    ],
)
def test_recover_says_what_it_undid_and_what_it_left(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    recovery: wiring.Recovery,
    status: int,
    out: str,
    err: str,
) -> None:
    monkeypatch.setattr(wiring, "recover", lambda _: recovery)
    assert main(["recover"]) == status
    assert capsys.readouterr() == (out, err)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (AlreadyRunning(4711), 1, "autovpn: another autovpn daemon is running (process 4711)"),
        (ConfigError(("a.toml:1: x", "b.toml:2: y")), 1, "autovpn: a.toml:1: x\nautovpn: b.toml:2: y\n"),
        (Refused("\x1b[2J", "no"), 1, "autovpn: \\x1b[2J: no"),
        (ZeroDivisionError("a \x1b[2J"), 1, "this is a mistake in autovpn itself: ZeroDivisionError: a \\x1b[2J"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_no_traceback_reaches_a_user(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: BaseException, status: int, words: str
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr("autovpn.cli.main._forget_stdout", lambda: None)
    monkeypatch.setattr(wiring, "recover", fail)
    monkeypatch.delenv("AUTOVPN_DEBUG", raising=False)
    assert main(["recover"]) == status
    said = capfd.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert bool(said) is bool(words)


@pytest.mark.parametrize("error", [ZeroDivisionError("a"), Refused("x", "no")])
def test_a_traceback_is_there_for_who_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(wiring, "recover", fail)
    monkeypatch.setenv("AUTOVPN_DEBUG", "1")
    assert main(["recover"]) == 1
    assert "Traceback" in capsys.readouterr().err


class TestTheRealCommand:
    """The entry point as a process, with the signals and pipes of a shell."""

    def test_it_answers(self, daemon: FakeDaemon, autovpn: Autovpn) -> None:
        daemon.answers["status"] = EMPTY_STATUS
        ran = autovpn("status", "--run-dir", str(daemon.directory))
        assert (ran.status, ran.err) == (0, "")
        assert "running for 1 min 1 s" in ran.out

    def test_a_hook_is_quick_and_silent(self, daemon: FakeDaemon, autovpn: Autovpn) -> None:
        daemon.answers["hook"] = {"problems": [], "exit": 0}
        ran = autovpn("hook", "predown", "wlan0", "--run-dir", str(daemon.directory))
        assert (ran.status, ran.out, ran.err) == (0, "", "")

    def test_version(self, autovpn: Autovpn) -> None:
        assert re.fullmatch(r"autovpn \d+\.\d+\.\d+\S*\n", autovpn("--version").out)

    def test_a_reader_that_closes_the_pipe_hears_no_complaint(self, daemon: FakeDaemon) -> None:
        daemon.answers["status"] = {**EMPTY_STATUS, "undoing": ["x" * 1000] * 1000}
        command = [sys.executable, "-m", "autovpn", "status", "--run-dir", str(daemon.directory)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait(100) != 0

    def test_ctrl_c_ends_a_waiting_hook_silently_with_130(self, tmp_path: Path) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        command = [sys.executable, "-m", "autovpn", "hook", "postup", "wlan0", "--run-dir", str(tmp_path)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        listener.settimeout(100)
        connection, _ = listener.accept()
        assert connection.recv(65536)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=100) == (b"", b"")
        assert process.returncode == 130
        connection.close()
        listener.close()

    def test_an_ascii_terminal_is_no_reason_to_fail(self, daemon: FakeDaemon, autovpn: Autovpn) -> None:
        daemon.answers["status"] = {**EMPTY_STATUS, "resyncs": {"ENOBUFS": 2}, "version": "größe"}
        ran = autovpn("status", "--run-dir", str(daemon.directory), PYTHONUTF8="0", PYTHONIOENCODING="ascii")
        assert ran.status == 0
        assert r"gr\xf6\xdfe" in ran.out


def test_a_terminal_gets_colours_but_none_from_outside(daemon: FakeDaemon) -> None:
    hostile = "\x1b]0;owned\x07[red]\u202e:bomb:"
    daemon.answers["status"] = {**EMPTY_STATUS, "undoing": [hostile]}
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "autovpn", "status", "--run-dir", str(daemon.directory)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200", "PYTHONUTF8": "1"}
    environment.pop("NO_COLOR", None)
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=follower, check=False, timeout=100)
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert done.returncode == 0
    assert "\x1b[1m" in shown
    assert r"\x1b]0;owned\x07[red]\u202e:bomb:" in shown
    assert "\x1b]" not in shown
    assert "\u202e" not in shown


def test_every_command_is_one_of_click(monkeypatch: pytest.MonkeyPatch) -> None:
    main(["--version"])
    assert isinstance(cli, click.Group)
    assert set(cli.commands) == {command.name for command in (*asking.COMMANDS, *local.COMMANDS)}
