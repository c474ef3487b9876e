"""Puts the parts together: the daemon, one look without it, and the recovery after it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from autovpn.config.load import load
from autovpn.core.decide import decide
from autovpn.core.hookenv import HookContext
from autovpn.core.memory import Memory
from autovpn.core.network import IPAddress
from autovpn.core.profile import Hook, Policy
from autovpn.core.snapshot import Link, Snapshot
from autovpn.daemon.backends import machine_resolver
from autovpn.daemon.commands import Commands
from autovpn.daemon.devices import KernelDevices
from autovpn.daemon.executors import executors
from autovpn.daemon.executors.nonce import new_nonce
from autovpn.daemon.kernel import KernelLinks, KernelRoutes
from autovpn.daemon.loop import Loop
from autovpn.daemon.machine import Machine
from autovpn.daemon.places import Directories, Observation, Recovery
from autovpn.daemon.probing import TunnelProbes
from autovpn.daemon.programs import HookPrograms, TunnelPrograms
from autovpn.daemon.questions import Questions
from autovpn.daemon.recovery import recover_all
from autovpn.daemon.remember import Memories
from autovpn.daemon.service import Service
from autovpn.daemon.sessions import Place, Sessions
from autovpn.daemon.settings import Reading, Settings
from autovpn.daemon.sweep import Sweep, Swept
from autovpn.daemon.watching import Watch
from autovpn.errors import ConfigError
from autovpn.system import neighbours
from autovpn.system.control import ControlServer
from autovpn.system.journal import Journal, this_origin
from autovpn.system.logfile import LogFile
from autovpn.system.resolve import resolve
from autovpn.system.rtnl import Rtnl
from autovpn.system.rtnl_rows import Changes, Tables
from autovpn.system.runner import Runner
from autovpn.system.sleep import ClockWatch
from autovpn.system.wireless import WirelessWatch
from autovpn.tunnels.drivers import DRIVERS

NOTIFIER = (sys.executable, "-I", "-S", str(Path(__file__).parents[1] / "notify.py"))
"""The argument list by which a tunnel's program reports to us; isolated, so that it starts fast."""


def policy_of(directories: Directories) -> Policy:
    """Read the configuration; raise ConfigError where it holds no policy."""
    loaded = load(directories.config)
    if loaded.policy is None:
        raise ConfigError(loaded.problems)
    return loaded.policy


@asynccontextmanager
async def _watch() -> AsyncIterator[Watch]:
    """Open the view of the kernel."""
    rtnl = await asyncio.to_thread(Rtnl.open)
    wireless = WirelessWatch()
    await wireless.open()
    watch = Watch(rtnl, wireless, ClockWatch())
    try:
        yield watch
    finally:
        watch.stop()
        await wireless.close()


async def serve(directories: Directories) -> tuple[str, ...]:
    """Be the daemon until told to stop; return what could not be undone. The caller holds the lock.

    A configuration that holds no policy raises ConfigError, after what a dead daemon left has been undone: nobody else
    may come to do it.
    """
    try:
        policy = await asyncio.to_thread(policy_of, directories)
    except ConfigError:
        await recover(directories)
        raise
    async with _watch() as watch:
        journal = _journal(directories)
        wrong = await journal.open()
        resolver = machine_resolver(directories, policy.dns_on_conflict, lambda: loop.policy.dns_backend)
        questions = Questions()
        place = Place(directories.run / "tunnels", DRIVERS, NOTIFIER)
        sessions = Sessions(place, _devices(watch.tables), questions)
        hooks = HookPrograms()
        runner = Runner(
            journal,
            executors(hooks, KernelRoutes(watch.tables), KernelLinks(watch.tables), sessions, resolver),
        )
        machine = Machine(
            kernel=watch,
            runner=runner,
            origin=journal.origin,
            sessions=sessions,
            dns=resolver,
            memories=Memories(directories.run / "memory.json", journal.origin),
            resolve=_resolve,
            resolve_gateways=_resolve_gateways,
            run_hook=_hook_runner(hooks),
            probes=TunnelProbes(),
            clock=time.monotonic,
        )
        loop = Loop(machine, policy)
        sessions.connect(loop.tell_attempt, loop.note_receipt)
        questions.connect(loop.wake)
        settings = Settings(lambda: _reading(directories))
        swept = await _sweep(journal, watch.tables)
        commands = Commands(loop, settings, questions, resolver.standing, (*wrong, *swept.removed, *swept.left))
        control = ControlServer(directories.run / "control.sock", commands.answer)
        service = Service(loop, commands, control, resolver, directories.resolv_conf)
        watch.start(loop.wake)
        return tuple(map(str, await service.run()))


