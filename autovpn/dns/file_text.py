"""The resolv.conf that a wish asks for, sealed, with the way back written into it."""

from __future__ import annotations

from autovpn.core.dnschoice import DnsWish
from autovpn.core.resolvconf import MAX_NAMESERVERS, Original, ResolvConf, render, seal

_LOCAL_ONLY = frozenset({"trust-ad"})
"""Options that were meant for a resolver on this machine."""


def sealed_text(wish: DnsWish, original: Original, base: ResolvConf, way_back: str) -> bytes:
    """Return our file for `wish`.

    `base` is the original, whose options and sortlist stay; `way_back` is the command that undoes us by hand. The
    servers are all ours, since libc asks the first three only. A whole file is taken as it is.
    """
    if wish.whole_file is not None:
        return seal(wish.whole_file.rstrip("\r\n") + "\n", original)
    conf = ResolvConf(
        nameservers=wish.servers[:MAX_NAMESERVERS],
        search=wish.search,
        options=tuple(option for option in base.options if option not in _LOCAL_ONLY),
        sortlist=base.sortlist,
    )
    device = f" ({_printable(wish.device)})" if wish.device else ""
    lines = (
        f"# for {_printable(wish.owner)}{device}.\n# If autovpn is not running, undo it with: {_printable(way_back)}\n"
    )
    return seal(lines + render(conf), original)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
