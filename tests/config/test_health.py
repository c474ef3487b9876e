"""`[tunnel.NAME.health]`: each check has what it needs and nothing else, and what can't work is said."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from autovpn.core.tunnel import Health, HealthCheck
from tests.config.conftest import WG_QUICK, Etc

HEAD = 'tunnels = ["t"]\n[match]\ninterface = ["eth0"]\n[tunnel.t]\n'
VPNC = 'type = "vpnc"\nconfig = "c.conf"\n'
WIREGUARD = 'type = "wireguard"\nconfig = "wg0.conf"\n'
SSH = 'type = "openssh"\nhost = "vpn.example"\naddress = "10.98.0.2/30"\npeer = "10.98.0.1"\n'
SOCKS = 'type = "openssh"\nhost = "vpn.example"\nsocks = "1080"\n'
PLACE = "profiles/10-test.toml:"


def write(etc: Etc, tunnel: str, *lines: str) -> None:
    etc.write("c.conf", "IPSec gateway vpn.example\n")
    etc.write("wg0.conf", WG_QUICK)
    etc.profile(f"{HEAD}{tunnel}[tunnel.t.health]\n" + "\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("tunnel", "lines", "health"),
    [
        (WIREGUARD, ['check = "handshake"'], Health(HealthCheck.HANDSHAKE)),
        (VPNC, ['check = "dpd"', 'interval = "1min"'], Health(HealthCheck.DPD, interval=60.0)),
        (SSH, ['check = "dpd"', "fail_after = 2"], Health(HealthCheck.DPD, fail_after=2)),
        (
            VPNC,
            ['check = "ping"', 'address = "10.20.0.2"', 'interval = "10s"'],
            Health(HealthCheck.PING, ip_address("10.20.0.2"), interval=10.0),
        ),
        (
            SSH,
            ['check = "tcp"', 'address = "10.98.0.1"', "port = 22"],
            Health(HealthCheck.TCP, ip_address("10.98.0.1"), 22),
        ),
        (SOCKS, ['check = "command"', 'command = ["ssh", "-V"]'], Health(HealthCheck.COMMAND, command=("ssh", "-V"))),
    ],
)
def test_each_check_is_read(etc: Etc, tunnel: str, lines: list[str], health: Health) -> None:
    write(etc, tunnel, *lines)
    assert etc.policy().profiles[0].tunnels[0].health == health
    assert etc.problems() == []


def test_without_the_table_nothing_is_checked(etc: Etc) -> None:
    etc.write("c.conf", "IPSec gateway vpn.example\n")
    etc.profile(HEAD + VPNC)
    assert etc.policy().profiles[0].tunnels[0].health is None


@pytest.mark.parametrize(
    ("tunnel", "lines", "words"),
    [
        (VPNC, ['check = "ping"'], "which needs 'address'"),
        (VPNC, ['check = "tcp"', 'address = "10.0.0.1"'], "which needs 'port'"),
        (VPNC, ['check = "command"'], "which needs 'command'"),
        (VPNC, ['check = "command"', "command = []"], "command"),
        (VPNC, ['check = "ping"', 'address = "10.0.0.1"', "port = 22"], "which has no use for 'port'"),
        (VPNC, ['check = "ping"', 'address = "office"'], "is no IP address"),
        (VPNC, ['check = "tcp"', 'address = "10.0.0.1"', "port = 70000"], "port"),
        (VPNC, ['check = "dpd"', 'interval = "500ms"'], "is too short"),
        (VPNC, ['check = "dpd"', "fail_after = 0"], "fail_after"),
        (VPNC, ['check = "dpd"', "retries = 2"], "retries"),
        (VPNC, ['check = "handshake"'], "a tunnel of type vpnc has no check 'handshake'; use 'dpd', 'ping'"),
        (WIREGUARD, ['check = "dpd"'], "a tunnel of type wireguard has no check 'dpd'; use 'handshake', 'ping'"),
        (SOCKS, ['check = "ping"', 'address = "10.0.0.1"'], "no device that a ping could go through; use 'command'"),
        (SOCKS, ['check = "tcp"', 'address = "10.0.0.1"', "port = 22"], "no device that a connection could go through"),
    ],
)
def test_what_can_not_work_is_refused_where_it_stands(etc: Etc, tunnel: str, lines: list[str], words: str) -> None:
    write(etc, tunnel, *lines)
    assert etc.load().policy is None
    (problem,) = etc.problems()
    assert problem.startswith(PLACE)
    assert "tunnel.t.health" in problem
    assert words in problem


def test_a_program_that_is_not_there_is_named_and_the_policy_stands(etc: Etc) -> None:
    write(etc, VPNC, 'check = "command"', 'command = ["/nowhere/check"]')
    assert etc.load().policy is not None
    (problem,) = etc.problems()
    assert "tunnel.t.health.command" in problem


@pytest.mark.parametrize(
    ("tunnel", "address", "is_noted"),
    [
        (WIREGUARD, "10.20.0.9", False),
        (WIREGUARD, "192.0.2.77", True),
        (SSH, "10.98.0.1", False),
        (SSH, "192.0.2.77", True),
        (SSH + '[tunnel.t.routes]\ninclude = ["192.0.2.0/24"]\n', "192.0.2.77", False),
        (SSH + '[tunnel.t.routes]\nmode = "full"\n', "192.0.2.77", False),
        (VPNC, "192.0.2.77", False),
    ],
)
def test_an_address_to_which_the_tunnel_does_not_lead_is_noted(
    etc: Etc, tunnel: str, address: str, is_noted: bool
) -> None:
    write(etc, tunnel, 'check = "ping"', f'address = "{address}"')
    assert etc.load().policy is not None
    words = [note for note in etc.notes() if "health.address" in note]
    assert len(words) == is_noted
    assert all(f"{address} is in no network that this tunnel leads to" in note for note in words)
