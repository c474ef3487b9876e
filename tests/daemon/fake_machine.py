"""A machine in memory, with every port that the executors use, which remembers how a crash would have left it.

Its state is all that outlives the daemon: links, addresses, rules, routes, processes, running hooks, DNS, the journal's
two files. At every point before and after a change, between the parts of one and in the middle of a write the state is
kept, to be taken up by the next daemon: that is what a crash there means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from autovpn.core.dnschoice import MachineDns, merge
from autovpn.core.hookenv import HookContext
from autovpn.core.network import IPAddress, IPInterface
from autovpn.core.orphans import MarkedDevice, MarkedProcess
from autovpn.core.profile import Hook
from autovpn.core.receipts import HookProgress, Laid
from autovpn.core.records import EntryState, Origin, fold
from autovpn.core.recover import plan_from
from autovpn.core.routing import RoutePlan, RouteSpec, RuleSpec
from autovpn.core.steps import (
    AddressValue,
    DnsValue,
    HookMoment,
    Step,
    StepKind,
    TunnelValue,
)
from autovpn.core.tunnel import TunnelSpec
from autovpn.daemon.executors import executors
from autovpn.daemon.executors.tunnel import nonce_of, receipt_of
from autovpn.daemon.ports import Occupied
from autovpn.daemon.recovery import Recovered, recover_all
from autovpn.daemon.sweep import Sweep, Swept
from autovpn.dns.backend import Outcome, Receipt
from autovpn.errors import JournalError, Refused, SystemFault
from autovpn.system.hooks import HookResult
from autovpn.system.journal import Journal, _parse
from autovpn.system.runner import Runner, RunResult, UndoContext

Change = Callable[[], object]


@dataclass
class FakeLink:
    """A device of the machine."""

    name: str
    alias: str | None = None
    up: bool = False
    mtu: int = 1500
    addresses: set[tuple[IPInterface, IPAddress | None]] = field(default_factory=set)


@dataclass(frozen=True)
class Moment:
    """The state of a machine: equal moments have equal futures."""

    boot: int
    links: tuple[tuple[int, str, str | None, bool, int, frozenset[tuple[IPInterface, IPAddress | None]]], ...]
    rules: frozenset[RuleSpec]
    routes: frozenset[RouteSpec]
    processes: tuple[tuple[int, str], ...]
    hooks_running: frozenset[str]
    hooks_run: tuple[tuple[str, str], ...]
    doomed: frozenset[tuple[str, str]]
    dns: MachineDns | None
    boot_log: bytes
    disk_log: bytes
    synced: int
    numbers: int


class Machine:
    """Everything that outlives the daemon."""

    def __init__(self) -> None:
        """Begin with a machine that has an uplink, and another program's rule and table."""
        self.boot = 1
        self.links = {1: FakeLink("lo", up=True), 2: FakeLink("wlan0", up=True)}
        self.foreign = RoutePlan(
            (RuleSpec(4, 8700, 0x8700, dst=ip_network("192.0.2.0/24")),), (RouteSpec(4, 0x8700, device=2),)
        )
        self.rules, self.routes = set(self.foreign.rules), set(self.foreign.routes)
        self.processes: dict[int, str] = {}
        self.hooks_running: set[str] = set()
        self.hooks_run: list[tuple[str, str]] = []
        self.contexts: list[HookContext] = []
        self.doomed: set[tuple[str, str]] = set()
        self.failing: set[str] = set()
        self.hanging: set[str] = set()
        self.dns: MachineDns | None = None
        self.boot_log = FakeLog(self, "/run")
        self.disk_log = FakeLog(self, "/var/lib")
        self.moments: dict[Moment, str] = {}
        self.remembers = True
        self.on_point: Callable[[str], None] = lambda _: None
        self._numbers = 100

    # -- crashes

    def point(self, name: str) -> None:
        """Keep the state as a crash here would leave it."""
        if self.remembers:
            self.moments.setdefault(self.moment(), name)
        self.on_point(name)

    def around(self, name: str, change: Change) -> None:
        """Make a change, with a point on either side."""
        self.point(f"before {name}")
        change()
        self.point(f"after {name}")

    def moment(self) -> Moment:
        """Return the present state."""
        return Moment(
            boot=self.boot,
            links=tuple(
                (index, link.name, link.alias, link.up, link.mtu, frozenset(link.addresses))
                for index, link in self.links.items()
            ),
            rules=frozenset(self.rules),
            routes=frozenset(self.routes),
            processes=tuple(self.processes.items()),
            hooks_running=frozenset(self.hooks_running),
            hooks_run=tuple(self.hooks_run),
            doomed=frozenset(self.doomed),
            dns=self.dns,
            boot_log=self.boot_log.content,
            disk_log=self.disk_log.content,
            synced=self.disk_log.synced,
            numbers=self._numbers,
        )

    @classmethod
    def at(cls, moment: Moment) -> Machine:
        """Return a machine in this state, whose daemon has died."""
        machine = cls()
        machine.boot = moment.boot
        machine.links = {
            index: FakeLink(name, alias, up, mtu, set(addresses))
            for index, name, alias, up, mtu, addresses in moment.links
        }
        machine.rules, machine.routes = set(moment.rules), set(moment.routes)
        machine.processes = dict(moment.processes)
        machine.hooks_running, machine.hooks_run = set(moment.hooks_running), list(moment.hooks_run)
        machine.doomed, machine.dns = set(moment.doomed), moment.dns
        machine.boot_log.content = moment.boot_log
        machine.disk_log.content, machine.disk_log.synced = moment.disk_log, moment.synced
        machine._numbers = moment.numbers
        machine._bury()
        return machine

    def _bury(self) -> None:
        """Note which hook was recorded as started and did not start: no daemon can know, so none will run it."""
        before = len(self.doomed)
        for entry in fold(_parse(self.disk_log.content)[1]).values():
            progress = entry.receipt or entry.before
            if isinstance(progress, HookProgress) and isinstance(entry.step.context, HookMoment):
                started = {(progress.nonce, hook.run[0]) for hook in entry.step.context.down[: progress.down]}
                self.doomed |= started.difference(self.hooks_run)
        assert len(self.doomed) - before <= 1, "one crash costs more than the one hook that it fell upon"

    def reboot(self, *, power_cut: bool = False) -> None:
        """Forget what a kernel forgets; in a power cut also what was not synced."""
        self.boot += 1
        fresh = Machine()
        self.links, self.rules, self.routes = fresh.links, fresh.rules, fresh.routes
        self.processes, self.hooks_running = {}, set()
        self.boot_log.content = b""
        if power_cut:
            self.disk_log.content = self.disk_log.content[: self.disk_log.synced]

    def lose_boot_volume(self) -> None:
        """Empty the journal's folder beneath /run, while the kernel forgets nothing."""
        self.boot_log.content = b""

    @property
    def records(self) -> tuple[tuple[FakeLog, int], ...]:
        """Return the place of every line of the journal."""
        logs = (self.boot_log, self.disk_log)
        return tuple((log, number) for log in logs for number in range(len(log.content.splitlines())))

    # -- daemons

    @property
    def origin(self) -> Origin:
        return Origin(f"boot-{self.boot}", 4026531840)

    def executors(self) -> Mapping[StepKind, Any]:
        return executors(
            FakeHooks(self), FakeRoutes(self), FakeLinks(self), FakeTunnels(self), FakeResolver(self), nonce=self.nonce
        )

    async def journal(self) -> Journal:
        journal = Journal(self.boot_log, self.disk_log, self.origin)
        await journal.open()
        return journal

    async def steer(self, *wanted: Step, stop: asyncio.Event | None = None) -> RunResult:
        """Be a daemon that has just started, and lead the machine to what is wanted."""
        journal = await self.journal()
        assert not (await self._sweep(journal)).left
        tunnels = FakeTunnels(self)
        lost = {
            entry.key
            for entry in journal.entries
            if entry.key[0] is StepKind.TUNNEL
            and not (receipt_of(entry) and await tunnels.is_alive(nonce_of(entry), receipt_of(entry) or {}))
        }
        plan = plan_from(journal.entries, wanted, self.origin, lost)
        runner = Runner(journal, self.executors())
        return await runner.run(plan, stop or asyncio.Event(), lambda _: UndoContext("test", alive=not lost))

    async def recover(self) -> Recovered:
        """Be `autovpn recover`."""
        journal = await self.journal()
        done = await recover_all(journal, self.executors())
        swept = await self._sweep(journal)
        outcome = await FakeResolver(self).revert()
        return Recovered((*done.undone, *swept.removed), (*done.complaints, *outcome.why), (*done.left, *swept.left))

    async def _sweep(self, journal: Journal) -> Swept:
        return await Sweep(FakeProcesses(self), FakeLinks(self), FakeRoutes(self)).run(journal.entries)

    async def applied(self) -> tuple[Step, ...]:
        return tuple(sorted((entry.step for entry in (await self.journal()).entries), key=_place))

    # -- what is there

    def view(self) -> dict[str, object]:
        """Return all that a user could notice, to be compared as equal."""
        return {
            "links": {index: (link.name, link.alias, link.addresses) for index, link in self.links.items()},
            "rules": frozenset(self.rules),
            "routes": frozenset(self.routes),
            "processes": dict(self.processes),
            "running hooks": frozenset(self.hooks_running),
            "DNS": self.dns,
        }

    async def assert_as_recorded(self) -> None:
        """Hold what is there against what the journal says is whole."""
        entries = (await self.journal()).entries
        assert all(entry.state is EntryState.DONE for entry in entries), entries
        laid = [entry.receipt or entry.before for entry in entries]
        plans = [one.plan for one in laid if isinstance(one, Laid)]
        assert self.rules == {rule for plan in plans for rule in plan.rules} | set(self.foreign.rules)
        assert self.routes == {route for plan in plans for route in plan.routes} | set(self.foreign.routes)
        wishes = [entry.step.value.wish for entry in entries if isinstance(entry.step.value, DnsValue)]
        assert self.dns == (merge(wishes) if wishes else None)
        assert not self.hooks_running
        for entry in entries:
            match entry.step.value:
                case AddressValue(device, addresses):
                    assert {address for address, _ in self._named(device).addresses} == set(addresses)
                case TunnelValue():
                    assert nonce_of(entry) in self.processes.values()
                    if "index" not in (entry.receipt or {}):  # type: ignore[operator]
                        continue
                    assert f"autovpn:{nonce_of(entry)}" in {link.alias for link in self.links.values()}
                case _:
                    pass
        marks = {nonce_of(entry) for entry in entries if isinstance(entry.step.value, TunnelValue)}
        assert set(self.processes.values()) == marks

    def _named(self, name: str) -> FakeLink:
        return next(link for link in self.links.values() if link.name == name)

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    def nonce(self) -> str:
        return f"nonce-{self.number()}"

    def end(self, nonce: str) -> None:
        for pid in [pid for pid, mark in self.processes.items() if mark == nonce]:
            self.around("kill", lambda pid=pid: self.processes.pop(pid))  # type: ignore[misc]

    def remove_link(self, index: int) -> None:
        del self.links[index]
        self.routes = {route for route in self.routes if route.device != index}


