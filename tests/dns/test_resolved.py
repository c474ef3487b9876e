"""systemd-resolved is told in its own order, and what it was told is defended, taken back, and found after a crash."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from dbus_next.signature import Variant

from autovpn.core.dnschoice import DnsWish, MachineDns, merge
from autovpn.core.dnsfacts import ResolvedFacts
from autovpn.core.resolvconf import ResolvConf
from autovpn.dns import resolved_calls
from autovpn.dns.backend import Receipt
from autovpn.dns.resolved import UNREACHABLE, ResolvedBackend
from autovpn.dns.resolved_delegates import Delegates
from autovpn.dns.resolved_facts import resolved_facts
from autovpn.errors import Refused, StepFailed
from autovpn.system.bus import UNKNOWN_METHOD, Bus, BusFault
from tests.dns.fake_resolved import EMPTY, FakeResolved
from tests.system.private_bus import Error, FakeService, bus_daemon

pytestmark = pytest.mark.dbus

TUN0, WG0 = 7, 12
WORK = merge([DnsWish("work", "tun0", ("10.0.0.1", "fd00::1"), search=("corp.example",))])
LAB = DnsWish("lab", "wg0", ("10.1.0.1",), search=("a.lab.example", "home.example"), domains=("lab.example",))
BOTH = merge([WORK.exclusive or LAB, LAB])
HOMELESS = merge([DnsWish("office", None, ("10.2.0.1",), domains=("office.example",))])
FD00 = socket.inet_pton(socket.AF_INET6, "fd00::1")


class Stage:
    """A bus with systemd-resolved on it, the machine's links, and our back end."""

    def __init__(self, folder: Path, bus: Path, links: dict[str, int]) -> None:
        self.folder = folder
        self.socket = bus
        self.links = links
        self.resolved = FakeResolved(TUN0, WG0)
        self.now = 0.0
        self._buses: list[Bus] = []

    def backend(self, on_conflict: str = "reapply") -> ResolvedBackend:
        """Return a back end that knows nothing but what is left on the machine."""
        bus = self.bus()
        delegates = Delegates(bus, self.folder / "delegates")
        made = ResolvedBackend(
            bus,
            self.folder / "run",
            delegates,
            path=self.folder / "resolv.conf",
            on_conflict=on_conflict,
            clock=lambda: self.now,
        )
        made.quiet = 0.01
        return made

    def bus(self) -> Bus:
        self._buses.append(Bus(self.socket, deadline=30.0))
        return self._buses[-1]

    @property
    def record(self) -> Path:
        return self.folder / "run" / "dns-resolved.json"

    def close(self) -> None:
        for bus in self._buses:
            bus.close()


@pytest.fixture
def bus_socket(tmp_path: Path) -> Iterator[Path]:
    with bus_daemon(tmp_path) as path:
        yield path


