"""Tunnels that are up are watched as their profile says, and one that is dead is made again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from autovpn.cli.render_status import health_row
from autovpn.core.health import EAGER, FIRST_LOOK, MOST_FAULTS
from autovpn.core.profile import Key, Policy
from autovpn.core.supervise import STEADY
from autovpn.core.tunnel import Health, HealthCheck, TunnelPhase, TunnelSpec
from tests.core.builders import connect, gone, on, policy, wifi
from tests.daemon import fake_kernel
from tests.daemon.fake_kernel import FACTS, NO_ANSWER, START, Daemon, Story

PING = Health(HealthCheck.PING, ip_address("10.20.0.2"), interval=30.0, fail_after=3)
FAULT = "no answer from 10.20.0.2 through vpn-office"


def with_health(health: Health | None) -> Policy:
    profile = connect("campus", on(Key.SSID, b"Campus"))
    return policy(replace(profile, tunnels=tuple(_with(spec, health) for spec in profile.tunnels)))


def _with(spec: TunnelSpec, health: Health | None) -> TunnelSpec:
    return replace(spec, health=health)


def play(folder: Path, story: Story, health: Health | None = PING) -> None:
    fake_kernel.play(folder, story, with_health(health))


async def up(daemon: Daemon) -> None:
    await daemon.begin(wifi())
    await daemon.until_phase(TunnelPhase.UP)


@pytest.mark.parametrize("health", [None, Health(HealthCheck.DPD)])
def test_a_tunnel_without_a_check_of_ours_costs_no_wake_up(tmp_path: Path, health: Health | None) -> None:
    async def story(daemon: Daemon) -> None:
        await up(daemon)
        await asyncio.sleep(1)  # the look that follows the last plan
        looks = daemon.loop.looks
        await asyncio.sleep(3600)
        assert daemon.probes.looks == []
        assert daemon.loop.looks == looks

    play(tmp_path, story, health)


def test_a_tunnel_that_passes_packets_is_never_checked_and_the_loop_is_never_woken(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        daemon.probes.inflow = 1500
        await up(daemon)
        await asyncio.sleep(1)  # the look that follows the last plan
        looks = daemon.loop.looks
        await asyncio.sleep(3600)
        assert daemon.probes.checks == []
        assert len(daemon.probes.looks) == pytest.approx(3600 / PING.interval, abs=2)
        assert daemon.loop.looks == looks

    play(tmp_path, story)


def test_a_silent_tunnel_is_checked_and_lives_on_as_long_as_it_answers(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        await up(daemon)
        await asyncio.sleep(600)
        assert [round(later - before) for (before, _), (later, _) in zip(*_neighbours(daemon), strict=True)] == [
            30
        ] * 19
        assert daemon.probes.checks[0][1].startswith("av-campus")
        assert daemon.phase() is TunnelPhase.UP

    play(tmp_path, story)


def _neighbours(daemon: Daemon) -> tuple[list[tuple[float, str]], list[tuple[float, str]]]:
    return daemon.probes.checks[:-1], daemon.probes.checks[1:]


def test_a_tunnel_that_died_is_lost_in_words_and_made_again(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        await up(daemon)
        await asyncio.sleep(STEADY * 2)
        daemon.probes.fault = FAULT
        await daemon.until(lambda: daemon.phase() is TunnelPhase.BACKOFF)
        failure = daemon.loop.tunnels.state(daemon.first).last_failure
        assert failure is not None
        assert failure.words == f"{FAULT} for 90 s (3 checks)"
        assert not failure.passed_nothing
        assert not daemon.sessions.passes_packets("campus")

        daemon.probes.fault = ""
        await daemon.until_phase(TunnelPhase.UP)
        assert [launch.attempt for launch in daemon.driver.launches] == [1, 2]
        assert daemon.driver.launches[1].fruitless == 0
        assert daemon.driver.launches[1].last_failure == failure

    play(tmp_path, story)


def test_a_tunnel_that_never_passed_anything_is_found_out_soon_and_its_driver_is_told(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        daemon.probes.fault = FAULT
        await up(daemon)
        await daemon.until(lambda: len(daemon.driver.launches) == 2)
        assert asyncio.get_running_loop().time() < START + FIRST_LOOK + 2 * EAGER + 5
        await daemon.until(lambda: len(daemon.driver.launches) == 3)
        assert [launch.fruitless for launch in daemon.driver.launches] == [0, 1, 2]
        await daemon.until(lambda: daemon.phase() is TunnelPhase.FAILED)

    play(tmp_path, story)


def test_while_its_uplink_is_gone_a_tunnel_is_not_watched_and_begins_anew_afterwards(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        await up(daemon)
        await asyncio.sleep(40)
        daemon.probes.fault = FAULT
        await asyncio.sleep(60)
        assert daemon.loop.healths.view()[daemon.first].failed == 2
        await daemon.see(gone(wifi()))
        assert daemon.loop.decision.activations[0].lingering
        assert daemon.loop.healths.view() == {}
        checks = len(daemon.probes.checks)
        await asyncio.sleep(daemon.rules.linger - 1)
        assert len(daemon.probes.checks) == checks

        await daemon.see(wifi())
        await asyncio.sleep(FIRST_LOOK + 0.5)
        assert daemon.loop.healths.view()[daemon.first].failed == 1
        assert daemon.phase() is TunnelPhase.UP

    play(tmp_path, story)


def test_after_a_sleep_of_the_machine_a_tunnel_gets_its_time_to_answer_again(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        await up(daemon)
        await asyncio.sleep(40)
        daemon.probes.fault = FAULT
        await asyncio.sleep(60)
        daemon.kernel.resumed = True
        await daemon.see(wifi())
        await asyncio.sleep(FIRST_LOOK + 0.5)
        assert daemon.loop.healths.view()[daemon.first].failed == 1

    play(tmp_path, story)


def test_a_reload_of_health_alone_holds_at_once_and_restarts_nothing(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        await up(daemon)
        await asyncio.sleep(60)
        before = len(daemon.probes.checks)
        assert before > 0
        daemon.loop.policy = with_health(replace(PING, interval=5.0))
        await daemon.see(wifi())
        await asyncio.sleep(60)
        assert len(daemon.probes.checks) - before > 8

        daemon.loop.policy = with_health(None)
        await daemon.see(wifi())
        assert daemon.loop.healths.view() == {}
        assert len(daemon.driver.launches) == 1

    play(tmp_path, story)


class TestTrial:
    """A tunnel whose packets may need another form is watched until something comes out of it, without any health."""

    @staticmethod
    def play(folder: Path, story: Story) -> None:
        async def on_trial(daemon: Daemon) -> None:
            daemon.driver.facts = replace(FACTS, dns=("10.8.0.1",), on_trial=True)
            await story(daemon)

        play(folder, on_trial, None)

    def test_one_that_passes_nothing_is_made_anew_and_its_driver_told(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.probes.fault = FAULT
            await up(daemon)
            await daemon.until(lambda: len(daemon.driver.launches) == 2)
            assert daemon.driver.launches[1].fruitless == 1

        self.play(tmp_path, story)

    def test_one_that_answers_is_watched_no_more(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            await asyncio.sleep(600)
            assert len(daemon.probes.checks) == 1

        self.play(tmp_path, story)

    @pytest.mark.parametrize("received", [None, 84])
    def test_one_that_has_passed_something_or_counts_nothing_is_not_even_asked(
        self, tmp_path: Path, received: int | None
    ) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.probes.received = received
            daemon.probes.fault = FAULT
            await up(daemon)
            await asyncio.sleep(600)
            assert daemon.probes.checks == []
            assert daemon.phase() is TunnelPhase.UP

        self.play(tmp_path, story)


def test_a_tunnel_that_ends_by_itself_is_watched_no_more(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        await up(daemon)
        daemon.driver.answers = [NO_ANSWER] * 5
        await daemon.ask("down")
        assert daemon.loop.healths.view() == {}

    play(tmp_path, story)


def test_a_check_that_breaks_ends_nothing_else_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(daemon: Daemon) -> None:
        daemon.probes.raising = ValueError("a fault of ours")
        await up(daemon)
        await asyncio.sleep(1000)
        assert daemon.phase() is TunnelPhase.UP
        assert caplog.text.count("health.fault") == MOST_FAULTS
        reply: Any = await daemon.ask("status")
        health = reply["activations"][0]["tunnels"][0]["health"]
        assert (health["watched"], health["next_in"]) == (False, None)
        assert "ValueError: a fault of ours" in health["fault"]
        assert "not watched any more, autovpn's own fault" in health_row(health, is_up=True).text

    play(tmp_path, story)


def test_faults_that_are_far_apart_do_not_end_the_watch(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        await up(daemon)
        for _ in range(MOST_FAULTS + 1):
            faults = len(daemon.probes.checks)
            daemon.probes.raising = ValueError("a fault of ours")
            await asyncio.sleep(40)
            daemon.probes.raising = None
            await asyncio.sleep(200)
            assert len(daemon.probes.checks) > faults
        (state,) = daemon.loop.healths.view().values()
        assert not state.is_given_up

    play(tmp_path, story)


def test_a_check_that_broke_once_is_made_again_and_finds_a_tunnel_that_is_dead(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        daemon.probes.raising = ValueError("a fault of ours")
        await up(daemon)
        await asyncio.sleep(FIRST_LOOK + 1)
        (state,) = daemon.loop.healths.view().values()
        assert ("ours" in state.fault, state.is_given_up) == (True, False)
        daemon.probes.raising, daemon.probes.fault = None, FAULT
        await daemon.until(lambda: len(daemon.driver.launches) == 2)

    play(tmp_path, story)


def test_status_says_how_a_tunnel_is_checked_and_how_it_was_last(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        await up(daemon)
        await asyncio.sleep(40)
        daemon.probes.fault = FAULT
        await asyncio.sleep(30)
        reply: Any = await daemon.ask("status")
        health = reply["activations"][0]["tunnels"][0]["health"]
        assert health["check"] == "ping 10.20.0.2"
        assert (health["failed"], health["fail_after"], health["fault"]) == (1, 3, FAULT)
        assert 30 < health["last_good"] < 60
        assert 0 < health["next_in"] <= 30

    play(tmp_path, story)
