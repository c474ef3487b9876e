"""The tunnels that are running: started, handed their news, taken over from a dead daemon, and ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autovpn.core.actions import AskPerson
from autovpn.core.driving import Driver, DriverEvent, Launch
from autovpn.core.secret import Secret
from autovpn.core.steps import Step, StepKey, StepKind, TunnelValue
from autovpn.core.supervise import Broke, Launched, TunnelEvent
from autovpn.core.tunnel import Facts, Failure, FailureClass, TunnelSpec
from autovpn.core.wanted import TunnelKey
from autovpn.daemon.questions import NEEDS_PERSON, Questions
from autovpn.daemon.session import Receipt, Session
from autovpn.errors import StepFailed
from autovpn.system import process as processes
from autovpn.system.channels import Channels
from autovpn.system.device import Devices
from autovpn.system.farewell import carry_out
from autovpn.system.secrets import read_files, read_secret

log = logging.getLogger(__name__)

LONGEST_NAME = 32
"""Characters of a tunnel's name that its folder has, which the nonce tells apart: the path of a socket in it may have
107 bytes (sun_path of unix(7)), and ssh puts a name of its own behind ours."""

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

    def __init__(self, place: Place, devices: Devices, questions: Questions) -> None:
        """Begin with none running; `connect` says who is to be told."""
        self._questions = questions
        self._asking: dict[TunnelKey, int] = {}
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
        launch = self._launch(step, nonce)
        if self._lacks_password(launch.spec):
            return self._without_password(step, nonce)
        launch = await self._with_secrets(launch)
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
        if session is not None:
            await session.rest()  # or the driver would start what leave is being taken from
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

    def give_up(self, activation: str, name: str) -> None:
        """Take a tunnel for dead, whatever its program still says: hooks are told that it passes nothing."""
        if session := self._sessions.get((StepKind.TUNNEL, activation, name)):
            session.is_over = True

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

    @property
    def asking(self) -> frozenset[TunnelKey]:
        """Return the tunnels that wait for a person: no deadline holds for them meanwhile."""
        return frozenset(self._asking)

    def _lacks_password(self, spec: TunnelSpec) -> bool:
        return bool(spec.password and spec.password.ask) and self._questions.password(spec.name) is None

    def _without_password(self, step: Step, nonce: str) -> Receipt:
        """Fail for good, since only a person can help; nothing was started that would have to be ended."""
        value = step.value
        assert isinstance(value, TunnelValue)  # noqa: S101 - a tunnel step has no other value
        _, activation, name = step.key
        words = NEEDS_PERSON.format(profile=activation)
        failure = Failure(FailureClass.AUTH, f"its password is to be asked for; {words}")
        self._tell((activation, name), value.instance, value.attempt, Broke(failure))
        return {"nonce": nonce, "pid": None, "start_time": None, "device": "", "index": None, "alias": ""}

    def _ask_person(self, step: Step) -> Callable[[AskPerson], Awaitable[Secret | None]]:
        """Return how this tunnel asks a person; the time that the answer takes does not count as connecting."""
        value = step.value
        assert isinstance(value, TunnelValue)  # noqa: S101 - a tunnel step has no other value
        _, activation, name = step.key
        instance, attempt = value.instance, value.attempt

        async def ask(question: AskPerson) -> Secret | None:
            self._asking[activation, name] = self._asking.get((activation, name), 0) + 1
            try:
                return await self._questions.ask(name, question)
            finally:
                self._asking[activation, name] -= 1
                if not self._asking[activation, name]:
                    del self._asking[activation, name]
                self._tell((activation, name), instance, attempt, Launched())

        return ask

    def _heard(self, key: TunnelKey, instance: str, attempt: int, event: TunnelEvent) -> None:
        """Pass on what a tunnel has to say; a password that was refused is asked for again next time."""
        if isinstance(event, Broke) and event.failure.kind is FailureClass.AUTH:
            self._questions.forget(key[1])
        self._tell(key, instance, attempt, event)

    def _session(self, step: Step, launch: Launch) -> Session:
        value = step.value
        assert isinstance(value, TunnelValue)  # noqa: S101 - a tunnel step has no other value
        _, activation, name = step.key
        instance, attempt = value.instance, value.attempt

        ask = self._ask_person(step)

        def open_channels(report: Callable[[DriverEvent], None]) -> Channels:
            return Channels(Path(launch.directory), launch.nonce, launch.spec.device, self._devices, report, ask)

        return Session(
            self._place.drivers[launch.spec.type],
            launch,
            open_channels,
            tell=lambda event: self._heard((activation, name), instance, attempt, event),
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
            directory=str(self._place.directory / f"{spec.name[:LONGEST_NAME]}-{nonce}"),
            nonce=nonce,
            notifier=self._place.notifier,
            attempt=value.attempt,
            last_failure=value.last_failure,
            fruitless=value.fruitless,
        )

    async def _take_leave(self, step: Step, nonce: str) -> None:
        """Do what the program does not undo by itself when it ends, as far as the record says what that is."""
        try:
            launch = self._launch(step, nonce)
        except StepFailed:
            return
        for last_word in self._place.drivers[launch.spec.type].farewell(launch):
            if wrong := await carry_out(last_word, nonce):
                log.warning("tunnel.farewell tunnel=%s %s", launch.spec.name, wrong)

    async def _with_secrets(self, launch: Launch) -> Launch:
        """Read what a start needs: the tunnel's files and its secret, which are kept nowhere else."""
        spec = launch.spec
        password = self._questions.password(spec.name) if spec.password and spec.password.ask else None
        if spec.password and not spec.password.ask:
            password = await read_secret(spec.password, launch.nonce)
        secrets = {name: await read_secret(ref, launch.nonce) for name, ref in spec.secrets if not ref.ask}
        return replace(
            launch,
            files=await read_files(spec.files) | await read_files(spec.public_files, secret=False),
            password=password,
            secrets=secrets,
        )
