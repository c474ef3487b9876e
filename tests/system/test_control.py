"""The control socket: who may ask what, and that nothing a client does harms the daemon."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.errors import ConfigError, ControlError, Refused, SystemFault
from autovpn.system import control
from autovpn.system.control import LONGEST_LINE, ControlServer, Limits, Peer, Reply, Request, encode, parse, peer_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

NOBODY = 65534
ME = frozenset({os.geteuid()})
PEER = Peer(1, 0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can reach, as /run is."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


class Echo:
    """A handler that says what it was asked, waits when told to, and fails when told to."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, request: Request) -> Reply:
        if self.error:
            raise self.error
        if request.command == "wait":
            self.started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return {"command": request.command, "arguments": dict(request.arguments), "uid": request.peer.uid}


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def path(folder: Path, echo: Echo) -> AsyncIterator[Path]:
    server = ControlServer(folder / "run" / "control.sock", echo, privileged=ME)
    await server.start()
    yield folder / "run" / "control.sock"
    await server.stop()


async def send(path: Path, raw: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 22)
    try:
        writer.write(raw)
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()


async def ask(path: Path, command: str, **arguments: object) -> dict[str, object]:
    line = json.dumps({"command": command, "arguments": arguments}).encode() + b"\n"
    reply = json.loads(await send(path, line))
    assert isinstance(reply, dict)
    return reply


async def answered(path: Path) -> dict[str, object]:
    """Ask until there is somebody to ask."""
    async with asyncio.timeout(60):
        while True:
            with suppress(OSError):
                return await ask(path, "status")
            await asyncio.sleep(0.01)


async def test_a_request_gets_one_line_of_reply(path: Path) -> None:
    reply = await ask(path, "status", uplink="wlan0")
    assert reply == {"ok": True, "command": "status", "arguments": {"uplink": "wlan0"}, "uid": os.geteuid()}


async def test_the_peer_is_known_with_its_groups(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    peer = peer_of(writer.get_extra_info("socket"))
    assert (peer.pid, peer.uid) == (os.getpid(), os.geteuid())
    assert peer.groups >= {os.getegid(), *os.getgroups()}
    writer.close()
    assert await reader.read() == b""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Refused("/etc/resolv.conf", "is immutable", "chattr -i"), "is immutable"),
        (ConfigError(("a.toml:1: x: wrong", "b.toml:2: y: wrong")), "a.toml:1"),
        (ValueError("a secret of ours"), "an error of its own"),
    ],
)
async def test_a_handler_that_fails_is_a_reply_and_not_an_end(
    path: Path, echo: Echo, error: Exception, words: str
) -> None:
    echo.error = error
    reply = await ask(path, "reload")
    assert reply["ok"] is False
    assert words in str(reply["error"])
    assert "secret" not in str(reply)
    echo.error = None
    assert (await ask(path, "status"))["ok"] is True


async def test_every_problem_of_a_configuration_is_named(path: Path, echo: Echo) -> None:
    echo.error = ConfigError(("a.toml:1: x: wrong", "b.toml:2: y: wrong"))
    assert (await ask(path, "reload"))["problems"] == ["a.toml:1: x: wrong", "b.toml:2: y: wrong"]


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"hello\n",
        b"[]\n",
        b"{}\n",
        b'{"command": 7}\n',
        b'{"command": "../status"}\n',
        b'{"command": "status\\u0000"}\n',
        b'{"command": "status", "arguments": []}\n',
        b'{"command": "status"\n',
        b"[" * 60_000 + b"\n",
        b"9" * 60_000 + b"\n",
        b"\xff\xfe\x00\n",
        b"\x00" * 100 + b"\n",
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_in_words(path: Path, line: bytes) -> None:
    reply = json.loads(await send(path, line))
    assert reply["ok"] is False
    assert reply["error"].startswith(("the request", "the arguments"))
    assert (await ask(path, "status"))["ok"] is True


async def test_a_request_that_never_ends_is_cut_off(path: Path) -> None:
    reply = json.loads(await send(path, b"x" * (LONGEST_LINE + 2)))
    assert "longer than" in reply["error"]


async def test_a_client_that_says_nothing_and_leaves_is_no_matter(path: Path) -> None:
    for raw in (b"", b'{"comm'):
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(raw)
        writer.close()
        await writer.wait_closed()
    assert (await ask(path, "status"))["ok"] is True


async def test_a_client_that_waits_is_cancelled_when_it_leaves(path: Path, echo: Echo) -> None:
    _, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"command": "wait"}\n')
    await asyncio.wait_for(echo.started.wait(), 60)
    writer.close()
    await asyncio.wait_for(echo.cancelled.wait(), 60)


