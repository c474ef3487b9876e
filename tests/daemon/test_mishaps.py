"""What goes wrong beside the tunnel itself: said, survived, and never a reason to lose more than it has to."""

from __future__ import annotations

import asyncio
import itertools
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from autovpn.core.network import Gateway
from autovpn.core.profile import DnsSettings, Event, Hook, Key
from autovpn.core.steps import StepKind
from autovpn.core.tunnel import FailureClass, TunnelPhase
from autovpn.daemon.chores import Chores
from autovpn.daemon.executors.dns import DnsExecutor
from autovpn.daemon.loop import Goal
from autovpn.errors import StepFailed
from tests.core.builders import cable, connect, on, policy, trusted
from tests.daemon import fake_kernel
from tests.daemon.fake_kernel import Daemon, Story

HOOKS = tuple(Hook(event, (f"/{event.value}",)) for event in Event)
OFFICE = connect("office", on(Key.INTERFACE, "eth3"), hooks=HOOKS, dns=DnsSettings(servers=("10.8.0.1",)))
RULES = policy(OFFICE)


def play(folder: Path, story: Story) -> None:
    fake_kernel.play(folder, story, RULES)


def break_once(target: object, name: str, error: Exception) -> None:
    """Have the next call of a coroutine method fail, and those after it work."""
    whole = getattr(target, name)

    async def broken(*_: object) -> None:
        setattr(target, name, whole)
        raise error

    setattr(target, name, broken)


def break_for_good(target: object, name: str, error: Exception) -> None:
    async def broken(*_: object) -> None:
        raise error

    setattr(target, name, broken)


def resolver_of(daemon: Daemon) -> object:
    executor = daemon.loop.machine.runner._executors[StepKind.DNS]
    assert isinstance(executor, DnsExecutor)
    return executor._resolver


async def up(daemon: Daemon) -> None:
    await daemon.begin(cable())
    await daemon.until_phase(TunnelPhase.UP)