@pytest.fixture
async def stage(tmp_path: Path, bus_socket: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    links = {"tun0": TUN0, "wg0": WG0}
    made = Stage(tmp_path, bus_socket, links)

    def index_of(name: str) -> int:
        if name not in links:
            raise OSError(19, "no interface with this name")
        return links[name]

    def name_of(index: int) -> str:
        names = [name for name, number in links.items() if number == index]
        if not names:
            raise OSError(6, "no interface with this index")
        return names[0]

    monkeypatch.setattr(socket, "if_nametoindex", index_of)
    monkeypatch.setattr(socket, "if_indextoname", name_of)
    await made.resolved.start(bus_socket)
    yield made
    await made.resolved.stop()
    made.close()


async def test_all_names_domains_come_before_the_servers_that_they_draw_questions_to(stage: Stage) -> None:
    receipt = await stage.backend().apply(WORK)

    assert receipt == Receipt("resolved", in_force=True)
    assert stage.resolved.changes == [
        ("SetLinkDomains", [TUN0, [[".", True], ["corp.example", False]]]),
        ("SetLinkDefaultRoute", [TUN0, True]),
        ("SetLinkDNS", [TUN0, [[2, bytes([10, 0, 0, 1])], [10, FD00]]]),
        ("FlushCaches", []),
    ]


async def test_some_names_are_routed_and_no_other_search_domain_draws_more(stage: Stage) -> None:
    receipt = await stage.backend().apply(MachineDns(split=(LAB,)))

    assert stage.resolved.changes[:3] == [
        ("SetLinkDomains", [WG0, [["lab.example", True], ["a.lab.example", False]]]),
        ("SetLinkDefaultRoute", [WG0, False]),
        ("SetLinkDNS", [WG0, [[2, bytes([10, 1, 0, 1])]]]),
    ]
    assert receipt.notes == (
        "lab: search domain home.example is left out, since it is outside of 'domains'; add it there to use it",
    )


async def test_all_names_and_some_names_stand_side_by_side(stage: Stage) -> None:
    receipt = await stage.backend().apply(BOTH)

    assert receipt.in_force
    assert [index for index, link in stage.resolved.links.items() if link["DNS"]] == [TUN0, WG0]


async def test_what_is_not_wished_any_more_is_taken_back(stage: Stage) -> None:
    backend = stage.backend()
    await backend.apply(BOTH)
    await backend.apply(WORK)

    assert stage.resolved.links[WG0] == EMPTY
    assert await backend.verify(WORK) is None
    await backend.apply(MachineDns())
    assert stage.resolved.links[TUN0] == EMPTY
    assert not stage.record.exists()


async def test_a_newer_wish_that_fails_half_way_leaves_nothing_of_the_older_one(stage: Stage) -> None:
    backend = stage.backend()
    await backend.apply(BOTH)
    stage.resolved.errors["SetLinkDNS"] = "org.freedesktop.DBus.Error.InvalidArgs"
    with pytest.raises(StepFailed):
        await backend.apply(WORK)

    assert stage.resolved.links == {TUN0: EMPTY, WG0: EMPTY}


async def test_a_version_without_the_default_route_is_told_the_rest(stage: Stage) -> None:
    stage.resolved.errors["SetLinkDefaultRoute"] = UNKNOWN_METHOD
    stage.resolved.links[TUN0]["DefaultRoute"] = True
    receipt = await stage.backend().apply(WORK)

    assert receipt.in_force
    assert "older than version 240" in receipt.notes[0]


async def test_a_link_that_networkd_manages_is_refused_and_nothing_of_ours_is_left(stage: Stage) -> None:
    stage.resolved.errors["SetLinkDomains"] = "org.freedesktop.resolve1.LinkBusy"
    with pytest.raises(Refused, match=r"tun0: it is managed by systemd-networkd; add '\[Link\] Unmanaged=yes'"):
        await stage.backend().apply(WORK)

    assert not stage.record.exists()


@pytest.mark.parametrize("member", ["SetLinkDomains", "SetLinkDefaultRoute", "SetLinkDNS"])
async def test_a_change_that_fails_half_way_is_taken_back(stage: Stage, member: str) -> None:
    stage.resolved.errors[member] = "org.freedesktop.DBus.Error.InvalidArgs"
    with pytest.raises(StepFailed, match=r"tun0: org\.freedesktop\.resolve1"):
        await stage.backend().apply(WORK)

    assert stage.resolved.links[TUN0] == EMPTY
    assert not stage.record.exists()


async def test_a_service_that_hangs_fails_the_step_and_the_record_stays_for_who_can_reach_it(stage: Stage) -> None:
    stage.resolved.hangs = {"SetLinkDNS", "RevertLink"}
    with pytest.raises(StepFailed, match=r"SetLinkDNS: no answer within 30 s"):
        await stage.backend().apply(WORK)
    assert stage.record.exists()

    stage.resolved.hangs = set()
    assert (await stage.backend().revert()).clean
    assert stage.resolved.links[TUN0] == EMPTY


async def test_a_link_that_the_service_has_yet_to_learn_of_is_waited_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolved_calls, "PATIENCE", 30.0)
    stage.resolved.errors["SetLinkDomains"] = ["org.freedesktop.resolve1.NoSuchLink"] * 2
    receipt = await stage.backend().apply(WORK)

    assert receipt.in_force


async def test_a_link_that_it_never_learns_of_is_a_failure(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolved_calls, "PATIENCE", 0.0)
    stage.resolved.errors["SetLinkDomains"] = "org.freedesktop.resolve1.NoSuchLink"
    with pytest.raises(StepFailed, match="tun0"):
        await stage.backend().apply(WORK)


