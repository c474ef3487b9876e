"""What holds for every snapshot: decide is total, deterministic, blind to our own effects, never fooled downwards."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from autovpn.core.decide import Role, decide
from autovpn.core.judgement import Outcome
from autovpn.core.memory import Memory
from autovpn.core.network import Gateway, Grade, Network, Security, Wireless
from autovpn.core.profile import Condition, Key, Policy, Profile, Wanted
from autovpn.core.snapshot import Link, LinkType, Phase, Snapshot
from tests.core.builders import cable, connect, gone, on, policy, seen, trusted, wifi

few = settings(max_examples=40)
"""A history is several decisions over several profiles and links, so a few go a long way."""

SSIDS = st.sampled_from([b"", b"Campus", b"Home", b"\xff\x00$(reboot)\n", b"x" * 32])
MACS = st.sampled_from(["02:00:00:00:00:01", "02:00:00:00:00:02"])
ADDRESSES = st.sampled_from(["192.0.2.1", "198.51.100.1", "2001:db8::1"])


@st.composite
def links(draw: st.DrawFn, index: int = 2) -> Link:
    """Return a link in any condition."""
    base = draw(st.sampled_from([wifi(index=index), cable(index=index)]))
    changes: dict[str, object] = {
        "phase": draw(st.sampled_from(Phase)),
        "is_uplink": draw(st.booleans()),
        "metric": draw(st.sampled_from([None, 100, 600])),
        "gateways": tuple(
            Gateway(ip_address(address), draw(st.none() | MACS)) for address in draw(st.lists(ADDRESSES, max_size=2))
        ),
        "addresses": draw(st.sampled_from([(), (ip_interface("192.0.2.9/24"),), (ip_interface("2001:db8::9/64"),)])),
    }
    if base.type is LinkType.WIFI:
        association = st.builds(
            Wireless,
            SSIDS,
            MACS,
            security=st.none() | st.sampled_from(Security),
            authorized=st.booleans(),
        )
        changes["wireless"] = draw(st.none() | association)
        changes["wireless_pending"] = draw(st.booleans())
    return replace(base, **changes)  # type: ignore[arg-type]


WANTED: dict[Key, st.SearchStrategy[Wanted]] = {
    Key.INTERFACE: st.sampled_from(["wlan2", "eth2", "eth3"]),
    Key.INTERFACE_GLOB: st.sampled_from(["wl*", "eth?"]),
    Key.INTERFACE_TYPE: st.sampled_from(LinkType),
    Key.SSID: SSIDS.filter(bool),
    Key.SSID_GLOB: st.sampled_from([b"C*", b"*", b"\xff*"]),
    Key.BSSID: MACS,
    Key.SECURITY: st.sampled_from(Security),
    Key.GATEWAY_MAC: MACS,
    Key.GATEWAY: st.sampled_from([ip_network("192.0.2.1"), ip_network("2001:db8::/32")]),
    Key.ADDRESS: st.sampled_from([ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")]),
    Key.DNS_SUFFIX: st.just("corp.example"),
    Key.DNS_SERVER: st.just("192.0.2.53"),
}


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    """Return any condition."""
    key = draw(st.sampled_from(list(WANTED)))
    wanted = draw(st.lists(WANTED[key], min_size=1, max_size=2))
    return Condition(key, tuple(wanted), negated=draw(st.booleans()))


@st.composite
def profiles(draw: st.DrawFn, name: str) -> Profile:
    """Return a profile that connects, fully or not, or trusts its network."""
    chosen = draw(st.lists(conditions(), max_size=3))
    default = draw(st.booleans())
    if draw(st.booleans()):
        return connect(name, *chosen, full=draw(st.booleans()), is_default=default)
    return trusted(name, *chosen, require=draw(st.sampled_from(Grade)), is_default=default)


POLICIES = st.builds(policy, profiles("one"), profiles("two"), profiles("three"))
SNAPSHOTS = st.builds(seen, links(2), links(3))


@st.composite
def histories(draw: st.DrawFn) -> tuple[Policy, Memory, Snapshot, float]:
    """Return a policy, a snapshot, and what some earlier looks left in memory."""
    rules = draw(POLICIES)
    memory, now = Memory(), 0.0
    for snapshot in draw(st.lists(SNAPSHOTS, max_size=4)):
        now += draw(st.sampled_from([0.0, 1.0, 10.0, 60.0]))
        memory = decide(snapshot, rules, memory, now).memory
    return rules, memory, draw(SNAPSHOTS), now + 1.0


@few
@given(histories())
def test_decide_is_total_and_deterministic(history: tuple[Policy, Memory, Snapshot, float]) -> None:
    rules, memory, snapshot, now = history

    assert decide(snapshot, rules, memory, now) == decide(snapshot, rules, memory, now)


@few
@given(histories())
def test_deciding_again_at_once_changes_nothing(history: tuple[Policy, Memory, Snapshot, float]) -> None:
    """Nothing that an activation itself does is observed, so the same look gives the same answer."""
    rules, memory, snapshot, now = history
    first = decide(snapshot, rules, memory, now)
    second = decide(snapshot, rules, first.memory, now)

    assert second.activations == first.activations
    assert second.judgements == first.judgements
    assert second.endings == ()


@few
@given(histories())
def test_one_activation_a_profile_and_one_that_is_exclusive(history: tuple[Policy, Memory, Snapshot, float]) -> None:
    rules, memory, snapshot, now = history
    activations = decide(snapshot, rules, memory, now).activations

    assert len({a.profile for a in activations}) == len(activations)
    assert sum(a.role is Role.EXCLUSIVE for a in activations) <= 1


@few
@given(histories())
def test_the_next_look_lies_ahead(history: tuple[Policy, Memory, Snapshot, float]) -> None:
    rules, memory, snapshot, now = history
    next_look = decide(snapshot, rules, memory, now).next_look

    assert next_look is None or next_look > now


@given(links(), conditions().filter(lambda condition: not condition.key.is_local))
def test_an_absent_observation_never_matches(link: Link, condition: Condition) -> None:
    bare = replace(link, wireless=None, gateways=(), addresses=(), dns=None, phase=Phase.USABLE, is_uplink=True)
    rules = policy(connect("one", replace(condition, negated=False)))
    decision = decide(seen(bare), rules, Memory(), 0.0)
    late = decide(seen(bare), rules, decision.memory, 60.0)

    assert decision.activations == ()
    assert late.activations == ()


@given(links(), profiles("home"), st.sampled_from(Grade))
def test_weak_evidence_never_lowers_protection(link: Link, profile: Profile, require: Grade) -> None:
    """Whatever a network claims, a profile that wants no tunnel matches only with the evidence it asks for."""
    rules = policy(replace(profile, require=require))
    judgement = next(iter(decide(seen(link), rules, Memory(), 0.0).judgements), None)
    if judgement and judgement.profile == "home" and not rules.profiles[0].wants_tunnel:
        local_only = all(condition.key.is_local for condition in profile.conditions)
        assert local_only or judgement.evidence >= require


@given(links())
def test_a_link_that_comes_back_to_its_network_finds_its_activation(link: Link) -> None:
    usable = replace(link, phase=Phase.USABLE, is_uplink=True)
    rules = policy(connect("any", is_default=True))
    first = decide(seen(usable), rules, Memory(), 0.0)
    lost = decide(seen(gone(usable)), rules, first.memory, 1.0)
    back = decide(seen(usable), rules, lost.memory, 2.0)

    assert [a.epoch for a in back.activations] == [a.epoch for a in first.activations]


def test_the_unknown_never_conflicts() -> None:
    known = wifi().network

    assert not known.conflicts(Network(wireless=True))
    assert not cable().network.conflicts(cable(mac=None).network)


def test_a_wired_network_is_told_by_its_gateways() -> None:
    other = cable(mac="02:00:00:00:00:cc").network

    assert cable().network.conflicts(other)
    assert not cable().network.conflicts(cable(prefix="198.51.100.77/24").network)


def test_without_gateways_the_prefixes_tell() -> None:
    here = cable(gateways=()).network
    there = cable(prefix="203.0.113.9/24", gateways=()).network

    assert here.conflicts(there)
    assert not here.conflicts(cable(gateways=(), addresses=()).network)


def test_pending_starts_nothing() -> None:
    rules = policy(connect("desk", on(Key.GATEWAY_MAC, "02:00:00:00:00:bb")))
    decision = decide(seen(cable(mac=None)), rules, Memory(), 0.0)

    assert decision.judgements[0].outcome is Outcome.PENDING