async def observe(directories: Directories) -> Observation:
    """Look at the machine once and decide."""
    policy = await asyncio.to_thread(policy_of, directories)
    async with _watch() as watch:
        resolver = machine_resolver(directories)
        snapshot = Snapshot(watch.links(policy, await resolver.original()))
        return Observation(decide(snapshot, policy, Memory(), time.monotonic()), snapshot, policy)


async def recover(directories: Directories) -> Recovery:
    """Undo all that a dead daemon left behind; the caller holds the lock."""
    journal = _journal(directories)
    wrong = await journal.open()
    with await asyncio.to_thread(Rtnl.open) as rtnl:
        look = _looker(rtnl)
        place = Place(directories.run / "tunnels", DRIVERS, NOTIFIER)
        sessions = Sessions(place, _devices(look), Questions())
        resolver = machine_resolver(directories)
        done = await recover_all(
            journal, executors(HookPrograms(), KernelRoutes(look), KernelLinks(look), sessions, resolver)
        )
        swept = await _sweep(journal, look)
        outcome = await resolver.revert()  # also what no record tells of: the two names on disk are the truth
    return Recovery(
        undone=(*done.undone, *swept.removed),
        left=(*wrong, *done.complaints, *done.left, *swept.left, *outcome.why),
    )


async def _sweep(journal: Journal, look: Callable[[], Tables]) -> Swept:
    """Remove what no entry of the journal names; the locks say that no other daemon of ours is at work here."""
    processes = TunnelPrograms(journal.origin.namespace)
    return await Sweep(processes, KernelLinks(look), KernelRoutes(look)).run(journal.entries)


async def left_behind(directories: Directories) -> tuple[str, ...]:
    """Return the steps that a daemon which is gone has left on the machine; nothing is changed."""
    journal = await asyncio.to_thread(_journal, directories)
    await journal.open()
    return tuple(str(entry.step) for entry in journal.entries)


def _journal(directories: Directories) -> Journal:
    return Journal(
        LogFile(directories.run / "journal", durable=False),
        LogFile(directories.state / "journal", durable=True),
        this_origin(),
    )


def _devices(look: Callable[[], Tables]) -> KernelDevices:
    return KernelDevices(look)


def _looker(rtnl: Rtnl) -> Callable[[], Tables]:
    def look() -> Tables:
        while rtnl.drain() & Changes.MORE:
            pass
        return rtnl.tables()

    return look


def _reading(directories: Directories) -> Reading:
    loaded = load(directories.config)
    return Reading(loaded.policy, loaded.problems)


async def _resolve(host: str, device: str, servers: Sequence[str], deadline: float) -> tuple[IPAddress, ...]:
    return await resolve(host, device, servers, deadline)


async def _resolve_gateways(link: Link) -> None:
    await neighbours.resolve(link.id.index, [gateway.address for gateway in link.gateways])


def _hook_runner(hooks: HookPrograms) -> Callable[[Hook, HookContext], Coroutine[Any, Any, str]]:
    async def run(hook: Hook, context: HookContext) -> str:
        result = await hooks.run(hook, context, new_nonce())
        return "" if result.succeeded else result.words

    return run
