"""A daemon in memory: the real loop, plans, sessions, commands, runner and journal on a kernel of the test's own.

Time is virtual: an event loop that has nothing to do leaps to its next timer, and a test that waits for what can never
happen fails at once. So nothing here takes time, and a test can say to the millisecond when a look was due.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any, TypeVar

from autovpn.core.actions import Action, CreateDevice, Failed, Ready, Run
from autovpn.core.diff import Amend
from autovpn.core.dnschoice import Choice
from autovpn.core.driving import DeviceCreated, DriverEvent, Launch, Recovered, UplinkChanged
from autovpn.core.health import Traffic
from autovpn.core.hookenv import HookContext
from autovpn.core.network import IPAddress, UplinkDns
from autovpn.core.profile import Hook, Policy
from autovpn.core.snapshot import Link
from autovpn.core.tunnel import Facts, FailureClass, TunnelPhase, TunnelState
from autovpn.daemon.commands import Commands
from autovpn.daemon.executors import executors
from autovpn.daemon.health import Watched
from autovpn.daemon.loop import Loop
from autovpn.daemon.machine import Machine as Parts
from autovpn.daemon.ports import Hooks, Resolver
from autovpn.daemon.questions import Questions
from autovpn.daemon.remember import Memories
from autovpn.daemon.sessions import Place, Sessions
from autovpn.daemon.settings import Reading, Settings
from autovpn.system.control import Peer, Reply, Request
from autovpn.system.journal import Journal
from autovpn.system.process import Process
from autovpn.system.runner import Runner
from tests.daemon.fake_machine import FakeHooks, FakeLink, FakeLinks, FakeResolver, FakeRoutes, Machine

T = TypeVar("T")

ROOT = Peer(1, 0)
START = 1000.0
"""The virtual time, in seconds, at which every test begins."""


class _Leap(selectors.DefaultSelector):
    """Waits for nothing but threads and programs: with none at work, time leaps to the next timer."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.loop.busy or self.loop.programs:
            return super().select(None)
        assert timeout is not None, "the test waits for what can never happen"
        self.loop.now += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when there is nothing else to do."""

    def __init__(self) -> None:
        self.now = START
        self.busy = 0
        self.programs: set[int] = set()
        """The pidfds whose end is awaited: a program takes real time, in which no deadline of it may pass."""
        selector = _Leap()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # noqa: ANN401
        self.busy += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._idle)
        return future

    def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        if isinstance(getattr(callback, "__self__", None), Process):
            self.programs.add(fd)
        super().add_reader(fd, callback, *args)

    def remove_reader(self, fd: Any) -> bool:  # noqa: ANN401
        self.programs.discard(fd)
        return super().remove_reader(fd)

    async def shutdown_default_executor(self) -> None:
        self.busy += 1
        await super().shutdown_default_executor()

    def _idle(self, _: object) -> None:
        self.busy -= 1


Story = Callable[["Daemon"], Coroutine[Any, Any, None]]


def play(folder: Path, story: Story, rules: Policy) -> None:
    """Play a story with one daemon in virtual time."""
    in_virtual_time(_play(Daemon(folder, rules), story))


async def _play(daemon: Daemon, story: Story) -> None:
    try:
        await story(daemon)
    finally:
        await daemon.kill()


def in_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a loop of virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


class FakeKernel:
    """Links as the test says they are; every look at them is counted with its time."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.present: tuple[Link, ...] = ()
        self.looks: list[float] = []
        self.pauses = 0
        self.resumed = False

    def links(self, policy: Policy, dns: UplinkDns | None) -> tuple[Link, ...]:
        self.looks.append(asyncio.get_running_loop().time())
        return self.present

    def indexes(self) -> Mapping[str, int]:
        ours = {link.name: index for index, link in self._machine.links.items()}
        return ours | {link.name: link.id.index for link in self.present}

    def has_link(self, name: str) -> bool:
        return name in self.indexes()

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.pauses += 1
        yield

    def has_resumed(self) -> bool:
        resumed, self.resumed = self.resumed, False
        return resumed

    def counters(self) -> Mapping[str, int]:
        return {"netlink_resyncs": 0}


