"""What a server pushes is taken where it makes sense, and where it doesn't a sentence says so."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.tunnel import RouteMode
from autovpn.tunnels import pushed


@pytest.mark.parametrize(
    ("text", "version", "wanted"),
    [
        ("10.1.2.3", 4, "10.1.2.3/32"),
        ("2001:db8::5", 6, "2001:db8::5/128"),
        ("2001:db8::5", 4, None),
        ("10.1.2.3", 6, None),
        ("::1", 6, None),
        ("fe80::1", 6, None),
        ("2001:db8::5%eth0", 6, None),
        ("0.0.0.0", 4, None),
        (None, 6, None),
    ],
)
def test_an_address_is_one_of_a_machine_and_of_the_family_asked_for(
    text: str | None, version: int, wanted: str | None
) -> None:
    assert pushed.address(text, version) == (ip_interface(wanted) if wanted else None)


def test_routes_of_both_families_are_taken_once_and_in_order() -> None:
    pairs = [("10.20.0.0", "255.255.255.0"), ("2001:db8:20::", "64"), ("10.20.0.9", "24")]
    assert pushed.routes(pairs, RouteMode.SPLIT) == (
        (ip_network("10.20.0.0/24"), ip_network("2001:db8:20::/64")),
        (),
    )
    assert pushed.prefixes([("2001:db8:20::", "64")], 6) == (ip_network("2001:db8:20::/64"),)


@pytest.mark.parametrize("pair", [("0.0.0.0", "0"), ("128.0.0.0", "1"), ("::", "0"), ("2000::", "3")])
def test_a_route_to_everything_is_refused_in_a_split_profile_and_no_news_in_a_full_one(pair: tuple[str, str]) -> None:
    kept, (reason,) = pushed.routes([pair], RouteMode.SPLIT)
    assert kept == ()
    assert "routes.mode" in reason
    assert pushed.routes([pair], RouteMode.FULL) == ((), ())


@pytest.mark.parametrize(
    "pair",
    [("127.0.0.0", "8"), ("fe80::", "64"), ("fe80::%1", "128"), ("x\x1b[2J", "8"), (None, None), ("10.0.0.0", "33")],
)
@pytest.mark.parametrize("mode", RouteMode)
def test_what_is_no_route_is_named_whatever_the_profile_wants(
    pair: tuple[str | None, str | None], mode: RouteMode
) -> None:
    kept, (reason,) = pushed.routes([pair], mode)
    assert kept == ()
    assert reason.isprintable()


def test_ten_thousand_routes_are_cut_and_so_is_what_is_said_of_them() -> None:
    many = [(f"10.{n // 256}.{n % 256}.0", "24") for n in range(10_000)]
    kept, reasons = pushed.routes(many, RouteMode.SPLIT)
    assert len(kept) == pushed.MAX_PREFIXES
    assert reasons == ("10000 routes are too many; the first 256 are used",)
    _, reasons = pushed.routes([(f"x{n}", "24") for n in range(10_000)], RouteMode.SPLIT)
    assert len(reasons) == pushed.MAX_REASONS
    assert reasons[-1] == "and 9993 more of the kind"


@given(st.lists(st.tuples(st.none() | st.text(), st.none() | st.text())), st.sampled_from(RouteMode))
def test_no_text_is_too_odd_for_a_route(pairs: list[tuple[str | None, str | None]], mode: RouteMode) -> None:
    kept, reasons = pushed.routes(pairs, mode)
    assert all(network.prefixlen >= pushed.WIDEST[network.version] for network in kept)
    assert all(reason.isprintable() for reason in reasons)
