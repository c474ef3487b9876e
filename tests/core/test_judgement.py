"""Judging one uplink: the verdict on every profile, with its reason and what would have to change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autovpn.core.conditions import Truth
from autovpn.core.judgement import Outcome, evidence_for, judge_link, judge_profile
from autovpn.core.network import Grade
from autovpn.core.profile import Action, Key, Profile
from tests.core.builders import cable, connect, on, policy, trusted, wifi

CAMPUS = connect("campus", on(Key.SSID, b"Campus"))
CAFE = connect("cafe", full=True, is_default=True)
HOME = trusted("home", on(Key.SSID, b"Campus"), require=Grade.SHARED_KEY)
DESK = connect("desk", on(Key.GATEWAY_MAC, "02:00:00:00:00:bb"))


@pytest.mark.parametrize(
    ("profile", "truth", "reason", "change"),
    [
        (CAMPUS, Truth.YES, "every condition holds", ""),
        (CAFE, Truth.YES, "it is the default", ""),
        (HOME, Truth.YES, "every condition holds on shared-key evidence", ""),
        (connect("none"), Truth.NO, "it has no conditions and is not the default", ""),
        (
            connect("other", on(Key.SSID, b"Other"), on(Key.INTERFACE, "wlan2", negated=True)),
            Truth.NO,
            'ssid is "Campus", wanted "Other"; interface is wlan2, wanted not wlan2',
            'ssid would have to be "Other"; interface would have to be anything but wlan2',
        ),
        (
            replace(HOME, require=Grade.PROOF),
            Truth.NO,
            "the evidence is shared-key, and it requires proof",
            "the network would have to prove itself by proof",
        ),
    ],
)
def test_a_verdict_gives_its_reason_and_what_would_change_it(
    profile: Profile, truth: Truth, reason: str, change: str
) -> None:
    verdict = judge_profile(profile, wifi(), timed_out=False)

    assert (verdict.truth, verdict.reason, verdict.change) == (truth, reason, change)


def test_an_open_question_is_said_with_what_it_waits_for() -> None:
    verdict = judge_profile(DESK, cable(mac=None), timed_out=False)

    assert verdict.truth is Truth.UNKNOWN
    assert verdict.reason == "gateway_mac is nothing yet, wanted 02:00:00:00:00:bb"
    assert verdict.change == "gateway_mac would have to be 02:00:00:00:00:bb"


def test_every_profile_gets_a_verdict_also_behind_the_one_that_matches() -> None:
    judgement = judge_link(policy(CAMPUS, DESK, CAFE), wifi(), timed_out=False)

    assert [verdict.profile for verdict in judgement.verdicts] == ["campus", "desk", "cafe"]
    assert (judgement.outcome, judgement.profile) == (Outcome.CONNECT, "campus")


def test_the_search_stops_at_the_first_open_question() -> None:
    judgement = judge_link(policy(DESK, CAFE), cable(mac=None), timed_out=False)

    assert (judgement.outcome, judgement.profile) == (Outcome.PENDING, None)
    assert judgement.reason.startswith("desk is not decided yet: gateway_mac is nothing yet")


@pytest.mark.parametrize("action", list(Action))
def test_the_outcome_is_the_action_of_the_first_match(action: Action) -> None:
    dock = Profile("dock", action=action, conditions=(on(Key.INTERFACE, "eth3"),))
    judgement = judge_link(policy(dock, CAFE), cable(), timed_out=False)

    assert (judgement.outcome.value, judgement.profile) == (action.value, "dock")


def test_what_was_taken_down_by_hand_lets_no_other_profile_take_its_place() -> None:
    judgement = judge_link(policy(CAMPUS, CAFE), wifi(), timed_out=False, barred=frozenset({"campus"}))

    assert (judgement.outcome, judgement.profile, judgement.manual) == (Outcome.IGNORE, None, True)


def test_evidence_is_none_without_an_address_and_a_hint_on_any_wire() -> None:
    assert evidence_for(cable(addresses=())) is Grade.NONE
    assert evidence_for(cable()) is Grade.HINT
    assert evidence_for(wifi()) is Grade.SHARED_KEY
