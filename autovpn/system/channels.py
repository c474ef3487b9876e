"""What one tunnel's driver wants done to the machine, done; and what comes of it, reported."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from socket import socket
from typing import Any

from autovpn.core.actions import (
    Action,
    AskPerson,
    ConfigureWireguard,
    CreateDevice,
    Dial,
    Failed,
    LookAgainAt,
    Open,
    QueryWireguard,
    Ready,
    Run,
    Send,
    SetUp,
    Signal,
    Spawn,
    ViciCall,
    ViciOpen,
    Write,
)
from autovpn.core.driving import (
    Answered,
    DeviceCreated,
    DeviceRefused,
    DriverEvent,
    Exited,
    Line,
    LinkAppeared,
    LinkVanished,
    Opened,
    Tick,
)
from autovpn.core.secret import Secret
from autovpn.errors import Refused, SystemFault, Unsupported
from autovpn.notify import SOCKET_VARIABLE
from autovpn.system import process as processes
from autovpn.system import wireguard
from autovpn.system.claim import Claim
from autovpn.system.device import Devices, refuse_taken_name
from autovpn.system.dial import dial
from autovpn.system.errands import NOT_STARTED, put, run_beside, trusted
from autovpn.system.notifier import Notifier
from autovpn.system.output import Tail, shown
from autovpn.system.peer import is_of_session
from autovpn.system.process import Process
from autovpn.system.sdlisten import VARIABLE, SdListener
from autovpn.system.sockets import Sockets
from autovpn.system.spawn import spawn

Ask = Callable[[AskPerson], Awaitable[Secret | None]]
"""Asks a person; None where nobody can be asked, or nobody answers."""

UNKNOWN_STATUS = 0
"""The status of an adopted program: only a parent learns it, and no status of a tunnel's program means success."""


async def nobody(question: AskPerson) -> None:
    """Answer for a machine at which nobody sits."""