async def test_stopping_cancels_who_waits_and_removes_the_socket(folder: Path, echo: Echo) -> None:
    server = ControlServer(folder / "control.sock", echo, privileged=ME)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(folder / "control.sock")
    writer.write(b'{"command": "wait"}\n')
    await asyncio.wait_for(echo.started.wait(), 60)
    await server.stop()
    assert echo.cancelled.is_set()
    assert await asyncio.wait_for(reader.read(), 60) == b""
    assert os.listdir(folder) == []  # noqa: PTH208  # Path would count as blocking here
    writer.close()
    await server.stop()


async def test_clients_beyond_the_limit_are_told_so(folder: Path, echo: Echo) -> None:
    server = ControlServer(folder / "control.sock", echo, limits=Limits(clients=2), privileged=ME)
    await server.start()
    held = [await asyncio.open_unix_connection(folder / "control.sock") for _ in range(2)]
    for _, writer in held:
        echo.started.clear()
        writer.write(b'{"command": "wait"}\n')
        await asyncio.wait_for(echo.started.wait(), 60)
    assert b"2 clients" in await send(folder / "control.sock", b"")
    for _, writer in held:
        writer.close()
    await asyncio.wait_for(echo.cancelled.wait(), 60)
    await asyncio.wait_for(asyncio.gather(*server._clients), 60)
    assert (await ask(folder / "control.sock", "status"))["ok"] is True
    await server.stop()


async def test_a_client_that_sends_nothing_is_let_go(folder: Path, echo: Echo) -> None:
    server = ControlServer(folder / "control.sock", echo, limits=Limits(sending=0.05), privileged=ME)
    await server.start()
    assert await send(folder / "control.sock", b'{"command"') == b""
    await server.stop()


async def test_a_client_that_takes_nothing_is_let_go(folder: Path) -> None:
    asked = asyncio.Event()

    async def verbose(request: Request) -> Reply:
        asked.set()
        return {"words": "x" * (8 << 20)}

    server = ControlServer(folder / "control.sock", verbose, limits=Limits(taking=0.05), privileged=ME)
    await server.start()
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.setblocking(False)
        deaf.connect(str(folder / "control.sock"))
        await asyncio.get_running_loop().sock_sendall(deaf, b'{"command": "status"}\n')
        await asyncio.wait_for(asked.wait(), 60)
        await asyncio.wait_for(asyncio.gather(*server._clients), 60)
    await server.stop()


async def test_the_socket_replaces_what_a_dead_daemon_left(folder: Path, echo: Echo) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(folder / "control.sock"))
    stale.close()
    server = ControlServer(folder / "control.sock", echo, privileged=ME)
    await server.start()
    assert (await ask(folder / "control.sock", "status"))["ok"] is True
    await server.stop()


@pytest.mark.parametrize("what", ["the socket", "its folder"])
async def test_a_socket_that_vanished_is_bound_again_and_again(path: Path, what: str) -> None:
    """Somebody empties /run under a running daemon."""
    for _ in range(3):
        await asyncio.to_thread(path.unlink if what == "the socket" else lambda: shutil.rmtree(path.parent))
        assert (await answered(path))["ok"] is True
    facts = await asyncio.to_thread(path.stat)
    folder = await asyncio.to_thread(path.parent.stat)
    assert (stat.S_IMODE(facts.st_mode), stat.S_IMODE(folder.st_mode)) == (0o600, 0o700)


async def test_who_waits_goes_on_waiting_while_the_socket_is_bound_again(path: Path, echo: Echo) -> None:
    _, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"command": "wait"}\n')
    await asyncio.wait_for(echo.started.wait(), 60)
    await asyncio.to_thread(path.unlink)
    await answered(path)
    assert not echo.cancelled.is_set()
    writer.close()
    await asyncio.wait_for(echo.cancelled.wait(), 60)


