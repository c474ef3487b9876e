"""The table of an openconnect tunnel, and what is said about it."""

from __future__ import annotations

import pytest

from autovpn.core.settings import Endpoint, OpenconnectSettings
from tests.config.conftest import Etc

TABLE = 'tunnels = ["c"]\n[match]\nssid = ["x"]\n[tunnel.c]\ntype = "openconnect"\n'
WHOLE = 'server = "vpn.example"\nuser = "alice"\npassword = { file = "c.pw" }\n'


def settings_of(etc: Etc, lines: str) -> OpenconnectSettings:
    etc.write("profiles/c.pw", "secret")
    etc.profile(TABLE + lines)
    (tunnel,) = etc.policy().profiles[0].tunnels
    assert isinstance(tunnel.settings, OpenconnectSettings)
    return tunnel.settings


@pytest.mark.parametrize(
    ("written", "host", "port", "path"),
    [
        ("vpn.example", "vpn.example", 443, ""),
        ("vpn.example:8443", "vpn.example", 8443, ""),
        ("https://vpn.example/Staff", "vpn.example", 443, "/Staff"),
        ("https://[2001:db8::1]:8443/", "2001:db8::1", 8443, "/"),
        ("192.0.2.1", "192.0.2.1", 443, ""),
    ],
)
def test_a_server_is_a_host_a_port_and_a_path(etc: Etc, written: str, host: str, port: int, path: str) -> None:
    settings = settings_of(etc, WHOLE.replace("vpn.example", written))
    assert (settings.host, settings.port, settings.path) == (host, port, path)
    assert settings.may_push_dns


@pytest.mark.parametrize(
    ("lines", "port"),
    [
        ("", 8443),
        ('protocol = "f5"', 8443),
        ('protocol = "gp"', 4501),
        ('protocol = "pulse"', 4500),
        ('protocol = "nc"', 4500),
        ("udp_port = 4444", 4444),
        ("udp = false", None),
    ],
)
def test_the_packets_that_leave_beside_the_tunnel_are_those_to_the_protocol_s_ports(
    etc: Etc, lines: str, port: int | None
) -> None:
    settings = settings_of(etc, f"{WHOLE.replace('vpn.example', 'vpn.example:8443')}{lines}\n")
    udp = (Endpoint("vpn.example", port, "udp"),) if port else ()
    assert settings.endpoints == (Endpoint("vpn.example", 8443, "tcp"), *udp)


def test_files_are_found_beside_the_profile_and_watched(etc: Etc) -> None:
    for name in ("ca.crt", "alice.crt", "alice.key"):
        etc.write(f"profiles/{name}", "x")
    settings = settings_of(etc, WHOLE + 'ca = "ca.crt"\nclient_cert = "alice.crt"\nclient_key = "alice.key"\n')
    assert [settings.ca, settings.client_cert, settings.client_key] == [
        str(etc.root / f"profiles/{name}") for name in ("ca.crt", "alice.crt", "alice.key")
    ]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('server = "http://vpn.example"', "is no server"),
        ('server = "vpn.example:0"', "is no server"),
        ('server = "vpn.example:70000"', "is no server"),
        ('server = "--script=x"', "is no server"),
        ('server = "a b"', "is no server"),
        ('server = "v.example"\nprotocol = "cisco"', "protocol"),
        ('server = "v.example"\nserver_cert = "sha1:0123"', "is no fingerprint"),
        ('server = "v.example"\nclient_key = "k"', "'client_cert'"),
        ('server = "v.example"\nudp = false\nudp_port = 443', "'udp_port'"),
        ('server = "v.example"\npassword = "hunter2"', "is a literal secret"),
        ('server = "v.example"\nos = "beos"', "os"),
        ('server = "v.example"\nlocal = ["10.0.0.0/8"]', "leads from this machine alone"),
    ],
)
def test_what_can_not_work_is_refused(etc: Etc, lines: str, words: str) -> None:
    etc.profile(f"{TABLE}{lines}\n")
    problems = etc.problems()
    assert any(words in problem for problem in problems), problems
    assert "hunter2" not in "".join(problems)


def test_what_a_person_will_be_asked_is_named(etc: Etc) -> None:
    settings_of(etc, 'server = "vpn.example"\n')
    assert any("no 'user and password'" in note and "a person will be asked" in note for note in etc.notes())


def test_an_authority_beside_a_fingerprint_is_said_to_be_of_no_use(etc: Etc) -> None:
    etc.write("profiles/ca.crt", "x")
    settings_of(etc, f'{WHOLE}ca = "ca.crt"\nserver_cert = "pin-sha256:{"A" * 43}="\n')
    assert any("is not used" in note for note in etc.notes())