class FakeDevices:
    """The devices of tunnels, beside the machine's others."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def index_of(self, name: str) -> int | None:
        return next((index for index, link in self._machine.links.items() if link.name == name), None)

    async def create(self, kind: str, name: str, alias: str, if_id: int | None = None) -> int:
        index = self._machine.number()
        self._machine.links[index] = FakeLink(name, alias)
        return index

    async def mark(self, index: int, alias: str) -> None:
        self._machine.links[index].alias = alias

    async def set_up(self, name: str) -> None:
        next(link for link in self._machine.links.values() if link.name == name).up = True

    async def delete(self, index: int, alias: str) -> None:
        self._machine.links.pop(index, None)


FACTS = Facts(addresses=(ip_interface("10.98.0.2/30"),), peer=ip_address("10.98.0.1"))


@dataclass
class FakeDriver:
    """A driver that makes a device and is ready, or does what the test says; it remembers what it was told."""

    answers: list[tuple[Action, ...]] = field(default_factory=list)
    facts: Facts = FACTS
    launches: list[Launch] = field(default_factory=list)
    adopted: list[Recovered] = field(default_factory=list)
    uplinks: list[str] = field(default_factory=list)
    raising: Exception | None = None
    adopt_fails: Exception | None = None
    last_words: tuple[Run, ...] = ()

    def start(self, launch: Launch, now: float) -> tuple[str, tuple[Action, ...]]:
        self.launches.append(launch)
        return launch.spec.device, self.answers.pop(0) if self.answers else (CreateDevice("tun", launch.spec.device),)

    def adopt(self, launch: Launch, recovered: Recovered, now: float) -> tuple[str, tuple[Action, ...]]:
        if self.adopt_fails:
            raise self.adopt_fails
        self.adopted.append(recovered)
        return launch.spec.device, (Ready(recovered.facts or self.facts),)

    def feed(self, state: str, event: DriverEvent, now: float) -> tuple[str, tuple[Action, ...]]:
        if isinstance(event, UplinkChanged):
            self.uplinks.append(event.uplink.name)
            if self.raising:
                raise self.raising
        return state, (Ready(replace(self.facts, device=state)),) if isinstance(event, DeviceCreated) else ()

    def farewell(self, launch: Launch) -> tuple[Run, ...]:
        return self.last_words


WRONG_PASSWORD = (Failed(FailureClass.AUTH, "wrong password"),)
NO_ANSWER = (Failed(FailureClass.UNREACHABLE, "no answer"),)


@dataclass
class Outside:
    """What the daemon asks of the outside, and what it is answered."""

    addresses: dict[str, tuple[IPAddress, ...] | Exception] = field(default_factory=dict)
    slowness: float = 0.0
    lookups: list[tuple[str, str]] = field(default_factory=list)
    gateways: list[str] = field(default_factory=list)
    hooks: list[tuple[str, HookContext]] = field(default_factory=list)
    failing_hooks: set[str] = field(default_factory=set)
    dns: UplinkDns | None = None
    dns_asked: int = 0
    dns_reconsidered: int = 0

    async def resolve(self, host: str, device: str, servers: Sequence[str], deadline: float) -> tuple[IPAddress, ...]:
        self.lookups.append((host, device))
        await asyncio.sleep(self.slowness)
        answer = self.addresses.get(host, (ip_address("203.0.113.1"),))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def resolve_gateways(self, link: Link) -> None:
        self.gateways.append(link.name)

    async def run_hook(self, hook: Hook, context: HookContext) -> str:
        self.hooks.append((hook.run[0], context))
        return "exit status 1" if hook.run[0] in self.failing_hooks else ""

    async def original(self) -> UplinkDns | None:
        self.dns_asked += 1
        return self.dns

    async def upstream(self) -> tuple[str, ...]:
        return self.dns.servers if self.dns else ()

    async def choice(self) -> Choice:
        return Choice("file", ("file: /etc/resolv.conf may be swapped",))

    async def reconsider(self) -> None:
        self.dns_reconsidered += 1


@dataclass
class FakeProbes:
    """What every tunnel shows of its health, as the test says it is; each check is kept with its time."""

    fault: str = ""
    received: int | None = 0
    inflow: int = 0
    checks: list[tuple[float, str]] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    raising: Exception | None = None

    async def traffic(self, tunnel: Watched) -> Traffic | None:
        self.looks.append(asyncio.get_running_loop().time())
        if self.received is None:
            return None
        self.received += self.inflow
        return Traffic(self.received, len(self.looks))

    async def check(self, tunnel: Watched) -> str:
        if self.raising:
            raise self.raising
        self.checks.append((asyncio.get_running_loop().time(), tunnel.device))
        return self.fault


class Daemon:
    """One daemon on a machine: started by `begin`, and ended at the latest when its block ends."""

    def __init__(self, folder: Path, rules: Policy, machine: Machine | None = None) -> None:
        self.folder = folder
        self.machine = machine or Machine()
        self.machine.remembers = False
        self.kernel = FakeKernel(self.machine)
        self.outside = Outside()
        self.driver = FakeDriver()
        self.probes = FakeProbes()
        self.rules = rules
        self.reading = Reading(rules)
        self._task: asyncio.Task[Any] | None = None
        self._requests: set[asyncio.Task[Reply]] = set()

    async def build(self) -> None:
        """Put the daemon together, on what the one before it left."""
        machine = self.machine
        journal = await self.journal()
        place = Place(self.folder / "tunnels", {"openssh": self.driver}, ())
        self.questions = Questions()
        self.sessions = Sessions(place, FakeDevices(machine), self.questions)
        runner = Runner(
            journal,
            executors(
                self.programs(),
                FakeRoutes(machine),
                FakeLinks(machine),
                self.sessions,
                self.resolver(),
                nonce=machine.nonce,
            ),
        )
        self.memories = Memories(self.folder / "memory.json", journal.origin)
        self.loop = Loop(
            Parts(
                kernel=self.kernel,
                runner=runner,
                origin=journal.origin,
                sessions=self.sessions,
                dns=self.outside,
                memories=self.memories,
                resolve=self.outside.resolve,
                resolve_gateways=self.outside.resolve_gateways,
                run_hook=self.outside.run_hook,
                probes=self.probes,
                clock=asyncio.get_running_loop().time,
            ),
            self.rules,
        )
        self.sessions.connect(self.loop.tell_attempt, self.loop.note_receipt)
        self.settings = Settings(lambda: self.reading)
        self.commands = Commands(self.loop, self.settings, self.questions, lambda: None, ())

    async def journal(self) -> Journal:
        """Return the opened journal; a test may have a real one."""
        return await self.machine.journal()

    def programs(self) -> Hooks:
        """Return what runs hooks; a test may run real ones."""
        return FakeHooks(self.machine)

    def resolver(self) -> Resolver:
        """Return the machine's DNS; a test may have a real file."""
        return FakeResolver(self.machine)

    async def begin(self, *links: Link) -> None:
        """Build it, with these links present, and return after its first look."""
        self.kernel.present = links
        await self.build()
        self.run()
        await self.until(lambda: self.loop.looks > 0)

    def run(self) -> None:
        self.follow(self.loop.run())

    def follow(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        """Run the daemon by this work, whose failure fails the test."""
        self._task = asyncio.get_running_loop().create_task(work)
        return self._task

    async def ended(self) -> None:
        """Return when the loop has ended."""
        assert self._task is not None
        await self._task

    async def left(self) -> list[str]:
        """Return, once the loop has ended, what it could not undo."""
        assert self._task is not None
        return [str(step) for step in await self._task]

    def break_configuration(self, problem: str) -> None:
        """Have the files hold no policy from now on."""
        self.reading = Reading(None, (problem,))

    async def until(self, settled: Callable[[], bool]) -> None:
        """Return once a look has made it true; fail with what the loop failed with."""
        waiting = asyncio.ensure_future(self.loop.when(settled))
        assert self._task is not None
        await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            self._task.result()
            assert settled(), "the daemon has ended"

    async def until_phase(self, phase: TunnelPhase, *, key: tuple[str, str] | None = None) -> None:
        """Return once a tunnel is in a phase and all that this asks for is done."""
        await self.until(lambda: self.phase(key) is phase and self.is_settled)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is under way and nothing more will be done as things are."""
        plans = self.loop.plans
        return plans.is_idle and all(
            plans.is_stuck(change.new.activation if isinstance(change, Amend) else change.step.activation)
            for change in self.loop.whole_plan().changes
        )

    @property
    def first(self) -> tuple[str, str]:
        """The first profile's first tunnel."""
        profile = self.rules.profiles[0]
        return profile.name, profile.tunnels[0].name

    def phase(self, key: tuple[str, str] | None = None) -> TunnelPhase:
        """Return the phase of a tunnel as of the last look."""
        return self.loop.snapshot.tunnels.get(key or self.first, TunnelState()).phase

    async def see(self, *links: Link) -> None:
        """Have the kernel show these links and say so; return after a look."""
        self.kernel.present = links
        looks = self.loop.looks
        self.loop.wake()
        await self.until(lambda: self.loop.looks > looks)

    async def settle(self) -> None:
        """Return when nothing is under way any more."""
        await self.until(lambda: self.is_settled)

    async def ask(self, command: str, **arguments: object) -> Reply:
        return await self.commands.answer(Request(command, arguments, ROOT))

    def asking(self, command: str, **arguments: object) -> asyncio.Task[Reply]:
        """Ask without waiting for the answer."""
        task = asyncio.get_running_loop().create_task(self.ask(command, **arguments))
        self._requests.add(task)
        return task

    def applied(self, activation: str | None = None) -> list[str]:
        """Return the kinds of the steps on the machine, in rising rank."""
        return [step.kind.value for step in sorted(self.loop.plans.applied(activation), key=lambda step: step.rank)]

    def hooks(self) -> list[str]:
        """Return the programs of brackets that have run, in order."""
        return [program for _, program in self.machine.hooks_run]

    async def kill(self) -> None:
        """End the daemon as SIGKILL would: its tasks stop, and what it made stays."""
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
