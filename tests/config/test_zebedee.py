"""The table of a Zebedee tunnel."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from autovpn.core.endpoint import Endpoint, Listener
from autovpn.core.settings_zebedee import ZebedeeForward, ZebedeeSettings
from autovpn.core.tunnel import RouteMode
from tests.config.conftest import Etc

HEAD = 'tunnels = ["t"]\n[match]\nssid = ["Cafe"]\n[tunnel.t]\ntype = "zebedee"\nserver = "vpn.example"\n'
FORWARDS = 'forwards = [{ listen = "8080", target = "10.20.0.2:80" }]\n'
IDENTITY = "0A" * 20


def test_every_key_arrives_and_the_cryptography_is_named(etc: Etc) -> None:
    key = etc.write("client.key", 'privatekey "0a1b"\n')
    etc.profile(f'{HEAD}{FORWARDS}port = 99\nkey = "client.key"\nserver_id = "{IDENTITY}"\nkey_length = 256\n')
    (spec,) = etc.policy().profiles[0].tunnels
    forward = ZebedeeForward(Listener(IPv4Address("127.0.0.1"), 8080), "10.20.0.2:80")
    expected = ZebedeeSettings("vpn.example", (forward,), 99, str(key), IDENTITY.lower(), 256)
    assert (spec.settings, spec.device, spec.routes.mode) == (expected, "", RouteMode.NONE)
    assert expected.endpoints == (Endpoint("vpn.example", 99, "tcp", version=4),)
    assert not expected.may_push_dns
    assert spec.files == (str(key),)
    (note,) = [note for note in etc.notes() if "tunnel.t.type" in note]
    assert "cryptography is of 2005" in note


def test_a_server_that_nobody_checks_is_named(etc: Etc) -> None:
    etc.profile(HEAD + FORWARDS)
    etc.policy()
    assert any("any server will do, also one of somebody in between" in note for note in etc.notes())


REFUSED = [
    ("forwards = []\n", "tunnel.t.forwards: is an empty list"),
    ('forwards = [{ listen = "1", target = "h:2" }, { listen = "1", target = "h:3" }]\n', "listens at one port twice"),
    (
        'forwards = [{ listen = "1", target = "h:2" }, { listen = "10.0.0.1:2", target = "h:3" }]\n',
        "listens at several addresses",
    ),
    ('forwards = [{ listen = "[::1]:1", target = "h:2" }]\n', "listens at an IPv6 address"),
    ('forwards = [{ listen = "1", target = "[2001:db8::1]:2" }]\n', "has an IPv6 target"),
    (FORWARDS + 'device = "zeb0"\n', "carries ports alone"),
    (FORWARDS + 'server_id = "abc"\n', "'abc' is no fingerprint; write the 40 digits"),
    (FORWARDS + "key_length = 64\n", "key_length: must be greater than or equal to 128"),
    (FORWARDS + 'password = { file = "x" }\n', "zebedee knows no passwords"),
    (FORWARDS + 'key = "other.key"\n', "other.key has no line 'privatekey'; make one: zebedee -p > FILE"),
    (FORWARDS + 'key = "missing.key"\n', "missing.key"),
]


@pytest.mark.parametrize(("table", "problem"), REFUSED)
def test_what_can_not_be_meant_is_refused(etc: Etc, table: str, problem: str) -> None:
    etc.write("other.key", "include client.key\n")
    etc.profile(HEAD + table)
    loaded = etc.load()
    assert loaded.policy is None
    assert any(problem in line for line in loaded.problems), loaded.problems
