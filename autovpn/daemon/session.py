"""One running tunnel: its driver, fed with what happens, and its channels, told what the driver wants done."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from autovpn.core.actions import Action, Failed, Ready
from autovpn.core.driving import Driver, DriverEvent, Launch, Recovered, Uplink, UplinkChanged
from autovpn.core.supervise import BecameReady, Broke, Launched, TunnelEvent
from autovpn.core.tunnel import Facts, Failure, FailureClass, PinnedEndpoint
from autovpn.daemon.tunnels import jitter
from autovpn.errors import AutovpnError
from autovpn.system.channels import Channels

log = logging.getLogger(__name__)

Receipt = dict[str, Any]


class Session:
    """Feeds a driver one event at a time and carries its actions out in order.

    `tell` gets what supervise must know; `noted` gets a receipt for the journal whenever it has changed.
    """

    def __init__(
        self,
        driver: Driver[Any],
        launch: Launch,
        open_channels: Callable[[Callable[[DriverEvent], None]], Channels],
        tell: Callable[[TunnelEvent], None],
        noted: Callable[[Receipt], None],
        present: Mapping[str, int],
    ) -> None:
        """Start with nothing running; `open_channels` makes the channels, given where they report.

        `present` are the links of before: a device that was there already is never taken for the tunnel's.
        """
        self._driver = driver
        self._launch = launch
        self._tell = tell
        self._noted = noted
        self._events: asyncio.Queue[DriverEvent] = asyncio.Queue()
        self._channels = open_channels(self._events.put_nowait)
        self._state: Any = None
        self._pump: asyncio.Task[None] | None = None
        self._receipt: Receipt = {}
        self._links = present
        self.facts: Facts | None = None
        self.is_over = False

    @property
    def receipt(self) -> Receipt:
        """Return what a later daemon needs in order to find this tunnel again."""
        return {**self._channels.receipt()}

    async def start(self) -> Receipt:
        """Begin the attempt; return once its process runs or its device is made, without waiting for the far end."""
        self._tell(Launched())
        self._state, actions = self._driver.start(self._launch, time.monotonic())
        return await self._set_off(actions)

    async def adopt(self, receipt: Receipt, facts: Facts | None) -> bool:
        """Take over a tunnel that outlived its daemon; tell whether it is still alive."""
        if not await self._channels.reattach(receipt):
            return False
        device = receipt["device"] if receipt["index"] is not None else None
        recovered = Recovered(receipt["pid"], device, facts, epoch=time.time() - time.monotonic())
        self.facts = facts
        self._state, actions = self._driver.adopt(self._launch, recovered, time.monotonic())
        await self._set_off(actions)
        return True

    def see_links(self, present: Mapping[str, int]) -> None:
        """Tell the tunnel which links (name to index) there are now."""
        before, self._links = self._links, present
        for name, index in before.items():
            if present.get(name) != index:
                self._channels.link_vanished(name, index)
        for name, index in present.items():
            if before.get(name) != index:
                self._channels.link_appeared(name, index)

    def change_uplink(self, uplink: Uplink, endpoints: tuple[PinnedEndpoint, ...]) -> None:
        """Tell the driver that the uplink is another one, or looks otherwise."""
        self._events.put_nowait(UplinkChanged(uplink, endpoints))

    async def rest(self) -> None:
        """Begin nothing more for the tunnel, which runs on, and whose script is still heard."""
        self._end_pump()
        if self._pump is not None:
            await asyncio.wait({self._pump})  # what it was about to do to the machine is done, or never will be

    async def stop(self) -> None:
        """End the tunnel and all that it started."""
        await self.rest()
        await self._channels.stop()

    def close(self) -> None:
        """Let go of the tunnel and leave it running."""
        self._end_pump()
        self._channels.close()

    def _end_pump(self) -> None:
        self.is_over = True
        if self._pump is not None:
            self._pump.cancel()

    async def _set_off(self, actions: tuple[Action, ...]) -> Receipt:
        await self._carry_out(actions)
        while not self._events.empty():
            await self._take(self._events.get_nowait())
        self._pump = asyncio.get_running_loop().create_task(self._follow())
        return self.receipt

    async def _follow(self) -> None:
        """Take events as they come. The one boundary at which a fault of one tunnel must not end the daemon."""
        try:
            while True:
                await self._take(await self._events.get())
        except AutovpnError as error:
            self._broke(FailureClass.LOCAL, str(error))
        except Exception as error:  # a driver's own fault is that tunnel's failure, never the daemon's
            log.exception("tunnel.fault tunnel=%s", self._launch.spec.name)
            self._broke(FailureClass.LOCAL, f"autovpn's own fault: {type(error).__name__}: {error}")

    async def _take(self, event: DriverEvent) -> None:
        if self.is_over:
            return
        self._state, actions = self._driver.feed(self._state, event, time.monotonic())
        await self._carry_out(actions)

    async def _carry_out(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            match action:
                case Ready(facts):
                    self.facts = facts
                    self._tell(BecameReady(facts))
                case Failed(kind, words):
                    self._broke(kind, words)
                case _:
                    await self._channels.execute(action)
        receipt = self.receipt
        if receipt != self._receipt:
            self._receipt = receipt
            self._noted(receipt)

    def _broke(self, kind: FailureClass, words: str) -> None:
        self.is_over = True
        self._tell(Broke(Failure(kind, words), jitter()))
