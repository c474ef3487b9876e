"""What is known of this machine's resolvers before one of them is chosen. Each default means: it is not there.

Pure: who gathers them is `dns/facts.py`. They describe the machine without us: where our own file is in place of
resolv.conf, what is said of its content is said of the original.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from autovpn.core.dnsstanding import Kind


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something is not touched: the arguments of `Refused`, as a value."""

    what: str
    why: str
    hint: str


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of resolv.conf itself.

    `kind` is None where it is missing; `target` is what a symlink says. `immutable` holds for the file or its directory
    (`chattr +i` or `+a`); `writable` for the directory, or for the file where it is a mount point.
    """

    path: str
    kind: Kind | None = None
    target: str = ""
    immutable: bool = False
    writable: bool = True
    mounted: bool = False


@dataclass(frozen=True, slots=True)
class OriginalFacts:
    """What libc reads without us: `real` is the path behind all symlinks (a dangling one has one too)."""

    real: str = ""
    first_line: str = ""
    nameservers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ResolvedFacts:
    """systemd-resolved: whether it answers, its version (0: unknown), and the links that networkd keeps for itself."""

    answers: bool = False
    version: int = 0
    managed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NetworkManagerFacts:
    """NetworkManager: its `Mode` and `RcManager` (DnsManager's properties), and who has a say beside us.

    `writes_file` tells whether resolv.conf is its own; `global_dns` is the file in which the user has a [global-dns].
    """

    answers: bool = False
    version: str = ""
    mode: str = ""
    rc_manager: str = ""
    writes_file: bool = False
    global_dns: str = ""


class Flavour(Enum):
    """What the program named `resolvconf` really is."""

    NONE = "none"
    OPENRESOLV = "openresolv"
    DEBIAN = "debian"
    RESOLVECTL = "resolvectl"


@dataclass(frozen=True, slots=True)
class ResolvconfFacts:
    """The program named `resolvconf`, and where it is."""

    flavour: Flavour = Flavour.NONE
    program: str = ""


@dataclass(frozen=True, slots=True)
class DnsFacts:
    """All of it; gathered afresh for each choice.

    `nss_resolve`: nsswitch.conf asks systemd-resolved before it asks DNS.
    """

    file: FileFacts
    original: OriginalFacts = OriginalFacts()
    nss_resolve: bool = False
    resolved: ResolvedFacts = ResolvedFacts()
    networkmanager: NetworkManagerFacts = NetworkManagerFacts()
    resolvconf: ResolvconfFacts = ResolvconfFacts()


def refuse_file(facts: FileFacts) -> Refusal | None:
    """Return why resolv.conf may not be swapped, or None; asked for the choice, and again before the swap."""
    if facts.kind is Kind.OTHER:
        return Refusal(
            facts.path,
            "it is neither a plain file of at most 1 MiB, nor a symlink, nor absent",
            "see what it is with 'ls -l' and move it away",
        )
    if facts.immutable:
        return Refusal(
            facts.path,
            "it, or its directory, is immutable, so somebody wants it to stay as it is",
            f"allow changes with 'chattr -i -a {facts.path}', or take DNS out of the profile",
        )
    if not facts.writable:
        return Refusal(
            facts.path,
            "it is on a read-only file system" + (f" (a symlink to {facts.target})" if facts.target else ""),
            "let the program that manages it set the DNS servers, from a postup hook",
        )
    return None