class Channels:
    """Everything of one tunnel that is in the machine: its process, device, sockets and timer.

    `directory` is the tunnel's own; it is made (0700) when a program is started, and removed by `stop`. `device` is
    the name that the tunnel's device will have. Actions are to be executed one after the other, in their order;
    `report` is called in the event loop and must return at once.
    """

    def __init__(
        self,
        directory: Path,
        nonce: str,
        device: str,
        devices: Devices,
        report: Callable[[DriverEvent], None],
        ask: Ask = nobody,
    ) -> None:
        """Start with nothing in the machine."""
        self._directory = directory
        self._nonce = nonce
        self._claim = Claim(device)
        self._devices = devices
        self._ask = ask
        self._reporter: Callable[[DriverEvent], None] | None = report
        self._process: Process | None = None
        self._index: int | None = None
        self._has_begun = False
        self._tail: Tail | None = None
        self._listeners: list[Notifier | SdListener] = []
        self._sockets = Sockets(self._told, self._is_ours, self._found)
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def alias(self) -> str:
        """Return the mark of this tunnel's device (IFLA_IFALIAS)."""
        return f"autovpn:{self._nonce}"

    async def execute(self, action: Action) -> None:  # noqa: C901, PLR0912 (a table of actions, one row each)
        """Carry out one action; return when the process or device is there, without waiting for anybody outside.

        What goes wrong is reported as an event, never raised: the driver says what it means.
        """
        match action:
            case Spawn():
                await self._spawn(action)
            case Run():
                self._keep(self._reported(run_beside, action, self._environment(action.environment), self._nonce))
            case Dial():
                self._keep(self._reported(dial, action))
            case Write():
                await put(self._directory, action)
            case Signal(number):
                if self._process is not None:
                    self._process.signal(number)
            case AskPerson():
                self._keep(self._ask_person(action))
            case ViciOpen(foreign=True):
                await self._prepare(notifies=False)
                self._sockets.execute(action)
            case Open() | Send() | ViciOpen() | ViciCall():
                self._sockets.execute(action)
            case CreateDevice():
                await self._or_refused(action.name, lambda: self._create(action))
            case SetUp(device):
                await self._or_refused(device, lambda: self._devices.set_up(device))
            case ConfigureWireguard():
                await self._or_refused(action.device, lambda: wireguard.configure(action))
            case QueryWireguard(device):
                await self._or_refused(device, lambda: self._reported(wireguard.status, device))
            case LookAgainAt(when):
                self._look_again_at(when)
            case Ready() | Failed():
                pass  # news for whoever supervises, nothing to do here

    def link_appeared(self, name: str, index: int) -> None:
        """Take a new link that has the tunnel's name for its device, if its program was started; mark it as ours."""
        if not self._has_begun or self._index is not None:
            return
        if self._claim.is_by_name(name, index):
            self._index = index
            self._keep(self._or_refused(name, lambda: self._marked(name, index)))
        else:
            self._keep(self._look_again())

    def link_vanished(self, name: str, index: int) -> None:
        """Take note that a link is gone; only the tunnel's own counts, by the name that it has once it is made."""
        if (name, index) == (self._claim.name, self._index):
            self._index = None
            self._report(LinkVanished(name))

    def receipt(self) -> dict[str, Any]:
        """Return what another daemon needs to find this tunnel again, for the journal; no secret is in it."""
        return {
            "nonce": self._nonce,
            "pid": self._process.pid if self._process else None,
            "start_time": self._process.start_time if self._process else None,
            "device": self._claim.name,
            "index": self._index,
            "alias": self.alias,
        }

    async def reattach(self, receipt: dict[str, Any]) -> bool:
        """Take over what a dead daemon's receipt names, from its present state on; tell whether the process is alive.

        A tunnel without a process has only its device; whether that is still there, the kernel's links tell.
        """
        self._index, self._claim = receipt["index"], Claim(receipt["device"])
        self._has_begun = True
        if receipt["pid"] is None:
            if await asyncio.to_thread(self._output.exists):
                self._follow_output(from_end=True)
            return True
        running = processes.identify(receipt["pid"], receipt["start_time"], self._nonce)
        if running is None:
            return False
        await self._prepare(notifies=await asyncio.to_thread(self._sd_socket.exists))
        self._attach(running, from_end=True)
        return True

    def close(self) -> None:
        """Let go of the tunnel and leave it running, for the next daemon to adopt. Nothing is reported any more."""
        self._hang_up()
        if self._process is not None:
            self._process.release()
            self._process = None

    async def stop(self) -> None:
        """End the tunnel: its process and all that it started, its device, its directory. Nothing is reported any more.

        May be called again after it failed or was cancelled. Raises SystemFault for a process or device that stays.
        """
        self._hang_up()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._process is not None:
            await processes.stop(self._process)
            self._process = None
        if self._index is not None:
            await self._devices.delete(self._index, self.alias)
            self._index = None
        await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)

    # -- processes

    async def _spawn(self, action: Spawn) -> None:
        try:
            if action.names_device:
                self._claim.by_holder()
            elif self._index is None:
                await refuse_taken_name(self._devices, self._claim.name)
            self._has_begun = True  # its device may appear before we are told of its process
            await self._prepare(notifies=action.notifies)
            started = await spawn(
                await trusted(action),
                self._environment(action.environment),
                nonce=self._nonce,
                stdin=action.stdin.reveal() if action.stdin else None,
                output=self._output if action.watch_output else None,
            )
        except (Refused, SystemFault, OSError) as error:
            self._report(Line(shown(str(error).encode(errors="replace"))))
            self._report(Exited(NOT_STARTED))
            return
        self._attach(started, from_end=False, detaches=action.detaches)

    async def _prepare(self, *, notifies: bool) -> None:
        """Have the directory and the sockets ready before the program may call."""
        if self._listeners:
            return
        self._listeners.append(Notifier(self._directory / "notify.sock", self._report))
        if notifies:
            self._listeners.append(SdListener(self._sd_socket, self._report))
        for listener in self._listeners:
            await listener.listen()

    def _attach(self, running: Process, *, from_end: bool, detaches: bool = False) -> None:
        self._process = running
        tail = self._follow_output(from_end=from_end)
        self._found(running)
        self._keep(self._look_again())
        self._keep(self._follow(running, tail, detaches=detaches))

    def _found(self, leader: Process) -> None:
        for listener in self._listeners:
            listener.belongs_to(leader)

    def _follow_output(self, *, from_end: bool) -> Tail:
        self._tail = Tail(self._output, lambda text: self._report(Line(text)), from_end=from_end)
        return self._tail

    async def _follow(self, running: Process, tail: Tail, *, detaches: bool) -> None:
        status = await running.wait()
        tail.drain()
        if detaches and status == 0:
            running.release()
            self._process = None
        self._report(Exited(UNKNOWN_STATUS if status is None else status))

    async def _ask_person(self, action: AskPerson) -> None:
        self._report(Answered(action.name, await self._ask(action)))

    def _environment(self, wanted: tuple[tuple[str, str], ...]) -> dict[str, str]:
        own = {SOCKET_VARIABLE: str(self._directory / "notify.sock")}
        if any(isinstance(listener, SdListener) for listener in self._listeners):
            own[VARIABLE] = str(self._sd_socket)
        return {**dict(wanted), **own}

    @property
    def _sd_socket(self) -> Path:
        return self._directory / "sd.sock"

    @property
    def _output(self) -> Path:
        return self._directory / "output"

    # -- devices

    async def _create(self, wanted: CreateDevice) -> None:
        self._index = await self._devices.create(wanted.kind, wanted.name, self.alias, wanted.if_id)
        self._report(DeviceCreated(wanted.name))

    async def _look_again(self) -> None:
        """Look whether one of the links that appeared is held by the tunnel's program."""
        found = await asyncio.to_thread(self._claim.held, self._process.pid) if self._process else None
        if found and self._index is None:
            self.link_appeared(*found)

    async def _marked(self, name: str, index: int) -> None:
        await self._devices.mark(index, self.alias)
        self._report(LinkAppeared(name, index))

    async def _or_refused(self, device: str, change: Callable[[], Awaitable[None]]) -> None:
        try:
            await change()
        except SystemFault as error:
            self._report(DeviceRefused(device, isinstance(error, Unsupported), str(error)))

    # -- sockets and time

    def _told(self, event: DriverEvent) -> None:
        if isinstance(event, Opened):
            self._keep(self._look_again())  # a program that listens has its device by then
        self._report(event)

    def _is_ours(self, server: socket) -> bool:
        return self._process is not None and is_of_session(server, self._process)

    def _look_again_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # The loop's clock is time.monotonic, as is that of everybody who names a time.
        self._timer = asyncio.get_running_loop().call_at(when, self._report, Tick())

    # -- letting go

    async def _reported(self, work: Callable[..., Awaitable[DriverEvent]], *given: object) -> None:
        self._report(await work(*given))

    def _report(self, event: DriverEvent) -> None:
        if self._reporter is not None:
            self._reporter(event)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hang_up(self) -> None:
        self._reporter = None
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._sockets.close()
        for listener in self._listeners:
            listener.close()
        if self._tail is not None:
            self._tail.close()
