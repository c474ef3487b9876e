"""The machine's DNS: the back end that fits, its standing, and its defence against others."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autovpn.core.dnschoice import DnsWish, MachineDns, merge
from autovpn.core.dnsfacts import DnsFacts
from autovpn.core.network import UplinkDns
from autovpn.daemon.resolver import MachineResolver
from autovpn.errors import Refused
from tests.daemon.fake_backend import FakeBackend
from tests.daemon.fake_kernel import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WISH = merge([DnsWish("campus", "av0", ("10.8.0.1",))])


class Resolving:
    """A resolver over one back end, and how often it woke the loop."""

    def __init__(self, forced: str = "file") -> None:
        self.backend = FakeBackend()
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