async def test_a_place_that_takes_no_socket_for_a_while_is_tried_again(
    folder: Path, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autovpn.system.control.SHORTEST_PAUSE", 0.01)
    path = folder / "run" / "control.sock"
    server = ControlServer(path, echo, privileged=ME)
    await server.start()
    refused = asyncio.Event()
    listen, loop = control._listen, asyncio.get_running_loop()

    def refuse(*_: object) -> socket.socket:
        loop.call_soon_threadsafe(refused.set)
        monkeypatch.setattr(control, "_listen", listen)
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(control, "_listen", refuse)
    await asyncio.to_thread(path.unlink)
    await asyncio.wait_for(refused.wait(), 60)
    assert (await answered(path))["ok"] is True
    await server.stop()
    assert not await asyncio.to_thread(path.exists)


async def test_a_socket_that_cannot_be_made_says_where(folder: Path, echo: Echo) -> None:
    with pytest.raises(SystemFault, match=r"control\.sock: the control socket can't be made"):
        await ControlServer(Path("/proc/version/control.sock"), echo).start()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_without_the_group_nobody_but_root_can_even_connect(folder: Path, echo: Echo) -> None:
    server = ControlServer(folder / "run" / "control.sock", echo, group="no-such-group", privileged=ME)
    await server.start()
    assert (mode(folder / "run"), mode(folder / "run" / "control.sock")) == (0o700, 0o600)
    await server.stop()


CLIENT = """
import os, socket, sys
os.setgroups([int(group) for group in sys.argv[5:]])
os.setgid(int(sys.argv[4]))
os.setuid(int(sys.argv[3]))
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
    try:
        s.sendall(sys.argv[2].encode())
    except BrokenPipeError:
        pass
    print(s.recv(65536).decode())
except PermissionError:
    print("no way in")
"""


async def ask_as(uid: int, gid: int, groups: list[int], path: Path, line: str) -> str:
    program = [sys.executable, "-I", "-S", "-c", CLIENT, str(path), line, str(uid), str(gid), *map(str, groups)]
    done = await asyncio.to_thread(subprocess.run, program, capture_output=True, text=True, check=False, cwd="/")
    return done.stdout + done.stderr


def open_to_all(path: Path) -> None:
    path.chmod(0o666)
    path.parent.chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
class TestOtherUsers:
    """A member of the group may read, others nothing."""

    GROUP = "games"
    GID = 60

    @pytest.fixture
    async def shared(self, folder: Path, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
        monkeypatch.setattr("autovpn.system.control._group_id", lambda _: self.GID)
        server = ControlServer(folder / "run" / "control.sock", echo)
        await server.start()
        yield folder / "run" / "control.sock"
        await server.stop()

    async def test_the_group_reads(self, shared: Path) -> None:
        for gid, groups in ((self.GID, []), (NOBODY, [self.GID])):
            reply = json.loads(await ask_as(NOBODY, gid, groups, shared, '{"command": "status"}\n'))
            assert (reply["ok"], reply["uid"]) == (True, NOBODY)

    @pytest.mark.parametrize("command", ["up", "down", "hook", "restart", "reload", "unheard-of"])
    async def test_the_group_changes_nothing(self, shared: Path, command: str) -> None:
        reply = json.loads(await ask_as(NOBODY, self.GID, [], shared, json.dumps({"command": command}) + "\n"))
        assert reply["ok"] is False
        assert "only root" in reply["error"]

    async def test_others_have_no_way_in(self, shared: Path) -> None:
        assert "no way in" in await ask_as(NOBODY, NOBODY, [], shared, '{"command": "status"}\n')

    async def test_others_are_refused_even_where_the_modes_were_opened(self, shared: Path) -> None:
        open_to_all(shared)
        reply = json.loads(await ask_as(NOBODY, NOBODY, [], shared, '{"command": "status"}\n'))
        assert reply["ok"] is False
        assert "may not ask" in reply["error"]

    async def test_readers_never_take_roots_last_place(
        self, folder: Path, echo: Echo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("autovpn.system.control._group_id", lambda _: self.GID)
        path = folder / "run" / "control.sock"
        server = ControlServer(path, echo, limits=Limits(clients=1))
        await server.start()
        echo.started.clear()
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"command": "wait"}\n')
        await asyncio.wait_for(echo.started.wait(), 60)
        reply = json.loads(await ask_as(NOBODY, self.GID, [], path, '{"command": "status"}\n'))
        assert reply["ok"] is True
        writer.close()
        await server.stop()


@given(st.binary(max_size=200))
def test_a_line_is_a_request_or_is_refused(line: bytes) -> None:
    with suppress(ControlError):
        assert parse(line, PEER).command


@given(
    st.dictionaries(st.text(), st.none() | st.booleans() | st.floats(allow_nan=False) | st.text() | st.lists(st.text()))
)
def test_a_reply_is_one_line_of_ascii(reply: dict[str, object]) -> None:
    line = encode(reply)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert all(byte >= 0x20 for byte in line[:-1])
    assert json.loads(line) == reply


@pytest.mark.parametrize(
    ("reply", "terse"),
    [
        ({"ok": True, "message": "up", "problems": [], "exit": 0}, True),
        ({"ok": True}, True),
        ({"ok": True, "problems": ["wrong password"], "exit": 0}, False),
        ({"ok": True, "problems": [], "exit": 1}, False),
        ({"ok": False, "error": "no"}, False),
    ],
)
def test_terse_hides_no_problem(reply: Reply, terse: bool) -> None:
    assert (encode(reply, terse=True) == b"ok\n") is terse
    assert encode(reply) != b"ok\n"
