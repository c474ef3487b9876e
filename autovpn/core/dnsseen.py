"""How far a resolv.conf that another program writes has libc ask the servers of a wish.

Pure. A manager that merges may put others before ours, and libc reads no fourth (mullvad/mullvadvpn-app#3139).
"""

from __future__ import annotations

from dataclasses import dataclass

from autovpn.core.dnschoice import DnsWish
from autovpn.core.resolvconf import MAX_NAMESERVERS, ResolvConf
from autovpn.core.upstream import is_local


@dataclass(frozen=True, slots=True)
class Seen:
    """Whether libc asks ours; `amiss` says why not, or what is wrong although it does; `note` is only worth knowing."""

    in_force: bool
    amiss: str = ""
    note: str = ""


def seen(wish: DnsWish, conf: ResolvConf, path: str) -> Seen:
    """Return how `wish` fares in `conf`, the file at `path` that a manager wrote."""
    read = conf.nameservers[:MAX_NAMESERVERS]
    if read and all(map(is_local, read)):
        return Seen(
            in_force=True, note=f"{path} names {', '.join(read)}, which asks the tunnel's servers if it was told"
        )
    if not read or wish.servers[0] not in read:
        return Seen(in_force=False, amiss=f"{path}: {wish.servers[0]} is not among the servers that are asked")
    before = read[: read.index(wish.servers[0])]
    others = tuple(server for server in read if server not in wish.servers)
    if before:
        return Seen(in_force=True, amiss=f"{path}: DNS is blended: {', '.join(before)} is asked before the tunnel's")
    if others:
        note = f"{path}: DNS is blended: {', '.join(others)} is asked where the tunnel's servers do not answer"
        return Seen(in_force=True, note=note)
    return Seen(in_force=True)