def _place(step: Step) -> tuple[int, str, str]:
    return step.rank, step.activation, step.object


class FakeLog:
    """A file of the journal, in memory."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name
        self.content = b""
        self.synced = 0
        self.room: int | None = None

    def damage(self, number: int) -> None:
        """Turn over a bit in the middle of a line."""
        lines = self.content.splitlines(keepends=True)
        middle = len(lines[number]) // 2
        lines[number] = lines[number][:middle] + bytes([lines[number][middle] ^ 1]) + lines[number][middle + 1 :]
        self.content = b"".join(lines)

    async def read(self) -> bytes:
        return self.content

    async def append(self, line: bytes, *, sync: bool) -> None:
        self.machine.point(f"before append {self.name}")
        self._take_room()
        whole = self.content + line
        self.content += line[: len(line) // 2]
        self.machine.point(f"torn append {self.name}")
        self.content = whole
        if sync:
            self.synced = len(self.content)
        self.machine.point(f"after append {self.name}")

    async def replace(self, content: bytes) -> None:
        self.machine.point(f"before replace {self.name}")
        self._take_room()
        self.content, self.synced = content, len(content)
        self.machine.point(f"after replace {self.name}")

    def _take_room(self) -> None:
        if self.room is None:
            return
        if self.room == 0:
            raise JournalError(f"{self.name}: no space left")
        self.room -= 1


class FakeHooks:
    """Programs, which write down that they ran."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    async def run(self, hook: Hook, context: HookContext, nonce: str) -> HookResult:
        machine = self.machine
        machine.point(f"before hook {hook.run[0]}")
        machine.hooks_run.append((nonce, hook.run[0]))
        machine.contexts.append(context)
        machine.hooks_running.add(nonce)
        machine.point(f"in hook {hook.run[0]}")
        try:
            if hook.run[0] in machine.hanging:
                await asyncio.get_running_loop().create_future()
        finally:
            machine.hooks_running.discard(nonce)
        machine.point(f"after hook {hook.run[0]}")
        return HookResult(status=int(hook.run[0] in machine.failing))

    async def end(self, nonce: str) -> None:
        self.machine.around("end of a hook", lambda: self.machine.hooks_running.discard(nonce))


