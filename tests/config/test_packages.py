"""The packages that have the tunnels' programs, and how old these may be."""

from __future__ import annotations

import sys

import pytest

from autovpn.config.packages import OLDEST, PACKAGES, distribution, how_to_install, printed_version, too_old
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
