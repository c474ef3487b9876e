"""Whom to ask for a tunnel's endpoint on a machine that runs a resolver for itself (systemd-resolved, dnsmasq).

Pure. Such a resolver can't be asked through the uplink, and its own questions go wherever the machine's routes lead: to
the unfinished tunnel, or into its guard. So the servers behind it are asked instead, where they are known.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from itertools import chain


def is_local(server: str) -> bool:
    """Report whether the address of a server is this machine: a loopback one, or 0.0.0.0 or ::, which mean the same."""
    address = ipaddress.ip_address(server)
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def upstream_of(servers: Sequence[str], behind: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return the servers to be asked where resolv.conf(5) names `servers`: never ourselves where it can be helped.

    `behind` are the lists that the machine's own resolvers are known to ask, the first that says anything is taken.
    Without one the machine's own resolver stays.
    """
    real = next(filter(None, (tuple(s for s in known if not is_local(s)) for known in behind)), ())
    asked = chain.from_iterable(real if real and is_local(server) else (server,) for server in servers)
    return tuple(dict.fromkeys(asked))
