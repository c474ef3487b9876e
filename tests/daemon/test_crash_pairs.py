"""Every type of tunnel with every shape of profile, two by two, through crashes and all ways out of them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from autovpn.core.decide import decide
from autovpn.core.memory import Memory
from autovpn.core.profile import DnsSettings, Event, Hook, Key, Profile
from autovpn.core.snapshot import Link, Snapshot
from autovpn.core.steps import Step
from autovpn.core.tunnel import Facts, PinnedEndpoint, RouteMode, RouteWish, TunnelPhase, TunnelSpec, TunnelState
from autovpn.core.wanted import instance_of, steps_for
from tests.core.builders import cable, on, policy
from tests.daemon import steps
from tests.daemon.fake_machine import Moment
from tests.daemon.test_crash import ACCIDENTS, RECOVERIES, crash_everywhere, lines_are_read_once
from tests.strikes import count
from tests.tunnels.playing import DEVICES, KINDS, PORTS, SETTINGS, TYPE_OF

__all__ = ["lines_are_read_once"]

HOOKS: dict[str, tuple[Hook, ...]] = {
    "no hooks": (),
    "all hooks": steps.hooks(Event.PREUP, Event.POSTUP, Event.PREDOWN, Event.POSTDOWN),
    "down hooks": steps.hooks(Event.PREDOWN, Event.POSTDOWN),
}
DNS = {
    "pushed DNS": DnsSettings(),
    "own DNS": DnsSettings(servers=("10.8.0.53",), search=("office.example",)),
    "split DNS": DnsSettings(servers=("10.8.0.53",), domains=("office.example",)),
}
LOCAL = {"alone": (), "joined": (ip_network("192.168.7.0/24"),)}
CHOICES: tuple[tuple[object, ...], ...] = (
    KINDS,
    tuple(RouteMode),
    tuple(HOOKS),
    tuple(DNS),
    tuple(LOCAL),
    tuple(RECOVERIES),
    tuple(ACCIDENTS),
)
MOMENTS = 12
"""So many moments of each story, chosen by dice that always fall the same way."""


def pairs(row: tuple[object, ...]) -> set[tuple[tuple[int, object], ...]]:
    return set(itertools.combinations(enumerate(row), 2))


def pairwise() -> Iterator[tuple[object, ...]]:
    """Yield rows in which each two choices meet at least once."""
    dice = random.Random(5)
    owed = {
        ((one, left), (two, right))
        for one, two in itertools.combinations(range(len(CHOICES)), 2)
        for left in CHOICES[one]
        for right in CHOICES[two]
    }
    while owed:
        needed = dict(min(owed, key=repr))
        rows = [tuple(needed.get(at, dice.choice(some)) for at, some in enumerate(CHOICES)) for _ in range(40)]
        row = max(rows, key=lambda row: len(pairs(row) & owed))
        owed -= pairs(row)
        yield row


ROWS = tuple(pairwise())


def steps_on(link: Link, profile: Profile) -> tuple[Step, ...]:
    """Return what is wanted of a profile whose tunnel is up, beside this link."""
    spec, rules = profile.tunnels[0], policy(profile)
    decision = decide(Snapshot((link,)), rules, Memory(), 0.0)
    activation = decision.activation(profile.name)
    assert activation is not None
    kind = next(kind for kind in KINDS if SETTINGS[kind] is spec.settings)
    facts = Facts(
        spec.device or None,
        (ip_interface("10.98.0.2/30"),) if spec.device else (),
        prefixes=(ip_network("10.8.0.0/16"),),
        dns=("10.8.0.1",),
    )
    pins = (PinnedEndpoint(ip_address("203.0.113.1"), *PORTS[kind]),)
    state = TunnelState(TunnelPhase.UP, instance_of(activation, spec), 1, endpoints=pins, facts=facts)
    return steps_for(decision, Snapshot((link,), {(profile.name, spec.name): state}), rules)


def test_every_two_choices_meet() -> None:
    met = set().union(*map(pairs, ROWS))
    for one, two in itertools.combinations(range(len(CHOICES)), 2):
        assert {((one, left), (two, right)) for left in CHOICES[one] for right in CHOICES[two]} <= met


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(str(getattr(one, "value", one)) for one in row))
async def test_whatever_the_tunnel_and_the_profile_a_crash_leaves_nothing(row: tuple[object, ...]) -> None:
    kind, mode, hooks, dns, local, way, accident = row
    assert isinstance(mode, RouteMode)
    spec = TunnelSpec(
        "office",
        TYPE_OF.get(str(kind), str(kind)),
        SETTINGS[str(kind)],
        DEVICES[str(kind)],
        RouteWish(mode, (ip_network("10.20.0.0/24"),)),
        local=LOCAL[str(local)],
    )
    profile = Profile(
        "campus",
        conditions=(on(Key.INTERFACE, "eth3"),),
        tunnels=(spec,),
        dns=DNS[str(dns)],
        hooks=HOOKS[str(hooks)],
    )
    story = (steps_on(cable(), profile), steps_on(cable(prefix="198.51.100.77/25"), profile), ())
    dice = random.Random(repr(row))

    def sample(moments: dict[Moment, str]) -> dict[Moment, str]:
        return dict(dice.sample(sorted(moments.items(), key=repr), min(len(moments), MOMENTS)))

    assert story[0] != story[1]
    await crash_everywhere(None, story, str(way), str(accident), crashes=1, chosen=sample)
    count("types of tunnel and shapes of profile that met in a crash", str(kind))
