"""`type = "ipsec"`: what its table becomes, and what of it is refused."""

from __future__ import annotations

import re

import pytest

from autovpn.core.settings import IpsecAuth, IpsecSettings, LibreswanSettings
from autovpn.core.tunnel import RouteMode
from tests.config.conftest import Etc

CAFE = '[match]\nssid = ["Cafe"]\n'
PSK = 'auth = "psk"\npsk = "k"\n'
LIBRESWAN = 'implementation = "libreswan"\n'


def write(etc: Etc, table: str) -> None:
    etc.write("k", "key")
    etc.profile(f'tunnels = ["t"]\n{CAFE}[tunnel.t]\ntype = "ipsec"\nserver = "vpn.example"\n{table}')


def test_a_tunnel_between_networks_asks_for_no_address(etc: Etc) -> None:
    write(etc, PSK + 'remote = ["10.2.0.0/24"]\nlocal = ["10.1.0.0/24"]\n')
    (found,) = etc.policy().profiles[0].tunnels
    assert isinstance(found.settings, IpsecSettings)
    assert found.settings.auth is IpsecAuth.PSK
    assert not found.settings.virtual_address
    assert found.routes.mode is RouteMode.SPLIT
    assert [(end.port, end.protocol) for end in found.endpoints] == [(500, "udp"), (4500, "udp"), (None, "esp")]


def test_transport_mode_has_no_device_and_no_routes(etc: Etc) -> None:
    write(etc, PSK + 'mode = "transport"\n')
    (found,) = etc.policy().profiles[0].tunnels
    assert (found.device, found.routes.mode) == ("", RouteMode.NONE)


def test_the_socket_of_another_strongswan_is_found_beside_the_profile(etc: Etc) -> None:
    path = etc.write("charon.vici", "")
    write(etc, PSK + 'vici = "charon.vici"\n')
    (found,) = etc.policy().profiles[0].tunnels
    assert isinstance(found.settings, IpsecSettings)
    assert found.settings.vici == str(path)


def test_libreswan_has_settings_and_a_device_of_its_own(etc: Etc) -> None:
    program = etc.write("ipsec", "#!/bin/sh\n", 0o755)
    write(etc, LIBRESWAN + PSK + f'remote = ["10.2.0.0/24"]\nencap = true\nipsec = "{program}"\n')
    (found,) = etc.policy().profiles[0].tunnels
    assert isinstance(found.settings, LibreswanSettings)
    assert (str(found.settings.remote), found.settings.encap, found.settings.virtual_address) == (
        "10.2.0.0/24",
        True,
        True,
    )
    assert found.settings.ipsec == str(program)
    assert found.settings.may_push_dns
    assert re.fullmatch(r"ipsec[2-5]\d{4}", found.device)
    assert [(end.port, end.protocol) for end in found.endpoints] == [(500, "udp"), (4500, "udp"), (None, "esp")]


def test_libreswan_reads_a_certificate_and_is_given_its_key(etc: Etc) -> None:
    paths = {name: etc.write(name, "pem") for name in ("ca.crt", "me.crt", "me.key")}
    write(etc, LIBRESWAN + 'auth = "certificate"\nca = "ca.crt"\ncertificate = "me.crt"\nkey = "me.key"\n')
    (found,) = etc.policy().profiles[0].tunnels
    assert isinstance(found.settings, LibreswanSettings)
    settings = found.settings
    assert [settings.ca, settings.certificate, settings.key, settings.psk] == [*map(str, paths.values()), None]
    assert found.files == (str(paths["me.key"]),)


def test_programs_of_libreswan_are_looked_for(etc: Etc) -> None:
    write(etc, LIBRESWAN + PSK + 'mode = "transport"\n')
    (found,) = etc.policy().profiles[0].tunnels
    assert found.device == ""


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('auth = "xauth"\nuser = "a"\npsk = "k"\n', "IKEv2 is built here with"),
        ('auth = "certificate"\nca = "k"\n', 'has to have "certificate" and "key"'),
        ('auth = "eap"\nuser = "a"\n', "add 'ca'"),
        ('auth = "psk"\n', "needs its shared key once"),
        (PSK + "aggressive = true\n", "which IKEv2 does not know"),
        (PSK + 'esp = "user"\nprotocol = "ah"\n', "ESP in tunnel mode alone"),
        (PSK + 'protocol = "ah"\nencap = true\n', "AH in UDP"),
        (PSK + 'mode = "transport"\nremote = ["10.0.0.0/8"]\n', "between two hosts alone"),
        (PSK + 'proposals = ["AES 256"]\n', "is no proposal"),
        (PSK + 'implementation = "racoon"\n', "strongswan"),
        (PSK + 'ipsec = "/usr/sbin/ipsec"\n', "names the 'ipsec' of libreswan"),
        (LIBRESWAN + 'auth = "eap"\nuser = "a"\nca = "k"\npassword = { file = "k" }\n', "libreswan knows no password"),
        (LIBRESWAN + 'auth = "certificate"\n', "add 'ca'"),
        (LIBRESWAN + PSK + 'vici = "/run/charon.vici"\n', "which are strongSwan's"),
        (LIBRESWAN + PSK + 'remote = ["10.0.0.0/24", "10.1.0.0/24"]\n', "joins more than one network"),
        (LIBRESWAN + PSK + 'local = ["10.0.0.0/24"]\nvirtual_address = true\n', "drop 'local' or 'virtual_address'"),
        (LIBRESWAN + PSK + 'protocol = "ah"\n', "AH in tunnel mode"),
        (LIBRESWAN + PSK + 'device = "vpn7"\n', '"ipsec" and a number'),
        (LIBRESWAN + PSK + "local_id = 'a\"b'\n", "an identity with a quote"),
        (
            LIBRESWAN + 'auth = "xauth"\nversion = 1\nuser = "a b"\npsk = "k"\npassword = { file = "k" }\n',
            "has a 'user' with a character",
        ),
        (PSK + "version = 3\n", "tunnel.t.version: must be 1 or 2"),
        (PSK + 'version = "2"\n', "tunnel.t.version: must be 1 or 2, without quotes"),
        (PSK + 'vici = "/run/charon.vici"\ncharon = "/usr/lib/ipsec/charon"\n', "drop 'vici' or 'charon'"),
    ],
)
def test_what_can_not_work_is_refused(etc: Etc, table: str, words: str) -> None:
    write(etc, table)
    assert any(words in problem for problem in map(str, etc.problems()))


def test_what_may_not_work_is_warned_of(etc: Etc) -> None:
    write(etc, PSK + 'version = 1\naggressive = true\nprotocol = "ah"\n')
    said = " ".join(map(str, etc.problems()))
    assert "AH crosses no NAT" in said
    assert "aggressive mode shows a digest" in said