async def test_a_wish_whose_device_is_gone_does_not_take_the_others_down(stage: Stage) -> None:
    del stage.links["wg0"]
    receipt = await stage.backend().apply(BOTH)

    assert stage.resolved.links[TUN0]["DNS"]
    assert (receipt.in_force, receipt.degraded) == (False, "wg0: systemd-resolved does not know it")


@asynccontextmanager
async def defended(stage: Stage, backend: ResolvedBackend, dns: MachineDns = WORK) -> AsyncIterator[asyncio.Queue[str]]:
    """Apply `dns` and have its changes told, once they are listened to."""
    told: asyncio.Queue[str] = asyncio.Queue()

    async def listen() -> None:
        async with aclosing(backend.changes()) as changes:
            async for change in changes:
                told.put_nowait(change.why)

    await backend.apply(dns)
    task = asyncio.create_task(listen())
    stage.resolved.wipe(TUN0)  # also one that fell before the first look
    assert await asyncio.wait_for(told.get(), 10) == "tun0: another program changed its DNS"
    try:
        yield told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class TestDefence:
    async def test_a_link_that_another_program_wiped_is_set_again_but_not_for_ever(self, stage: Stage) -> None:
        backend = stage.backend()
        async with defended(stage, backend) as told:
            for _ in range(3):
                assert (await backend.apply(WORK)).in_force
                stage.resolved.wipe(TUN0)
                await asyncio.wait_for(told.get(), 10)
            receipt = await backend.apply(WORK)
            again = await backend.apply(WORK)

        assert receipt.degraded == "systemd-resolved: is rewritten by another program (4 times in 60 s)"
        assert again == receipt
        stage.now = 61.0
        assert (await backend.apply(WORK)).in_force

    async def test_who_asked_to_yield_yields_at_once(self, stage: Stage) -> None:
        backend = stage.backend(on_conflict="yield")
        async with defended(stage, backend):
            receipt = await backend.apply(WORK)

        assert "dns.on_conflict is 'yield'" in receipt.degraded
        assert stage.resolved.links[TUN0] == EMPTY

    async def test_a_service_that_was_restarted_is_told_again_and_that_is_no_fight(self, stage: Stage) -> None:
        backend = stage.backend(on_conflict="yield")
        async with defended(stage, backend) as told:
            stage.now = 61.0
            await stage.resolved.stop()
            while not told.empty():
                told.get_nowait()
            await stage.resolved.start(stage.socket)
            while "tun0" not in await asyncio.wait_for(told.get(), 10):
                pass
            assert (await backend.apply(WORK)).in_force

    async def test_a_service_that_does_not_come_back_is_told_of(self, stage: Stage) -> None:
        backend = stage.backend()
        backend.patience = 0.05
        async with defended(stage, backend) as told:
            await backend.apply(WORK)
            await stage.resolved.stop()
            assert "org.freedesktop.resolve1 GetAll: " in await asyncio.wait_for(told.get(), 10)

            with pytest.raises(StepFailed):  # so another back end is chosen
                await backend.apply(WORK)
            await stage.resolved.start(stage.socket)  # and this one is still there
            assert (await backend.apply(WORK)).in_force
            stage.resolved.wipe(TUN0)
            while "tun0" not in await asyncio.wait_for(told.get(), 10):
                pass

    async def test_a_bus_that_does_not_come_back_is_told_of_before_it_is_a_fault(self, stage: Stage) -> None:
        bus = stage.folder / "by-another-name"
        bus.symlink_to(stage.socket)
        stage.socket = bus
        backend = stage.backend()
        backend.patience = 0.05
        await backend.apply(WORK)
        stage.close()
        bus.unlink()
        async with aclosing(backend.changes()) as changes:
            assert "there is no D-Bus" in (await asyncio.wait_for(anext(changes), 10)).why
            with pytest.raises(BusFault, match="there is no D-Bus"):
                await anext(changes)

    async def test_a_changed_network_is_a_reason_to_look(self, stage: Stage) -> None:
        stage.resolved.is_mute = True
        backend = stage.backend()
        await backend.apply(WORK)
        async with aclosing(backend.changes()) as changes:
            change = asyncio.ensure_future(anext(changes))
            async with asyncio.timeout(10):  # the look of the apply itself, and the one with which the watch begins
                while len([member for member, _ in stage.resolved.calls if member == "GetAll"]) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            stage.resolved.wipe(TUN0)
            backend.look_again()

            assert (await asyncio.wait_for(change, 10)).why == "tun0: another program changed its DNS"

    async def test_what_a_daemon_before_us_applied_is_ours_to_defend(self, stage: Stage) -> None:
        await stage.backend().apply(WORK)
        heir = stage.backend()

        assert await heir.verify(WORK) is None
        async with aclosing(heir.changes()) as changes:
            stage.resolved.wipe(TUN0)
            assert "tun0" in (await asyncio.wait_for(anext(changes), 10)).why


