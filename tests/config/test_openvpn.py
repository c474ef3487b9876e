"""What `check` says of a user's OpenVPN file, and what becomes of it."""

from __future__ import annotations

import pytest

from autovpn.core.settings import Endpoint, OpenvpnSettings, SecretRef
from tests.config.conftest import Etc

PROFILE = """
tunnels = ["a"]
[match]
interface = ["eth0"]
[tunnel.a]
type = "openvpn"
config = "a.ovpn"
username = "alice"
password = { ask = true }
key_password = { file = "key.pw" }
"""
FILE = """client
remote vpn.example 443 tcp
<connection>
remote vpn2.example
sndbuf 0
</connection>
ca ca.crt
tls-auth [inline] 1
up /bin/evil
management 127.0.0.1 7505
redirect-gateway def1
auth-user-pass login.txt
<tls-auth>
hunter2
</tls-auth>
"""


def test_servers_files_and_what_gives_way_are_found(etc: Etc) -> None:
    etc.write("a.ovpn", FILE)
    etc.write("ca.crt", "x")
    etc.write("key.pw", "secret")
    etc.profile(PROFILE)
    (spec,) = etc.policy().profiles[0].tunnels
    servers = (Endpoint("vpn.example", 443, "tcp"), Endpoint("vpn2.example", 1194))
    assert spec.settings == OpenvpnSettings(str(etc.root / "a.ovpn"), servers, "alice")
    assert spec.endpoints == servers
    assert spec.may_push_dns
    assert spec.secrets == (("key_password", SecretRef(file=str(etc.root / "key.pw"))),)
    notes = "\n".join(etc.notes())
    for words in ("a.ovpn:5: 'sndbuf'", "a.ovpn:9: 'up'", "a.ovpn:10: 'management'", "a.ovpn:11: 'redirect-gateway'",
                  "a.ovpn:12: 'auth-user-pass'"):  # fmt: skip
        assert words in notes
    assert "hunter2" not in notes


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("dev tap0", "a.ovpn:3: a bridge"),
        ("dev-type tap", "a.ovpn:3: a bridge"),
        ("http-proxy 10.0.0.1 3128", "a.ovpn:3: 'http-proxy' goes through a proxy"),
        ("<connection>\nremote a\nsocks-proxy b 1\n</connection>", "a.ovpn:5: 'socks-proxy'"),
        ("config other.conf", "a.ovpn:3: 'config' includes another file"),
        ("<ca>\nno end", "a.ovpn:3: the block <ca> has no end"),
        ("remote b 0", "a.ovpn:3: '0' is no port"),
        ("ca none.crt", "a.ovpn:3: "),
        ("# \0plugin evil.so", "a.ovpn: holds a NUL"),
    ],
)
def test_what_no_tunnel_can_be_made_of_is_said_with_its_line(etc: Etc, line: str, words: str) -> None:
    etc.write("a.ovpn", f"client\nremote vpn.example\n{line}\n")
    etc.write("key.pw", "secret")
    etc.profile(PROFILE)
    assert any(words in problem for problem in etc.problems())


def test_a_library_that_runs_as_root_is_said_and_refused_where_others_could_have_written_it(etc: Etc) -> None:
    library = etc.write("opensc.so", "code")
    etc.write("a.ovpn", f"client\nremote vpn.example\npkcs11-providers opensc-pkcs11.so {library}\n")
    etc.write("key.pw", "secret")
    etc.profile(PROFILE)
    etc.policy()
    assert any("a.ovpn:3: 'pkcs11-providers' has openvpn run the code" in note for note in etc.notes())
    library.chmod(0o666)
    assert any("a.ovpn:3: " in problem and "opensc.so" in problem for problem in etc.problems())


def test_a_file_without_a_server_and_a_name_that_is_too_long_are_said(etc: Etc) -> None:
    etc.write("a.ovpn", "client\n")
    etc.write("key.pw", "secret")
    etc.profile(PROFILE.replace("alice", "a" * 256))
    said = "\n".join(etc.problems())
    assert "names no server" in said
    assert "longer than 255 bytes" in said


def test_a_file_that_is_not_there_and_a_literal_secret_are_said(etc: Etc) -> None:
    etc.profile(PROFILE)
    assert any("a.ovpn" in problem for problem in etc.problems())
    etc.profile(PROFILE.replace('{ file = "key.pw" }', '"hunter2"'))
    assert any("literal secret" in problem for problem in etc.problems())
