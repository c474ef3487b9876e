"""The hooks that belong to no step: each runs once for what happened between two looks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autovpn.core.network import Security, Wireless
from autovpn.core.profile import Event, Hook, Key
from autovpn.core.snapshot import Link
from autovpn.core.tunnel import TunnelPhase
from tests.core.builders import cable, connect, gone, on, policy, wifi
from tests.daemon import fake_kernel
from tests.daemon.fake_kernel import WRONG_PASSWORD, Daemon, Story

HOOKS = tuple(Hook(event, (f"/{event.value}",)) for event in (Event.ROAM, Event.FAILUP, Event.FAILDOWN))
CAMPUS = connect("campus", on(Key.SSID, b"Campus"), hooks=HOOKS)


def play(folder: Path, story: Story) -> None:
    fake_kernel.play(folder, story, policy(CAMPUS))


def at(bssid: str) -> Link:
    """Return the campus Wi-Fi by one of its access points."""
    return wifi(wireless=Wireless(b"Campus", bssid, security=Security.PSK, authorized=True))


def ran(daemon: Daemon) -> list[str]:
    return [program for program, _ in daemon.outside.hooks]


def test_another_access_point_is_a_roam_and_leaves_the_tunnel_alone(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        await daemon.begin(at("02:00:00:00:00:01"))
        await daemon.until_phase(TunnelPhase.UP)
        for bssid in ("02:00:00:00:00:02", "02:00:00:00:00:02", "02:00:00:00:00:03"):
            await daemon.see(at(bssid))
        await daemon.see(at("02:00:00:00:00:03"))
        assert ran(daemon) == ["/roam", "/roam"]
        _, context = daemon.outside.hooks[0]
        assert (context.bssid, context.reason, context.alive) == ("02:00:00:00:00:02", "access point changed", True)
        assert len(daemon.driver.launches) == 1

    play(tmp_path, story)


def test_coming_back_by_another_access_point_within_linger_is_a_roam_too(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        await daemon.begin(at("02:00:00:00:00:01"))
        await daemon.until_phase(TunnelPhase.UP)
        await daemon.see(gone(at("02:00:00:00:00:01")))
        await daemon.see(at("02:00:00:00:00:02"))
        await daemon.see(at("02:00:00:00:00:02"))
        assert ran(daemon) == ["/roam"]

    play(tmp_path, story)


@pytest.mark.parametrize("other", [at(""), cable()])
def test_an_access_point_that_is_not_known_is_none_to_roam_to(tmp_path: Path, other: Link) -> None:
    async def story(daemon: Daemon) -> None:
        await daemon.begin(at("02:00:00:00:00:01"))
        await daemon.see(other)
        assert ran(daemon) == []

    play(tmp_path, story)


def test_the_last_tunnel_that_gives_up_is_told_once(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        daemon.driver.answers = [WRONG_PASSWORD] * 2
        await daemon.begin(wifi())
        await daemon.until_phase(TunnelPhase.FAILED)
        await daemon.see(wifi(mtu=1400))
        await daemon.see(wifi())
        assert ran(daemon) == ["/failup"]
        _, context = daemon.outside.hooks[0]
        assert (context.reason, context.tunnel) == ("the last tunnel gave up", "campus-tunnel")
        await daemon.ask("up", profile="campus")
        await daemon.until_phase(TunnelPhase.FAILED)
        await daemon.see(wifi())
        assert ran(daemon) == ["/failup", "/failup"], "it gave up once more"

    play(tmp_path, story)


def test_what_goes_wrong_with_such_a_hook_is_said(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        daemon.driver.answers = [WRONG_PASSWORD]
        daemon.outside.failing_hooks = {"/failup"}
        await daemon.begin(wifi())
        await daemon.until_phase(TunnelPhase.FAILED)
        await daemon.see(wifi())
        assert "failup hook /failup of campus: exit status 1" in daemon.loop.complaints

    play(tmp_path, story)


def test_a_profile_that_is_reloaded_away_meanwhile_has_no_hooks(tmp_path: Path) -> None:
    async def story(daemon: Daemon) -> None:
        await daemon.begin(at("02:00:00:00:00:01"))
        await daemon.until_phase(TunnelPhase.UP)
        decision, snapshot = daemon.loop.decision, daemon.loop.snapshot
        moved = replace(decision.activations[0], bssid="02:00:00:00:00:02")
        daemon.loop.moments.look(replace(decision, activations=(moved,)), snapshot, policy())
        assert ran(daemon) == []

    play(tmp_path, story)