class TestAfterACrash:
    async def test_all_that_was_told_is_taken_back(self, stage: Stage) -> None:
        await stage.backend().apply(BOTH)
        outcome = await stage.backend().revert()

        assert outcome.clean
        assert stage.resolved.links == {TUN0: EMPTY, WG0: EMPTY}
        assert not stage.record.exists()

    async def test_a_link_that_is_gone_took_its_settings_with_it(self, stage: Stage) -> None:
        await stage.backend().apply(WORK)
        stage.links.clear()
        stage.resolved.calls.clear()

        assert (await stage.backend().revert()).clean
        assert stage.resolved.calls == []
        assert not stage.record.exists()

    async def test_an_index_that_is_used_again_is_somebody_elses(self, stage: Stage) -> None:
        await stage.backend().apply(WORK)
        stage.links.clear()
        stage.links["eth1"] = TUN0
        settings = stage.resolved.links[TUN0]

        assert (await stage.backend().revert()).clean
        assert stage.resolved.links[TUN0] is settings

    async def test_without_the_service_the_link_is_named_until_it_is_gone(self, stage: Stage) -> None:
        await stage.backend().apply(WORK)
        await stage.resolved.stop()
        outcome = await stage.backend().revert()

        assert (outcome.clean, outcome.why) == (False, (f"tun0: {UNREACHABLE}",))
        stage.links.clear()
        assert (await stage.backend().revert()).clean

    async def test_a_link_that_the_service_has_forgotten_has_nothing_to_take_back(self, stage: Stage) -> None:
        await stage.backend().apply(WORK)
        stage.resolved.links.clear()

        assert (await stage.backend().revert()).clean

    @pytest.mark.parametrize("text", ["", "[1, 2", '{"boot": "another", "links": [[7, "tun0"]], "delegates": []}'])
    async def test_a_record_of_another_boot_or_of_nothing_is_nothing(self, stage: Stage, text: str) -> None:
        await stage.backend().apply(WORK)
        stage.record.write_text(text)
        stage.resolved.calls.clear()

        assert (await stage.backend().revert()).clean
        assert stage.resolved.calls == []

    async def test_where_nothing_was_told_nobody_is_asked(self, stage: Stage) -> None:
        assert (await stage.backend().revert()).clean
        assert stage.resolved.calls == []


async def test_a_record_that_cannot_be_kept_stops_the_change(stage: Stage) -> None:
    (stage.folder / "run").write_text("in the way")
    with pytest.raises(StepFailed, match="nothing was changed"):
        await stage.backend().apply(WORK)

    assert stage.resolved.changes == []


async def test_the_servers_of_the_uplinks_are_told_without_ours(stage: Stage) -> None:
    stage.resolved.links[2] = {**EMPTY, "DNS": [[2, bytes([192, 0, 2, 1])]]}
    backend = stage.backend()
    await backend.apply(WORK)

    assert await backend.behind() == ("192.0.2.1",)


class TestTheMachinesOwnDns:
    """What rules about the network look at; the stub file has our search domains, too."""

    @pytest.fixture
    def stub(self, stage: Stage) -> Stage:
        (stage.folder / "resolv.conf").write_text("nameserver 127.0.0.53\nsearch lan.example corp.example\n")
        stage.resolved.links[2] = {**EMPTY, "Domains": [["lan.example", False], ["route.example", True]]}
        return stage

    async def test_its_search_domains_are_those_of_the_other_links(self, stub: Stage) -> None:
        backend = stub.backend()
        await backend.apply(WORK)

        assert await backend.original() == ResolvConf(("127.0.0.53",), ("lan.example",))

    async def test_where_nothing_was_told_the_file_tells(self, stub: Stage) -> None:
        assert await stub.backend().original() is None
        assert stub.resolved.calls == []

    async def test_it_is_as_it_was_where_the_service_can_not_say(self, stub: Stage) -> None:
        backend = stub.backend()
        await backend.apply(WORK)
        known = await backend.original()
        stub.resolved.errors["Get"] = "org.freedesktop.DBus.Error.AccessDenied"

        assert await backend.original() == known
        with pytest.raises(StepFailed):  # but ours is never taken for the machine's
            await stub.backend().original()


