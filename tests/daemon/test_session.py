"""Running tunnels: a driver's word reaches the loop, its faults stay its own, and a dead one is known as such."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autovpn.core.actions import Failed, LastWord, Run
from autovpn.core.profile import Key
from autovpn.core.steps import Step, StepKey, StepKind, TunnelValue
from autovpn.core.supervise import Broke
from autovpn.core.tunnel import FailureClass, TunnelPhase
from autovpn.daemon import sessions
from autovpn.daemon.places import Directories
from autovpn.errors import StepFailed, SystemFault
from tests.core.builders import cable, connect, on, policy, wifi
from tests.daemon import fake_kernel
from tests.daemon.fake_kernel import Daemon, Story

SUN_PATH = 107
"""Bytes that the path of a socket may have (unix(7))."""

RULES = policy(connect("campus", is_default=True), connect("desk", on(Key.INTERFACE, "eth9")))
KEY: StepKey = (StepKind.TUNNEL, "campus", "campus-tunnel")


def play(folder: Path, story: Story) -> None:
    fake_kernel.play(folder, story, RULES)


async def up(daemon: Daemon) -> Step:
    """Bring the campus up, and return the step of its tunnel."""
    await daemon.begin(wifi())
    await daemon.until_phase(TunnelPhase.UP)
    return next(step for step in daemon.loop.plans.applied() if step.kind is StepKind.TUNNEL)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (SystemFault("the socket is gone"), "the socket is gone"),
        (KeyError("surprise"), "autovpn's own fault: KeyError: 'surprise'"),
    ],
)
def test_a_fault_of_a_driver_is_that_tunnels_failure_and_never_the_daemons(
    tmp_path: Path, fault: Exception, words: str
) -> None:
    async def story(daemon: Daemon) -> None:
        await up(daemon)
        daemon.driver.raising = fault
        told: list[object] = []
        fold = daemon.loop.tunnels.tell

        def listen(key: Any, event: Any, now: float) -> None:  # noqa: ANN401 - passed on as it is
            told.append(event)
            fold(key, event, now)

        daemon.loop.tunnels.tell = listen  # type: ignore[method-assign]
        await daemon.see(cable())
        await daemon.until(lambda: any(isinstance(event, Broke) for event in told))
        (broke,) = [event for event in told if isinstance(event, Broke)]
        assert (broke.failure.kind, broke.failure.words) == (FailureClass.LOCAL, words)
        daemon.driver.raising = None
        await daemon.until_phase(TunnelPhase.UP)

    play(tmp_path, story)


def test_a_tunnel_that_broke_hears_and_says_nothing_more(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        daemon.driver.answers = [(Failed(FailureClass.AUTH, "no"),)]
        await daemon.begin(wifi())
        await daemon.until_phase(TunnelPhase.FAILED)
        assert daemon.driver.uplinks == []
        assert not daemon.sessions.passes_packets("campus")

    play(tmp_path, story)


def test_a_tunnel_passes_packets_from_its_ready_to_its_end(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        await up(daemon)
        assert daemon.sessions.passes_packets("campus")
        assert not daemon.sessions.passes_packets("other")
        await daemon.ask("down")
        assert not daemon.sessions.passes_packets("campus")

    play(tmp_path, story)


def test_what_is_known_of_a_tunnel_is_in_the_journal(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        await up(daemon)
        (entry,) = [entry for entry in daemon.loop.machine.runner.applied if entry.key == KEY]
        (index,) = [index for index, link in daemon.machine.links.items() if link.alias]
        assert isinstance(entry.receipt, dict)
        assert (entry.receipt["index"], entry.receipt["device"]) == (index, "av-campus-tunne")
        assert daemon.machine.links[index].alias == entry.receipt["alias"]

    play(tmp_path, story)


def test_every_socket_of_a_tunnel_has_a_path_that_the_kernel_takes_however_long_its_name_is(tmp_path: Path) -> None:
    longest_socket = len(f"ctl.{'x' * 16}")  # which ssh makes of its ControlPath before it has one
    rules = policy(connect("c" * 57, is_default=True))
    (spec,) = rules.profiles[0].tunnels
    assert len(spec.name) == 64

    async def story(daemon: Daemon) -> None:
        await daemon.begin(wifi())
        await daemon.until(lambda: bool(daemon.driver.launches))
        folder = Directories().run / "tunnels" / Path(daemon.driver.launches[0].directory).name
        assert len(f"{folder}/") + longest_socket <= SUN_PATH
        assert len(f"{folder}/management.sock") <= SUN_PATH

    fake_kernel.play(tmp_path, story, rules)


class TestFarewell:
    """What a tunnel's program does not undo by itself is undone before it is ended."""

    @pytest.mark.parametrize("crashed", [False, True])
    def test_its_programs_are_run_by_whichever_daemon_ends_the_tunnel(self, tmp_path: Path, crashed: bool) -> None:
        left = tmp_path / "left"
        left.write_text("")

        async def story(daemon: Daemon) -> None:
            step = await up(daemon)
            daemon.driver.last_words = (Run("stop", ("rm", str(left))), Run("again", ("rm", str(left))))
            if crashed:
                daemon.sessions.close()
            await daemon.sessions.stop(step, "nonce", None)
            assert not left.exists()

        play(tmp_path, story)

    def test_the_driver_begins_nothing_while_leave_is_taken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def story(daemon: Daemon) -> None:
            step = await up(daemon)
            session = daemon.sessions._sessions[KEY]
            assert isinstance(step.value, TunnelValue)
            news = (step.value.uplink, step.value.endpoints)

            async def carry_out(last_word: LastWord, nonce: str) -> str:
                session.change_uplink(*news)
                await asyncio.sleep(1.0)
                return ""

            monkeypatch.setattr(sessions, "carry_out", carry_out)
            daemon.driver.last_words = (Run("stop", ("true",)),)
            await daemon.sessions.stop(step, "nonce", None)
            assert daemon.driver.uplinks == []

        play(tmp_path, story)

    def test_what_they_say_when_they_fail_is_one_line_of_the_log(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def story(daemon: Daemon) -> None:
            step = await up(daemon)
            daemon.driver.last_words = (Run("stop", ("sh", "-c", r"printf 'no\nERROR forged\033[2J'; exit 1")),)
            await daemon.sessions.stop(step, "nonce", None)

        play(tmp_path, story)
        (said,) = [record.getMessage() for record in caplog.records if "farewell" in record.getMessage()]
        assert said.endswith(r"sh: no\x0aERROR forged\x1b[2J")


class TestAlive:
    """Whether a tunnel of another daemon can be taken over."""

    @pytest.mark.parametrize("index", [999, None])
    def test_one_that_is_dead_counts_as_lost_until_it_is_started_or_stopped(
        self, tmp_path: Path, index: int | None
    ) -> None:
        async def story(daemon: Daemon) -> None:
            step = await up(daemon)
            receipt = {"nonce": "n", "pid": 1, "start_time": 0, "device": "x", "index": index}
            assert not await daemon.sessions.adopt(step, receipt, None)
            assert daemon.sessions.lost() == {KEY}
            await daemon.sessions.stop(step, "nonce", None)
            assert daemon.sessions.lost() == frozenset()

        play(tmp_path, story)


def test_a_record_that_names_no_tunnel_or_an_unknown_type_cannot_be_started(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        step = await up(daemon)
        with pytest.raises(StepFailed, match="does not say which tunnel"):
            await daemon.sessions.start(replace(step, context=None), "nonce")
        spec = RULES.profiles[0].tunnels[0]
        with pytest.raises(StepFailed, match="no driver for tunnels of type carrier-pigeon"):
            await daemon.sessions.start(replace(step, context=replace(spec, type="carrier-pigeon")), "nonce")

    play(tmp_path, story)


def test_news_for_a_tunnel_that_does_not_run_are_for_nobody(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        step = await up(daemon)
        assert isinstance(step.value, TunnelValue)
        await daemon.sessions.amend(replace(step, object="other"))
        assert daemon.driver.uplinks == []

    play(tmp_path, story)
