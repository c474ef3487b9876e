"""Puts the parts together: the daemon, and one look without it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from autovpn.config.load import load
from autovpn.core.decide import decide
from autovpn.core.hookenv import HookContext
from autovpn.core.memory import Memory
from autovpn.core.network import IPAddress
from autovpn.core.profile import Hook, Policy
from autovpn.core.snapshot import Link, Snapshot
from autovpn.daemon.aftermath import journal_in, place_in, recover, sweep
from autovpn.daemon.backends import machine_resolver
from autovpn.daemon.commands import Commands
from autovpn.daemon.devices import KernelDevices
from autovpn.daemon.executors import executors
from autovpn.daemon.executors.nonce import new_nonce
from autovpn.daemon.kernel import KernelLinks, KernelRoutes
from autovpn.daemon.loop import Loop
from autovpn.daemon.machine import Machine
from autovpn.daemon.places import Directories, Observation
from autovpn.daemon.probing import TunnelProbes
from autovpn.daemon.programs import HookPrograms
from autovpn.daemon.questions import Questions
from autovpn.daemon.remember import Memories
from autovpn.daemon.service import Service
from autovpn.daemon.sessions import Sessions
from autovpn.daemon.settings import Reading, Settings
from autovpn.daemon.watching import Watch
from autovpn.errors import ConfigError
from autovpn.system import neighbours
from autovpn.system.control import ControlServer
from autovpn.system.resolve import resolve
from autovpn.system.rtnl import Rtnl
from autovpn.system.runner import Runner
from autovpn.system.sleep import ClockWatch
from autovpn.system.wireless import WirelessWatch

log = logging.getLogger(__name__)


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
        done = await recover(directories)
        for words in (*done.found, *done.left):
            log.warning("recovery.unclean why=%s", words)
        raise
    async with _watch() as watch:
        journal = journal_in(directories)
        wrong = await journal.open()
        resolver = machine_resolver(directories, policy.dns_on_conflict, lambda: loop.policy.dns_backend)
        questions = Questions()
        sessions = Sessions(place_in(directories), KernelDevices(watch.tables), questions)
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
        swept = await sweep(journal, watch.tables)
        commands = Commands(loop, settings, questions, resolver.standing, (*wrong, *swept.removed, *swept.left))
        control = ControlServer(directories.run / "control.sock", commands.answer)
        service = Service(loop, commands, control, resolver, directories.resolv_conf)
        watch.start(loop.wake)
        return tuple(map(str, await service.run()))


async def observe(directories: Directories) -> Observation:
    """Look at the machine once and decide."""
    policy = await asyncio.to_thread(policy_of, directories)
    async with _watch() as watch:
        resolver = machine_resolver(directories, forced=lambda: policy.dns_backend)
        snapshot = Snapshot(watch.links(policy, await resolver.original()))
        decision = decide(snapshot, policy, Memory(), time.monotonic())
        return Observation(decision, snapshot, policy, await resolver.choice())


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
