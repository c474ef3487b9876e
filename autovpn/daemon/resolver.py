"""The machine's DNS: the back end that is chosen for each wish, its standing, and its defence against others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, suppress
from pathlib import Path

from autovpn.core.dnscandidates import candidates
from autovpn.core.dnschoice import Choice, DnsWish, MachineDns, choose
from autovpn.core.dnsfacts import DnsFacts
from autovpn.core.network import UplinkDns
from autovpn.core.resolvconf import ResolvConf
from autovpn.core.upstream import is_local, upstream_of
from autovpn.daemon.report import DnsStanding
from autovpn.dns.backend import DnsBackend, Outcome, Receipt
from autovpn.dns.file_look import servers_of
from autovpn.errors import AutovpnError, Refused
from autovpn.system.files import NameWatch

log = logging.getLogger(__name__)

UPSTREAMS = (Path("/run/systemd/resolve/resolv.conf"), Path("/run/NetworkManager/no-stub-resolv.conf"))
"""Where systemd-resolved(8) and NetworkManager say whom their resolver on this machine asks itself."""

ANY_WISH = MachineDns(DnsWish("a tunnel", "", ()))
"""What a tunnel with a device asks for unless its profile says otherwise: all names."""

SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds before a defence that failed begins anew; doubled each time."""


