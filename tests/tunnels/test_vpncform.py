"""Which form vpnc's packets have: what the user's file says, and the next one for each that passed nothing."""

from __future__ import annotations

import pytest

from autovpn.core.actions import Ready
from autovpn.core.driving import Report
from autovpn.core.secret import Secret
from autovpn.tunnels.vpnc import configuration
from autovpn.tunnels.vpncform import form_for
from tests.tunnels.playing import Play, launch

PLAIN = b"IPSec gateway vpn.example\n"


@pytest.mark.parametrize(
    ("file", "modes"),
    [
        (PLAIN, ["natt", "cisco-udp", "force-natt", "natt"]),
        (PLAIN + b"nat traversal mode none\r\n", ["none", "natt", "cisco-udp", "force-natt", "none"]),
        (PLAIN + b"NAT Traversal Mode cisco-udp\n", ["cisco-udp", "natt", "force-natt", "cisco-udp"]),
        (b"NAT Traversal Mode\n", ["natt", "cisco-udp", "force-natt"]),
    ],
)
def test_the_forms_are_tried_in_turn_beginning_with_the_user_s(file: bytes, modes: list[str]) -> None:
    assert [form_for(file, fruitless).mode for fruitless in range(len(modes))] == modes


@pytest.mark.parametrize(
    ("file", "fruitless", "words"),
    [
        (PLAIN, 0, "natt (ESP, or ESP in UDP where a NAT is on the way): vpnc's default"),
        (PLAIN + b"NAT Traversal Mode none\n", 0, "none (plain ESP): as the file says"),
        (PLAIN, 1, "cisco-udp (ESP in UDP as Cisco had it): natt came up and passed nothing"),
        (
            PLAIN,
            2,
            "force-natt (ESP in UDP, as if a NAT were on the way): natt and cisco-udp came up and passed nothing",
        ),
        (
            PLAIN,
            4,
            "cisco-udp (ESP in UDP as Cisco had it): no form has passed anything, so all are tried again",
        ),
        (b"NAT Traversal Mode \x1b[2J\n", 0, "\\x1b[2J: as the file says"),
    ],
)
def test_it_is_said_which_form_it_is_and_why(file: bytes, fruitless: int, words: str) -> None:
    assert form_for(file, fruitless).words == words


@pytest.mark.parametrize(("fruitless", "is_last"), [(0, False), (1, False), (2, True), (3, True)])
def test_the_last_form_is_known_as_the_last(fruitless: int, is_last: bool) -> None:
    assert form_for(PLAIN, fruitless).is_last is is_last


def test_vpnc_is_given_the_form_of_the_attempt_in_place_of_the_user_s_and_the_facts_name_it() -> None:
    files = {"/etc/vpnc/office.conf": Secret(PLAIN + b"NAT Traversal Mode none\n")}
    second = launch("vpnc", files=files, fruitless=1)

    text = configuration(second).reveal()
    play = Play(second).start()
    play.feed(Report({"reason": "connect", "INTERNAL_IP4_ADDRESS": "10.99.0.1"}))

    assert text.count(b"NAT Traversal Mode") == 1
    assert b"NAT Traversal Mode natt\n" in text
    (ready,) = play.news
    assert isinstance(ready, Ready)
    assert ready.facts.form.startswith("natt ")
    assert "none came up and passed nothing" in ready.facts.form
    assert ready.facts.on_trial