class FakeRoutes:
    """Rules and routes as the kernel keeps them."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    async def occupied(self) -> Occupied:
        machine = self.machine
        tables = {rule.table for rule in machine.rules if rule.table} | {route.table for route in machine.routes}
        return Occupied(frozenset(tables), frozenset(rule.priority for rule in machine.foreign.rules))

    async def apply(self, plan: RoutePlan) -> None:
        machine = self.machine
        for route in plan.routes:
            if route.device is not None and route.device not in machine.links:
                raise SystemFault(f"route {route}: no such device")
            replaced = {one for one in machine.routes if _slot(one) == _slot(route)}
            machine.around("route", lambda route=route, old=replaced: _swap(machine.routes, old, route))  # type: ignore[misc]
        for rule in plan.rules:
            machine.around("rule", lambda rule=rule: machine.rules.add(rule))  # type: ignore[misc]

    async def amend(self, before: RoutePlan, after: RoutePlan) -> None:
        await self.apply(after)
        await self.remove(before - after)

    async def remove(self, plan: RoutePlan) -> None:
        machine = self.machine
        for rule in reversed(plan.rules):
            machine.around("no rule", lambda rule=rule: machine.rules.discard(rule))  # type: ignore[misc]
        for route in reversed(plan.routes):
            machine.around("no route", lambda route=route: machine.routes.discard(route))  # type: ignore[misc]

    async def missing(self, plan: RoutePlan) -> RoutePlan:
        return plan - RoutePlan(tuple(self.machine.rules), tuple(self.machine.routes))

    async def marked(self) -> RoutePlan:
        return RoutePlan(tuple(self.machine.rules), tuple(self.machine.routes)) - self.machine.foreign


def _slot(route: RouteSpec) -> object:
    return route.family, route.table, route.dst, route.metric


def _swap(routes: set[RouteSpec], old: set[RouteSpec], new: RouteSpec) -> None:
    routes -= old
    routes.add(new)


class FakeLinks:
    """Links as the kernel keeps them."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    async def index_of(self, name: str) -> int | None:
        return next((index for index, link in self.machine.links.items() if link.name == name), None)

    async def with_alias(self, alias: str) -> int | None:
        return next((index for index, link in self.machine.links.items() if link.alias == alias), None)

    async def marked(self) -> tuple[MarkedDevice, ...]:
        marked = [(index, link) for index, link in self.machine.links.items() if "autovpn:" in (link.alias or "")]
        return tuple(MarkedDevice(index, link.name, link.alias or "") for index, link in marked)

    async def delete(self, index: int, alias: str) -> None:
        link = self.machine.links.get(index)
        if link is None:
            return
        if link.alias != alias:
            raise Refused(link.name, "is not ours")
        self.machine.around("no link", lambda: self.machine.remove_link(index))

    async def set_up(self, index: int, mtu: int) -> None:
        link = self._link(index)
        self.machine.around("mtu", lambda: setattr(link, "mtu", mtu))
        self.machine.around("link up", lambda: setattr(link, "up", True))

    async def add_address(self, index: int, address: IPInterface, peer: IPAddress | None) -> None:
        link = self._link(index)
        if any(one == address and other != peer for one, other in link.addresses):
            raise SystemFault(f"address {address}: exists with another peer")
        self.machine.around("address", lambda: link.addresses.add((address, peer)))

    async def remove_address(self, index: int, address: IPInterface, peer: IPAddress | None) -> None:
        link = self.machine.links.get(index)
        if link is not None:
            self.machine.around("no address", lambda: link.addresses.discard((address, peer)))

    def _link(self, index: int) -> FakeLink:
        if index not in self.machine.links:
            raise SystemFault(f"interface {index}: no such device")
        return self.machine.links[index]


