"""The tunnels that are running: started, handed their news, taken over from a dead daemon, and ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autovpn.core.driving import Driver, DriverEvent, Launch
from autovpn.core.secret import Secret
from autovpn.core.steps import Step, StepKey, TunnelValue
from autovpn.core.supervise import TunnelEvent
from autovpn.core.tunnel import Facts, TunnelSpec
from autovpn.core.wanted import TunnelKey
from autovpn.daemon.session import Receipt, Session
from autovpn.errors import StepFailed
from autovpn.system import process as processes
from autovpn.system.channels import Channels
from autovpn.system.device import Devices
from autovpn.system.errands import run_beside
from autovpn.system.secrets import read_files, read_secret

log = logging.getLogger(__name__)

Tell = Callable[[TunnelKey, str, int, TunnelEvent], None]
Note = Callable[[StepKey, Receipt], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where tunnels live: the folder of their folders, the drivers by type, and the notifier's argument list."""

    directory: Path
    drivers: Mapping[str, Driver[Any]]
    notifier: tuple[str, ...]


class Sessions:
    """The running tunnels by the key of their step."""

    def __init__(self, place: Place, devices: Devices) -> None:
        """Begin with none running; `connect` says who is to be told."""
        self._place = place
        self._devices = devices
        self._sessions: dict[StepKey, Session] = {}
        self._lost: set[StepKey] = set()
        self._indexes: Mapping[str, int] = {}
        self._tell: Tell = lambda *_: None
        self._note: Note = lambda *_: None

    def connect(self, tell: Tell, note: Note) -> None:
        """Say who is told what tunnels have to say, and who keeps their receipts."""
        self._tell = tell
        self._note = note

    async def start(self, step: Step, nonce: str) -> Receipt:
        """Begin an attempt; return once its process runs or its device is made."""
        launch = await self._with_secrets(self._launch(step, nonce))
        session = self._session(step, launch)
        self._sessions[step.key] = session
        self._lost.discard(step.key)
        return await session.start()

    async def adopt(self, step: Step, receipt: Mapping[str, Any], facts: Facts | None) -> bool:
        """Take over a tunnel that outlived its daemon; a dead one counts as lost from then on."""
        launch = self._launch(step, receipt["nonce"])
        session = self._session(step, launch)
        has_device = receipt["index"] is None or receipt["index"] in self._indexes.values()
        if not has_device or not await session.adopt(dict(receipt), facts):
            session.close()
            self._lost.add(step.key)
            return False
        self._sessions[step.key] = session
        return True

    async def amend(self, step: Step) -> None:
        """Tell a tunnel of its uplink and its far ends as they are now."""
        session = self._sessions.get(step.key)
        if session and isinstance(step.value, TunnelValue):
            session.change_uplink(step.value.uplink, step.value.endpoints)

    async def stop(self, step: Step, nonce: str, receipt: Mapping[str, Any] | None) -> None:
        """End a tunnel and all that it started, whether this daemon runs it or a dead one left it."""
        session = self._sessions.pop(step.key, None)
        self._lost.discard(step.key)
        await self._take_leave(step, nonce)
        if session is not None:
            await session.stop()
        receipt = receipt or {}
        await asyncio.to_thread(processes.recover, nonce, receipt.get("pid"), receipt.get("start_time"))

    def see_links(self, present: Mapping[str, int]) -> None:
        """Tell every tunnel which links there are now."""
        self._indexes = present
        for session in self._sessions.values():
            session.see_links(present)

    def lost(self) -> frozenset[StepKey]:
        """Return the tunnels in the journal of which no process is left."""
        return frozenset(self._lost)

    def passes_packets(self, activation: str) -> bool:
        """Report whether the activation has a tunnel that passes packets."""
        return any(
            session.facts is not None and not session.is_over
            for (_, name, _), session in self._sessions.items()
            if name == activation
        )

    def close(self) -> None:
        """Let go of every tunnel and leave it running."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def _session(self, step: Step, launch: Launch) -> Session:
        value = step.value
        assert isinstance(value, TunnelValue)  # noqa: S101 - a tunnel step has no other value
        _, activation, name = step.key
        instance, attempt = value.instance, value.attempt

        def open_channels(report: Callable[[DriverEvent], None]) -> Channels:
            return Channels(Path(launch.directory), launch.nonce, launch.spec.device, self._devices, report)

        return Session(
            self._place.drivers[launch.spec.type],
            launch,
            open_channels,
            tell=lambda event: self._tell((activation, name), instance, attempt, event),
            noted=lambda receipt: self._note(step.key, receipt),
            present=self._indexes,
        )

    def _launch(self, step: Step, nonce: str) -> Launch:
        spec, value = step.context, step.value
        if not isinstance(spec, TunnelSpec) or not isinstance(value, TunnelValue):
            raise StepFailed(str(step), "the record does not say which tunnel it is")
        if spec.type not in self._place.drivers:
            raise StepFailed(str(step), f"there is no driver for tunnels of type {spec.type}")
        return Launch(
            spec=spec,
            uplink=value.uplink,
            endpoints=value.endpoints,
            directory=str(self._place.directory / f"{spec.name}-{nonce}"),
            nonce=nonce,
            notifier=self._place.notifier,
            attempt=value.attempt,
            last_failure=value.last_failure,
            fruitless=value.fruitless,
        )

    async def _take_leave(self, step: Step, nonce: str) -> None:
        """Run what the program does not undo by itself when it ends, as far as the record says what that is."""
        try:
            launch = self._launch(step, nonce)
        except StepFailed:
            return
        for errand in self._place.drivers[launch.spec.type].farewell(launch):
            done = await run_beside(errand, dict(errand.environment), nonce)
            if done.status != 0:
                log.warning("tunnel.farewell tunnel=%s %s: %s", launch.spec.name, errand.argv[0], done.output)

    async def _with_secrets(self, launch: Launch) -> Launch:
        """Read what a start needs: the tunnel's files and its secret, which are kept nowhere else."""
        spec = launch.spec
        password: Secret | None = await read_secret(spec.password, launch.nonce) if spec.password else None
        return replace(launch, files=await read_files(spec.files), password=password)
