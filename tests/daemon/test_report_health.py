"""What is said of a tunnel's health, as values and as lines for a person."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from autovpn.cli.document import Tone
from autovpn.cli.render_status import health_row
from autovpn.core.health import HealthState, Traffic
from autovpn.core.tunnel import Health, HealthCheck
from autovpn.daemon.report_health import describe_check, health_report

PING = Health(HealthCheck.PING, ip_address("10.20.0.2"))
WELL = HealthState(100.0, 160.0, Traffic(84, 84), last_good=130.0)
FAILING = HealthState(100.0, 160.0, Traffic(84, 84), last_good=100.0, failed=2, fault="no answer from 10.20.0.2")


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (PING, "ping 10.20.0.2"),
        (Health(HealthCheck.TCP, ip_address("2001:db8::2"), 443), "connection to 2001:db8::2 port 443"),
        (Health(HealthCheck.COMMAND, command=("/usr/bin/check", "-x")), "command /usr/bin/check"),
        (Health(HealthCheck.HANDSHAKE), "handshake"),
        (Health(HealthCheck.DPD), "the program's own dead peer detection"),
        (Health(HealthCheck.DNS, ip_address("10.20.0.53")), "question to the DNS server 10.20.0.53"),
    ],
)
def test_every_check_is_described(health: Health, words: str) -> None:
    assert describe_check(health) == words


def test_a_tunnel_without_health_says_nothing_of_it() -> None:
    assert health_report(None, None, 140.0) is None


def test_times_come_out_in_seconds_from_now() -> None:
    report = health_report(PING, WELL, 140.0)
    assert report
    assert (report["watched"], report["last_good"], report["next_in"]) == (True, 10.0, 20.0)
    report = health_report(PING, WELL, 170.0)
    assert report
    assert report["next_in"] == 0.0


@pytest.mark.parametrize(
    ("state", "is_up", "words", "tone"),
    [
        (WELL, True, "ping 10.20.0.2, last well 10 s ago, next look in 20 s", Tone.PLAIN),
        (
            FAILING,
            True,
            "ping 10.20.0.2, last well 40 s ago, 2 of 3 checks failed: no answer from 10.20.0.2, next look in 20 s",
            Tone.WARN,
        ),
        (
            HealthState(130.0, 160.0, Traffic(0, 0)),
            True,
            "ping 10.20.0.2, no sign of life so far, next look in 20 s",
            Tone.PLAIN,
        ),
        (None, True, "ping 10.20.0.2", Tone.PLAIN),
        (None, False, "ping 10.20.0.2", Tone.FAINT),
    ],
)
def test_one_line_says_how_a_tunnel_is(state: HealthState | None, is_up: bool, words: str, tone: Tone) -> None:
    report = health_report(PING, state, 140.0)
    assert report
    row = health_row(report, is_up=is_up)
    assert (row.label, row.text, row.tone) == ("health", words, tone)
