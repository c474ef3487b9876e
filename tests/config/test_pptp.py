"""`type = "pptp"`: what is taken, what is refused, and what is said of its worth."""

from __future__ import annotations

import pytest

from autovpn.core.settings import Endpoint, Mppe, PptpSettings
from autovpn.core.tunnel import RouteMode
from tests.config.conftest import Etc, begin

PROFILE = 'tunnels = ["old"]\n[match]\ninterface = ["eth0"]\n[tunnel.old]\ntype = "pptp"\n'
SERVER = 'host = "vpn.example"\nuser = "alice"\n'
PASSWORD = 'password = { file = "pw" }\n'
INCLUDE = 'routes = { include = ["10.20.0.0/16"] }\n'


@pytest.fixture(autouse=True)
def _password(etc: Etc) -> None:
    etc.write("profiles/pw", "secret")


def settings(etc: Etc) -> PptpSettings:
    (tunnel,) = etc.policy().profiles[0].tunnels
    assert isinstance(tunnel.settings, PptpSettings)
    return tunnel.settings


def test_what_is_not_said_is_what_protects_most(etc: Etc) -> None:
    etc.profile(PROFILE + SERVER + PASSWORD)
    assert settings(etc) == PptpSettings("vpn.example", "alice", Mppe.REQUIRED, ask_dns=True)
    (tunnel,) = etc.policy().profiles[0].tunnels
    assert tunnel.routes.mode is RouteMode.SPLIT
    assert tunnel.may_push_dns
    assert tunnel.endpoints == (
        Endpoint("vpn.example", 1723, "tcp", version=4),
        Endpoint("vpn.example", None, "gre", version=4),
    )


def test_a_user_of_a_windows_domain_is_taken(etc: Etc) -> None:
    etc.profile(PROFILE + "host = \"192.0.2.1\"\nuser = 'OFFICE\\alice'\nask_dns = false\n" + PASSWORD)
    assert settings(etc).user == "OFFICE\\alice"
    assert not settings(etc).may_push_dns


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (SERVER, ":4: tunnel.old: has no password"),
        ('host = "2001:db8::1"\nuser = "a"\n' + PASSWORD, ":6: tunnel.old.host: '2001:db8::1' is an IPv6 address"),
        ('host = "-x"\nuser = "a"\n' + PASSWORD, ":6: tunnel.old.host: '-x' is neither a host's name nor an IPv4"),
        ('host = "a b"\nuser = "a"\n' + PASSWORD, ":6: tunnel.old.host: 'a b' is neither"),
        ('host = "v"\nuser = ""\n' + PASSWORD, ":7: tunnel.old.user: is empty"),
        ('host = "v"\nuser = "a\\u0000b"\n' + PASSWORD, ":7: tunnel.old.user: "),
        (SERVER + PASSWORD + 'mppe = "yes"\n', ":9: tunnel.old.mppe: "),
        (SERVER + PASSWORD + 'mppe = "any"\n', ":9: tunnel.old.mppe: 40-bit keys are allowed"),
        (SERVER + PASSWORD + 'mppe = "off"\n', ":9: tunnel.old.mppe: nothing in this tunnel is encrypted"),
    ],
)
def test_what_can_not_be_or_should_not_is_a_problem_with_its_place(etc: Etc, text: str, problem: str) -> None:
    etc.profile(PROFILE + text)
    assert begin(etc.problems(), f"profiles/10-test.toml{problem}")


@pytest.mark.parametrize(("routes", "is_said"), [("", True), (INCLUDE, False), ('routes = { mode = "full" }\n', False)])
def test_it_is_said_that_pptp_is_broken_and_where_nothing_is_routed_that_too(
    etc: Etc, routes: str, is_said: bool
) -> None:
    etc.profile(PROFILE + SERVER + PASSWORD + routes)
    notes = "\n".join(etc.notes())
    assert "MS-CHAPv2) is broken" in notes
    assert ("PPTP pushes no routes" in notes) is is_said
