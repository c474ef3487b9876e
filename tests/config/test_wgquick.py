"""A wg-quick file is read as it is; its keys are not kept, its commands are refused."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.config.wgquick import WgQuick, parse
from autovpn.core.settings import Endpoint

PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
PUBLIC = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
PRESHARED = "FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE="

WHOLE = f"""\
# from the administrator
[Interface]
PrivateKey = {PRIVATE}
Address = 10.97.0.2/24, fd00::2/64
address=192.0.2.9
DNS = 10.97.0.1, fd00::1, Office.example
MTU = 1380
ListenPort = 51820

[Peer] # the office
PublicKey = {PUBLIC}
PresharedKey = {PRESHARED}
AllowedIPs = 10.20.0.0/24
AllowedIPs = 10.30.0.1/16,2001:db8::/32
Endpoint = vpn.example:51820
PersistentKeepalive = 25

[PEER]
publickey = {PUBLIC}
AllowedIPs =
Endpoint = [2001:db8::1]:51821
PersistentKeepalive = off
"""


def _words(found: WgQuick) -> list[str]:
    return [f"{remark.line}: {remark.text}" for remark in found.problems]


def test_everything_but_the_keys_is_kept() -> None:
    found = parse(WHOLE, "/etc/wireguard/wg0.conf")
    settings = found.settings
    assert _words(found) == []
    assert found.notes == []
    assert settings.config == "/etc/wireguard/wg0.conf"
    assert settings.addresses == tuple(map(ip_interface, ("10.97.0.2/24", "fd00::2/64", "192.0.2.9/32")))
    assert settings.dns == ("10.97.0.1", "fd00::1")
    assert settings.search == ("office.example",)
    assert (settings.mtu, settings.listen_port) == (1380, 51820)
    office, other = settings.peers
    assert office.public_key == PUBLIC
    assert office.allowed_ips == tuple(map(ip_network, ("10.20.0.0/24", "10.30.0.0/16", "2001:db8::/32")))
    assert office.endpoint == Endpoint("vpn.example", 51820, "udp")
    assert office.keepalive == 25
    assert other.endpoint == Endpoint("2001:db8::1", 51821, "udp")
    assert other.keepalive is None
    assert other.allowed_ips == ()


def test_secrets_are_recognised_and_not_kept() -> None:
    assert PRIVATE not in repr(parse(WHOLE, ""))
    assert PRESHARED not in repr(parse(WHOLE, ""))


@pytest.mark.parametrize(
    ("command", "spelled"),
    [*((name, name) for name in ("PreUp", "PostUp", "PreDown", "PostDown")), ("POSTUP", "PostUp")],
)
def test_a_command_is_refused_and_pointed_to_hooks(command: str, spelled: str) -> None:
    found = parse(WHOLE.replace("MTU = 1380", f"{command} = iptables -A x"), "")
    assert _words(found) == [f"7: {spelled} would run a command; move it to [[hooks]] of the profile"]


@pytest.mark.parametrize("key", ["Table = off", "FwMark = 0x1", "SaveConfig = true"])
def test_what_autovpn_does_by_itself_is_noted(key: str) -> None:
    found = parse(WHOLE.replace("MTU = 1380", key), "")
    assert _words(found) == []
    assert [remark.line for remark in found.notes] == [7]
    assert "is not used" in found.notes[0].text


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (f"PrivateKey = {PRIVATE}", "", "1: has no PrivateKey in its [Interface]"),
        (f"PrivateKey = {PRIVATE}", "PrivateKey = short", "3: PrivateKey: is no WireGuard key"),
        (f"PublicKey = {PUBLIC}\nPre", "Pre", "10: this [Peer] has no PublicKey"),
        ("Endpoint = vpn.example:51820", "Endpoint = vpn.example", "15: Endpoint: 'vpn.example' is no endpoint"),
        ("Endpoint = vpn.example:51820", "Endpoint = vpn.example:0", "15: Endpoint: '0' is no number from 1"),
        ("Endpoint = [2001:db8::1]", "Endpoint = 2001:db8::1", "21: Endpoint: '2001:db8::1:51821' is no endpoint"),
        ("10.20.0.0/24", "10.20.0.0/99", "13: AllowedIPs: '10.20.0.0/99' is no prefix"),
        ("10.97.0.2/24", "10.97", "4: Address: '10.97' is no address"),
        ("MTU = 1380", "MTU = many", "7: MTU: 'many' is no number"),
        ("MTU = 1380", "MUT = 1380", "7: mut: is no key of [Interface]"),
        ("PersistentKeepalive = 25", "Persistent = 25", "16: persistent: is no key of [Peer]"),
        ("PersistentKeepalive = 25", "PersistentKeepalive = 99999", "16: PersistentKeepalive: '99999' is no number"),
        ("Office.example", "under the sea", "6: DNS: 'under the sea' is no domain name"),
        ("[Peer] # the office", "[Pear]", "10: 'pear' is no section"),
        ("# from the administrator", "MTU = 1", "1: something stands before the first"),
        ("MTU = 1380", PRIVATE, "7: is neither a [section] nor 'key = value'"),
        ("MTU = 1380", PRIVATE[:20], "7: is neither a [section] nor 'key = value'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(old: str, new: str, problem: str) -> None:
    assert old in WHOLE
    assert any(words.startswith(problem) for words in _words(parse(WHOLE.replace(old, new), "")))


def test_a_file_without_peers_or_endpoints_is_told() -> None:
    interface = WHOLE.partition("[Peer]")[0]
    assert _words(parse(interface, "")) == ["1: has no [Peer]"]
    waiting = parse(interface + f"[Peer]\nPublicKey = {PUBLIC}\n", "")
    assert _words(waiting) == []
    assert "can only wait" in waiting.notes[0].text


@given(
    st.text(max_size=200)
    | st.lists(
        st.sampled_from([*WHOLE.splitlines(), PRIVATE, f"= {PRIVATE}", f"PublicKey {PRIVATE}"]), max_size=20
    ).map("\n".join)
)
def test_any_text_is_answered_and_no_key_is_ever_quoted(text: str) -> None:
    found = parse(text, "")
    assert PRIVATE[:20] not in repr(found)
