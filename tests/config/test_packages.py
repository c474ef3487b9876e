"""The packages that have the tunnels' programs, and how old these may be."""

from __future__ import annotations

import sys

import pytest

from autovpn.config.packages import OLDEST, PACKAGES, distribution, how_to_install, printed_version, too_old
from autovpn.config.programs import find_program
from autovpn.config.tunnels import TYPES


def test_every_program_that_a_tunnel_needs_has_its_package() -> None:
    assert {program for table in TYPES.values() for program in table.programs} <= set(PACKAGES)


@pytest.mark.parametrize(
    ("program", "ids", "how"),
    [
        ("vpnc", ("debian",), "install it: apt install vpnc"),
        ("vpnc", ("linuxmint", "ubuntu", "debian"), "install it: apt install vpnc"),
        ("openvpn", ("gentoo",), "install it: emerge net-vpn/openvpn"),
        ("pptp", ("alpine",), "install it: apk add pptpclient"),
        ("ssh", ("manjaro", "arch"), "install it: pacman -S openssh"),
        ("pppd", ("fedora",), "install it: dnf install ppp"),
        (
            "ipsec",
            ("arch",),
            (
                "install it; its package is libreswan (Debian), net-vpn/libreswan (Gentoo), libreswan (Fedora),"
                " libreswan (Alpine)"
            ),
        ),
        ("zebedee", ("debian",), "no distribution has a package of it: build it"),
        ("tool", ("debian",), "install it to use this tunnel"),
    ],
)
def test_a_missing_program_is_named_with_what_installs_it_here(program: str, ids: tuple[str, ...], how: str) -> None:
    assert how_to_install(program, ids) == how


def test_the_distribution_is_this_machines() -> None:
    assert all(isinstance(one, str) for one in distribution())


@pytest.mark.parametrize(
    ("program", "printed", "why"),
    [
        ("openvpn", "OpenVPN 2.6.14 x86_64-pc-linux-gnu [SSL (OpenSSL)]", None),
        ("openvpn", "OpenVPN 2.3.10 x86_64", "openvpn 2.3.10 is too old: 2.4 or later"),
        ("openconnect", "OpenConnect version v9.01-3", None),
        ("openconnect", "OpenConnect version v7.06", "openconnect 7.06 is too old: 7.7 or later"),
        ("tincd", "tinc version 1.0.36", None),
        ("tincd", "tinc version 1.0.9 (built)", "tincd 1.0.9 is too old"),
        ("tincd", "no number", None),
        ("pppd", "pppd version 2.4.9", None),
        ("pppd", "pppd version 2.4.7", "pppd 2.4.7 is too old: 2.4.9 or later"),
        ("pptp", "pptp version 1.10.0", None),
        ("pptp", "pptp version 1.7.2", "pptp 1.7.2 is too old: 1.8 or later"),
        ("ssh", "OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.22 25 Aug 2026", None),
        ("ssh", "OpenSSH_8.4p1 Debian-5+deb11u3, OpenSSL 1.1.1w  11 Sep 2023", "ssh 8.4 is too old: 8.7 or later"),
        ("vpnc", "vpnc version 0.1.0", None),
    ],
)
def test_a_program_that_lacks_what_is_needed_is_too_old(program: str, printed: str, why: str | None) -> None:
    found = too_old(program, printed)
    assert found is None if why is None else found is not None and found.startswith(why)


def test_a_program_is_asked_for_its_version_only_where_that_matters() -> None:
    assert "vpnc" not in OLDEST
    assert printed_version("vpnc", "/no/such/program") == ""
    assert printed_version("openvpn", "/no/such/program") == ""
    assert printed_version("openvpn", sys.executable).startswith("Python 3")


@pytest.mark.parametrize("program", sorted(OLDEST))
def test_a_program_tells_its_version_when_it_is_asked(program: str) -> None:
    path = find_program(program)
    if path is None:
        pytest.skip(f"needs {program}: make packages")
    printed = printed_version(program, path)
    assert any(character.isdigit() for character in printed), printed
    assert too_old(program, printed) is None
    assert too_old(program, printed.translate(str.maketrans("123456789", "000000000"))) is not None
