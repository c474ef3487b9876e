"""A user's OpenVPN file is read as OpenVPN reads it, and what is ours to say is found however it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.openvpnfile import OWNED, NoRemote, directives, gives_way, reading_fault, remotes, words_of
from autovpn.core.settings import Endpoint


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("  # remote x", []),
        ("; remote x", []),
        ("remote vpn.example 1194 udp  # the first", ["remote", "vpn.example", "1194", "udp"]),
        ('up "/bin/a b" c\r', ["up", "/bin/a b", "c"]),
        (r"up /bin/a\ b", ["up", "/bin/a b"]),
        (r"""setenv x 'a\b "c"' """, ["setenv", "x", r'a\b "c"']),
        (r'"up" "a\"b"', ["up", 'a"b']),
        ('a ""', ["a", ""]),
        ('a b"c#d', ["a", 'b"c#d']),
        ('a "open', ["a", "open"]),
        ("\\ plugin x", ["plugin", "x"]),
        ("\\#plugin x", []),
        ("plugin\xa0x\x0by", ["plugin\xa0x", "y"]),
    ],
)
def test_words_are_cut_as_openvpn_cuts_them(line: str, words: list[str]) -> None:
    assert words_of(line) == words


def test_a_block_is_one_directive_with_its_body_and_its_lines() -> None:
    text = "\ufeff--client\n<ca>\n# not a comment\nremote x\n  </ca> \nsetenv opt block-ipv6 now\n<key>\nno end"
    client, ca, optional, key = directives(text)
    assert (client.name, client.arguments, client.first, client.last) == ("client", (), 1, 1)
    assert (ca.name, ca.body, ca.first, ca.last) == ("ca", ("# not a comment", "remote x"), 2, 5)
    assert (optional.name, optional.arguments) == ("block-ipv6", ("now",))
    assert (key.is_closed, key.body, key.last) == (False, ("no end",), 8)
    assert "no end" not in repr(key)


def test_a_block_ends_where_it_does_for_openvpn() -> None:
    hiding = "<ca>\n\xa0</ca>\n<key>\n</ca>\nplugin evil.so\n</key>\n"
    assert [directive.name for directive in directives(hiding)][:2] == ["ca", "plugin"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("client\n# \0plugin evil.so", "a NUL"),
        (f"client\n<ca>\n{'A' * 255}</ca>\nplugin evil.so\n</ca>", "in line 3"),
        (f"<ca>\n{'A' * 249}</ca>", ""),
        (f"<ca>\n{'A' * 300}\n</ca>", ""),
    ],
)
def test_what_openvpn_would_cut_otherwise_is_said(text: str, words: str) -> None:
    assert words in reading_fault(text)
    assert bool(words) is bool(reading_fault(text))


@pytest.mark.parametrize("name", [*OWNED, "management", "management-client-user", "remote", "connection"])
@pytest.mark.parametrize("spelling", ["{} x", "--{} x", '"{}" x', "  {} x", "setenv opt {} x", "<{}>\nx\n</{}>"])
def test_what_is_ours_gives_way_however_it_is_written(name: str, spelling: str) -> None:
    (found,) = directives(spelling.format(name, name))
    assert found.name == name
    if name not in ("setenv", "setenv-safe"):
        assert gives_way(found)


@pytest.mark.parametrize(
    ("line", "way"),
    [
        ("setenv PATH /tmp", True),
        ("setenv", True),
        ("setenv FORWARD_COMPATIBLE 1", False),
        ("setenv UV_ID laptop", False),
        ("setenv opt up /bin/evil", True),
        ("cipher AES-256-GCM", False),
        ("ca ca.crt", False),
        ("auth-user-pass x", False),
        ("providers legacy default", False),
        ("providers default /tmp/evil.so", True),
        ("engine tpm2tss", False),
        ("engine ./evil.so", True),
    ],
)
def test_settings_of_openvpn_itself_stand(line: str, way: bool) -> None:
    (found,) = directives(line)
    assert gives_way(found) is way


def test_passwords_give_way_to_those_of_the_profile() -> None:
    user, key = directives("auth-user-pass x\naskpass y")
    assert not gives_way(user, key_password=True)
    assert gives_way(user, password=True)
    assert gives_way(key, key_password=True)
    assert not gives_way(key, password=True)


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("remote a", [Endpoint("a", 1194)]),
        ("remote a 443 tcp\nremote b 1195 udp6\nremote a 443 tcp4-client",
         [Endpoint("a", 443, "tcp"), Endpoint("b", 1195, "udp")]),
        ("remote a\nproto tcp-client\nport 7", [Endpoint("a", 7, "tcp")]),
        ("remote a\nport 7\nrport 8", [Endpoint("a", 8)]),
        ("remote a 9\nproto TCP", [Endpoint("a", 9, "tcp")]),
        ("proto tcp\n<connection>\nremote a 1\n</connection>\n<connection>\nremote 2001:db8::1 2 udp\n</connection>",
         [Endpoint("a", 1, "tcp"), Endpoint("2001:db8::1", 2)]),
        ("client", []),
    ],
)  # fmt: skip
def test_servers_are_found_in_their_order_and_once(text: str, servers: list[Endpoint]) -> None:
    assert remotes(directives(text)) == tuple(servers)


@pytest.mark.parametrize(
    ("text", "words"),
    [("remote", "names no host"), ("remote a x", "'x' is no port"), ("remote a 0", "no port"),
     ("remote a 70000", "no port"), ("remote a ²", "no port"), ("remote a 1 icmp", "'icmp' is no protocol")],
)  # fmt: skip
def test_a_server_that_is_none_is_said(text: str, words: str) -> None:
    with pytest.raises(NoRemote, match=words) as raised:
        remotes(directives(f"client\n{text}"))
    assert raised.value.line == 2


def test_a_server_that_is_none_is_said_by_the_first_line_of_its_block() -> None:
    with pytest.raises(NoRemote, match="'x' is no port") as raised:
        remotes(directives("client\n\n<connection>\nproto tcp\nremote a x\n</connection>"))
    assert raised.value.line == 3


@given(st.text())
def test_no_text_is_too_odd(text: str) -> None:
    found = list(directives(text))
    assert all(1 <= directive.first <= directive.last for directive in found)
    assert [directive.first for directive in found] == sorted({directive.first for directive in found})