class MachineResolver:
    """Applies wishes through the back end that fits, and keeps them in force while others write.

    One change at a time: what is given back is never put in force again by an answer that was under way.
    """

    def __init__(
        self,
        backends: Mapping[str, DnsBackend],
        gather: Callable[[], Awaitable[DnsFacts]],
        forced: Callable[[], str],
    ) -> None:
        """Choose among `backends` by name, "file" among them, by the facts that `gather` gives.

        `forced` says what the configuration asks for.
        """
        self._backends = backends
        self._gather = gather
        self._forced = forced
        self._wish: MachineDns | None = None
        self._backend: DnsBackend | None = None
        self._receipt: Receipt | None = None
        self._why: tuple[str, ...] = ()
        self._turn = asyncio.Lock()

    async def apply(self, dns: MachineDns) -> Receipt:
        """Put `dns` in force, by the back end that is chosen for it now.

        Raises Refused where the machine does not allow it: the wish stands all the same, and `reconsider` tries again.
        """
        async with self._turn:
            return await self._apply(dns)

    async def _apply(self, dns: MachineDns) -> Receipt:
        choice = await self._chosen(dns)
        backend = self._backends.get(choice.backend or "")
        if backend is not self._backend and self._backend is not None:
            await _revert_what_can_be((self._backend,))
        self._backend, self._why = backend, choice.why
        try:
            self._receipt = await backend.apply(dns) if backend else _unapplied(dns, choice)
        except AutovpnError as error:
            self._receipt = Receipt(backend.name if backend else "none", in_force=False, degraded=str(error))
            if isinstance(error, Refused):
                self._wish = dns
            raise
        self._wish = dns
        return self._receipt

    async def _chosen(self, dns: MachineDns) -> Choice:
        return choose(await self._gather(), dns, self._forced(), candidates(self._backends))

    async def revert(self) -> Outcome:
        """Undo whatever is left of us, by whichever back end."""
        async with self._turn:
            try:
                return await _revert_all(self._backends.values())
            finally:  # what a dead tunnel wished is not put in force again, even where something of it is left
                self._wish = self._backend = self._receipt = None

    async def resume(self, dns: MachineDns) -> None:
        """Take over a wish that a daemon before us put in force, and mend it where it is not.

        Without a wish whatever is left of us is undone: the record of it may be lost, the file tells by itself.
        """
        if not dns.is_wanted:
            await self.revert()
            return
        async with self._turn:
            choice = await self._chosen(dns)
            backend = self._backends.get(choice.backend or "")
            await _revert_what_can_be(other for other in self._backends.values() if other is not backend)
            drift = await backend.verify(dns) if backend else None
            if backend is None or drift:
                await self._apply(dns)
                return
            self._wish, self._backend, self._why = dns, backend, choice.why
            self._receipt = Receipt(backend.name, in_force=True)

    async def reconsider(self) -> None:
        """Try again a wish that is not in force: something changed that may well help, such as the network.

        One that is in force is looked at again by its back end, since others may drop it then.
        """
        async with self._turn:
            if self._receipt is not None and not self._receipt.in_force:
                await self._answer()
            elif self._backend is not None:
                self._backend.look_again()

    async def original(self) -> UplinkDns | None:
        """Return the resolvers and suffixes of the machine as they are without us."""
        try:
            own = await self._original()
        except AutovpnError as error:
            log.warning("dns.unreadable error=%s", error)
            return None
        return UplinkDns(own.nameservers, own.search) if own else None

    async def _original(self) -> ResolvConf | None:
        own = await self._backend.original() if self._backend else None
        return own or await self._backends["file"].original()

    async def upstream(self) -> tuple[str, ...]:
        """Return the servers to ask for a tunnel's endpoint: those behind a resolver of the machine's own."""
        own = await self.original()
        servers = own.servers if own else ()
        if not any(map(is_local, servers)):
            return servers
        return upstream_of(servers, await self._behind())

    async def _behind(self) -> list[tuple[str, ...]]:
        try:
            told = await self._backend.behind() if self._backend else None
        except AutovpnError as error:  # files may name our own servers by now, so they are not asked instead
            log.warning("dns.unreadable error=%s", error)
            return []
        if told is not None:
            return [told]
        return await asyncio.to_thread(lambda: [servers_of(path).nameservers for path in UPSTREAMS])

    async def defend(self, wake: Callable[[], None]) -> None:
        """Answer what others change while a wish is in force; runs until cancelled."""
        await asyncio.gather(*(self._defend(backend, wake) for backend in self._backends.values()))

    async def _defend(self, backend: DnsBackend, wake: Callable[[], None]) -> None:
        """Answer what others change of one back end's.

        Where it can't be noticed (a full disk, no inotify watches left) it goes on after a pause: a back end tells at
        the start of its changes what it has missed.
        """
        pauses = _pauses()
        while True:
            try:
                async with aclosing(backend.changes()) as changes:
                    async for change in changes:
                        log.info("dns.changed why=%s", change.why)
                        await self._stand_up_to(backend)
                        wake()
                        pauses = _pauses()
            except (AutovpnError, OSError) as error:
                log.warning("dns.undefended error=%s", error)
                await asyncio.sleep(next(pauses))

    async def _stand_up_to(self, backend: DnsBackend) -> None:
        async with self._turn:
            if self._backend is backend:
                await self._answer()

    async def follow(self, path: Path, wake: Callable[[], None]) -> None:
        """Call `wake` whenever the machine's own DNS may have changed, for the rules that observe it."""
        watch = NameWatch(path)
        try:
            while True:
                await watch.disturbed()
                wake()
        finally:
            watch.close()

    async def _answer(self) -> None:
        """Apply the wish again; what goes wrong is in the receipt."""
        if self._wish is None or await self._is_answered_by_the_same(self._wish):
            return
        with suppress(AutovpnError):
            await self._apply(self._wish)

    async def _is_answered_by_the_same(self, wish: MachineDns) -> bool:
        """Have the back end in force apply the wish again; tell whether it had an answer.

        A foreign change may take away the very fact that chose it, and another one would begin with a fresh budget
        where this one has yielded. The file was the last choice: it gives way to a service that is there by now.
        """
        if self._backend is None or self._backend is self._backends.get("file"):
            return False
        try:
            self._receipt = await self._backend.apply(wish)
        except AutovpnError:
            return False
        return True

    def standing(self) -> DnsStanding | None:
        """Return how our wish stands, None while there is none."""
        if self._receipt is None:
            return None
        receipt = self._receipt
        because = self._why[-1].removeprefix(f"{receipt.backend}: ") if self._why else ""
        return DnsStanding(receipt.backend, receipt.in_force, because, receipt.degraded, receipt.notes, self._why)

    async def choice(self) -> Choice:
        """Return which back end would be used now, and why: for the wish that stands, else for one for all names."""
        try:
            return await self._chosen(self._wish or ANY_WISH)
        except AutovpnError as error:
            return Choice(None, (str(error),), refused=True)


def _unapplied(dns: MachineDns, choice: Choice) -> Receipt:
    """Return what is to be said where no back end is chosen."""
    return Receipt("none", in_force=not dns.is_wanted, degraded=choice.why[-1] if choice.refused else "")


async def _revert_all(backends: Iterable[DnsBackend]) -> Outcome:
    """Have each undo what is left of it; one that can't does not keep the others from it, and is told at the end."""
    outcomes: list[Outcome] = []
    failures: list[AutovpnError] = []
    for backend in backends:
        try:
            outcomes.append(await backend.revert())
        except AutovpnError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return Outcome(all(outcome.clean for outcome in outcomes), tuple(why for one in outcomes for why in one.why))


async def _revert_what_can_be(backends: Iterable[DnsBackend]) -> None:
    """Have each undo what is left of it; what can't be undone is undone by a later `revert`, and keeps none waiting."""
    try:
        await _revert_all(backends)
    except AutovpnError as error:
        log.warning("dns.left error=%s", error)


def _pauses() -> Iterator[float]:
    """Give the seconds to wait after one failure upon another."""
    pause = SHORTEST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)
