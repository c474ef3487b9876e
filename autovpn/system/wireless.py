"""Which wireless network each station interface is on, now and at every change.

Events say "look again" and nothing more, but for what was negotiated, which the kernel tells only once (`station`).
Where the kernel has no nl80211, nothing is loaded and nothing is seen; when it gets one (a stick is plugged in), the
watch begins by itself.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol

from autovpn.errors import SystemFault
from autovpn.system.genl import FamilyWatch
from autovpn.system.rtnl_dump import DumpInterrupted
from autovpn.system.station import Gone
from autovpn.system.stations import PATIENCE, Stations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from autovpn.core.network import Wireless
    from autovpn.system.station import Bss, Event

REOPEN_AFTER: Final = (
    0.1,
    0.5,
    1.0,
    2.0,
    4.0,
    8.0,
    16.0,
    30.0,
)  # seconds from a loss of the socket, one for each in a row
READ_AGAIN_AFTER: Final = 0.1  # seconds; a scan that goes on changes the list of networks while it is read
BREATH: Final = 0.05  # seconds from one reading to the next, so that many causes in a row are one
SETTLE: Final = 10.0  # seconds that `open` and `refresh` wait at most; longer than a question to the kernel may take


class Source(Protocol):
    """What is asked of nl80211; `autovpn.system.nl80211.Nl80211` says what each raises."""

    async def stations(self) -> frozenset[int]:
        """Return the index of every station interface."""

    async def associated_bss(self, index: int) -> Bss | None:
        """Return the BSS with which a station is associated."""

    async def is_authorized(self, index: int) -> bool:
        """Report whether the handshake is finished."""

    def events(self) -> AsyncIterator[Event]:
        """Yield the events that matter, for ever."""

    def close(self) -> None:
        """Give the socket back."""


class Families(Protocol):
    """What is asked of generic netlink; `autovpn.system.genl.FamilyWatch` says what each raises."""

    def fileno(self) -> int:
        """Return the descriptor to wait on."""

    def consume(self) -> None:
        """Take in what has arrived."""

    def number(self) -> int | None:
        """Return the family's number, None without one."""

    def close(self) -> None:
        """Stop watching."""


async def connect() -> Source:
    """Open nl80211. Its module loads pyroute2, a fifth of a second's work that must not hold up the loop."""
    module = await asyncio.to_thread(import_module, "autovpn.system.nl80211")
    source: Source = await module.Nl80211.open()
    return source