class Systemd(FakeService):
    """PID 1, of some version."""

    def __init__(self, version: str = "258.1") -> None:
        super().__init__("org.freedesktop.systemd1", lambda message: self._answered(message.member))
        self.version = version

    def _answered(self, member: str | None) -> tuple[str, list[object]]:
        match member:
            case "Get":
                return "v", [Variant("s", self.version)]
            case "ReloadUnit":
                return "o", ["/job/1"]
            case _:
                raise Error(UNKNOWN_METHOD)


class TestWithoutADevice:
    async def test_a_delegate_is_written_read_and_removed(self, stage: Stage) -> None:
        systemd = Systemd()
        await systemd.start(stage.socket)
        backend = stage.backend()
        receipt = await backend.apply(HOMELESS)
        file = stage.folder / "delegates" / "autovpn-office.dns-delegate"

        assert receipt.in_force
        assert file.read_text().splitlines()[1:] == [
            "[Delegate]", "DNS=10.2.0.1", "Domains=~office.example", "DefaultRoute=no",
        ]  # fmt: skip
        assert systemd.calls == [("ReloadUnit", ["systemd-resolved.service", "replace"])]
        assert (await stage.backend().revert()).clean
        assert not file.exists()
        assert len(systemd.calls) == 2
        await systemd.stop()

    async def test_one_that_was_removed_is_noticed(self, stage: Stage) -> None:
        systemd = Systemd()
        await systemd.start(stage.socket)
        backend = stage.backend()
        await backend.apply(HOMELESS)
        (stage.folder / "delegates" / "autovpn-office.dns-delegate").unlink()
        drift = await backend.verify(HOMELESS)

        assert drift
        assert drift.why == "the delegate of office is gone"
        await systemd.stop()

    async def test_without_systemd_it_fails_and_leaves_no_file(self, stage: Stage) -> None:
        with pytest.raises(StepFailed, match="ReloadUnit"):
            await stage.backend().apply(HOMELESS)

        assert list((stage.folder / "delegates").iterdir()) == []


class TestFacts:
    @pytest.mark.parametrize(("version", "number"), [("252.39-1~deb12u2", 252), ("v249.1", 249), ("nightly", 0)])
    async def test_version_and_networkds_links_are_known(self, stage: Stage, version: str, number: int) -> None:
        systemd = Systemd(version)
        await systemd.start(stage.socket)
        links = stage.folder / "links"
        links.mkdir()
        (links / str(TUN0)).write_text("ADMIN_STATE=configured\nOPER_STATE=routable\n")
        (links / str(WG0)).write_text("ADMIN_STATE=unmanaged\n")
        (links / "99").write_text("ADMIN_STATE=configured\n")  # gone since
        facts = await resolved_facts(stage.bus(), links)

        assert facts == ResolvedFacts(answers=True, version=number, managed=frozenset({"tun0"}))
        await systemd.stop()

    async def test_without_systemd_on_the_bus_the_version_is_unknown(self, stage: Stage) -> None:
        assert await resolved_facts(stage.bus(), stage.folder) == ResolvedFacts(answers=True)

    @pytest.mark.parametrize(("theirs", "is_ours"), [("net:[1]", True), ("net:[2]", False)])
    async def test_a_service_of_another_network_namespace_is_not_ours(
        self, stage: Stage, theirs: str, *, is_ours: bool
    ) -> None:
        proc = stage.folder / "proc"
        for process, namespace in (("self", "net:[1]"), (str(os.getpid()), theirs)):
            (proc / process / "ns").mkdir(parents=True)
            (proc / process / "ns" / "net").symlink_to(namespace)

        assert (await resolved_facts(stage.bus(), stage.folder, proc)).answers is is_ours

    async def test_a_service_that_does_not_answer_is_not_there(self, stage: Stage) -> None:
        stage.resolved.hangs = {"Ping"}

        assert await resolved_facts(stage.bus()) == ResolvedFacts()
