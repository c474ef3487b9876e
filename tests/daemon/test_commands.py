"""What the daemon answers: every command, every refusal in words, and what waits for what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from autovpn.core.profile import Event, Hook, Key
from autovpn.core.snapshot import Phase
from autovpn.core.supervise import BecameReady
from autovpn.core.tunnel import Facts, TunnelPhase
from autovpn.daemon import commands
from autovpn.daemon.commands import BY_HAND
from autovpn.daemon.loop import Goal
from autovpn.daemon.settings import Reading
from autovpn.errors import ControlError
from tests.core.builders import cable, connect, gone, on, policy, ssh, trusted, wifi
from tests.daemon import fake_kernel
from tests.daemon.fake_kernel import NO_ANSWER, WRONG_PASSWORD, Daemon, Story

HOOKS = tuple(Hook(event, (f"/{event.value}",)) for event in (Event.PREUP, Event.POSTUP, Event.PREDOWN, Event.POSTDOWN))
CAMPUS = replace(
    connect("campus", on(Key.SSID, b"Campus"), hooks=HOOKS), tunnels=(ssh("one", host="one"), ssh("two", host="two"))
)
CAFE = connect("cafe", full=True, is_default=True)
RULES = policy(CAMPUS, CAFE)


def play(folder: Path, story: Story, rules: object = RULES) -> None:
    fake_kernel.play(folder, story, rules)  # type: ignore[arg-type]


async def up(daemon: Daemon) -> None:
    """Bring the campus up on the Wi-Fi."""
    await daemon.begin(wifi())
    await daemon.until_phase(TunnelPhase.UP)


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("dance", {}, "dance: this daemon does not know that command; is it an older version?"),
        ("up", {}, "the request lacks 'profile'"),
        ("up", {"profile": 7}, "'profile' must be a text"),
        ("up", {"profile": "campsu"}, "there is no profile 'campsu'; did you mean 'campus'?"),
        ("up", {"profile": "x"}, "there is no profile 'x'; there is 'campus', 'cafe'"),
        ("up", {"profile": "campus", "tunnel": "tow"}, "campus has no tunnel 'tow'; did you mean 'two'?"),
        ("up", {"profile": "campus", "uplink": "eth9"}, "there is no interface 'eth9'; there is 'wlan2'"),
        ("up", {"profile": "campus", "uplink": "eth3"}, "eth3 is not usable now: it is down"),
        ("up", {"profile": "campus", "uplink": "eth4"}, "eth4 is no usable uplink"),
        ("up", {"profile": "campus", "seconds": "soon"}, "'seconds' must be a number of seconds"),
        ("up", {"profile": "campus", "seconds": True}, "'seconds' must be a number of seconds"),
        ("up", {"profile": "campus", "seconds": nan}, "'seconds' must be a number of seconds"),
        ("up", {"profile": "campus", "seconds": inf}, "'seconds' must be a number of seconds"),
        ("up", {"profile": "campus", "seconds": -1}, "'seconds' must be between 0 and a year, in seconds"),
        ("up", {"profile": "campus", "seconds": 1e9}, "'seconds' must be between 0 and a year, in seconds"),
        ("up", {"profile": "campus", "from_hook": "yes"}, "'from_hook' must be true or false"),
        ("down", {"profile": "capmus"}, "there is no profile 'capmus'; did you mean 'campus'?"),
        ("hook", {"interface": "wlan2"}, "the request lacks 'event'"),
    ],
)
def test_a_wrong_request_is_refused_in_words_that_help(
    tmp_path: Path, command: str, arguments: dict[str, object], words: str
) -> None:
    async def story(daemon: Daemon) -> None:
        await daemon.begin(wifi(), gone(cable(3)), cable(4, is_uplink=False))
        with pytest.raises(ControlError) as refused:
            await daemon.ask(command, **arguments)
        assert str(refused.value) == words

    play(tmp_path, story)


def test_without_profiles_and_uplinks_there_is_nothing_to_name(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        await daemon.begin()
        with pytest.raises(ControlError, match=r"^there is no profile 'x'$"):
            await daemon.ask("up", profile="x")
        with pytest.raises(ControlError, match=r"^no uplink is usable now, so there is nothing to ride on$"):
            await daemon.ask("down")

    play(tmp_path, story, policy())


class TestAsking:
    def test_status_explain_and_plan_are_of_a_fresh_look(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            for command in ("status", "explain", "plan"):
                looks = daemon.loop.looks
                assert (await daemon.ask(command))["ok"] is True
                assert daemon.loop.looks > looks

        play(tmp_path, story)

    def test_status_is_of_one_moment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def story(daemon: Daemon) -> None:
            asked, go_on, to_thread = asyncio.Event(), asyncio.Event(), asyncio.to_thread

            async def slowly(work: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
                if work.__module__ == commands.__name__:
                    asked.set()
                    await go_on.wait()
                return await to_thread(work, *arguments)

            monkeypatch.setattr(asyncio, "to_thread", slowly)
            daemon.machine.hanging = {"/postup"}
            daemon.driver.answers = [()]
            await daemon.begin(wifi())
            await daemon.until_phase(TunnelPhase.CONNECTING)
            status = daemon.asking("status")
            await asked.wait()
            state = daemon.loop.tunnels.state(daemon.first)
            daemon.loop.tell_attempt(daemon.first, state.instance, state.attempt, BecameReady(Facts()))
            await asyncio.sleep(1.0)
            assert "/postup" in daemon.hooks()
            go_on.set()
            assert "'state': 'finishing'" in str(await status)

        play(tmp_path, story)

    def test_status_says_what_went_wrong_with_hooks_and_configuration(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.machine.failing = {"/postup"}
            await up(daemon)
            daemon.reading = Reading(None, ("a.toml:1: wrong",))
            await daemon.ask("reload")
            status = str(await daemon.ask("status"))
            assert "/postup" in status
            assert "a.toml:1: wrong" in status

        play(tmp_path, story)


class TestByHand:
    def test_up_brings_another_profile_up_and_waits_for_it(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            reply = await daemon.ask("up", profile="cafe")
            assert reply == {"ok": True, "message": "cafe is up on wlan2 by cafe-tunnel", "problems": []}
            assert not daemon.applied("campus")

        play(tmp_path, story)

    def test_up_names_the_tunnel_and_the_uplink(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(wifi(), cable(3))
            reply = await daemon.ask("up", profile="campus", tunnel="two", uplink="eth3")
            assert reply["message"] == "campus is up on eth3 by two"

        play(tmp_path, story)

    def test_up_says_the_first_failure_and_does_not_wait_for_more(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(wifi(b"Elsewhere"))
            await daemon.settle()
            daemon.driver.answers = [NO_ANSWER] * 3
            reply = await daemon.ask("up", profile="campus")
            assert reply["ok"] is False
            assert reply["message"] == "campus: tunnel one failed: no answer"

        play(tmp_path, story)

    def test_up_after_a_failure_is_told_of_the_new_attempt_and_not_of_the_old(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.driver.answers = [WRONG_PASSWORD] * 2
            await daemon.begin(wifi())
            await daemon.until_phase(TunnelPhase.FAILED, key=("campus", "two"))
            daemon.outside.slowness = 1.0
            reply = await daemon.ask("up", profile="campus")
            assert reply["message"] == "campus is up on wlan2 by one"

        play(tmp_path, story)

    def test_up_says_when_it_has_waited_long_enough(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(wifi(b"Elsewhere"))
            await daemon.settle()
            daemon.machine.hanging = {"/postup"}
            reply = await daemon.ask("up", profile="campus")
            assert reply["ok"] is False
            assert str(reply["message"]).startswith(f"wlan2: not settled after {BY_HAND:.0f} s")

        play(tmp_path, story)

    def test_up_for_a_time_ends_with_it(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            await daemon.ask("up", profile="cafe", seconds=60)
            assert [o.profile for o in daemon.loop.memory.overrides] == ["cafe"]
            await daemon.until(lambda: not daemon.loop.memory.overrides)
            await daemon.until_phase(TunnelPhase.UP)
            assert daemon.loop.decision.activations[0].profile == "campus"

        play(tmp_path, story)

    def test_down_undoes_and_holds_until_up(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            assert (await daemon.ask("down"))["message"] == "everything is down"
            assert daemon.applied() == []
            assert (await daemon.ask("down", profile="cafe"))["message"] == "cafe is down"
            assert (await daemon.ask("up", profile="campus"))["ok"] is True
            assert "tunnel" in daemon.applied()

        play(tmp_path, story)

    def test_down_for_a_time_ends_with_it(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            await daemon.ask("down", profile="campus", seconds=60)
            await daemon.until_phase(TunnelPhase.UP)

        play(tmp_path, story)

    @pytest.mark.parametrize(("command", "arguments"), [("up", {"profile": "cafe"}), ("down", {})])
    def test_from_inside_a_hook_nothing_waits(self, tmp_path: Path, command: str, arguments: dict[str, object]) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            count = daemon.loop.plans.count
            reply = await daemon.ask(command, from_hook=True, **arguments)
            assert reply["ok"] is True
            assert "will be" in str(reply["message"])
            assert daemon.loop.plans.count == count
            assert daemon.loop.memory.overrides

        play(tmp_path, story)

    def test_down_waits_as_long_as_it_says(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            daemon.machine.hanging = {"/predown"}
            reply = await daemon.ask("down")
            assert reply["ok"] is False
            assert str(reply["message"]).startswith(f"still being undone after {BY_HAND:.0f} s")

        play(tmp_path, story)

    def test_down_says_what_could_not_be_undone(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            daemon.machine.boot_log.room = 0
            reply = await daemon.ask("down")
            assert (reply["ok"], reply["message"]) == (False, "campus could not be undone whole")

        play(tmp_path, story)


class TestReload:
    def test_a_good_configuration_takes_the_place_of_the_old(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            daemon.reading = Reading(policy(CAFE))
            reply = await daemon.ask("reload")
            assert reply["message"] == "the configuration was read anew: 1 profile"
            assert [a.profile for a in daemon.loop.decision.activations] == ["cafe"]

        play(tmp_path, story)

    def test_a_wrong_one_changes_nothing_and_is_said(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            daemon.reading = Reading(None, ("a.toml:1: wrong",))
            reply = await daemon.ask("reload")
            assert (reply["ok"], reply["problems"]) == (False, ["a.toml:1: wrong"])
            assert daemon.loop.policy is RULES
            daemon.reading = Reading(RULES)
            assert (await daemon.ask("reload"))["message"] == "the configuration was read anew: 2 profiles"
            assert (daemon.settings.problems, daemon.settings.reload_failed) == ((), False)

        play(tmp_path, story)


def test_restart_leaves_everything_in_place(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        await up(daemon)
        before = daemon.machine.view()
        assert (await daemon.ask("restart"))["ok"] is True
        await daemon.ended()
        assert daemon.loop.goal is Goal.RESTART
        assert daemon.machine.view() == before
        assert (await asyncio.to_thread(daemon.memories.load)).memory == daemon.loop.memory

    play(tmp_path, story)


class TestHook:
    """`autovpn hook`, as netifrc's functions call it."""

    @pytest.mark.parametrize("event", ["preup", "postdown", "failup", "anything"])
    def test_most_events_only_wake(self, tmp_path: Path, event: str) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            reply = await daemon.ask("hook", event=event, interface="wlan2")
            assert reply == {"ok": True, "message": f"{event} of wlan2 is noted", "problems": [], "exit": 0}

        play(tmp_path, story)

    def test_predown_returns_when_nothing_rides_on_it_and_marks_it_leaving(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            reply = await daemon.ask("hook", event="predown", interface="wlan2")
            assert (reply["ok"], reply["exit"], reply["message"]) == (True, 0, "nothing rides on wlan2")
            assert daemon.applied() == []
            assert daemon.loop.memory.leaving.keys() == {wifi().id}
            assert daemon.machine.contexts[2].reason == "leaving"

        play(tmp_path, story)

    @pytest.mark.parametrize("event", ["preup", "postup"])
    def test_preup_and_postup_take_the_mark_away(self, tmp_path: Path, event: str) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            await daemon.ask("hook", event="predown", interface="wlan2")
            await daemon.ask("hook", event=event, interface="wlan2")
            await daemon.until_phase(TunnelPhase.UP)
            assert daemon.loop.memory.leaving == {}

        play(tmp_path, story)

    def test_predown_does_not_wait_for_what_moved_elsewhere(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(wifi(metric=50), cable(3))
            await daemon.until_phase(TunnelPhase.UP)
            reply = await daemon.ask("hook", event="predown", interface="wlan2")
            assert reply["message"] == "nothing rides on wlan2"
            assert daemon.loop.decision.activations[0].uplink_name == "eth3"
            assert "tunnel" in daemon.applied("cafe")

        play(tmp_path, story, policy(CAFE))

    def test_postup_returns_when_its_activation_is_up(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin()
            daemon.kernel.present = (wifi(),)
            reply = await daemon.ask("hook", event="postup", interface="wlan2")
            assert reply["message"] == "campus is up on wlan2 by one"
            assert daemon.hooks() == ["/preup", "/postup"]

        play(tmp_path, story)

    @pytest.mark.parametrize(("strict", "code"), [(False, 0), (True, 1)])
    def test_a_failure_is_an_exit_status_only_when_that_was_asked_for(
        self, tmp_path: Path, code: int, *, strict: bool
    ) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.driver.answers = [WRONG_PASSWORD] * 2
            await daemon.begin()
            daemon.kernel.present = (wifi(),)
            reply = await daemon.ask("hook", event="postup", interface="wlan2", strict=strict)
            assert (reply["ok"], reply["exit"]) == (True, code)
            assert reply["problems"] == ["campus: tunnel one failed: wrong password"]

        play(tmp_path, story)

    def test_it_waits_no_longer_than_told(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.machine.hanging = {"/preup"}
            await daemon.begin(wifi())
            reply = await daemon.ask("hook", event="postup", interface="wlan2", wait=3, strict=True)
            assert str(reply["message"]).startswith("wlan2: not settled after 3 s")
            assert reply["exit"] == 1

        play(tmp_path, story)

    def test_from_inside_a_hook_it_notes_and_returns(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await up(daemon)
            reply = await daemon.ask("hook", event="predown", interface="wlan2", from_hook=True)
            assert reply["message"] == "predown of wlan2 is noted"
            assert "tunnel" in daemon.applied()

        play(tmp_path, story)

    def test_an_interface_that_is_not_there_is_a_failure_only_when_strict(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin()
            reply = await daemon.ask("hook", event="postup", interface="eth9")
            assert (reply["exit"], reply["problems"]) == (0, ["there is no interface 'eth9'"])
            assert (await daemon.ask("hook", event="predown", interface="eth9"))["exit"] == 0

        play(tmp_path, story)


class TestArrival:
    """What `hook postup` takes for an answer."""

    def test_what_is_no_uplink_has_nothing_to_wait_for(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(cable(3, is_uplink=False))
            reply = await daemon.ask("hook", event="postup", interface="eth3", strict=True)
            assert reply["exit"] == 0
            assert "does not count as an uplink" in str(reply["message"])

        play(tmp_path, story)

    @pytest.mark.parametrize("link", [wifi(phase=Phase.ADDRESSING), cable(mac=None)])
    def test_what_is_not_decided_yet_is_waited_for(self, tmp_path: Path, link: object) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(link)  # type: ignore[arg-type]
            reply = await daemon.ask("hook", event="postup", interface=link.name, wait=2)  # type: ignore[attr-defined]
            assert "not settled" in str(reply["message"])

        play(tmp_path, story, policy(connect("desk", on(Key.GATEWAY_MAC, "02:00:00:00:00:bb"))))

    def test_a_network_without_a_profile_is_fine(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(cable(3))
            reply = await daemon.ask("hook", event="postup", interface="eth3", strict=True)
            assert (reply["exit"], reply["message"]) == (0, "eth3: no profile matches")

        play(tmp_path, story, policy(CAMPUS))

    def test_a_trusted_network_is_fine_without_waiting_for_its_hooks(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(cable(3))
            reply = await daemon.ask("hook", event="postup", interface="eth3", strict=True)
            assert reply["message"] == "eth3: home matches: every condition holds"

        play(tmp_path, story, policy(trusted("home", on(Key.INTERFACE, "eth3"), hooks=HOOKS)))

    def test_one_that_stands_by_is_fine(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(wifi(b"Cafe"), cable(3))
            reply = await daemon.ask("hook", event="postup", interface="wlan2", strict=True)
            assert reply["message"] == "cafe stands by: desk has all traffic or all names already"

        play(tmp_path, story, policy(connect("desk", on(Key.INTERFACE, "eth3"), full=True), CAFE))

    def test_one_without_a_tunnel_is_up_when_its_hooks_have_run(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            await daemon.begin(cable(3))
            reply = await daemon.ask("hook", event="postup", interface="eth3", strict=True)
            assert reply["message"] == "mounts is up on eth3"
            assert daemon.hooks() == ["/preup", "/postup"]

        play(tmp_path, story, policy(replace(connect("mounts", on(Key.INTERFACE, "eth3"), hooks=HOOKS), tunnels=())))

    def test_one_without_a_tunnel_whose_hook_fails_has_failed(self, tmp_path: Path) -> None:
        async def story(daemon: Daemon) -> None:
            daemon.machine.failing = {"/preup"}
            await daemon.begin(cable(3))
            reply = await daemon.ask("hook", event="postup", interface="eth3", strict=True)
            assert reply["problems"] == ["mounts could not be brought up; see 'autovpn status'"]

        play(tmp_path, story, policy(replace(connect("mounts", on(Key.INTERFACE, "eth3"), hooks=HOOKS), tunnels=())))
