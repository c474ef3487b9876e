"""Which link is taken for a tunnel's device: one of the name that was chosen, or the one that its program holds."""

from __future__ import annotations

import os
from unittest.mock import patch

import pytest

from autovpn.system import claim
from autovpn.system.claim import Claim


def test_a_link_of_the_chosen_name_is_the_tunnels_and_no_other_is() -> None:
    chosen = Claim("vpn0")
    assert chosen.is_by_name("vpn0", 7)
    assert not chosen.is_by_name("eth0", 8)
    assert chosen.held(os.getpid()) is None


@pytest.mark.parametrize("pid", [os.getpid(), 2**22 + 1])
def test_a_process_that_holds_no_device_or_is_gone_has_no_link(pid: int) -> None:
    chosen = Claim("vpn0")
    chosen.by_holder()
    assert not chosen.is_by_name("vpn0", 7), "its name proves nothing of a device that its program names"
    assert chosen.held(pid) is None


def test_the_link_that_the_program_holds_is_its_device_from_then_on() -> None:
    chosen = Claim("")
    chosen.by_holder()
    assert not chosen.is_by_name("tun0", 7)
    assert not chosen.is_by_name("tun1", 8)
    with patch.object(claim, "_tun_devices", return_value={"tun1", "tun9"}):
        assert chosen.held(os.getpid()) == ("tun1", 8)
        assert chosen.held(os.getpid()) is None
    assert chosen.name == "tun1"
    assert chosen.is_by_name("tun1", 9), "should it be made anew, it has its name"
