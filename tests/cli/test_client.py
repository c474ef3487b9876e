"""The client's end: whatever the socket does, the user reads one sentence."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autovpn.cli.client import NoAnswer, NotRunning, ask, complain, exchange
from autovpn.errors import ControlError

Serve = Callable[[Callable[[socket.socket], None]], None]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Accept one client in a thread and do this to it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control.sock"))
    listener.listen()
    threads: list[threading.Thread] = []

    def start(act: Callable[[socket.socket], None]) -> None:
        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                act(connection)

        threads.append(threading.Thread(target=accept))
        threads[0].start()

    yield start
    for thread in threads:
        thread.join(100)
    listener.close()


def test_nobody_there_and_nobody_listening_are_one_thing(tmp_path: Path) -> None:
    with pytest.raises(NotRunning):
        ask(str(tmp_path), "status", {})
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "control.sock"))
        with pytest.raises(NotRunning):
            ask(str(tmp_path), "status", {})


def test_a_path_that_cannot_be_one_is_said(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="can't be asked"):
        ask(f"{tmp_path}/{'x' * 200}", "status", {})


def test_silence_ends(tmp_path: Path, serve: Serve) -> None:
    over = threading.Event()

    def stay_silent(_: socket.socket) -> None:
        over.wait(100)

    serve(stay_silent)
    with pytest.raises(NoAnswer, match="no answer within"):
        exchange(str(tmp_path), b"x\n", 0.05)
    over.set()


def test_an_answer_in_pieces_is_one(tmp_path: Path, serve: Serve) -> None:
    def dribble(connection: socket.socket) -> None:
        connection.recv(100)
        for byte in b'{"ok": true}\n':
            connection.sendall(bytes([byte]))

    serve(dribble)
    assert ask(str(tmp_path), "status", {}) == {"ok": True}


def test_a_refusal_that_comes_before_the_request_was_read_is_heard(tmp_path: Path, serve: Serve) -> None:
    serve(lambda connection: connection.sendall(b'{"ok": false, "error": "you may not"}\n'))
    with pytest.raises(ControlError, match="you may not"):
        ask(str(tmp_path), "status", {"padding": "x" * (1 << 20)})


def test_no_permission_says_who_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def __init__(self, *_: object) -> None:
            pass

        def settimeout(self, _: float) -> None:
            pass

        def connect(self, _: str) -> None:
            raise PermissionError

        def close(self) -> None:
            pass

    monkeypatch.setattr("_socket.socket", Closed)
    with pytest.raises(ControlError, match="a member of the group autovpn"):
        exchange(str(tmp_path), b"x\n", 1.0)


def test_a_closed_stderr_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, _: str) -> int:
            raise OSError(28, "no space left")

    monkeypatch.setattr("sys.stderr", Full())
    complain("nobody hears this")
