"""The machine's DNS is defended while a wish stands, whatever goes wrong meanwhile, and never after it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from autovpn.core.dnschoice import DnsWish, MachineDns, merge
from autovpn.core.dnsfacts import DnsFacts, FileFacts
from autovpn.core.dnsstanding import Kind
from autovpn.core.resolvconf import ResolvConf
from autovpn.daemon import resolver as module
from autovpn.daemon.resolver import MachineResolver
from autovpn.dns.backend import DnsBackend, DnsChanged, Drift, Outcome, Receipt
from autovpn.errors import AutovpnError, Refused, StepFailed, SystemFault

WORK = merge([DnsWish("work", "tun0", ("10.0.0.1",))])
LATER = merge([DnsWish("work", "tun0", ("10.0.0.2",))])
IMMUTABLE = Refused("/etc/resolv.conf", "it is immutable", "chattr -i it")
FULL = StepFailed("dns", "the disk is full")


class FailingBackend(DnsBackend):
    """A file that fails when told to, and news of it that fail too. While the gate is shut, nothing can be chosen."""

    name = "file"

    def __init__(self) -> None:
        self.in_force: MachineDns | None = None
        self.failures: list[AutovpnError] = []
        self.news: asyncio.Queue[str | Exception] = asyncio.Queue()
        self.servers: tuple[str, ...] = ()
        self.applies = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def facts(self) -> DnsFacts:
        await self.gate.wait()
        return DnsFacts(FileFacts("/etc/resolv.conf", Kind.FILE))

    async def original(self) -> ResolvConf:
        return ResolvConf(self.servers)

    async def apply(self, dns: MachineDns) -> Receipt:
        self.applies += 1
        if self.failures:
            raise self.failures.pop(0)
        self.in_force = dns
        return Receipt("file", in_force=True)

    async def revert(self) -> Outcome:
        self.in_force = None
        return Outcome(clean=True)

    async def verify(self, dns: MachineDns) -> Drift | None:
        return None if dns == self.in_force else Drift("another")

    async def changes(self) -> AsyncGenerator[DnsChanged, None]:
        while True:
            news = await self.news.get()
            if isinstance(news, Exception):
                raise news
            self.in_force = None
            yield DnsChanged(news)


@pytest.fixture
def backend() -> FailingBackend:
    return FailingBackend()


@pytest.fixture
def resolver(backend: FailingBackend) -> MachineResolver:
    return MachineResolver({"file": backend}, backend.facts, lambda: "file")


@asynccontextmanager
async def defended(resolver: MachineResolver, backend: FailingBackend) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Have the resolver defend itself; the block gets what waits for its next answer."""
    answered = asyncio.Event()
    defence = asyncio.create_task(resolver.defend(answered.set))

    async def answer() -> None:
        await asyncio.wait_for(answered.wait(), 10)
        answered.clear()

    try:
        yield answer
    finally:
        defence.cancel()
        with suppress(asyncio.CancelledError, AutovpnError, OSError):
            await defence


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("error", [FULL, SystemFault("no inotify watches are left"), OSError(5, "Input/output error")])
async def test_an_error_does_not_end_the_defence(
    resolver: MachineResolver, backend: FailingBackend, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(module, "SHORTEST_PAUSE", 0.001)
    await resolver.apply(WORK)
    async with defended(resolver, backend) as answer:
        for _ in range(3):
            backend.news.put_nowait(error)
            backend.news.put_nowait("rewritten")
            await answer()
            assert backend.in_force == WORK


async def test_an_answer_that_fails_is_given_at_the_next_change(
    resolver: MachineResolver, backend: FailingBackend
) -> None:
    await resolver.apply(WORK)
    async with defended(resolver, backend) as answer:
        backend.failures.append(IMMUTABLE)
        backend.news.put_nowait("rewritten")
        await answer()
        standing = resolver.standing()
        assert standing
        assert (standing.in_force, "immutable" in standing.degraded) == (False, True)
        backend.news.put_nowait("rewritten")
        await answer()
        assert backend.in_force == WORK


async def test_a_refused_wish_is_tried_again_when_something_changed(
    resolver: MachineResolver, backend: FailingBackend
) -> None:
    backend.failures.append(IMMUTABLE)
    with pytest.raises(Refused):
        await resolver.apply(WORK)
    assert "immutable" in str(resolver.standing())

    await resolver.reconsider()

    assert backend.in_force == WORK
    standing = resolver.standing()
    assert standing
    assert standing.in_force


async def test_a_wish_that_failed_leaves_the_one_before_it_standing(
    resolver: MachineResolver, backend: FailingBackend
) -> None:
    """Its step is undone, so the journal knows of the older one alone."""
    await resolver.apply(WORK)
    backend.failures.append(FULL)
    with pytest.raises(StepFailed):
        await resolver.apply(LATER)

    await resolver.reconsider()

    assert (backend.in_force, backend.applies) == (WORK, 3)


async def test_what_is_in_force_is_not_applied_again_and_what_is_gone_never(
    resolver: MachineResolver, backend: FailingBackend
) -> None:
    await resolver.apply(WORK)
    await resolver.reconsider()
    assert backend.applies == 1
    await resolver.revert()
    await resolver.reconsider()
    assert backend.in_force is None


async def test_an_answer_under_way_does_not_come_after_the_revert(
    resolver: MachineResolver, backend: FailingBackend
) -> None:
    await resolver.apply(WORK)
    async with defended(resolver, backend) as answer:
        backend.gate.clear()
        backend.news.put_nowait("rewritten")
        await settle()  # the answer waits at the gate
        revert = asyncio.create_task(resolver.revert())
        await settle()
        backend.gate.set()
        await answer()
        await revert
        assert backend.in_force is None


@pytest.mark.parametrize("known", [("systemd",), ("nm",), ("systemd", "nm"), ()])
async def test_the_endpoint_is_asked_of_the_servers_behind_a_local_resolver(
    resolver: MachineResolver,
    backend: FailingBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    known: tuple[str, ...],
) -> None:
    servers = {"systemd": "192.0.2.1", "nm": "192.0.2.2"}
    for name in known:
        await asyncio.to_thread((tmp_path / name).write_text, f"# by {name}\nnameserver {servers[name]}\n")
    monkeypatch.setattr(module, "UPSTREAMS", (tmp_path / "systemd", tmp_path / "nm"))

    backend.servers = ("198.51.100.1",)
    assert await resolver.upstream() == ("198.51.100.1",)
    backend.servers = ("127.0.0.53",)
    assert await resolver.upstream() == (servers[known[0]] if known else "127.0.0.53",)
