"""Each kind of step leaves on the real kernel what it leaves on the fake machine, on which the crash tests rest."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from autovpn.core.dnschoice import MachineDns
from autovpn.core.hookenv import HookContext
from autovpn.core.profile import Hook
from autovpn.core.records import Origin
from autovpn.core.recover import plan_from
from autovpn.core.routing import RoutePlan, RouteSpec, RuleSpec
from autovpn.core.steps import HookMoment, Step, StepKind
from autovpn.core.tunnel import TunnelSpec
from autovpn.daemon.executors import executors
from autovpn.daemon.kernel import KernelLinks, KernelRoutes
from autovpn.dns.file import FileBackend
from autovpn.system import links, routes
from autovpn.system import process as processes
from autovpn.system.hooks import HookResult, run_hook
from autovpn.system.journal import Journal
from autovpn.system.logfile import LogFile
from autovpn.system.procfs import find_by_nonce
from autovpn.system.rtnl import Rtnl
from autovpn.system.rtnl_rows import Tables
from autovpn.system.runner import Runner, UndoContext
from autovpn.system.spawn import spawn
from tests.daemon import steps
from tests.daemon.fake_machine import FakeLink, Machine
from tests.netns.world import World

DEVICE = steps.device_of("campus")
HERE = Origin("boot-1", 1)
LINK_LOCAL = 253


@dataclass(frozen=True)
class Seen:
    """What a step can leave on a machine."""

    rules: frozenset[RuleSpec]
    routes: frozenset[RouteSpec]
    addresses: frozenset[str]
    marked: frozenset[str]
    processes: int
    hooks: tuple[str, ...]
    servers: tuple[str, ...]


class RealHooks:
    """Hooks that are run as root would have them run."""

    async def run(self, hook: Hook, context: HookContext, nonce: str) -> HookResult:
        return await run_hook(hook, context, nonce)

    async def end(self, nonce: str) -> None:
        await asyncio.to_thread(processes.recover, nonce)


class RealTunnels:
    """A process that sleeps, and a TUN device."""

    async def start(self, step: Step, nonce: str) -> Mapping[str, Any]:
        assert isinstance(step.context, TunnelSpec)
        process = await spawn(("sleep", "600"), {}, nonce=nonce)
        alias = f"autovpn:{nonce}"
        index = await links.create("tun", step.context.device, alias)
        receipt = {"nonce": nonce, "pid": process.pid, "start_time": process.start_time, "index": index, "alias": alias}
        process.release()
        return receipt

    async def amend(self, step: Step) -> None:
        """Tell nobody."""

    async def stop(self, step: Step, nonce: str, receipt: Mapping[str, Any] | None) -> None:
        known = receipt or {}
        await asyncio.to_thread(processes.recover, nonce, known.get("pid"), known.get("start_time"))


class Real:
    """The laptop's kernel, and a resolv.conf of its own."""

    def __init__(self, rtnl: Rtnl, folder: Path) -> None:
        self._rtnl = rtnl
        self._folder = folder
        self._resolv_conf = folder / "resolv.conf"
        self._resolv_conf.write_text("nameserver 192.0.2.1\n")
        self.hook_log = folder / "hooks"
        self._resolver = FileBackend(self._resolv_conf, folder / "state", folder / "run")
        self._nonces: list[str] = []
        self._logs = LogFile(folder / "boot" / "steps", durable=False), LogFile(folder / "disk" / "steps", durable=True)

    def close(self) -> None:
        for log in self._logs:
            log.close()
        for nonce in self._nonces:
            processes.recover(nonce)

    def tables(self) -> Tables:
        self._rtnl.drain()
        return self._rtnl.tables()

    def nonce(self) -> str:
        self._nonces.append(f"{Path(self._folder).name[-8:]}-{len(self._nonces)}")
        return self._nonces[-1]

    async def steer(self, *wanted: Step) -> tuple[str, ...]:
        journal = Journal(*self._logs, HERE)
        await journal.open()
        ports = RealHooks(), KernelRoutes(self.tables), KernelLinks(self.tables), RealTunnels(), self._resolver
        runner = Runner(journal, executors(*ports, nonce=self.nonce))
        plan = plan_from(journal.entries, wanted, HERE)
        result = await runner.run(plan, asyncio.Event(), lambda _: UndoContext("test"))
        assert result.failed is None, result.failed
        return result.complaints

    async def seen(self) -> Seen:
        running = await asyncio.to_thread(lambda: sum(len(find_by_nonce(nonce)) for nonce in self._nonces))
        tables = self.tables()
        ours = routes.present(tables)
        index = next((row.index for row in tables.links.values() if row.name == DEVICE), None)
        of_device = [row for row in tables.addresses if row.index == index and row.scope != LINK_LOCAL]
        text = self._resolv_conf.read_text()
        return Seen(
            rules=frozenset(ours.rules),
            routes=frozenset(ours.routes),
            addresses=frozenset(f"{row.address.ip} peer {row.peer}" for row in of_device),
            marked=frozenset(row.name for row in tables.links.values() if (row.alias or "").startswith("autovpn:")),
            processes=running,
            hooks=tuple(self.hook_log.read_text().split()) if self.hook_log.exists() else (),
            servers=tuple(line.split()[1] for line in text.splitlines() if line.startswith("nameserver")),
        )


