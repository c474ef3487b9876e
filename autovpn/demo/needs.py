"""What the demo needs of this machine, and how to get it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from autovpn.errors import Unsupported

SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where root's programs are, also for a root whose PATH lacks them (Debian's `su`)."""

SOURCE = Path(__file__).parents[2]
"""The folder from which this autovpn is imported."""

COVERED = ("/etc", "/run", "/var/lib")
"""The folders that the laptop has for itself; nothing beneath them can be seen on the stage."""

# Program: its package in Debian, Fedora, Arch and Gentoo.
PACKAGES = {
    "ip": ("iproute2", "iproute", "iproute2", "sys-apps/iproute2"),
    "ping": ("iputils-ping", "iputils", "iputils", "net-misc/iputils"),
    "nft": ("nftables", "nftables", "nftables", "net-firewall/nftables"),
    "mount": ("mount", "util-linux-core", "util-linux", "sys-apps/util-linux"),
    "cp": ("coreutils", "coreutils", "coreutils", "sys-apps/coreutils"),
    "unshare": ("util-linux", "util-linux", "util-linux", "sys-apps/util-linux"),
    "nsenter": ("util-linux", "util-linux", "util-linux", "sys-apps/util-linux"),
    "wg": ("wireguard-tools", "wireguard-tools", "wireguard-tools", "net-vpn/wireguard-tools"),
    "ssh": ("openssh-client", "openssh-clients", "openssh", "net-misc/openssh"),
    "sshd": ("openssh-server", "openssh-server", "openssh", "net-misc/openssh"),
    "ssh-keygen": ("openssh-client", "openssh", "openssh", "net-misc/openssh"),
}
NEEDED = ("ip", "ping", "nft", "unshare", "nsenter", "mount", "cp")
WIREGUARD = ("wg",)
OPENSSH = ("ssh", "sshd", "ssh-keygen")


def which(program: str) -> str | None:
    """Return where a program is, in PATH or where root's programs are."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_FOLDERS]))


def found(program: str) -> str:
    """Return where a program is.

    Raises:
        Unsupported: it is missing; with how to get it.
    """
    path = which(program)
    if path is None:
        raise Unsupported(how_to_get(program))
    return path


def missing() -> list[str]:
    """Return what the demo lacks on this machine, a sentence each; empty when it can be given."""
    if os.geteuid() != 0:
        return ["it makes network namespaces, so it needs root: sudo autovpn demo"]
    lacking = [how_to_get(program) for program in NEEDED if not which(program)]
    if not _has_all(WIREGUARD) and not _has_all(OPENSSH):
        lacking.append("a tunnel needs WireGuard's tools or an OpenSSH client and server, and neither is whole here")
        lacking += [how_to_get(program) for program in (*WIREGUARD, *OPENSSH) if not which(program)]
    for place in {Path(sys.prefix), SOURCE}:
        lacking += [
            f"autovpn is in {place}, but {above} is covered there" for above in COVERED if _within(place, above)
        ]
    return lacking or _denied()


def how_to_get(program: str) -> str:
    """Return the sentence that names a missing program and the packages that have it."""
    debian, fedora, arch, gentoo = PACKAGES[program]
    return f"{program} is missing: apt install {debian} (Fedora: {fedora}; Arch: {arch}; Gentoo: {gentoo})"


def _within(place: Path, folder: str) -> bool:
    return place.resolve().is_relative_to(folder)


def _has_all(programs: tuple[str, ...]) -> bool:
    return all(which(program) for program in programs)


def _denied() -> list[str]:
    """Return why root may not make namespaces here, as in many a container; empty where it may."""
    probe = (found("unshare"), "--mount", "--net", "--pid", "--fork", "--mount-proc", found("mount"), "--version")
    done = subprocess.run(probe, check=False, capture_output=True, text=True)
    return [f"namespaces can't be made here: {done.stderr.strip()}"] if done.returncode else []