class WirelessWatch:
    """A live view of the station interfaces of one network namespace.

    `changed` is set whenever `associations` or `pending` differ from before; whoever waits for it clears it. `resyncs`
    counts how often everything had to be read anew since events were lost or the kernel refused; `trouble` is the
    reason while that lasts.
    """

    def __init__(
        self,
        families: Families | None = None,
        connect: Callable[[], Awaitable[Source]] = connect,
        patience: tuple[float, ...] = PATIENCE,
    ) -> None:
        """Prepare a watch; `open` starts it. `patience` is explained in `stations`."""
        self.changed = asyncio.Event()
        self.resyncs = 0
        self.trouble: str | None = None
        self._families = families
        self._connect = connect
        self._number: int | None = None
        self._following: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._stations = Stations(patience)
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._work = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    @property
    def associations(self) -> Mapping[int, Wireless | None]:
        """Every station interface by its index; None is a station without an association."""
        return self._stations.associations

    @property
    def pending(self) -> frozenset[int]:
        """The stations of which it isn't known yet which network they are on."""
        return self._stations.pending

    @property
    def complete(self) -> bool:
        """Whether every station interface is among `associations`; not so before the first reading, or after a loss."""
        return self._following is None or self._stations.complete

    async def open(self) -> bool:
        """Start watching and return once the present state is read; False where the kernel has no nl80211.

        Raises:
            SystemFault: the kernel has no generic netlink at all.
        """
        self._families = self._families or FamilyWatch("nl80211")
        asyncio.get_running_loop().add_reader(self._families.fileno(), self._look_for_nl80211)
        self._look_for_nl80211()
        await self._settle()
        return self._following is not None

    async def close(self) -> None:
        """Stop watching."""
        if self._families is not None:
            asyncio.get_running_loop().remove_reader(self._families.fileno())
            self._families.close()
            self._families = None
        self._number = None
        self._unfollow()
        if self._ending:
            await asyncio.wait(self._ending)

    def look_again(self, index: int | None = None) -> None:
        """Say that a link has changed, this one or any. Cheap, so rtnetlink may call it as often as it likes.

        A 4-way handshake that ends brings the link's operstate UP and, under most drivers, no event of nl80211. So a
        station of which something is still to come is read; for the rest nl80211's own events are enough.
        """
        if self._following is not None and self._stations.look_again(index):
            self._wake()

    async def refresh(self) -> None:
        """Read everything anew and return when that is done, or after some seconds when the kernel does not answer."""
        if self._following is not None:
            self._read_everything()
            await self._settle()

    async def _settle(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE):
                await self._settled.wait()

    def _read_everything(self) -> None:
        self._stations.list_again = True
        self._wake()

    def _wake(self) -> None:
        self._settled.clear()
        self._work.set()

    def _publish(self) -> None:
        if self._stations.publish():
            self.changed.set()

    # ------------------------------------------------------------------------------- nl80211 comes and goes

    def _look_for_nl80211(self) -> None:
        """Follow nl80211 if the kernel has it. It gets another number when its module is loaded again."""
        if self._families is None:
            return
        try:
            self._families.consume()
            number = self._families.number()
        except SystemFault as fault:
            self.trouble = str(fault)
            return
        if number == self._number:
            return
        self._number = number
        self._unfollow()
        if number is not None:
            self._settled.clear()
            self._following = asyncio.get_running_loop().create_task(self._follow(number), name="wireless")
            self._following.add_done_callback(self._ended)

    def _unfollow(self) -> None:
        if self._following is not None:
            self._following.cancel()
            self._ending.add(self._following)
            self._following = None
        self._stations.clear()
        self._set_timers()
        self._publish()
        self._settled.set()

    async def _follow(self, number: int) -> None:
        """Keep a connection to nl80211, and open another one whenever it breaks."""
        losses = 0
        while True:
            try:
                await self._serve()
            except* SystemFault as faults:
                self.trouble = str(faults.exceptions[0])
            if number != self._number:  # cancelled, and the task group swallowed that: something failed in it as well
                return
            losses = 0 if self._settled.is_set() else losses + 1
            self.resyncs += 1
            self._settled.clear()
            self._stations.doubt()
            self._publish()
            await asyncio.sleep(REOPEN_AFTER[min(losses, len(REOPEN_AFTER) - 1)])

    def _ended(self, following: asyncio.Task[None]) -> None:
        """Tell the loop's exception handler of a mistake of ours, and those who look that nothing is seen any more."""
        self._ending.discard(following)
        if following.cancelled() or (error := following.exception()) is None:
            return
        self.trouble = f"watching wireless networks ended by a mistake in autovpn: {error!r}"
        self._stations.doubt()
        self._publish()
        self._settled.set()
        following.get_loop().call_exception_handler({"message": self.trouble, "exception": error, "task": following})

    async def _serve(self) -> None:
        source = await self._connect()
        try:
            self._read_everything()
            async with asyncio.TaskGroup() as both:
                both.create_task(self._listen(source))
                both.create_task(self._read(source))
        finally:
            source.close()

    # ------------------------------------------------------------------------------- listening and reading

    async def _listen(self, source: Source) -> None:
        async for event in source.events():
            self._stations.take(event)
            self._publish()
            self._wake()

    async def _read(self, source: Source) -> None:
        """Read what is asked for, again and again; what an event overtakes is read once more."""
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._read_once(source)
            except DumpInterrupted:
                self.resyncs += 1
                await asyncio.sleep(READ_AGAIN_AFTER)
                self._read_everything()
                continue
            self._set_timers()
            self._publish()
            if not self._work.is_set():
                self.trouble = None
                self._settled.set()
            await asyncio.sleep(BREATH)

    async def _read_once(self, source: Source) -> None:
        if self._stations.list_again:
            self._stations.list_again = False
            self._stations.listed(await source.stations())
        while (index := self._stations.next_to_read()) is not None:
            try:
                bss = await source.associated_bss(index)
                authorized = bss is not None and await source.is_authorized(index)
            except Gone:
                self._stations.forget(index)
            else:
                self._stations.read(index, bss, authorized=authorized)

    def _set_timers(self) -> None:
        """Arm one timer per station that has to be read again by and by, and none else."""
        loop = asyncio.get_running_loop()
        delays = self._stations.delays
        for index in self._timers.keys() - delays.keys():
            self._timers.pop(index).cancel()
        for index, delay in delays.items():
            if index not in self._timers:
                self._timers[index] = loop.call_later(delay, self._time_is_up, index)

    def _time_is_up(self, index: int) -> None:
        del self._timers[index]
        self._stations.retry(index)
        self._wake()
