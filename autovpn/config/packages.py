"""Which package has a program, by distribution, and how old a program may be."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import astuple, dataclass

VERSION_DEADLINE = 5.0
"""Seconds that a program has to print its version."""


@dataclass(frozen=True, slots=True)
class Packages:
    """The names of one program's package; empty where the distribution has none."""

    debian: str
    gentoo: str
    arch: str
    fedora: str
    alpine: str


_STRONGSWAN = ("net-vpn/strongswan", "strongswan", "strongswan", "strongswan")

PACKAGES: Mapping[str, Packages] = {
    "charon-systemd": Packages("charon-systemd", *_STRONGSWAN),
    "swanctl": Packages("strongswan-swanctl", *_STRONGSWAN),
    "certutil": Packages("libnss3-tools", "dev-libs/nss", "nss", "nss-tools", "nss-tools"),
    "ipsec": Packages("libreswan", "net-vpn/libreswan", "", "libreswan", "libreswan"),
    "openconnect": Packages("openconnect", "net-vpn/openconnect", "openconnect", "openconnect", "openconnect"),
    "openvpn": Packages("openvpn", "net-vpn/openvpn", "openvpn", "openvpn", "openvpn"),
    "openssl": Packages("openssl", "dev-libs/openssl", "openssl", "openssl", "openssl"),
    "pk12util": Packages("libnss3-tools", "dev-libs/nss", "nss", "nss-tools", "nss-tools"),
    "pppd": Packages("ppp", "net-dialup/ppp", "ppp", "ppp", "ppp"),
    "pptp": Packages("pptp-linux", "net-dialup/pptpclient", "pptpclient", "pptp", "pptpclient"),
    "ssh": Packages("openssh-client", "net-misc/openssh", "openssh", "openssh-clients", "openssh-client-default"),
    "tincd": Packages("tinc", "net-vpn/tinc", "tinc", "tinc", "tinc"),
    "vpnc": Packages("vpnc", "net-vpn/vpnc", "vpnc", "vpnc", "vpnc"),
    "wireguard-go": Packages("wireguard-go", "net-vpn/wireguard-go", "wireguard-go", "", "wireguard-go"),
    "zebedee": Packages("", "", "", "", ""),
}

_COMMANDS = {
    "debian": "apt install",
    "gentoo": "emerge",
    "arch": "pacman -S",
    "fedora": "dnf install",
    "alpine": "apk add",
}

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Age:
    """The oldest version of a program that has what we need of it, what that is, and how it is asked for its version.

    A program is here where it says its version without doing anything else, and where some that are in use are too old.
    """

    oldest: Version
    need: str
    asked_by: str = "--version"


OLDEST: Mapping[str, Age] = {
    "openconnect": Age((7, 7), "--resolve, which gives it the address that was looked up"),
    "openvpn": Age((2, 4), "the ciphers that servers ask for today"),
    "pppd": Age((2, 4, 9), "ip-up-script, which keeps the distribution's scripts out"),
    "pptp": Age((1, 8), "--nohostroute, which keeps it off the routes"),
    "ssh": Age((8, 7), "ForkAfterAuthentication, which keeps it in the foreground whatever its files say", "-V"),
    "tincd": Age((1, 0, 12), "what it tells host-up"),
}


def distribution() -> tuple[str, ...]:
    """Return the ids of this machine's distribution, its own first, then those that it is like (os-release(5))."""
    try:
        facts = platform.freedesktop_os_release()
    except OSError:
        return ()
    return (facts.get("ID", ""), *facts.get("ID_LIKE", "").split())


def how_to_install(program: str, ids: tuple[str, ...]) -> str:
    """Return what would bring a program to a distribution with these ids; every known package where it is unknown."""
    packages = PACKAGES.get(program)
    if packages is None:
        return "install it to use this tunnel"
    names = dict(zip(_COMMANDS, astuple(packages), strict=True))
    for one in ids:
        if name := names.get(one):
            return f"install it: {_COMMANDS[one]} {name}"
    known = ", ".join(f"{name} ({one.capitalize()})" for one, name in names.items() if name)
    return f"install it; its package is {known}" if known else "no distribution has a package of it: build it"


def too_old(program: str, printed: str) -> str | None:
    """Return why a program that prints this as its version can't be used; None when it can, or doesn't say its age."""
    age = OLDEST.get(program)
    found = re.search(r"(\d+(?:\.\d+)+)", printed)
    if age is None or found is None:
        return None
    version = tuple(map(int, found[1].split(".")))
    if version >= age.oldest:
        return None
    oldest = ".".join(map(str, age.oldest))
    return f"{program} {found[1]} is too old: {oldest} or later is needed, for {age.need}"


def printed_version(program: str, path: str) -> str:
    """Return what a program at this path, which was found to be trusted, prints when it is asked for its version."""
    if program not in OLDEST:
        return ""
    try:
        done = subprocess.run(
            (path, OLDEST[program].asked_by),
            env={"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=VERSION_DEADLINE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout[:1000].decode("ascii", "replace")
