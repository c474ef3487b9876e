"""What a wish means to systemd-resolved."""

from __future__ import annotations

import pytest

from autovpn.core.dnschoice import DnsWish
from autovpn.core.resolvedlink import LinkSettings, delegate, left_out, link_path, link_settings

ALL = DnsWish("work", "tun0", ("10.0.0.1", "fe80::1%tun0"), search=("corp.example",))
SOME = DnsWish(
    "lab", "wg0", ("10.1.0.1",), search=("lab.example", "home.example"), domains=("lab.example", "b.example")
)


def test_all_names_are_routed_and_the_search_domains_searched() -> None:
    fe80 = bytes.fromhex("fe80" + "00" * 13 + "01")

    assert link_settings(ALL) == LinkSettings(
        servers=((2, bytes([10, 0, 0, 1])), (10, fe80)),
        domains=((".", True), ("corp.example", False)),
        default_route=True,
    )
    assert left_out(ALL) == ()


def test_a_domain_that_is_searched_is_named_once_and_one_outside_is_left_out() -> None:
    settings = link_settings(SOME)

    assert settings.domains == (("b.example", True), ("lab.example", False))
    assert not settings.default_route
    assert left_out(SOME) == (
        "lab: search domain home.example is left out, since it is outside of 'domains'; add it there to use it",
    )


@pytest.mark.parametrize(
    ("wish", "lines"),
    [
        (ALL, ["DNS=10.0.0.1 fe80::1%tun0", "Domains=~. corp.example", "DefaultRoute=yes"]),
        (SOME, ["DNS=10.1.0.1", "Domains=~b.example lab.example", "DefaultRoute=no"]),
    ],
)
def test_a_delegate_says_the_same_in_words(wish: DnsWish, lines: list[str]) -> None:
    assert delegate(wish).splitlines()[1:] == ["[Delegate]", *lines]


@pytest.mark.parametrize(("index", "name"), [(1, "_31"), (2, "_32"), (12, "_312"), (905, "_3905")])
def test_a_links_object_has_its_first_digit_escaped(index: int, name: str) -> None:
    assert link_path(index) == f"/org/freedesktop/resolve1/link/{name}"
