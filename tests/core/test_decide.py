"""The decision: which activation on which uplink, for how long, and why."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from autovpn.core.decide import Decision, Role, decide
from autovpn.core.judgement import Outcome
from autovpn.core.memory import Memory, Override
from autovpn.core.network import Gateway, Grade, Security
from autovpn.core.profile import Action, Key, Policy, Profile
from autovpn.core.snapshot import LinkType, Phase, Snapshot
from tests.core.builders import cable, connect, gone, on, policy, seen, trusted, wifi

CAMPUS = connect("campus", on(Key.SSID, b"Campus"))
CAFE = connect("cafe", full=True, is_default=True)
HOME = trusted("home", on(Key.SSID, b"Home"), require=Grade.SHARED_KEY)
RULES = policy(CAMPUS, HOME, CAFE)


def after(*looks: tuple[float, Snapshot], rules: Policy = RULES, memory: Memory | None = None) -> Decision:
    """Return the last of several decisions, each remembering the one before."""
    remembered = memory or Memory()
    decision = Decision()
    for now, snapshot in looks:
        decision = decide(snapshot, rules, remembered, now)
        remembered = decision.memory
    return decision


def names(decision: Decision) -> list[str]:
    return [activation.profile for activation in decision.activations]


class TestOneUplink:
    def test_the_profile_that_names_the_network_is_wanted(self) -> None:
        decision = after((0.0, seen(wifi())))

        assert names(decision) == ["campus"]
        assert decision.judgements[0].reason == "campus matches: every condition holds"

    def test_the_first_match_wins_and_the_default_comes_last(self) -> None:
        assert names(after((0.0, seen(wifi(b"Other"))))) == ["cafe"]

    def test_no_profile_means_ignore(self) -> None:
        decision = after((0.0, seen(wifi(b"Other"))), rules=policy(CAMPUS))

        assert decision.judgements[0].outcome is Outcome.IGNORE
        assert decision.judgements[0].reason == "no profile matches"

    def test_a_profile_without_conditions_that_is_no_default_never_matches(self) -> None:
        assert names(after((0.0, seen(wifi())), rules=policy(connect("any")))) == []

    @pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.USABLE])
    def test_rules_are_judged_at_usable_only(self, phase: Phase) -> None:
        assert after((0.0, seen(wifi(phase=phase)))).judgements == ()

    def test_a_link_that_is_no_uplink_is_not_judged(self) -> None:
        assert after((0.0, seen(cable(is_uplink=False)))).judgements == ()

    def test_a_disconnect_profile_runs_as_an_activation_without_tunnels(self) -> None:
        decision = after((0.0, seen(wifi(b"Home"))))

        assert decision.judgements[0].outcome is Outcome.DISCONNECT
        assert names(decision) == ["home"]

    def test_an_ignore_profile_starts_nothing(self) -> None:
        rules = policy(Profile("lab", action=Action.IGNORE, conditions=(on(Key.INTERFACE, "wlan2"),)), CAFE)
        decision = after((0.0, seen(wifi())), rules=rules)

        assert decision.judgements[0].profile == "lab"
        assert decision.activations == ()


class TestPending:
    RULES = policy(connect("desk", on(Key.GATEWAY_MAC, "02:00:00:00:00:bb")), CAFE)

    def test_an_unknown_stops_the_search_until_the_deadline(self) -> None:
        decision = after((5.0, seen(cable(mac=None))), rules=self.RULES)

        assert decision.judgements[0].outcome is Outcome.PENDING
        assert decision.activations == ()
        assert decision.next_look == 15.0

    def test_after_the_deadline_the_unknown_is_a_no(self) -> None:
        decision = after((5.0, seen(cable(mac=None))), (15.0, seen(cable(mac=None))), rules=self.RULES)

        assert names(decision) == ["cafe"]

    def test_an_answer_in_time_decides(self) -> None:
        assert names(after((5.0, seen(cable(mac=None))), (5.1, seen(cable())), rules=self.RULES)) == ["desk"]

    def test_under_not_the_unknown_raises_protection(self) -> None:
        rules = policy(connect("away", on(Key.DNS_SUFFIX, "home.example", negated=True)))

        assert names(after((0.0, seen(cable())), rules=rules)) == ["away"]

    def test_under_not_the_unknown_never_lowers_protection(self) -> None:
        rules = policy(trusted("quiet", on(Key.DNS_SUFFIX, "work.example", negated=True)), CAFE)

        assert names(after((0.0, seen(cable())), rules=rules)) == ["cafe"]


class TestEvidence:
    def test_a_finished_handshake_with_a_shared_key_is_enough_where_the_profile_says_so(self) -> None:
        assert names(after((0.0, seen(wifi(b"Home"))))) == ["home"]

    def test_an_open_twin_of_a_trusted_network_is_not_trusted(self) -> None:
        decision = after((0.0, seen(wifi(b"Home", security=Security.OPEN))))

        assert names(decision) == ["cafe"]
        home = next(v for v in decision.judgements[0].verdicts if v.profile == "home")
        assert home.reason == "the evidence is hint, and it requires shared-key"

    def test_a_handshake_that_is_not_finished_proves_nothing(self) -> None:
        link = wifi(b"Home")
        assert link.wireless
        unfinished = replace(link, wireless=replace(link.wireless, authorized=False))

        assert names(after((0.0, seen(unfinished)))) == ["cafe"]

    def test_proof_is_the_default_and_cannot_be_had_from_a_name(self) -> None:
        rules = policy(trusted("home", on(Key.SSID, b"Home"), require=Grade.PROOF), CAFE)

        assert names(after((0.0, seen(wifi(b"Home"))), rules=rules)) == ["cafe"]

    def test_a_local_condition_needs_no_evidence(self) -> None:
        rules = policy(trusted("dock", on(Key.INTERFACE, "eth3"), require=Grade.PROOF), CAFE)

        assert names(after((0.0, seen(cable())), rules=rules)) == ["dock"]


class TestLinger:
    def test_the_loss_of_the_uplink_undoes_nothing_at_first(self) -> None:
        decision = after((0.0, seen(wifi())), (1.0, seen(gone(wifi()))))

        assert [a.lingering for a in decision.activations] == [True]
        assert decision.next_look == 16.0

    def test_after_linger_it_ends_with_the_reason(self) -> None:
        decision = after((0.0, seen(wifi())), (1.0, seen(gone(wifi()))), (16.0, seen(gone(wifi()))))

        assert decision.activations == ()
        assert [(e.profile, e.reason) for e in decision.endings] == [("campus", "uplink-lost")]

    def test_the_same_network_again_carries_on(self) -> None:
        decision = after((0.0, seen(wifi())), (1.0, seen(gone(wifi()))), (2.0, seen(wifi())))

        assert [(a.epoch, a.lingering) for a in decision.activations] == [(1, False)]

    def test_a_conflicting_network_on_the_same_link_ends_it_at_once(self) -> None:
        decision = after((0.0, seen(wifi())), (1.0, seen(gone(wifi()))), (2.0, seen(wifi(b"Other"))))

        assert names(decision) == ["cafe"]
        assert decision.endings[0].reason == "network-changed"

    def test_another_network_with_the_same_profile_begins_anew(self) -> None:
        decision = after((0.0, seen(wifi(b"One"))), (1.0, seen(wifi(b"Two"))))

        assert [(a.profile, a.epoch) for a in decision.activations] == [("cafe", 2)]

    def test_another_uplink_with_the_same_profile_takes_it_over(self) -> None:
        decision = after((0.0, seen(wifi(b"Other"))), (1.0, seen(gone(wifi()), cable())))

        assert [(a.uplink_name, a.epoch, a.lingering) for a in decision.activations] == [("eth3", 1, False)]

    def test_another_uplink_that_governs_with_another_profile_ends_it_at_once(self) -> None:
        rules = policy(CAMPUS, connect("desk", on(Key.INTERFACE, "eth3")))
        decision = after((0.0, seen(wifi())), (1.0, seen(gone(wifi()), cable())), rules=rules)

        assert names(decision) == ["desk"]
        assert decision.endings[0].reason == "another-uplink"

    def test_a_mark_of_leaving_ends_it_without_linger(self) -> None:
        first = after((0.0, seen(wifi())))
        leaving = replace(first.memory, leaving={wifi().id: 1.0})
        decision = after((1.0, seen(wifi())), memory=leaving)

        assert decision.activations == ()
        assert decision.endings[0].reason == "leaving"

    def test_the_mark_ends_with_the_carrier(self) -> None:
        leaving = Memory(leaving={wifi().id: 1.0})

        assert after((2.0, seen(gone(wifi()))), memory=leaving).memory.leaving == {}

    def test_the_mark_ends_after_a_minute(self) -> None:
        assert names(after((61.0, seen(wifi())), memory=Memory(leaving={wifi().id: 1.0}))) == ["campus"]


class TestLowering:
    def test_what_rides_here_is_undone_after_the_settle_time(self) -> None:
        rules = policy(trusted("home", on(Key.GATEWAY, ip_network("198.51.100.1"))), CAFE)
        elsewhere = cable(gateways=(Gateway(ip_address("203.0.113.254"), "02:00:00:00:00:bb"),))
        looks = [(0.0, seen(elsewhere)), (1.0, seen(cable())), (6.0, seen(cable()))]

        assert names(after(*looks[:2], rules=rules)) == ["cafe", "home"]
        decision = after(*looks, rules=rules)
        assert names(decision) == ["home"]
        assert decision.endings[0].reason == "trusted"

    def test_every_flap_doubles_the_wait(self) -> None:
        rules = policy(trusted("home", on(Key.GATEWAY, ip_network("198.51.100.1"))), CAFE)
        elsewhere = cable(gateways=(Gateway(ip_address("203.0.113.254"), "02:00:00:00:00:bb"),))
        decision = after(
            (0.0, seen(elsewhere)), (1.0, seen(cable())), (2.0, seen(elsewhere)), (3.0, seen(cable())), rules=rules
        )

        assert decision.next_look == 13.0


class TestSeveralUplinks:
    def test_a_trusted_cable_beside_a_cafe_stays_protected(self) -> None:
        rules = policy(trusted("desk", on(Key.INTERFACE, "eth3")), CAFE)
        decision = after((0.0, seen(wifi(b"Cafe"), cable())), rules=rules)

        assert [(a.profile, a.role) for a in decision.activations] == [("desk", Role.SPLIT), ("cafe", Role.EXCLUSIVE)]

    def test_one_activation_is_exclusive_and_the_governing_uplink_chooses(self) -> None:
        rules = policy(connect("desk", on(Key.INTERFACE, "eth3"), full=True), CAFE)
        decision = after((0.0, seen(wifi(b"Cafe"), cable())), rules=rules)

        assert [(a.profile, a.role) for a in decision.activations] == [("desk", Role.EXCLUSIVE), ("cafe", Role.STANDBY)]

    def test_split_activations_run_side_by_side(self) -> None:
        rules = policy(CAMPUS, connect("desk", on(Key.INTERFACE, "eth3")))
        decision = after((0.0, seen(wifi(), cable())), rules=rules)

        assert [a.role for a in decision.activations] == [Role.SPLIT, Role.SPLIT]

    def test_a_tunnel_of_two_running_activations_is_an_error_of_the_later(self) -> None:
        shared = replace(connect("desk", on(Key.INTERFACE, "eth3")), tunnels=CAMPUS.tunnels)
        decision = after((0.0, seen(wifi(), cable())), rules=policy(CAMPUS, shared))

        assert [(a.profile, a.role) for a in decision.activations] == [("desk", Role.SPLIT), ("campus", Role.BLOCKED)]
        assert "belongs to desk" in decision.activations[1].reason


class TestByHand:
    def test_up_wins_over_the_rules(self) -> None:
        up = Override(True, "cafe", wifi().id, wifi().network)

        assert names(after((0.0, seen(wifi())), memory=Memory(overrides=(up,)))) == ["cafe"]

    def test_up_ends_when_the_network_changes(self) -> None:
        up = Override(True, "cafe", wifi().id, wifi().network)
        decision = after((0.0, seen(wifi())), (1.0, seen(wifi(b"Home"))), memory=Memory(overrides=(up,)))

        assert decision.memory.overrides == ()

    def test_up_ends_with_its_time(self) -> None:
        up = Override(True, "cafe", wifi().id, wifi().network, until=10.0)
        early = after((0.0, seen(wifi())), memory=Memory(overrides=(up,)))

        assert early.next_look == 10.0
        assert names(after((0.0, seen(wifi())), (10.0, seen(wifi())), memory=Memory(overrides=(up,)))) == ["campus"]

    @pytest.mark.parametrize("profile", [None, "campus"])
    def test_down_ends_the_activation_at_once(self, profile: str | None) -> None:
        first = after((0.0, seen(wifi())))
        down = Override(False, profile, wifi().id, wifi().network)
        decision = after((1.0, seen(wifi())), memory=replace(first.memory, overrides=(down,)))

        assert decision.activations == ()
        assert decision.endings[0].reason == "down"
        assert decision.judgements[0].reason == "campus was taken down by hand"


class TestReload:
    def test_a_removed_profile_ends(self) -> None:
        first = after((0.0, seen(wifi())))
        decision = after((1.0, seen(wifi())), rules=policy(CAFE), memory=first.memory)

        assert names(decision) == ["cafe"]
        assert decision.endings[0].reason == "profile-removed"

    def test_another_match_on_the_same_network_takes_over(self) -> None:
        first = after((0.0, seen(wifi())))
        rules = policy(connect("first", on(Key.INTERFACE_TYPE, LinkType.WIFI)), CAMPUS)
        decision = after((1.0, seen(wifi())), rules=rules, memory=first.memory)

        assert names(decision) == ["first"]
        assert decision.endings[0].reason == "another-profile"


class TestOverridesEnd:
    DOWN = Override(False, None, cable().id, cable().network)

    def test_with_another_network_on_another_link(self) -> None:
        """A dongle that is gone must not keep protection off for ever."""
        decision = after((0.0, seen(wifi())), memory=Memory(overrides=(self.DOWN,)))

        assert decision.memory.overrides == ()
        assert names(decision) == ["campus"]

    def test_not_while_no_network_is_there(self) -> None:
        assert after((0.0, seen(gone(cable()))), memory=Memory(overrides=(self.DOWN,))).memory.overrides == (self.DOWN,)

    def test_not_with_the_same_network_on_another_link(self) -> None:
        decision = after((0.0, seen(cable(index=9))), memory=Memory(overrides=(self.DOWN,)))

        assert decision.memory.overrides == (self.DOWN,)

    def test_not_for_another_link_while_its_own_is_on_its_network(self) -> None:
        decision = after((0.0, seen(cable(), wifi())), memory=Memory(overrides=(self.DOWN,)))

        assert decision.memory.overrides == (self.DOWN,)


class TestLoweringByAProfileWithoutTunnels:
    """A profile that connects without a tunnel lowers protection as one that disconnects does."""

    def test_waits_for_the_settle_time(self) -> None:
        quiet = replace(trusted("quiet", on(Key.GATEWAY, ip_network("198.51.100.1"))), action=Action.CONNECT)
        rules = policy(quiet, CAFE)
        elsewhere = cable(gateways=(Gateway(ip_address("203.0.113.254"), "02:00:00:00:00:bb"),))
        looks = [(0.0, seen(elsewhere)), (1.0, seen(cable())), (6.0, seen(cable()))]

        assert "cafe" in names(after(*looks[:2], rules=rules))
        assert names(after(*looks, rules=rules)) == ["quiet"]

    def test_but_between_two_that_want_no_tunnel_nothing_waits(self) -> None:
        rules = policy(trusted("one", on(Key.INTERFACE, "eth3")))
        first = after((0.0, seen(cable())), rules=rules)
        renamed = policy(trusted("two", on(Key.INTERFACE, "eth3")), trusted("one", on(Key.INTERFACE, "eth9")))
        decision = after((1.0, seen(cable())), rules=renamed, memory=first.memory)

        assert names(decision) == ["two"]


class TestUnknownLater:
    """What was known may become unknown: the time to wait for it begins then, not when the link arrived."""

    RULES = policy(connect("desk", on(Key.GATEWAY_MAC, "02:00:00:00:00:bb")), CAFE)

    def test_it_is_waited_for_from_when_it_began(self) -> None:
        bare = cable(mac=None)
        decision = after((0.0, seen(cable())), (60.0, seen(bare)), rules=self.RULES)

        assert decision.judgements[0].outcome is Outcome.PENDING
        assert names(decision) == ["desk"], "what rides here lingers meanwhile"

    def test_and_an_answer_in_time_leaves_everything_as_it_was(self) -> None:
        bare = cable(mac=None)
        looks = [(0.0, seen(cable())), (60.0, seen(bare)), (61.0, seen(cable()))]
        decision = after(*looks, rules=self.RULES)

        assert [(a.profile, a.epoch) for a in decision.activations] == [("desk", 1)]

    def test_but_not_for_ever(self) -> None:
        bare = cable(mac=None)
        decision = after((0.0, seen(cable())), (60.0, seen(bare)), (70.0, seen(bare)), rules=self.RULES)

        assert names(decision) == ["cafe"]
