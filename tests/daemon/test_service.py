"""The daemon as a service: what a dead daemon left is taken over or undone, and signals end it in good order."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from autovpn.core.profile import DnsSettings, Event, Hook, Key
from autovpn.core.steps import StepKind
from autovpn.core.tunnel import TunnelPhase
from autovpn.daemon.resolver import MachineResolver
from autovpn.daemon.service import Service
from autovpn.daemon.settings import Reading
from autovpn.errors import SystemFault
from autovpn.system.control import ControlServer
from tests.core.builders import connect, on, policy, wifi
from tests.daemon.fake_backend import FakeBackend
from tests.daemon.fake_kernel import NO_ANSWER, WRONG_PASSWORD, Daemon, in_virtual_time

HOOKS = tuple(Hook(event, (f"/{event.value}",)) for event in Event)
CAMPUS = connect("campus", on(Key.SSID, b"Campus"), hooks=HOOKS, dns=DnsSettings(servers=("10.8.0.1",)))
RULES = policy(CAMPUS)
UP_AND_DOWN = ["/preup", "/postup", "/predown", "/postdown"]


class Served:
    """A daemon with its service, which may be the successor of one that died on the same machine."""

    def __init__(self, folder: Path, before: Served | None = None) -> None:
        self.daemon: Daemon = Daemon(folder, RULES, before.daemon.machine if before else None)
        self.backend: FakeBackend = before.backend if before else FakeBackend()
        self.task: asyncio.Task[object] | None = None

    async def start(self, *, settle: bool = True) -> None:
        """Start it with the campus Wi-Fi present."""
        daemon = self.daemon
        daemon.kernel.present = (wifi(),)
        await daemon.build()
        self.resolver = MachineResolver({"file": self.backend}, self.backend.facts, lambda: "file")
        control = ControlServer(daemon.folder / "control.sock", daemon.commands.answer)
        service = Service(daemon.loop, daemon.commands, control, self.resolver, daemon.folder / "resolv.conf")
        self.task = daemon.follow(service.run())
        if settle:
            await daemon.until_phase(TunnelPhase.UP)

    async def end(self, number: signal.Signals) -> None:
        """End it by a signal, and return when it has ended."""
        assert self.task is not None
        signal.raise_signal(number)
        await self.task


def play(story: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        try:
            await story()
        finally:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    in_virtual_time(run())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_undoes_everything(tmp_path: Path, number: signal.Signals) -> None:
    async def story() -> None:
        served = Served(tmp_path)
        before = served.daemon.machine.view()
        await served.start()
        await served.end(number)
        assert served.daemon.machine.view() == before
        assert served.daemon.hooks() == UP_AND_DOWN
        assert not (tmp_path / "control.sock").exists()

    play(story)


def test_a_restart_is_followed_without_a_change(tmp_path: Path) -> None:
    async def story() -> None:
        first = Served(tmp_path)
        await first.start()
        up = first.daemon.machine.view()
        await first.end(signal.SIGUSR2)
        assert first.daemon.machine.view() == up

        second = Served(tmp_path, first)
        await second.start()
        assert second.daemon.machine.view() == up
        assert second.daemon.hooks() == ["/preup", "/postup"]
        assert len(second.daemon.driver.adopted) == 1
        assert second.daemon.driver.launches == []
        await second.end(signal.SIGTERM)
        assert second.daemon.hooks() == UP_AND_DOWN

    play(story)


def test_a_killed_daemon_is_followed_without_a_change(tmp_path: Path) -> None:
    async def story() -> None:
        first = Served(tmp_path)
        await first.start()
        up = first.daemon.machine.view()
        await first.daemon.kill()

        second = Served(tmp_path, first)
        await second.start()
        assert second.daemon.machine.view() == up
        assert second.daemon.driver.adopted[0].facts == second.daemon.loop.tunnels.state(second.daemon.first).facts

    play(story)


def test_a_tunnel_that_died_with_its_daemon_is_undone_and_brought_up_anew(tmp_path: Path) -> None:
    async def story() -> None:
        first = Served(tmp_path)
        await first.start()
        await first.daemon.kill()
        machine = first.daemon.machine
        machine.links = {index: link for index, link in machine.links.items() if not link.alias}

        second = Served(tmp_path, first)
        await second.start()
        assert len(second.daemon.driver.launches) == 1
        assert second.daemon.hooks() == ["/preup", "/postup", "/predown", "/postup"]

    play(story)


def test_a_tunnel_that_cannot_be_taken_over_is_said_and_brought_up_anew(tmp_path: Path) -> None:
    async def story() -> None:
        first = Served(tmp_path)
        await first.start()
        await first.daemon.kill()

        second = Served(tmp_path, first)
        second.daemon.driver.adopt_fails = SystemFault("its directory is gone")
        await second.start()
        assert any("could not be taken over: its directory is gone" in words for words in second.daemon.loop.complaints)
        assert len(second.daemon.driver.launches) == 1

    play(story)


def test_after_a_reboot_the_hooks_are_made_good_and_everything_begins_anew(tmp_path: Path) -> None:
    async def story() -> None:
        first = Served(tmp_path)
        await first.start()
        await first.daemon.kill()
        first.daemon.machine.reboot()

        second = Served(tmp_path, first)
        await second.start()
        assert second.daemon.driver.adopted == []
        assert second.daemon.hooks()[:4] == UP_AND_DOWN
        assert second.daemon.hooks()[4:] == ["/preup", "/postup"]

    play(story)


def test_without_its_memory_a_daemon_undoes_what_it_finds_and_begins_anew(tmp_path: Path) -> None:
    async def story() -> None:
        first = Served(tmp_path)
        await first.start()
        await first.daemon.kill()
        (tmp_path / "memory.json").write_text("{")

        second = Served(tmp_path, first)
        await second.start()
        await second.end(signal.SIGTERM)
        assert second.daemon.machine.processes == {}
        assert second.daemon.applied() == []

    play(story)


def test_a_tunnel_that_had_given_up_is_not_tried_again_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        first = Served(tmp_path)
        first.daemon.driver.answers = [WRONG_PASSWORD]
        await first.start(settle=False)
        await first.daemon.until_phase(TunnelPhase.FAILED)
        await first.daemon.kill()

        second = Served(tmp_path, first)
        await second.start(settle=False)
        await second.daemon.until_phase(TunnelPhase.FAILED)
        assert second.daemon.driver.launches == [], "a wrong password locks accounts"

    play(story)


def test_dns_that_somebody_changed_meanwhile_is_put_in_force_again(tmp_path: Path) -> None:
    async def story() -> None:
        first = Served(tmp_path)
        await first.start()
        await first.daemon.kill()
        first.backend.drift = True

        second = Served(tmp_path, first)
        await second.start()
        assert [dns.exclusive and dns.exclusive.servers for dns in second.backend.applied] == [("10.8.0.1",)]

    play(story)


def test_a_hangup_reads_the_configuration_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        served = Served(tmp_path)
        served.daemon.driver.answers = [NO_ANSWER]
        await served.start()
        served.daemon.reading = Reading(None, ("a.toml:1: wrong",))
        signal.raise_signal(signal.SIGHUP)
        await served.daemon.see(wifi())
        await asyncio.sleep(1)
        assert served.daemon.settings.reload_failed
        assert "a.toml:1: wrong" in caplog.text
        served.daemon.reading = Reading(policy())
        signal.raise_signal(signal.SIGHUP)
        await served.daemon.until(lambda: served.daemon.loop.plans.is_idle and not served.daemon.applied())
        assert StepKind.TUNNEL.value not in served.daemon.applied()

    play(story)


def test_the_service_manager_hears_of_the_beginning_the_middle_and_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ready once a client is taken, alive while it runs, and stopping when a signal has ended it."""
    heard: list[str] = []

    def listen(*assignments: str) -> None:
        heard.extend(assignments)
        if assignments[0] == "READY=1":
            with socket.socket(socket.AF_UNIX) as client:
                client.setblocking(False)
                client.connect(str(tmp_path / "control.sock"))

    monkeypatch.setattr("autovpn.daemon.service.notify", listen)
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)

    async def story() -> None:
        served = Served(tmp_path)
        await served.start()
        assert heard[:2] == ["READY=1", "STATUS=watching"]
        before = heard.count("WATCHDOG=1")
        await asyncio.sleep(60.0)
        assert heard.count("WATCHDOG=1") - before == 6, "twice in each 20 seconds"
        assert "STOPPING=1" not in heard
        await served.end(signal.SIGTERM)
        assert heard[-1] == "STOPPING=1"
        assert heard.count("READY=1") == heard.count("STOPPING=1") == 1
        said = len(heard)
        await asyncio.sleep(60.0)
        assert len(heard) == said

    play(story)
