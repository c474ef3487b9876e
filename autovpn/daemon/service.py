"""The daemon as a service: takes over what a dead one left, answers signals and requests, and ends in good order."""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import replace
from pathlib import Path

from autovpn.core.dnschoice import merge
from autovpn.core.memory import Memory
from autovpn.core.records import Entry, EntryState
from autovpn.core.steps import DnsValue, Step, StepKind, TunnelValue
from autovpn.core.supervise import Adopted
from autovpn.daemon.chores import Chores
from autovpn.daemon.commands import Commands
from autovpn.daemon.executors.tunnel import nonce_of, receipt_of
from autovpn.daemon.loop import Goal, Loop
from autovpn.daemon.remember import Remembered, relinked
from autovpn.daemon.resolver import MachineResolver
from autovpn.errors import AutovpnError
from autovpn.system.control import ControlServer
from autovpn.system.sdnotify import notify, watchdog_interval

log = logging.getLogger(__name__)


class Service:
    """Runs a loop with all that surrounds it."""

    def __init__(
        self,
        loop: Loop,
        commands: Commands,
        control: ControlServer,
        resolver: MachineResolver,
        resolv_conf: Path,
    ) -> None:
        """Put the parts together; others may write `resolv_conf`."""
        self._resolv_conf = resolv_conf
        self._loop = loop
        self._commands = commands
        self._control = control
        self._resolver = resolver
        self._chores = Chores(loop.complain)

    async def run(self) -> tuple[Step, ...]:
        """Be the daemon until a signal or a request ends it; return what could not be undone."""
        self._answer_signals()
        await self._adopt()
        await self._control.start()
        self._chores.start(self._resolver.defend(self._loop.wake))
        self._chores.start(self._resolver.follow(self._resolv_conf, self._loop.wake))
        self._chores.start(self._watchdog())
        notify("READY=1", "STATUS=watching")
        try:
            return await self._loop.run()
        finally:
            notify("STOPPING=1")
            await self._chores.cancel()
            await self._control.stop()

    async def _adopt(self) -> None:
        """Take over what is still there of the daemon before: its memory, its tunnels, its DNS.

        What is not wanted any more, or is only half there, the first look undoes.
        """
        loop = self._loop
        remembered = await asyncio.to_thread(loop.machine.memories.load)
        links = loop.machine.kernel.links(loop.policy, None)
        loop.machine.sessions.see_links(loop.machine.kernel.indexes())
        applied = loop.machine.runner.applied
        epochs = [ride.epoch for ride in remembered.memory.rides]
        loop.memory = relinked(remembered.memory, links) if applied else Memory()
        loop.memory = replace(loop.memory, next_epoch=max([*epochs, remembered.memory.next_epoch - 1, 0]) + 1)
        for key, state in remembered.tunnels.items():
            loop.tunnels.restore(key, state)
        for entry in applied:
            if entry.step.kind is StepKind.TUNNEL and self._is_whole(entry):
                await self._adopt_tunnel(entry, remembered)
        await self._adopt_dns([entry for entry in applied if self._is_whole(entry)])

    def _is_whole(self, entry: Entry) -> bool:
        """Report whether a step was done whole, in this boot and network namespace."""
        return entry.state is EntryState.DONE and entry.origin == self._loop.machine.origin

    async def _adopt_dns(self, entries: list[Entry]) -> None:
        wishes = [entry.step.value.wish for entry in entries if isinstance(entry.step.value, DnsValue)]
        try:
            await self._resolver.resume(merge(wishes))
        except (AutovpnError, OSError) as error:
            self._loop.complain(f"dns: it could not be taken over: {error}")

    async def _adopt_tunnel(self, entry: Entry, remembered: Remembered) -> None:
        loop, step = self._loop, entry.step
        key = (step.activation, step.object)
        known = remembered.tunnels.get(key)
        receipt = receipt_of(entry)
        if receipt is None or not isinstance(step.value, TunnelValue):
            return
        value, facts = step.value, known.facts if known else None
        now = loop.machine.clock()
        adopted = Adopted(value.instance, value.attempt, value.endpoints, facts, value.fruitless)
        # Told first, since the tunnel may say that it is ready before it has been taken over whole.
        loop.tunnels.tell(key, adopted, now)
        try:
            alive = await loop.machine.sessions.adopt(step, {"nonce": nonce_of(entry), **receipt}, facts)
        except (AutovpnError, OSError) as error:
            loop.complain(f"{step}: it could not be taken over: {error}")
            alive = False
        log.info("tunnel.adopt activation=%s tunnel=%s alive=%s", *key, alive)
        if not alive:
            loop.tunnels.forget(key)

    def _answer_signals(self) -> None:
        events = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            events.add_signal_handler(number, self._loop.end, Goal.STOP)
        events.add_signal_handler(signal.SIGUSR2, self._loop.end, Goal.RESTART)
        events.add_signal_handler(signal.SIGHUP, lambda: self._chores.start(self._reload()))

    async def _reload(self) -> None:
        for problem in await self._commands.reload():
            log.warning("reload.problem what=%s", problem)

    async def _watchdog(self) -> None:
        interval = watchdog_interval()
        while interval is not None:
            notify("WATCHDOG=1")
            await asyncio.sleep(interval)
