"""The loop: when it looks, and what it makes of what it sees."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autovpn.core.actions import Failed
from autovpn.core.network import Gateway, UplinkDns
from autovpn.core.profile import DnsSettings, Event, Hook, Key, Policy
from autovpn.core.snapshot import LinkId
from autovpn.core.steps import StepKind
from autovpn.core.supervise import Broke
from autovpn.core.tunnel import Failure, FailureClass, TunnelPhase
from autovpn.daemon.loop import QUIET, Goal
from autovpn.errors import SystemFault
from tests.core.builders import cable, connect, gone, on, policy, ssh, trusted, wifi
from tests.daemon import fake_kernel
from tests.daemon.fake_kernel import NO_ANSWER, START, WRONG_PASSWORD, Daemon, Story

HOOKS = tuple(Hook(event, (f"/{event.value}",)) for event in Event)
CAMPUS = connect("campus", on(Key.SSID, b"Campus"), hooks=HOOKS, dns=DnsSettings(servers=("10.8.0.1",)))
RULES = policy(CAMPUS)
ALL = ["preup", "pin", "tunnel", "address", "routes", "dns", "postup"]


def play(folder: Path, story: Story, rules: Policy = RULES) -> None:
    fake_kernel.play(folder, story, rules)


class TestWhen:
    """The first event after quiet is acted on at once, those of the next 50 ms are joined into one look."""

    def looks_for(self, folder: Path, *moments: float) -> list[float]:
        """Return when the daemon looked, in seconds after the first moment, given when something happened."""
        seen: list[float] = []

        async def story(daemon: Daemon) -> None:
            await daemon.begin()
            daemon.kernel.looks.clear()
            await asyncio.sleep(1.0)
            begin = asyncio.get_running_loop().time()
            for moment in moments:
                await asyncio.sleep(begin + moment - asyncio.get_running_loop().time())
                daemon.loop.wake()
            await asyncio.sleep(1.0)
            seen.extend(round(look - begin, 6) for look in daemon.kernel.looks)

        play(folder, story)
        return seen

    def test_the_first_after_quiet_at_once(self, tmp_path: Path) -> None:
        assert self.looks_for(tmp_path, 0.0) == [0.0]

    def test_a_burst_in_two_looks(self, tmp_path: Path) -> None:
        assert self.looks_for(tmp_path, 0.0, 0.001, 0.002, 0.03, 0.049) == [0.0, QUIET]

    def test_events_further_apart_at_once_each(self, tmp_path: Path) -> None:
        assert self.looks_for(tmp_path, 0.0, 0.06, 0.2) == [0.0, 0.06, 0.2]

    def test_nothing_happens_without_an_event(self, tmp_path: Path) -> None:
        assert self.looks_for(tmp_path) == []

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
    @given(st.lists(st.integers(0, 1000), min_size=1, max_size=50))
    def test_however_many_they_are_never_closer_than_the_quiet_and_never_late(
        self, tmp_path: Path, milliseconds: list[int]
    ) -> None:
        moments = sorted(number / 1000 for number in milliseconds)
        first = moments[0]
        looks = self.looks_for(tmp_path, *(moment - first for moment in moments))

        assert all(later - earlier >= QUIET - 1e-6 for earlier, later in pairwise(looks))
        for moment in moments:
            assert any(moment - first - 1e-6 <= look <= moment - first + QUIET + 1e-6 for look in looks)

    def test_the_kernel_is_not_listened_to_while_news_is_joined(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin()
            daemon.loop.wake()
            await daemon.until(lambda: daemon.loop.looks > 1)
            assert daemon.kernel.pauses == 1

        play(tmp_path, story)

    def test_a_request_does_not_wait_for_the_quiet(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin()
            await daemon.ask("hook", event="preup", interface="eth9")
            assert daemon.kernel.looks == [START] * 2

        play(tmp_path, story)

    def test_but_who_only_reads_does_and_cannot_keep_the_daemon_busy(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin()
            await asyncio.gather(*(daemon.ask("status") for _ in range(20)))
            assert len(daemon.kernel.looks) == 2

        play(tmp_path, story)

    def test_it_looks_again_when_the_decision_says_so(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(cable(mac=None))
            await daemon.until(lambda: bool(daemon.loop.decision.activations))
            assert daemon.kernel.looks == [START, START + 10.0]

        rules = policy(connect("desk", on(Key.GATEWAY_MAC, "02:00:00:00:00:bb")), connect("cafe", is_default=True))
        play(tmp_path, story, rules)


class TestGoingUpAndDown:
    def test_a_network_brings_its_activation_up(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(wifi())
            await daemon.until_phase(TunnelPhase.UP)
            assert daemon.applied() == ALL
            assert daemon.hooks() == ["/preup", "/postup"]
            assert daemon.outside.lookups == [("203.0.113.1", "wlan2")]

        play(tmp_path, story)

    def test_its_loss_takes_it_down_after_linger(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(wifi())
            await daemon.until_phase(TunnelPhase.UP)
            before = daemon.kernel.looks[-1]
            await daemon.see(gone(wifi()))
            assert daemon.applied() == ALL
            await daemon.until(lambda: not daemon.applied())
            assert daemon.kernel.looks[-1] >= before + RULES.linger
            assert daemon.hooks() == ["/preup", "/postup", "/predown", "/postdown"]
            assert daemon.machine.contexts[2].reason == "uplink-lost"
            assert not daemon.machine.contexts[2].alive

        play(tmp_path, story)

    def test_stopping_undoes_everything_with_its_reason(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            before = daemon.machine.view()
            await daemon.begin(wifi())
            await daemon.until_phase(TunnelPhase.UP)
            daemon.loop.end(Goal.STOP)
            await daemon.ended()
            assert daemon.machine.view() == before
            assert daemon.machine.contexts[2].reason == "stop"

        play(tmp_path, story)

    def test_stopping_with_nothing_to_undo_ends_at_once(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin()
            daemon.loop.end(Goal.STOP)
            await daemon.ended()

        play(tmp_path, story)

    def test_another_uplink_with_the_same_profile_amends_and_tells_the_tunnel(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(wifi())
            await daemon.until_phase(TunnelPhase.UP)
            await daemon.see(gone(wifi()), cable())
            await daemon.until(lambda: bool(daemon.driver.uplinks) and daemon.loop.plans.is_idle)
            assert daemon.driver.uplinks == ["eth3"]
            assert len(daemon.driver.launches) == 1
            assert daemon.hooks() == ["/preup", "/postup"]

        play(tmp_path, story, policy(replace(CAMPUS, conditions=(), is_default=True)))

    def test_links_that_are_no_uplinks_run_no_plan(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(wifi())
            await daemon.until_phase(TunnelPhase.UP)
            count = daemon.loop.plans.count
            for index in range(10, 40):
                await daemon.see(wifi(), cable(index, is_uplink=False, mtu=1000 + index))
            assert daemon.loop.plans.count == count

        play(tmp_path, story)


class TestFailures:
    def test_a_wrong_password_is_tried_once_and_said(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.driver.answers = [WRONG_PASSWORD]
            await daemon.begin(wifi())
            await daemon.until_phase(TunnelPhase.FAILED)
            assert len(daemon.driver.launches) == 1
            assert daemon.applied() == ["preup"]
            assert [program for program, _ in daemon.outside.hooks] == ["/failup"]

        play(tmp_path, story)

    def test_three_attempts_then_the_next_tunnel(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.driver.answers = [NO_ANSWER] * 3
            await daemon.begin(wifi())
            await daemon.until_phase(TunnelPhase.UP, key=("campus", "two"))
            assert [launch.spec.name for launch in daemon.driver.launches] == ["one"] * 3 + ["two"]
            assert daemon.outside.hooks == []

        play(tmp_path, story, policy(replace(CAMPUS, tunnels=(ssh("one"), ssh("two")))))

    def test_no_answer_in_time_breaks_the_attempt(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.driver.answers = [()]
            await daemon.begin(wifi())
            await daemon.until_phase(TunnelPhase.UP)
            assert [launch.spec.name for launch in daemon.driver.launches] == ["campus-tunnel"] * 2
            assert daemon.kernel.looks[-1] > START + 32

        play(tmp_path, story)

    def test_a_failed_step_is_that_attempts_failure(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.machine.failing = {"/preup"}
            await daemon.begin(wifi())
            await daemon.until(lambda: daemon.phase() is TunnelPhase.FAILED)
            failure = daemon.loop.tunnels.state(daemon.first).last_failure
            assert failure is not None
            assert failure.words.startswith("preup: ")
            assert any("preup of campus" in words for words in daemon.loop.complaints)

        play(tmp_path, story)

    def test_a_failed_postup_leaves_the_tunnel_up(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.machine.failing = {"/postup"}
            await daemon.begin(wifi())
            await daemon.until_phase(TunnelPhase.UP)
            assert any("/postup" in words for words in daemon.loop.complaints)
            assert "routes" in daemon.applied()

        play(tmp_path, story)

    def test_a_lost_tunnel_is_undone_and_brought_up_again(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(wifi())
            await daemon.until_phase(TunnelPhase.UP)
            state = daemon.loop.tunnels.state(daemon.first)
            lost = Broke(Failure(FailureClass.LOST, "the far end is silent"))
            daemon.loop.tell_attempt(daemon.first, state.instance, state.attempt, lost)
            await daemon.until(lambda: len(daemon.driver.launches) == 2)
            await daemon.until_phase(TunnelPhase.UP)
            assert daemon.hooks() == ["/preup", "/postup", "/predown", "/postup"]
            assert daemon.machine.contexts[2].reason == "the far end is silent"

        play(tmp_path, story)

    def test_an_attempt_that_is_over_says_nothing_any_more(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(wifi())
            await daemon.until_phase(TunnelPhase.UP)
            before = daemon.loop.tunnels.view()
            daemon.loop.tell_attempt(daemon.first, "0-other", 1, Broke(Failure(FailureClass.LOST, "")))
            daemon.loop.tell_attempt(
                daemon.first, before[daemon.first].instance, 7, Broke(Failure(FailureClass.LOST, ""))
            )
            assert daemon.loop.tunnels.view() == before

        play(tmp_path, story)

    def test_a_resume_tries_again_at_once(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.driver.answers = [WRONG_PASSWORD]
            await daemon.begin(wifi())
            await daemon.until_phase(TunnelPhase.FAILED)
            daemon.kernel.resumed = True
            daemon.loop.wake()
            await daemon.until_phase(TunnelPhase.UP)

        play(tmp_path, story)

    def test_a_name_that_nobody_knows_is_a_failure_of_the_attempt(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.outside.addresses["203.0.113.1"] = SystemFault("no such name")
            await daemon.begin(wifi())
            await daemon.until(lambda: daemon.phase() is TunnelPhase.BACKOFF)
            failure = daemon.loop.tunnels.state(daemon.first).last_failure
            assert failure == Failure(FailureClass.NAME, "no such name")

        play(tmp_path, story)

    def test_the_newest_fifty_complaints_are_kept(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.build()
            for number in range(60):
                daemon.loop.complain(str(number))
            assert daemon.loop.complaints == [str(number) for number in range(10, 60)]

        play(tmp_path, story)

    def test_a_receipt_that_cannot_be_written_is_said(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(wifi())
            await daemon.until_phase(TunnelPhase.UP)
            daemon.machine.boot_log.room = 0
            daemon.loop.note_receipt((StepKind.TUNNEL, *daemon.first), {"pid": 1})
            await daemon.see(wifi())
            await daemon.until(lambda: True)
            await daemon.see(wifi())
            assert any("no space left" in words for words in daemon.loop.complaints)

        play(tmp_path, story)


class TestErrands:
    def test_gateways_are_asked_for_once_per_usable_period(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            bare = cable(mac=None)
            await daemon.begin(bare)
            await daemon.see(bare)
            await daemon.see(bare)
            assert daemon.outside.gateways == ["eth3"]
            await daemon.see(gone(bare))
            await daemon.see(bare)
            assert daemon.outside.gateways == ["eth3"] * 2

        play(tmp_path, story, policy(connect("desk", on(Key.GATEWAY_MAC, "02:00:00:00:00:bb"))))

    @pytest.mark.parametrize("link", [cable(), cable(gateways=()), cable(mac=None, is_uplink=False)])
    def test_gateways_that_no_rule_waits_for_are_left_alone(self, tmp_path: Path, link: object) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(link)  # type: ignore[arg-type]
            await daemon.see(link)  # type: ignore[arg-type]
            assert daemon.outside.gateways == []

        play(tmp_path, story, policy(connect("desk", on(Key.GATEWAY_MAC, "02:00:00:00:00:bb"))))

    def test_the_machines_dns_is_read_only_for_conditions_about_it(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.outside.dns = UplinkDns(("192.0.2.53",))
            await daemon.begin(cable())
            assert daemon.outside.dns_asked == asked[0]

        asked = [0]
        play(tmp_path, story, policy(trusted("home", on(Key.INTERFACE, "eth9"))))
        asked = [1]
        play(tmp_path, story, policy(connect("away", on(Key.DNS_SERVER, "192.0.2.9"))))

    def test_each_attempt_asks_the_next_address(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            both = (ip_address("203.0.113.1"), ip_address("2001:db8::1"))
            daemon.outside.addresses["vpn.example"] = both
            daemon.driver.answers = [NO_ANSWER]
            await daemon.begin(wifi())
            await daemon.until_phase(TunnelPhase.UP)
            assert [launch.endpoints[0].address for launch in daemon.driver.launches] == list(both)

        play(tmp_path, story, policy(replace(CAMPUS, tunnels=(ssh(host="vpn.example"),))))


def test_what_would_be_done_now_is_told_without_doing_it(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        daemon.outside.addresses["203.0.113.1"] = SystemFault("no such name")
        await daemon.begin(wifi())
        await daemon.until(lambda: daemon.phase() is TunnelPhase.BACKOFF and daemon.loop.plans.is_idle)
        assert not daemon.loop.whole_plan()
        daemon.loop.policy = policy()
        daemon.loop.decision = replace(daemon.loop.decision, activations=())
        assert [str(change.step) for change in daemon.loop.whole_plan().changes] == ["preup of campus"]  # type: ignore[union-attr]

    play(tmp_path, story)


def test_a_gateway_that_moves_changes_nothing_of_the_tunnel(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        await daemon.begin(wifi())
        await daemon.until_phase(TunnelPhase.UP)
        moved = wifi(
            addresses=(ip_interface("198.51.100.7/24"),),
            gateways=(Gateway(ip_address("198.51.100.1"), "02:00:00:00:00:cc"),),
        )
        await daemon.see(moved)
        await daemon.until(lambda: bool(daemon.driver.uplinks) and daemon.loop.plans.is_idle)
        assert len(daemon.driver.launches) == 1
        assert daemon.hooks() == ["/preup", "/postup"]
        routes = next(step for step in daemon.loop.plans.applied() if step.kind is StepKind.ROUTES)
        assert routes.value.on_link == (ip_network("198.51.100.0/24"),)  # type: ignore[union-attr]

    play(tmp_path, story)


def test_a_link_that_is_replaced_under_its_name_is_another(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        await daemon.begin(wifi())
        await daemon.until_phase(TunnelPhase.UP)
        await daemon.see(wifi(id=LinkId(2, 2)))
        await daemon.settle()
        assert len(daemon.driver.launches) == 1
        assert daemon.loop.decision.activations[0].uplink == LinkId(2, 2)

    play(tmp_path, story)


def test_a_driver_that_says_no_at_once_is_heard(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        daemon.driver.answers = [(Failed(FailureClass.TRUST, "the host key has changed"),)]
        await daemon.begin(wifi())
        await daemon.until_phase(TunnelPhase.FAILED)
        assert daemon.loop.tunnels.state(daemon.first).last_failure == Failure(
            FailureClass.TRUST, "the host key has changed"
        )

    play(tmp_path, story)
