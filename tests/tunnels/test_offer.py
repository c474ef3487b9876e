"""All that a server pushes at once: what is used is bounded, and a sentence says what is not."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.routing import Place, TunnelRoutes, pin_rules, tunnel_routing
from autovpn.core.tunnel import Facts, PinnedEndpoint, RouteMode, RouteWish
from autovpn.tunnels.offer import MAX_SENTENCES, Offer, accepted
from tests.tunnels.playing import launch

LAUNCH = launch("vpnc")
WORDS = st.none() | st.text()


def test_a_sensible_offer_is_taken_whole() -> None:
    offer = Offer([("10.20.0.0", "24")], ["10.20.0.53"], ["office.example"], "1400", "Welcome\nhome")
    assert accepted(offer, LAUNCH) == Facts(
        prefixes=(ip_network("10.20.0.0/24"),),
        dns=("10.20.0.53",),
        search=("office.example",),
        mtu=1400,
        banner="Welcome home",
    )
    assert accepted(Offer(), LAUNCH) == Facts()


@pytest.mark.parametrize(
    ("offer", "sentence"),
    [
        (Offer(routes=[("192.0.2.1", "32")]), "route 192.0.2.1/32 is left out: it is the server itself"),
        (Offer(routes=[("0.0.0.0", "0")]), "route 0.0.0.0/0 is left out: it is for the profile to say"),
        (Offer(routes=[("\x1b[2J", "8")]), "route \\x1b[2J/8 is left out: it is no prefix"),
        (Offer(dns=["10.0.0.53\noptions x"]), "DNS server '10.0.0.53\\noptions x' is left out"),
        (Offer(search=["a\x1b.example"]), "search domain 'a\\x1b.example' is left out"),
        (Offer(mtu="12"), "an MTU of 12 is left out: there is none like that"),
        (Offer(mtu="99999999"), "an MTU of 99999999 is left out: there is none like that"),
        (Offer(mtu="9000"), "an MTU of 9000 is left out: the uplink takes 1500 bytes"),
        (Offer(banner="x" * 65_536), "the banner is cut: it has more than 500 characters"),
    ],
)
def test_what_is_odd_is_left_out_and_named(offer: Offer, sentence: str) -> None:
    facts = accepted(offer, LAUNCH)
    assert replace(facts, refused=(), banner="") == Facts()
    (said,) = facts.refused
    assert said.startswith(sentence)
    assert said.isprintable()


@pytest.mark.parametrize("word", ["", " ", "0"])
def test_a_server_that_says_nothing_of_the_mtu_is_not_blamed(word: str) -> None:
    assert accepted(Offer(mtu=word), LAUNCH) == Facts()


def test_a_route_that_covers_the_server_is_taken_since_the_pin_comes_first() -> None:
    facts = accepted(Offer(routes=[("192.0.2.0", "24")]), LAUNCH)
    assert facts.prefixes == (ip_network("192.0.2.0/24"),)
    assert facts.refused == ()

    place = Place()
    pins = pin_rules(LAUNCH.endpoints, place).rules
    rules = tunnel_routing(TunnelRoutes(7, RouteMode.SPLIT, facts.prefixes), place).rules
    assert max(rule.priority for rule in pins) < min(rule.priority for rule in rules)


def test_the_server_is_known_in_both_families() -> None:
    six = replace(LAUNCH, endpoints=(PinnedEndpoint(ip_address("2001:db8::1"), 443, "tcp"),))
    offer = Offer(routes=[("2001:db8::1", "128"), ("2001:db8::", "64")])
    assert accepted(offer, six).prefixes == (ip_network("2001:db8::/64"),)


@given(
    st.builds(
        Offer,
        st.lists(st.tuples(WORDS, WORDS), max_size=40),
        st.lists(st.text(), max_size=40),
        st.lists(st.text(), max_size=40),
        WORDS,
        WORDS,
    ),
    st.sampled_from(RouteMode),
)
def test_no_offer_is_too_odd_and_what_is_said_of_it_is_short(offer: Offer, mode: RouteMode) -> None:
    spec = replace(LAUNCH.spec, routes=RouteWish(mode))
    facts = accepted(offer, replace(LAUNCH, spec=spec))
    assert all(sentence.isprintable() and len(sentence) < 800 for sentence in facts.refused)
    assert len(facts.refused) <= MAX_SENTENCES
    assert facts.mtu is None or facts.mtu <= LAUNCH.uplink.mtu
    assert facts.banner.isprintable()
