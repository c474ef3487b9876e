"""The back end of NetworkManager, against one in memory on a real bus; the real one is in the netns tier."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from dbus_next.signature import Variant

from autovpn.core.dnschoice import DnsWish, MachineDns
from autovpn.core.dnsfacts import NetworkManagerFacts
from autovpn.core.resolvconf import ResolvConf, parse
from autovpn.dns.networkmanager_service import NAME
from autovpn.errors import AutovpnError, StepFailed, SystemFault
from autovpn.system.bus import UNKNOWN_METHOD, Bus, BusFault
from autovpn.system.files import Disk
from tests.dns.fake_networkmanager import OWN, FakeNetworkManager
from tests.dns.scene import FOREIGN, LONGER, SHORTER, WORK, Plug, PowerCutError, dns
from tests.system.private_bus import bus_daemon, on_the_bus, stray_bus

pytestmark = pytest.mark.dbus

DROP_IN = """[global-dns]
searches=corp.example

[global-dns-domain-*]
servers=10.0.0.1,10.0.0.2
"""
SPLIT = DnsWish("corp", "tun1", ("10.9.0.1",), domains=("corp.example",))


@pytest.fixture
async def stopped(fast_path: Path) -> AsyncIterator[FakeNetworkManager]:
    """Give a machine whose NetworkManager does not run."""
    with bus_daemon(fast_path) as socket:
        machine = FakeNetworkManager(fast_path / "machine", socket)
        yield machine
        machine.bus.close()


@pytest.fixture
async def there(stopped: FakeNetworkManager) -> AsyncIterator[FakeNetworkManager]:
    """Give one whose NetworkManager runs."""
    async with on_the_bus(stopped.socket, stopped.service):
        yield stopped


def reloads(there: FakeNetworkManager) -> list[list[object]]:
    """Return the flags of each Reload so far."""
    return [body for member, body in there.service.calls if member == "Reload"]


class TestInForce:
    async def test_a_drop_in_is_written_and_read_and_libc_asks_ours_alone(self, there: FakeNetworkManager) -> None:
        backend = there.backend()

        receipt = await backend.apply(dns(WORK))

        assert (receipt.in_force, receipt.degraded, receipt.notes) == (True, "", ())
        assert there.drop_in.read_text() == DROP_IN
        assert there.drop_in.stat().st_mode & 0o777 == 0o644
        assert reloads(there) == [[3]]  # the configuration, and resolv.conf anew
        assert parse(there.path.read_bytes()) == ResolvConf(WORK.servers, WORK.search)
        assert await backend.verify(dns(WORK)) is None

    async def test_without_search_domains_none_is_written(self, there: FakeNetworkManager) -> None:
        assert (await there.backend().apply(dns(SHORTER))).in_force

        assert there.drop_in.read_text() == "[global-dns]\n\n[global-dns-domain-*]\nservers=10.0.0.5\n"
        assert parse(there.path.read_bytes()) == ResolvConf(SHORTER.servers)

    async def test_another_wish_is_drift_that_applying_mends(self, there: FakeNetworkManager) -> None:
        backend = there.backend()
        await backend.apply(dns(WORK))
        drift = await backend.verify(dns(LONGER))
        assert drift
        assert drift.why == f"{there.drop_in}: is another one"

        await backend.apply(dns(LONGER))

        assert await backend.verify(dns(LONGER)) is None

    async def test_a_drop_in_that_is_gone_is_drift(self, there: FakeNetworkManager) -> None:
        backend = there.backend()
        await backend.apply(dns(WORK))
        there.drop_in.unlink()

        drift = await backend.verify(dns(WORK))

        assert drift
        assert drift.why == f"{there.drop_in}: is gone"

    async def test_one_that_answers_and_writes_nothing_is_seen_through(self, there: FakeNetworkManager) -> None:
        there.writes = False

        receipt = await there.backend().apply(dns(WORK))

        assert not receipt.in_force
        assert receipt.degraded == f"{there.path}: 10.0.0.1 is not among the servers that are asked"

    async def test_split_dns_is_refused_in_words_and_never_widened(self, there: FakeNetworkManager) -> None:
        receipt = await there.backend().apply(dns(SPLIT))

        assert not receipt.in_force
        assert "DNS for corp.example alone" in receipt.degraded
        assert there.path.read_text() == OWN

    async def test_the_machines_own_dns_is_that_of_its_primary_connection(self, there: FakeNetworkManager) -> None:
        backend = there.backend()
        assert await backend.original() is None  # resolv.conf tells
        await backend.apply(dns(WORK))

        assert await backend.original() == ResolvConf(("192.0.2.53", "2001:db8::53"), ("lan.example",))

        there.primary = "/"
        assert await backend.original() == ResolvConf()

    async def test_ours_is_never_taken_for_the_machines_own_while_it_does_not_run(
        self, there: FakeNetworkManager
    ) -> None:
        backend = there.backend()
        await backend.apply(dns(WORK))
        known = await backend.original()
        await there.service.stop()

        assert known
        assert await backend.original() == known
        with pytest.raises(SystemFault, match="does not run"):
            await there.backend().original()

    @pytest.mark.parametrize("what", ["its servers", "its connection"])
    async def test_dns_of_its_connections_that_makes_no_sense_is_a_fault(
        self, there: FakeNetworkManager, what: str
    ) -> None:
        if what == "its servers":
            there.properties[f"{NAME}.IP6Config"] = {"Nameservers": Variant("aay", [b"three"])}
        else:
            there.properties[f"{NAME}.Connection.Active"]["Ip4Config"] = Variant("i", 4)
        there.drop_in.write_text(DROP_IN)

        with pytest.raises(BusFault, match="makes no sense"):
            await there.backend().original()


class TestGivingBack:
    async def test_another_process_gives_the_machine_back_as_it_was(self, there: FakeNetworkManager) -> None:
        await there.backend().apply(dns(WORK))

        for _ in range(2):
            assert (await there.backend().revert()).clean

        assert there.path.read_text() == OWN
        assert not there.drop_in.exists()
        assert len(reloads(there)) == 2

    async def test_giving_back_for_nothing_asks_nobody(self, there: FakeNetworkManager) -> None:
        assert (await there.backend().revert()).clean
        assert there.service.calls == []

    async def test_no_wish_left_is_giving_back(self, there: FakeNetworkManager) -> None:
        backend = there.backend()
        await backend.apply(dns(WORK))
        drift = await backend.verify(MachineDns())
        assert drift
        assert drift.why == f"{there.drop_in}: is still there"

        assert (await backend.apply(MachineDns())).in_force

        assert there.path.read_text() == OWN
        assert await backend.verify(MachineDns()) is None

    async def test_where_it_runs_no_more_taking_the_drop_in_out_is_all(self, stopped: FakeNetworkManager) -> None:
        stopped.drop_in.write_text(DROP_IN)

        assert (await stopped.backend().revert()).clean
        assert not stopped.drop_in.exists()

    async def test_without_a_bus_it_is_too(self, tmp_path: Path) -> None:
        there = FakeNetworkManager(tmp_path / "machine", tmp_path / "no-bus")
        there.drop_in.write_text(DROP_IN)

        assert (await there.backend().revert()).clean
        assert not there.drop_in.exists()

    async def test_while_the_bus_does_not_answer_the_drop_in_stays_for_the_next_try(self, tmp_path: Path) -> None:
        async with stray_bus(tmp_path) as socket:
            there = FakeNetworkManager(tmp_path / "machine", socket)
            there.bus = Bus(socket, deadline=0.2)
            there.drop_in.write_text(DROP_IN)

            with pytest.raises(SystemFault, match="no answer within"):
                await there.backend().revert()
            there.bus.close()

        assert there.drop_in.read_text() == DROP_IN

    @pytest.mark.parametrize("hangs", [False, True])
    async def test_one_that_can_not_be_told_is_told_by_the_next_try(
        self, there: FakeNetworkManager, hangs: bool
    ) -> None:
        await there.backend().apply(dns(WORK))
        there.fault, there.hangs = ("" if hangs else "org.freedesktop.NetworkManager.PermissionDenied"), hangs
        with pytest.raises(SystemFault, match="Reload"):
            await there.backend().revert()
        there.fault, there.hangs = "", False

        assert (await there.backend().revert()).clean

        assert there.path.read_text() == OWN
        assert not there.drop_in.exists()

    async def test_a_crash_at_any_change_and_another_in_the_recovery_leave_nothing(
        self, there: FakeNetworkManager
    ) -> None:
        """Every crash point of apply, of a change and of giving back, each with one of the recovery after it."""

        async def cut(work: str, at: int) -> bool:
            backend = there.backend(disk=Disk(Plug(at)))
            try:
                await (backend.revert() if work == "revert" else backend.apply(dns(LONGER)))
            except PowerCutError:
                return True
            return False

        tried = 0
        for work in ("apply", "change", "revert"):
            first, was_cut = 0, True
            while was_cut:
                second, recovery_was_cut = 0, True
                while recovery_was_cut:
                    if work != "apply":
                        await there.backend().apply(dns(WORK))
                    was_cut = await cut(work, first)
                    recovery_was_cut = await cut("revert", second)
                    assert (await there.backend().revert()).clean
                    assert there.path.read_text() == OWN, (work, first, second)
                    assert [*(there.root / "run" / "conf.d").iterdir()] == [], (work, first, second)
                    second, tried = second + 1, tried + 1
                first += 1
        assert tried > 60


class TestFailures:
    async def test_one_before_1_22_is_told_so_and_all_is_undone(self, there: FakeNetworkManager) -> None:
        there.fault = UNKNOWN_METHOD

        with pytest.raises(StepFailed, match=r"needs its version 1\.22"):
            await there.backend().apply(dns(WORK))

        assert there.path.read_text() == OWN
        assert b"servers" not in there.drop_in.read_bytes()  # nor does it name any when it is started anew

    async def test_one_that_does_not_answer_is_an_error(self, there: FakeNetworkManager) -> None:
        there.hangs = True

        with pytest.raises(AutovpnError, match="no answer within"):
            await there.backend().apply(dns(WORK))

        assert there.path.read_text() == OWN

    async def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_nothing(
        self, there: FakeNetworkManager
    ) -> None:
        def full(what: str) -> None:
            if what == "write":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with pytest.raises(StepFailed, match=rf"{there.drop_in}: No space left on device"):
            await there.backend(disk=Disk(full)).apply(dns(WORK))

        assert there.path.read_text() == OWN
        assert (await there.backend().revert()).clean
        assert [*(there.root / "run" / "conf.d").iterdir()] == []


class TestFacts:
    async def test_what_it_says_of_itself_and_that_resolv_conf_is_its_own(self, there: FakeNetworkManager) -> None:
        expected = NetworkManagerFacts(
            answers=True, version="1.42.4", mode="default", rc_manager="file", writes_file=True
        )

        assert await there.backend().facts() == expected
        await there.backend().apply(dns(WORK))
        assert await there.backend().facts() == expected  # our own drop-in is not the user's

    async def test_a_symlink_to_its_copy_is_its_own_and_another_text_is_not(self, there: FakeNetworkManager) -> None:
        there.path.write_text(FOREIGN)
        assert not (await there.backend().facts()).writes_file

        there.path.unlink()
        there.path.symlink_to("../run/resolv.conf")
        (there.root / "run" / "resolv.conf").unlink()  # not written yet
        assert (await there.backend().facts()).writes_file

    @pytest.mark.parametrize("where", ["etc/main.conf", "etc/conf.d/mine.conf", "run/conf.d/x.conf", "var/intern.conf"])
    @pytest.mark.parametrize("group", ["[global-dns]", "[global-dns-domain-*]", "[.intern.global-dns]"])
    async def test_a_global_dns_of_the_user_is_told_with_its_file(
        self, there: FakeNetworkManager, where: str, group: str
    ) -> None:
        (there.root / where).write_text(f"[main]\n{group}\n")

        assert (await there.backend().facts()).global_dns == str(there.root / where)

    async def test_one_that_does_not_run_is_not_started_by_being_asked(self, stopped: FakeNetworkManager) -> None:
        assert await stopped.backend().facts() == NetworkManagerFacts()

    async def test_one_that_does_not_answer_is_as_good_as_none(self, there: FakeNetworkManager) -> None:
        there.silent = True

        assert await there.backend().facts() == NetworkManagerFacts()


class TestConflicts:
    async def test_three_foreign_changes_in_a_minute_are_answered_and_the_fourth_is_not(
        self, there: FakeNetworkManager
    ) -> None:
        backend = there.backend(clock=lambda: 0.0)
        await backend.apply(dns(WORK))
        for _ in range(3):
            there.path.write_text(FOREIGN)
            assert (await backend.apply(dns(WORK))).in_force
        there.path.write_text(FOREIGN)

        receipt = await backend.apply(dns(WORK))

        assert not receipt.in_force
        assert receipt.degraded == f"{there.path}: is rewritten by another program (4 times in 60 s)"

    async def test_a_foreign_change_is_told_once_it_has_settled(self, there: FakeNetworkManager) -> None:
        backend = there.backend()
        await backend.apply(dns(WORK))
        async with aclosing(backend.changes()) as changes:
            told = asyncio.ensure_future(anext(changes))

            there.path.write_text(FOREIGN)

            assert (await told).why == f"{there.path}: 10.0.0.1 is not among the servers that are asked"
