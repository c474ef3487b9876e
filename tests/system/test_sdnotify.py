"""What a service manager hears of us, over the socket that it names (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from autovpn.system.sdnotify import notify, watchdog_interval


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Give the socket of a service manager, of either kind, named in our environment."""
    name = f"@autovpn-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name[1:] if name.startswith("@") else name)
        listening.setblocking(False)
        yield listening


def test_a_message_reaches_the_service_manager_in_one_datagram(manager: socket.socket) -> None:
    notify("READY=1", "STATUS=watching")
    notify("STOPPING=1")

    assert manager.recv(4096) == b"READY=1\nSTATUS=watching"
    assert manager.recv(4096) == b"STOPPING=1"


def test_a_service_manager_that_does_not_read_holds_nobody_up(manager: socket.socket) -> None:
    for _ in range(2000):
        notify("WATCHDOG=1" + " " * 4000)

    assert manager.recv(4096).startswith(b"WATCHDOG=1")


def test_without_a_service_manager_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "")
    notify("READY=1")


@pytest.mark.parametrize("name", ["/none/such", "@autovpn-nobody-listens", "relative", "/" + "x" * 200])
def test_a_service_manager_that_does_not_listen_is_no_fault(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    notify("READY=1")


def test_a_socket_whose_manager_has_gone_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as gone:
        gone.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    notify("READY=1")


@pytest.mark.parametrize("pid", [None, str(os.getpid())])
def test_the_watchdog_is_fed_twice_in_the_time_that_it_allows(monkeypatch: pytest.MonkeyPatch, pid: str | None) -> None:
    watched(monkeypatch, "30000000", pid)
    assert watchdog_interval() == pytest.approx(15.0)


@pytest.mark.parametrize("pid", ["1", "", "me"])
def test_a_watchdog_of_another_process_is_none_of_ours(monkeypatch: pytest.MonkeyPatch, pid: str) -> None:
    watched(monkeypatch, "30000000", pid)
    assert watchdog_interval() is None


@pytest.mark.parametrize("allowed", [None, "", "0", "-1", "30s", "1e6", "1.5", " 30000000", "\u00b2", "x"])
def test_without_a_time_that_can_be_read_there_is_no_watchdog(
    monkeypatch: pytest.MonkeyPatch, allowed: str | None
) -> None:
    watched(monkeypatch, allowed, None)
    assert watchdog_interval() is None


def watched(monkeypatch: pytest.MonkeyPatch, allowed: str | None, pid: str | None) -> None:
    """Put a watchdog's time in microseconds, and whom it watches, into our environment."""
    for name, value in (("WATCHDOG_USEC", allowed), ("WATCHDOG_PID", pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