class FakeProcesses:
    """The processes of tunnels, by their marks."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    async def marked(self) -> tuple[MarkedProcess, ...]:
        return tuple(MarkedProcess(pid, "tunnel", nonce) for pid, nonce in self.machine.processes.items() if nonce)

    async def end(self, nonce: str) -> None:
        self.machine.end(nonce)


class FakeTunnels:
    """Tunnels with a process, and a device that outlives it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    async def start(self, step: Step, nonce: str) -> Mapping[str, Any]:
        machine = self.machine
        assert isinstance(step.context, TunnelSpec)
        pid, index, device = machine.number(), machine.number(), step.context.device
        if device and any(link.name == device for link in machine.links.values()):
            raise SystemFault(f"{device}: exists")
        machine.around("process", lambda: machine.processes.update({pid: nonce}))
        if not device:
            return {"nonce": nonce, "pid": pid, "start_time": 1}
        link = FakeLink(device, f"autovpn:{nonce}")
        machine.around("device", lambda: machine.links.update({index: link}))
        return {"nonce": nonce, "pid": pid, "start_time": 1, "device": device, "index": index, "alias": link.alias}

    async def amend(self, step: Step) -> None:
        self.machine.around(f"uplink of {step.object}", lambda: None)

    async def stop(self, step: Step, nonce: str, receipt: Mapping[str, Any] | None) -> None:
        self.machine.end(nonce)

    async def is_alive(self, nonce: str, receipt: Mapping[str, Any]) -> bool:
        has_device = "index" not in receipt or receipt["index"] in self.machine.links
        return has_device and self.machine.processes.get(receipt["pid"]) == nonce


class FakeResolver:
    """A resolver that survives a reboot, as a file does."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    async def apply(self, dns: MachineDns) -> Receipt:
        self.machine.around("DNS", lambda: setattr(self.machine, "dns", dns))
        return Receipt("fake", in_force=True, notes=dns.refused)

    async def revert(self) -> Outcome:
        self.machine.around("no DNS", lambda: setattr(self.machine, "dns", None))
        return Outcome(clean=True)
