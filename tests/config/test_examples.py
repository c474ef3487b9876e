"""The profiles that a user copies are right as they are."""

from __future__ import annotations

from pathlib import Path

from autovpn.core.tunnel import RouteMode
from tests.config.conftest import WG_QUICK, WG_QUICK_FULL, Etc

EXAMPLES = Path(__file__).parents[2] / "profiles"

NAMED = {
    "vpnc/wlan.conf": "IPSec gateway vpn.campus.example\nIPSec ID students\nIPSec secret x\nXauth username me\n",
    "wireguard/lab.conf": WG_QUICK,
    "wireguard/wg0.conf": WG_QUICK_FULL,
    "autovpn/keys/home-ssh": "key",
    "autovpn/keys/known_hosts": "vpn.example ssh-ed25519 AAAA",
    "autovpn/keys/ssh_config": "Host jump\n  HostName jump.example\n",
    "profiles/agency-key.pw": "secret",
    "openvpn/agency.ovpn": "client\nremote vpn.agency.example 1194 udp\n<ca>\nx\n</ca>\n",
    "profiles/branch.pw": "secret",
    "profiles/branch-ca.pem": "",
    "profiles/campus.pw": "secret",
    "profiles/depot.psk": "secret",
    "profiles/client.pw": "secret",
    "autovpn/keys/zebedee.key": 'privatekey "0a1b"\n',
    "autovpn/lab-up": "#!/bin/sh\n",
    "profiles/old-office.pw": "secret",
    "tinc/friends/tinc.conf": "Name = laptop\nConnectTo = gateway\n",
    "tinc/friends/rsa_key.priv": "key",
    "tinc/friends/hosts/laptop": "",
    "tinc/friends/hosts/gateway": "Address = vpn.example\n",
}


def test_the_examples_load_together_without_a_problem(etc: Etc) -> None:
    for name, content in NAMED.items():
        etc.write(name, content, 0o755 if content.startswith("#!") else 0o600)
    for path in EXAMPLES.glob("*.toml"):
        etc.profile(path.read_text().replace('"/etc/', f'"{etc.root}/'), path.name)
    policy = etc.policy()
    assert [profile.name for profile in policy.profiles] == [
        "home",
        "backup-link",
        "campus-vpnc",
        "office-wired",
        "home-ssh",
        "library-socks",
        "old-office-pptp",
        "client-openconnect",
        "lab-command",
        "archive-zebedee",
        "branch-ipsec",
        "depot-libreswan",
        "agency-openvpn",
        "mesh-tinc",
        "default",
    ]
    assert {tunnel.type for profile in policy.profiles for tunnel in profile.tunnels} == {
        "vpnc",
        "ipsec",
        "openconnect",
        "openssh",
        "openvpn",
        "command",
        "zebedee",
        "pptp",
        "tinc",
        "wireguard",
    }
    assert policy.profiles[-1].tunnels[0].routes.mode is RouteMode.FULL
    expected = ("shared key", "MS-CHAPv2", "cryptography is of 2005")
    assert [note for note in etc.notes() if not any(words in note for words in expected)] == []
