"""Carrying activations on: what becomes of each, with its reason and the time of the next look."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from autovpn.core.decide import Decision, decide
from autovpn.core.judgement import Outcome
from autovpn.core.memory import Flap, Memory
from autovpn.core.network import Gateway
from autovpn.core.profile import Action, Key, Policy, Profile
from autovpn.core.ride import CALM, FLAP_CAP
from autovpn.core.snapshot import Link, Snapshot
from tests.core.builders import cable, connect, gone, on, policy, seen, trusted, wifi

HOME = trusted("home", on(Key.GATEWAY, ip_network("198.51.100.1")))
CAFE = connect("cafe", full=True, is_default=True)
RULES = policy(HOME, CAFE)
HERE = cable()
ELSEWHERE = cable(gateways=(Gateway(ip_address("203.0.113.254"), "02:00:00:00:00:bb"),))


def after(*looks: tuple[float, Snapshot], rules: Policy = RULES, memory: Memory | None = None) -> Decision:
    decision = Decision(memory=memory or Memory())
    for now, snapshot in looks:
        decision = decide(snapshot, rules, decision.memory, now)
    return decision


def endings(decision: Decision) -> list[tuple[str, str]]:
    return [(ending.profile, ending.reason) for ending in decision.endings]


def test_a_network_that_refines_what_is_known_carries_on() -> None:
    bare = replace(ELSEWHERE, gateways=())
    decision = after((0.0, seen(bare)), (1.0, seen(ELSEWHERE)))

    assert [(a.profile, a.epoch) for a in decision.activations] == [("cafe", 1)]
    assert decision.memory.ride("cafe") is not None
    assert decision.memory.ride("other") is None


def test_an_ignored_network_lets_its_activation_linger() -> None:
    """`ignore` has no opinion: what rides here ends when `linger` is over, and nothing is started."""
    lab = Profile("lab", action=Action.IGNORE, conditions=(on(Key.INTERFACE, "eth3"),))
    first = after((0.0, seen(ELSEWHERE)))
    ignored = after((1.0, seen(ELSEWHERE)), rules=policy(lab, CAFE), memory=first.memory)
    over = after((16.0, seen(ELSEWHERE)), rules=policy(lab, CAFE), memory=ignored.memory)

    assert [(a.profile, a.lingering) for a in ignored.activations] == [("cafe", True)]
    assert ignored.next_look == 16.0
    assert endings(over) == [("cafe", "uplink-lost")]


@pytest.mark.parametrize("others", [(), (connect("desk", on(Key.INTERFACE, "eth3")),)])
def test_a_conflicting_network_ends_it_at_once_whatever_that_network_wants(others: tuple[Profile, ...]) -> None:
    rules = policy(connect("campus", on(Key.SSID, b"Campus")), *others)
    here = wifi()
    there = wifi(b"Other")
    decision = after((0.0, seen(here)), (1.0, seen(there)), rules=rules)

    assert endings(decision) == [("campus", "network-changed")]


class TestTrust:
    def test_lowering_waits_and_says_when_it_will_look_again(self) -> None:
        decision = after((0.0, seen(ELSEWHERE)), (1.0, seen(HERE)))

        assert {a.profile for a in decision.activations} == {"home", "cafe"}
        assert decision.next_look == 6.0

    def test_a_trusted_uplink_that_governs_ends_what_lost_its_own_uplink(self) -> None:
        rules = policy(trusted("desk", on(Key.INTERFACE, "eth3")), connect("campus", on(Key.SSID, b"Campus")))
        lost = [(0.0, seen(wifi())), (1.0, seen(gone(wifi()), HERE))]

        assert after(*lost, rules=rules).next_look == 6.0
        decision = after(*lost, (6.0, seen(gone(wifi()), HERE)), rules=rules)
        assert endings(decision) == [("campus", "trusted")]

    def test_linger_ends_it_where_that_is_shorter_than_settling(self) -> None:
        desk = trusted("desk", on(Key.INTERFACE, "eth3"))
        rules = policy(desk, connect("campus", on(Key.SSID, b"Campus")), linger=2.0)
        lost = [(0.0, seen(wifi())), (1.0, seen(gone(wifi()), HERE)), (3.0, seen(gone(wifi()), HERE))]

        assert endings(after(*lost, rules=rules)) == [("campus", "uplink-lost")]

    def test_the_wait_doubles_up_to_a_cap(self) -> None:
        first = after((0.0, seen(ELSEWHERE)))
        waits = []
        for count in range(FLAP_CAP + 3):
            memory = replace(first.memory, flaps={"cafe": Flap(count, 0.0)})
            look = after((1.0, seen(HERE)), memory=memory).next_look
            assert look is not None
            waits.append(look - 1.0)

        assert waits == [5.0, 10.0, 20.0, 40.0, 80.0, 80.0, 80.0]

    def test_after_a_calm_time_flaps_are_forgotten(self) -> None:
        first = after((0.0, seen(ELSEWHERE)))
        memory = replace(first.memory, flaps={"cafe": Flap(3, 0.0)})

        assert after((CALM, seen(HERE)), memory=memory).next_look == CALM + 5.0

    def test_raising_protection_again_is_immediate(self) -> None:
        decision = after((0.0, seen(ELSEWHERE)), (1.0, seen(HERE)), (2.0, seen(ELSEWHERE)))
        ride = decision.memory.ride("cafe")

        assert ride is not None
        assert ride.lower_since is None
        assert decision.memory.flaps["cafe"].count == 1


class TestWithoutUplink:
    def test_no_uplink_at_all_lingers(self) -> None:
        decision = after((0.0, seen(ELSEWHERE)), (1.0, seen()))

        assert [(a.profile, a.lingering, a.uplink_name) for a in decision.activations] == [("cafe", True, "")]

    @pytest.mark.parametrize("other", [wifi(b"Unknown"), wifi(b"Unknown", metric=None)])
    def test_an_uplink_that_no_profile_knows_ends_nothing(self, other: Link) -> None:
        rules = policy(connect("desk", on(Key.INTERFACE, "eth3")))
        decision = after((0.0, seen(HERE)), (1.0, seen(other)), rules=rules)

        assert decision.judgements[0].outcome is Outcome.IGNORE
        assert [a.lingering for a in decision.activations] == [True]

    def test_coming_back_while_it_settles_carries_on(self) -> None:
        rules = policy(trusted("desk", on(Key.INTERFACE, "eth3")), connect("campus", on(Key.SSID, b"Campus")))
        looks = [(0.0, seen(wifi())), (1.0, seen(gone(wifi()), HERE)), (2.0, seen(wifi(), HERE))]
        decision = after(*looks, rules=rules)

        assert [(a.profile, a.epoch, a.lingering) for a in decision.activations] == [
            ("desk", 2, False),
            ("campus", 1, False),
        ]
