"""The machine's DNS: the back end that fits, its standing, and its defence against others."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autovpn.core.dnschoice import DnsWish, MachineDns, merge
from autovpn.core.dnsfacts import DnsFacts, FileFacts, Flavour, OriginalFacts, ResolvconfFacts
from autovpn.core.dnsstanding import Kind
from autovpn.core.network import UplinkDns
from autovpn.core.resolvconf import ResolvConf
from autovpn.daemon.resolver import MachineResolver
from autovpn.dns.backend import Receipt
from autovpn.errors import Refused, StepFailed
from tests.daemon.fake_backend import FakeBackend
from tests.daemon.fake_kernel import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

WISH = merge([DnsWish("campus", "av0", ("10.8.0.1",))])


class Resolving:
    """A resolver over one back end, and how often it woke the loop."""

    def __init__(self, forced: str = "file") -> None:
        self.backend, self.file = FakeBackend(), FakeBackend()
        self.resolver = MachineResolver({"file": self.backend}, self.backend.facts, lambda: forced)
        self.woken = asyncio.Event()

    @asynccontextmanager
    async def defended(self) -> AsyncIterator[None]:
        task = asyncio.get_running_loop().create_task(self.resolver.defend(self.woken.set))
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def disturb(self, why: str = "dhcpcd wrote it") -> None:
        """Have somebody else write, and return when the loop was told."""
        self.woken.clear()
        self.backend.others.put_nowait(why)
        await self.woken.wait()


async def test_a_wish_is_applied_and_said() -> None:
    made = Resolving()
    assert made.resolver.standing() is None
    await made.resolver.apply(WISH)
    standing = made.resolver.standing()

    assert made.backend.applied == [WISH]
    assert standing is not None
    assert (standing.backend, standing.in_force) == ("file", True)
    assert standing.why == ("dns.backend = file", "file: /etc/resolv.conf may be swapped")
    assert standing.standing == "/etc/resolv.conf may be swapped"


async def test_a_back_end_that_this_version_lacks_is_refused_and_said() -> None:
    made = Resolving(forced="resolved")
    receipt = await made.resolver.apply(WISH)
    standing = made.resolver.standing()

    assert (receipt.backend, receipt.in_force) == ("none", False)
    assert standing is not None
    assert "no back end named resolved" in standing.degraded
    assert made.backend.applied == []


async def test_when_the_choice_changes_the_old_back_end_is_undone() -> None:
    forced = ["file"]
    made = Resolving()
    resolver = MachineResolver({"file": made.backend}, made.backend.facts, lambda: forced[0])
    await resolver.apply(WISH)
    forced[0] = "resolved"
    await resolver.apply(WISH)

    assert made.backend.reverts == 1


async def test_the_choice_is_told_before_anything_is_wished_and_where_it_cannot_be_made() -> None:
    made = Resolving(forced="auto")
    choice = await made.resolver.choice()
    assert (choice.backend, choice.why) == ("file", ("file: /etc/resolv.conf may be swapped",))

    async def unreadable() -> DnsFacts:
        raise Refused("/etc/resolv.conf", "is a folder")

    choice = await MachineResolver({"file": made.backend}, unreadable, lambda: "auto").choice()
    assert (choice.backend, choice.why) == (None, ("/etc/resolv.conf: is a folder",))


async def test_one_back_end_that_cannot_be_undone_does_not_keep_the_others_from_it() -> None:
    stuck, other = FakeBackend("resolved"), FakeBackend()
    stuck.stuck = Refused("tun0", "is managed")
    resolver = MachineResolver({"resolved": stuck, "file": other}, other.facts, lambda: "auto")
    with pytest.raises(Refused, match="tun0"):
        await resolver.revert()

    assert other.reverts == 1


async def test_what_was_given_back_is_not_put_in_force_again_though_something_is_left() -> None:
    made = Resolving()
    await made.resolver.apply(WISH)
    made.backend.stuck = Refused("/etc/resolv.conf", "is immutable")
    with pytest.raises(Refused, match="immutable"):
        await made.resolver.revert()
    async with made.defended():
        await made.disturb()

    assert made.backend.applied == [WISH]
    assert made.resolver.standing() is None


async def test_an_old_back_end_that_cannot_be_undone_does_not_keep_the_new_one_from_serving() -> None:
    old, file = FakeBackend("openresolv"), FakeBackend()
    resolver = MachineResolver({"openresolv": old, "file": file}, openresolvs(old), lambda: "auto")
    await resolver.apply(WISH)
    old.stuck = old.refuses = StepFailed("dns", "resolvconf: did not end in time")
    resolver._forced = lambda: "file"
    receipt = await resolver.apply(WISH)

    assert (receipt.backend, receipt.in_force, file.applied) == ("file", True, [WISH])


async def test_an_idle_back_end_that_hangs_does_not_keep_a_wish_from_being_taken_over() -> None:
    stuck, file = FakeBackend("resolved"), FakeBackend()
    stuck.stuck = StepFailed("dns", "org.freedesktop.resolve1: no answer")
    resolver = MachineResolver({"resolved": stuck, "file": file}, file.facts, lambda: "file")
    await resolver.resume(WISH)
    standing = resolver.standing()

    assert standing is not None
    assert (standing.backend, standing.in_force) == ("file", True)


async def test_whom_a_resolver_asks_is_unknown_where_its_back_end_cannot_tell() -> None:
    made = Resolving()
    await made.resolver.apply(WISH)

    async def own() -> ResolvConf:
        return ResolvConf(nameservers=("127.0.0.53",))

    async def behind() -> tuple[str, ...]:
        raise StepFailed("dns", "org.freedesktop.resolve1: no answer")

    made.backend.original, made.backend.behind = own, behind  # type: ignore[method-assign]

    assert await made.resolver.upstream() == ("127.0.0.53",)


async def test_a_back_end_in_force_is_told_that_the_network_changed() -> None:
    made = Resolving()
    await made.resolver.apply(WISH)
    await made.resolver.reconsider()

    assert (made.backend.looks, made.backend.applied) == (1, [WISH])


async def test_what_another_back_end_of_a_dead_daemon_left_is_undone_before_the_wish_is_taken_over() -> None:
    other, file = FakeBackend("resolved"), FakeBackend()
    await MachineResolver({"resolved": other, "file": file}, file.facts, lambda: "file").resume(WISH)

    assert (other.reverts, file.reverts) == (1, 0)


async def test_no_wish_is_nothing_in_force_and_nothing_wrong() -> None:
    receipt = await Resolving().resolver.apply(MachineDns())

    assert (receipt.backend, receipt.in_force, receipt.degraded) == ("none", True, "")


async def test_reverting_undoes_every_back_end_and_says_what_else_was_found() -> None:
    made = Resolving()
    await made.resolver.apply(WISH)
    made.backend.drift = True
    outcome = await made.resolver.revert()

    assert (outcome.clean, outcome.why) == (False, ("somebody wrote it",))
    assert made.resolver.standing() is None


class TestResume:
    async def test_what_is_still_in_force_is_left_as_it_is(self) -> None:
        made = Resolving()
        await made.resolver.resume(WISH)
        standing = made.resolver.standing()

        assert made.backend.applied == []
        assert standing is not None
        assert standing.in_force

    async def test_what_is_not_is_mended(self) -> None:
        made = Resolving()
        made.backend.drift = True
        await made.resolver.resume(WISH)

        assert made.backend.applied == [WISH]

    async def test_what_no_back_end_can_do_any_more_is_said(self) -> None:
        made = Resolving(forced="resolved")
        await made.resolver.resume(WISH)
        standing = made.resolver.standing()

        assert standing is not None
        assert not standing.in_force

    async def test_without_a_wish_whatever_is_left_of_us_is_undone(self) -> None:
        """The record of it may be lost: the file tells by itself."""
        made = Resolving()
        await made.resolver.resume(MachineDns())

        assert made.resolver.standing() is None
        assert made.backend.reverts == 1


class TestOriginal:
    async def test_it_is_the_machines_own(self) -> None:
        assert await Resolving().resolver.original() == UplinkDns(("192.0.2.53",), ("home.example",))

    async def test_what_cannot_be_read_is_unknown(self) -> None:
        made = Resolving()
        made.backend.refuses = Refused("/etc/resolv.conf", "is a folder")

        assert await made.resolver.original() is None


def openresolvs(backend: FakeBackend) -> Callable[[], Awaitable[DnsFacts]]:
    """Return the facts of a machine whose resolv.conf is openresolv's until another program has written it."""

    async def facts() -> DnsFacts:
        line = "# Generated by dhcpcd" if backend.drift else "# Generated by resolvconf"
        file = FileFacts("/etc/resolv.conf", Kind.FILE)
        return DnsFacts(
            file, OriginalFacts(first_line=line), resolvconf=ResolvconfFacts(Flavour.OPENRESOLV, "/sbin/resolvconf")
        )

    return facts


