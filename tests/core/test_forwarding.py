"""Whether the kernel passes packets on is named for the families that somebody behind us has."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from autovpn.core.forwarding import FORWARDING, missing_forwarding

LAN = ip_network("10.30.0.0/24")
LAN6 = ip_network("2001:db8:30::/64")


@pytest.mark.parametrize(("local", "families"), [([LAN], [4]), ([LAN6], [6]), ([LAN6, LAN], [4, 6]), ([], [])])
def test_each_family_that_is_not_passed_on_is_named_with_its_setting(local: list[object], families: list[int]) -> None:
    sentences = missing_forwarding(local, lambda version: False)  # type: ignore[arg-type]
    assert [sentence.split()[0] for sentence in sentences] == [FORWARDING[version] for version in families]
    assert all(sentence.endswith("=1") for sentence in sentences)


def test_a_kernel_that_forwards_has_nothing_said_of_it() -> None:
    assert missing_forwarding([LAN, LAN6], lambda version: True) == ()


def test_a_sentence_names_the_networks_that_are_cut_off() -> None:
    (sentence,) = missing_forwarding([LAN, LAN6], lambda version: version == 4)
    assert str(LAN6) in sentence
    assert str(LAN) not in sentence
