"""The control socket: one request and one reply per connection, each a line of JSON, with the peer's credentials.

    {"command": "status", "arguments": {}}                      to the daemon
    {"ok": true, ...}  or  {"ok": false, "error": "..."}        from it

Root may ask everything, members of the group `autovpn` what only reads, others nothing. A client keeps its side open
until it has its answer: one that closes has gone, and what it waited for is cancelled. With `"terse": true` a reply
that holds no problem is the two letters `ok`, so that a hook need not load a JSON parser to learn that all is well.
"""

from __future__ import annotations

import asyncio
import grp
import json
import logging
import os
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autovpn.core.escape import show_text
from autovpn.errors import AutovpnError, ConfigError, ControlError, SystemFault
from autovpn.system.files import NameWatch

log = logging.getLogger(__name__)

GROUP = "autovpn"
READING = frozenset({"status", "explain", "plan"})
"""The commands that change nothing, which the group may give."""

LONGEST_LINE = 64 * 1024  # bytes
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a socket that could not be bound again is tried anew; doubled each time."""

SO_PEERGROUPS = 59  # asm-generic/socket.h; the socket module does not name it
PEER_CREDENTIALS = struct.Struct("=iII")  # struct ucred of unix(7)
MOST_PEER_GROUPS = 256  # of four bytes each: socket.getsockopt takes a buffer of 1,024 bytes at most

_COMMAND = re.compile(r"[a-z][a-z-]{0,31}")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks, as the kernel noted it when they connected (SO_PEERCRED and SO_PEERGROUPS of unix(7))."""

    pid: int
    uid: int
    groups: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. `arguments` came from outside and are checked by whoever carries the command out."""

    command: str
    arguments: Mapping[str, object]
    peer: Peer
    terse: bool = False


Reply = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client can cost: seconds to send its request and to take its reply, and how many may be connected.

    Clients that only read are counted apart from root's, so that they can never take the last place from a hook.
    """

    sending: float = 10.0
    taking: float = 10.0
    clients: int = 16


