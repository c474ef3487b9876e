"""An uplink that goes and comes back within linger costs no hook, whatever was under way when it went."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autovpn.core.hookenv import HookContext
from autovpn.core.network import Grade
from autovpn.core.profile import DnsSettings, Event, Hook, Key, Policy, Profile
from autovpn.core.snapshot import Link, Phase
from autovpn.daemon.ports import Hooks
from autovpn.system.hooks import HookResult
from autovpn.system.journal import Journal
from tests.core.builders import connect, gone, on, policy, wifi
from tests.daemon.fake_kernel import Daemon, in_virtual_time
from tests.daemon.fake_machine import FakeHooks, FakeLog

HOOKS = tuple(Hook(event, (f"/{event.value}",)) for event in Event)
CAMPUS = connect("campus", on(Key.SSID, b"Campus"), hooks=HOOKS, dns=DnsSettings(servers=("10.8.0.1",)))
CAFE = connect("cafe", is_default=True, hooks=HOOKS)
BARE = replace(CAMPUS, tunnels=(), require=Grade.HINT)
RECORD, PROGRAM = 0.07, 0.4
"""Seconds that a record of the journal and a hook take here: several looks fit into a plan."""

UP = ["campus/preup", "campus/postup"]
SWITCHED = [*UP, "campus/predown", "campus/postdown", "cafe/preup", "cafe/postup"]


class SlowLog(FakeLog):
    """A file on a slow disk."""

    async def append(self, line: bytes, *, sync: bool) -> None:
        await asyncio.sleep(RECORD)
        await super().append(line, sync=sync)


class SlowHooks(FakeHooks):
    """Programs that take their time."""

    async def run(self, hook: Hook, context: HookContext, nonce: str) -> HookResult:
        await asyncio.sleep(PROGRAM)
        return await super().run(hook, context, nonce)


class SlowDaemon(Daemon):
    """A daemon whose every change takes long enough for news to arrive meanwhile."""

    async def journal(self) -> Journal:
        self.machine.boot_log = SlowLog(self.machine, "/run")
        return await super().journal()

    def programs(self) -> Hooks:
        return SlowHooks(self.machine)

    def history(self) -> list[str]:
        """Return which hook of which profile was run, in order."""
        return [f"{context.profile}/{context.event}" for context in self.machine.contexts]


def unaddressed(link: Link) -> Link:
    """Return the link after its address was taken away."""
    return replace(link, phase=Phase.ADDRESSING, addresses=(), gateways=(), metric=None)


Loss = Callable[[Link], Link]
Flap = tuple[float, float]  # how long the uplink is there, and how long it is gone then
FLAPS = st.lists(st.tuples(st.floats(0.0, 1.5), st.floats(0.0, 1.5)), min_size=1, max_size=3)
LOSSES = st.sampled_from((gone, unaddressed))


async def flap(daemon: Daemon, link: Link, lost: Link, flaps: list[Flap]) -> None:
    """Have a link be lost and come back, and return when all is done."""
    for there, away in flaps:
        await asyncio.sleep(there)
        await daemon.see(lost)
        await asyncio.sleep(away)
        await daemon.see(link)
    await daemon.settle()


async def play(folder: Path, rules: Policy, links: tuple[Link, ...], lost: Link, flaps: list[Flap]) -> list[str]:
    daemon = SlowDaemon(folder, rules)
    try:
        await daemon.begin(links[0])
        for link in links[1:]:
            await daemon.settle()
            await daemon.see(link)
        await flap(daemon, links[-1], lost, flaps)
        return daemon.history()
    finally:
        await daemon.kill()


PROPERTY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10, deadline=None)


@PROPERTY
@example(profile=BARE, loss=gone, flaps=[(0.1, 0.3)])
@given(profile=st.sampled_from((CAMPUS, BARE)), loss=LOSSES, flaps=FLAPS)
def test_on_its_way_up_an_activation_runs_its_hooks_once(
    tmp_path: Path, profile: Profile, loss: Loss, flaps: list[Flap]
) -> None:
    link = wifi()
    assert in_virtual_time(play(tmp_path, policy(profile), (link,), loss(link), flaps)) == UP


@PROPERTY
@given(loss=LOSSES, flaps=FLAPS)
def test_from_one_network_to_the_next_there_is_one_teardown_and_one_setup(
    tmp_path: Path, loss: Loss, flaps: list[Flap]
) -> None:
    links = (wifi(), wifi(b"Free Cafe"))
    assert in_virtual_time(play(tmp_path, policy(CAMPUS, CAFE), links, loss(links[1]), flaps)) == SWITCHED