class Yielding(FakeBackend):
    """A back end that gives in where another program has written."""

    async def apply(self, dns: MachineDns) -> Receipt:
        if self.drift:
            return Receipt(self.name, in_force=False, degraded="another program rewrote it")
        return await super().apply(dns)


class TestTheBackEndInForceAnswersFirst:
    """A foreign write takes away the fact that chose it: choosing anew would fight on with a fresh budget."""

    def made(self) -> Resolving:
        made = Resolving(forced="auto")
        made.backend = Yielding("openresolv")
        made.file = FakeBackend()
        backends = {"openresolv": made.backend, "file": made.file}
        made.resolver = MachineResolver(backends, openresolvs(made.backend), lambda: "auto")
        return made

    async def test_one_that_yields_is_not_followed_by_another(self) -> None:
        made = self.made()
        await made.resolver.apply(WISH)
        made.backend.drift = True
        async with made.defended():
            await made.disturb()
        await made.resolver.reconsider()
        standing = made.resolver.standing()

        assert standing is not None
        assert (standing.backend, standing.in_force) == ("openresolv", False)
        assert standing.degraded == "another program rewrote it"
        assert made.file.applied == []

    async def test_one_that_fails_is(self) -> None:
        made = self.made()
        await made.resolver.apply(WISH)
        made.backend.drift = True
        made.backend.apply = fails  # type: ignore[method-assign,assignment]
        async with made.defended():
            await made.disturb()
        standing = made.resolver.standing()

        assert standing is not None
        assert (standing.backend, standing.in_force, made.file.applied) == ("file", True, [WISH])