class ControlServer:
    """Serves the control socket at `path`; `handler` answers a request that its peer may make.

    The handler may wait; it is cancelled when its client goes away or the server stops. An `AutovpnError` that it
    raises becomes the reply. `privileged` are the users who may do everything.
    """

    def __init__(
        self,
        path: Path,
        handler: Callable[[Request], Awaitable[Reply]],
        *,
        group: str = GROUP,
        limits: Limits | None = None,
        privileged: frozenset[int] = frozenset({0}),
    ) -> None:
        self._path = path
        self._handler = handler
        self._group = _group_id(group)
        self._limits = limits or Limits()
        self._privileged = privileged
        self._server: asyncio.Server | None = None
        self._guard: asyncio.Task[None] | None = None
        self._clients: dict[asyncio.Task[None], bool] = {}

    async def start(self) -> None:
        """Bind the socket and begin to answer; from then on it is bound again whenever it has vanished.

        Raises:
            SystemFault: the socket can't be made.
        """
        await self._bind()
        self._guard = asyncio.create_task(self._stay_bound())

    async def stop(self) -> None:
        """Stop answering, cancel whoever waits, and remove the socket."""
        if self._server is None:
            return
        if self._guard is not None:
            self._guard.cancel()
            await asyncio.gather(self._guard, return_exceptions=True)
            self._guard = None
        self._server.close()
        self._server = None
        clients = tuple(self._clients)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await asyncio.to_thread(self._path.unlink, missing_ok=True)

    async def _bind(self) -> None:
        try:
            listener = await asyncio.to_thread(_listen, self._path, self._group)
        except OSError as error:
            raise SystemFault(f"{self._path}: the control socket can't be made: {error.strerror or error}") from error
        fresh = await asyncio.start_unix_server(self._accept, sock=listener, limit=LONGEST_LINE)
        if self._server is not None:
            self._server.close()  # whoever is connected by it stays so
        self._server = fresh

    async def _stay_bound(self) -> None:
        """Bind the socket again when somebody removed it, be it with all of its folder; runs until cancelled."""
        pause = SHORTEST_PAUSE
        while True:
            try:
                await _vanished(self._path)
                await self._bind()
            except SystemFault as error:
                log.warning("control.unbound error=%s", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                log.warning("control.rebound path=%s", self._path)
                pause = SHORTEST_PAUSE

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        try:
            with suppress(ConnectionError, TimeoutError):
                await self._serve(task, reader, writer)
        finally:
            self._clients.pop(task, None)
            writer.transport.abort()  # close() would wait for a client that takes nothing

    async def _serve(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = peer_of(writer.get_extra_info("socket"))
        privileged = peer.uid in self._privileged
        busy = sum(kind is privileged for kind in self._clients.values()) >= self._limits.clients
        self._clients[task] = privileged
        request: Request | None = None
        if refusal := self._refuse_peer(peer):
            reply: Reply | None = _error(refusal)
        elif busy:
            reply = _error(f"{self._limits.clients} clients are connected already; try again in a moment")
        else:
            try:
                line = await asyncio.wait_for(reader.readuntil(b"\n"), self._limits.sending)
                request = parse(line, peer)
                reply = await self._answer(request, reader)
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                reply = _error(f"the request is longer than {LONGEST_LINE} bytes")
            except ControlError as error:
                reply = _error(str(error))
        if reply is not None:
            await self._send(writer, encode(reply, terse=request is not None and request.terse))

    def _refuse_peer(self, peer: Peer) -> str | None:
        if peer.uid in self._privileged or self._group in peer.groups:
            return None
        return f"user {peer.uid} may not ask; be root or, to read, a member of the group {GROUP}"

    async def _answer(self, request: Request, reader: asyncio.StreamReader) -> Reply | None:
        """Return the handler's reply, or None when the client has gone meanwhile."""
        if request.command not in READING and request.peer.uid not in self._privileged:
            return _error(f"only root may give the command {request.command}; the group {GROUP} may read")
        work = asyncio.ensure_future(self._work(request))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else None
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def _work(self, request: Request) -> Reply:
        try:
            return {"ok": True, **await self._handler(request)}
        except ConfigError as error:
            return {**_error(str(error)), "problems": list(error.problems)}
        except AutovpnError as error:
            return _error(str(error))
        except Exception:
            log.exception("the command %s failed", request.command)
            return _error(f"the daemon met an error of its own while it did {request.command}; its log says more")

    async def _send(self, writer: asyncio.StreamWriter, line: bytes) -> None:
        """Send the reply; drain() returns once the kernel has all of it, since nothing may stay buffered here."""
        writer.transport.set_write_buffer_limits(high=0)
        writer.write(line)
        await asyncio.wait_for(writer.drain(), self._limits.taking)


def parse(line: bytes, peer: Peer) -> Request:
    """Return the request that a line holds.

    Raises:
        ControlError: it is no JSON object with a command, or its arguments are no object.
    """
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ControlError("the request is not a line of JSON") from error
    if not isinstance(said, dict):
        raise ControlError("the request is not an object")
    command, arguments = said.get("command"), said.get("arguments", {})
    if not isinstance(command, str) or not _COMMAND.fullmatch(command):
        raise ControlError("the request names no command")
    if not isinstance(arguments, dict):
        raise ControlError("the arguments are not an object")
    return Request(command, arguments, peer, terse=said.get("terse") is True)


def encode(reply: Reply, *, terse: bool = False) -> bytes:
    """Return the line that carries a reply; the JSON is pure ASCII, so no terminal that shows it can be harmed."""
    if terse and reply.get("ok") is True and not reply.get("problems") and not reply.get("exit"):
        return b"ok\n"
    return json.dumps(reply, separators=(",", ":")).encode() + b"\n"


def peer_of(connection: socket.socket) -> Peer:
    """Return who is at the other end of a unix socket.

    Raises:
        OSError: the kernel does not tell.
    """
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER_CREDENTIALS.size)
    pid, uid, gid = PEER_CREDENTIALS.unpack(raw)
    size = struct.calcsize("=I")
    more = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, MOST_PEER_GROUPS * size)
    groups = struct.unpack(f"={len(more) // size}I", more)
    return Peer(pid, uid, frozenset({gid, *groups}))


def _error(why: str) -> Reply:
    return {"ok": False, "error": show_text(why)}


def _group_id(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _listen(path: Path, group: int | None) -> socket.socket:
    """Return a listening socket at `path` that never was there with another mode.

    It is made under a name of its own, where nobody can connect before listen(2), and renamed into place; that also
    replaces what a dead daemon left. The umask, which belongs to the whole process, stays as it is.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        _open_folder(path.parent, group)
        fresh.unlink(missing_ok=True)
        listener.bind(str(fresh))
        fresh.chmod(0o600 if group is None else 0o660)
        if group is not None:
            os.chown(fresh, -1, group)
        listener.listen()
        fresh.rename(path)
    except BaseException:
        listener.close()
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    return listener


async def _vanished(path: Path) -> None:
    """Return once nothing has this name."""
    watch = NameWatch(path)
    try:
        while await asyncio.to_thread(os.path.lexists, path):
            await watch.disturbed()
    finally:
        watch.close()


def _open_folder(folder: Path, group: int | None) -> None:
    """Let the group, and nobody else, pass through the folder; the socket's own mode says what it may there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700 if group is None else 0o710)
    if group is not None:
        os.chown(folder, -1, group)