class TestDns:
    def test_a_tunnel_without_its_dns_is_better_than_none(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.kernel.present = (cable(),)
            await daemon.build()
            break_for_good(resolver_of(daemon), "apply", StepFailed("dns", "the lock is held"))
            daemon.run()
            await daemon.until(lambda: "postup" in daemon.applied())

            assert "dns" not in daemon.applied()
            assert any("the lock is held" in words for words in daemon.loop.complaints)

        play(tmp_path, story)

    def test_it_is_tried_again_when_the_network_changes(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.kernel.present = (cable(),)
            await daemon.build()
            break_once(resolver_of(daemon), "apply", StepFailed("dns", "the lock is held"))
            daemon.run()
            await daemon.until(lambda: "postup" in daemon.applied())
            assert "dns" not in daemon.applied()

            await daemon.see(cable(mtu=1400))
            await daemon.until(lambda: "dns" in daemon.applied())

        play(tmp_path, story)


class TestTeardown:
    def test_an_error_in_it_runs_faildown(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            break_once(resolver_of(daemon), "revert", StepFailed("dns", "the lock is held"))
            await daemon.ask("down")
            await daemon.loop.moments.finish()

            faildown = [context for program, context in daemon.outside.hooks if program == "/faildown"]
            assert [context.reason for context in faildown] == ["dns of office: dns: the lock is held"]

        play(tmp_path, story)

    def test_a_stop_tries_once_more(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            break_once(resolver_of(daemon), "revert", StepFailed("dns", "the lock is held"))
            daemon.loop.end(Goal.STOP)
            await daemon.ended()

            assert daemon.applied() == []

        play(tmp_path, story)

    def test_a_stop_that_could_not_undo_everything_says_what_is_left(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            break_for_good(resolver_of(daemon), "revert", StepFailed("dns", "the lock is held"))
            daemon.loop.end(Goal.STOP)

            assert await daemon.left() == ["dns of office"]

        play(tmp_path, story)

    def test_a_fault_of_our_own_in_a_plan_does_not_hang_the_stop(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            break_once(resolver_of(daemon), "revert", ZeroDivisionError("by us"))
            daemon.loop.end(Goal.STOP)

            assert await daemon.left() == []
            assert any("autovpn's own fault: ZeroDivisionError" in words for words in daemon.loop.complaints)

        play(tmp_path, story)


class TestEnding:
    def test_a_hook_that_calls_us_while_we_end_is_answered(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            daemon.loop.end(Goal.RESTART)
            await daemon.ended()

            reply = await daemon.ask("hook", event="postup", interface="eth3", from_hook=True)
            assert reply["ok"]

        play(tmp_path, story)

    def test_nobody_waits_for_a_look_that_will_not_come(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            daemon.loop.end(Goal.RESTART)
            await daemon.ended()

            await daemon.loop.when(lambda: False)

        play(tmp_path, story)

    def test_a_restart_into_a_broken_configuration_is_refused(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            daemon.break_configuration("profiles/10-office.toml:1: acton: is an unknown key")
            reply = await daemon.ask("restart")

            assert not reply["ok"]
            assert reply["problems"] == ["profiles/10-office.toml:1: acton: is an unknown key"]
            assert daemon.loop.goal is Goal.RUN

        play(tmp_path, story)


class TestByHand:
    def test_up_retries_its_own_profile_alone(self, tmp_path: Path) -> None:
        """A wrong password of another profile must not be tried again: it may lock the account."""

        async def story(daemon: Daemon) -> None:
            daemon.driver.answers = [fake_kernel.WRONG_PASSWORD]
            await daemon.begin(cable())
            await daemon.until_phase(TunnelPhase.FAILED)
            daemon.loop.retry("other")
            await daemon.see(cable())
            assert daemon.phase() is TunnelPhase.FAILED

            daemon.loop.retry("office")
            await daemon.until_phase(TunnelPhase.UP)

        play(tmp_path, story)


class TestOrder:
    def test_the_hooks_of_a_trusted_network_wait_until_protection_is_lowered(self, tmp_path: Path) -> None:
        away = connect(
            "away", is_default=True, hooks=(Hook(Event.POSTUP, ("/away-up",)), Hook(Event.PREDOWN, ("/away-down",)))
        )
        home = trusted("home", on(Key.GATEWAY, ip_network("198.51.100.1")), hooks=(Hook(Event.PREUP, ("/home-up",)),))
        elsewhere = cable(gateways=(Gateway(ip_address("203.0.113.254"), "02:00:00:00:00:bb"),))

        async def story(daemon: Daemon) -> None:
            await daemon.begin(elsewhere)
            await daemon.until(lambda: "/away-up" in daemon.hooks())
            await daemon.see(cable())
            await daemon.until(lambda: "/home-up" in daemon.hooks())

            assert daemon.hooks() == ["/away-up", "/away-down", "/home-up"]

        fake_kernel.play(tmp_path, story, policy(home, away))


class TestChores:
    async def test_what_goes_wrong_beside_the_loop_is_a_complaint(self) -> None:
        complaints: list[str] = []
        chores = Chores(complaints.append)

        async def break_down() -> None:
            raise StepFailed("chore", "it broke")

        chores.start(break_down())
        await chores.finish()

        assert complaints == ["chore: it broke"]

    async def test_what_runs_on_is_ended(self) -> None:
        chores = Chores(pytest.fail)
        chores.start(asyncio.Event().wait())
        await chores.cancel()


class TestDevice:
    """A device that goes while its tunnel comes up: the tunnel is lost, and nothing is wrong with this machine."""

    @staticmethod
    def losing_it_at(moment: int, folder: Path) -> tuple[str, FailureClass | None]:
        """Have the device go at a moment counted from its making; return the moment's name and the failure."""
        seen: list[str] = []
        failures: list[FailureClass] = []

        async def story(daemon: Daemon) -> None:
            def passed(name: str) -> None:
                ours = [index for index, link in daemon.machine.links.items() if link.alias]
                if not ours or len(seen) > moment:
                    return
                seen.append(name)
                if len(seen) > moment:
                    daemon.machine.remove_link(ours[0])

            daemon.machine.on_point = passed
            await daemon.begin(cable())
            state = daemon.loop.tunnels.view
            await daemon.until(lambda: state()[daemon.first].last_failure is not None or "postup" in daemon.applied())
            failures.extend(failure.kind for failure in [state()[daemon.first].last_failure] if failure)

        play(folder, story)
        return (seen[moment] if len(seen) > moment else ""), failures[0] if failures else None

    def test_it_is_lost_at_whatever_moment_of_coming_up_it_goes(self, tmp_path: Path) -> None:
        fates = []
        for moment in itertools.count():
            name, failure = self.losing_it_at(moment, tmp_path / str(moment))
            if not name:
                break
            fates.append((name, failure))
        assert {failure for _, failure in fates} == {FailureClass.LOST, None}
        failed = {name for name, failure in fates if failure}
        assert {"before mtu", "before address", "before route"} <= failed