async def fails(_dns: MachineDns) -> Receipt:
    raise StepFailed("dns", "resolvconf: is not installed any more")


class TestDefence:
    async def test_a_wish_that_somebody_overwrote_is_put_in_force_again(self) -> None:
        made = Resolving()
        await made.resolver.apply(WISH)
        async with made.defended():
            await made.disturb()

        assert made.backend.applied == [WISH, WISH]

    async def test_without_a_wish_others_may_write_what_they_like(self) -> None:
        made = Resolving()
        async with made.defended():
            await made.disturb()

        assert made.backend.applied == []

    async def test_a_defence_that_is_refused_is_said_and_goes_on(self) -> None:
        made = Resolving()
        await made.resolver.apply(WISH)
        async with made.defended():
            made.backend.refuses = Refused("/etc/resolv.conf", "is immutable")
            await made.disturb()
            standing = made.resolver.standing()
            assert standing is not None
            assert (standing.in_force, standing.degraded) == (False, "/etc/resolv.conf: is immutable")
            made.backend.refuses = None
            await made.disturb()
            standing = made.resolver.standing()
            assert standing is not None
            assert standing.in_force


@pytest.mark.parametrize("change", ["write", "rename", "remove"])
def test_a_changed_file_wakes_the_rules_that_observe_it(tmp_path: Path, change: str) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.1\n")

    async def story() -> None:
        made = Resolving()
        task = asyncio.get_running_loop().create_task(made.resolver.follow(path, made.woken.set))
        await asyncio.sleep(0)  # the watch is made before its task waits for the first time
        await asyncio.to_thread(disturb)
        await asyncio.wait_for(made.woken.wait(), 10.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def disturb() -> None:
        match change:
            case "write":
                path.write_text("nameserver 192.0.2.2\n")
            case "rename":
                (tmp_path / "new").write_text("nameserver 192.0.2.3\n")
                (tmp_path / "new").rename(path)
            case _:
                path.unlink()

    in_virtual_time(story())