def seen(machine: Machine, own: tuple[str, ...] = ("192.0.2.1",)) -> Seen:
    """Return the same of the fake machine."""
    device = next((link for link in machine.links.values() if link.name == DEVICE), None)
    dns: MachineDns | None = machine.dns
    return Seen(
        rules=frozenset(machine.rules),
        routes=frozenset(machine.routes),
        addresses=frozenset(f"{one.ip} peer {peer}" for one, peer in (device.addresses if device else ())),
        marked=frozenset(link.name for link in machine.links.values() if link.alias),
        processes=len(machine.processes),
        hooks=tuple(program.rpartition("/")[2] for _, program in machine.hooks_run),
        servers=dns.exclusive.servers if dns and dns.exclusive else own,
    )


@pytest.fixture
def real(world: World, tmp_path: Path) -> Iterator[Real]:
    with world.laptop.enter(), Rtnl.open() as rtnl:
        machine = Real(rtnl, tmp_path)
        yield machine
        machine.close()


@pytest.fixture
def programs(real: Real) -> Iterator[Callable[[Step], Step]]:
    """Give what gives a bracket real programs, in a folder that only root can write to; they write their names down."""
    folder = Path(tempfile.mkdtemp(dir="/run"))

    def written(hook: Hook) -> Hook:
        program = folder / Path(hook.run[0]).name
        program.write_text(f"#!/bin/sh\necho ${{0##*/}} >>{real.hook_log}\n")
        program.chmod(0o755)
        return replace(hook, run=(str(program),))

    def with_programs(step: Step) -> Step:
        moment = step.context
        if not isinstance(moment, HookMoment):
            return step
        up, down = (tuple(map(written, hooks)) for hooks in (moment.up, moment.down))
        return replace(step, context=replace(moment, up=up, down=down))

    yield with_programs
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", StepKind, ids=lambda kind: kind.value)
async def test_a_step_leaves_the_same_on_the_kernel_and_on_the_fake_machine(
    kind: StepKind, real: Real, programs: Callable[[Step], Step]
) -> None:
    fake = Machine()
    fake.foreign, fake.rules, fake.routes = RoutePlan(), set(), set()
    if kind in (StepKind.ADDRESS, StepKind.ROUTES):
        index = await links.create("tun", DEVICE, "somebody's")
        await links.set_alias(index, "")
        await links.set_up(index)
        fake.links[index] = FakeLink(DEVICE)
    first = seen(fake)
    assert await real.seen() == first

    for wanted in ((steps.one(kind),), (steps.one(kind, 1),), (steps.one(kind),), ()):
        chosen = tuple(map(programs, wanted))
        assert await real.steer(*chosen) == ()
        assert (await fake.steer(*chosen)).complaints == ()
        assert await real.seen() == seen(fake), f"after {wanted}"

    assert replace(await real.seen(), hooks=()) == first


async def test_a_whole_activation_comes_and_goes_alike(real: Real, programs: Callable[[Step], Step]) -> None:
    before = await real.seen()
    everything = tuple(map(programs, steps.activation()))

    assert await real.steer(*everything) == ()
    there = await real.seen()
    assert (there.processes, there.marked, there.servers) == (1, frozenset({DEVICE}), ("10.8.0.1",))
    assert await real.steer(*everything) == (), "what is there is left alone"
    assert await real.seen() == there
    assert await real.steer() == ()

    assert replace(await real.seen(), hooks=()) == before


async def test_what_another_program_removed_is_said_by_both(real: Real) -> None:
    fake = Machine()
    fake.foreign, fake.rules, fake.routes = RoutePlan(), set(), set()
    for machine in (real, fake):
        await machine.steer(steps.guard())
    gone = next(rule for rule in fake.rules if rule.oif and rule.family == 4)
    fake.rules.discard(gone)
    await routes.remove(RoutePlan((gone,)))

    assert await real.steer() == (await fake.steer()).complaints != ()
    assert await real.seen() == seen(fake)
