"""Everything that a server tells its client, taken together: what is kept for the facts, a sentence for what is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from autovpn.core.dnsclean import clean_search, clean_servers
from autovpn.core.driving import Launch
from autovpn.core.network import IPNetwork
from autovpn.core.tunnel import Facts
from autovpn.tunnels import pushed

MAX_SENTENCES: Final = 16
"""What `status` shows of all kinds together; each kind has its own limit too."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server told its client, in its own words. `mtu` is in bytes, `routes` are of both families."""

    routes: Sequence[pushed.Pair] = ()
    dns: Sequence[str] = ()
    search: Sequence[str] = ()
    mtu: str | None = None
    banner: str | None = None


def accepted(offer: Offer, launch: Launch) -> Facts:
    """Return the facts that can be used of an offer; the driver adds device, addresses and overhead to them.

    A route that covers the server is taken, since the pin lets the tunnel's own packets out before it. One to the
    server alone says nothing but that they are to go round in a circle.
    """
    routes, about_routes = pushed.routes(offer.routes, launch.spec.routes.mode)
    prefixes, about_server = _without_the_server(routes, launch)
    dns, about_dns = clean_servers(offer.dns)
    search, about_search = clean_search(offer.search)
    mtu, about_mtu = _mtu(offer.mtu, launch)
    banner, about_banner = _banner(offer.banner)
    about = (*about_routes, *about_server, *about_dns, *about_search, *about_mtu, *about_banner)
    return Facts(prefixes=prefixes, dns=dns, search=search, mtu=mtu, banner=banner, refused=about[:MAX_SENTENCES])


def _without_the_server(routes: Iterable[IPNetwork], launch: Launch) -> tuple[tuple[IPNetwork, ...], tuple[str, ...]]:
    servers = {(endpoint.address, endpoint.address.max_prefixlen) for endpoint in launch.endpoints}
    about = tuple(
        f"route {route} is left out: it is the server itself, which is reached outside the tunnel"
        for route in routes
        if (route.network_address, route.prefixlen) in servers
    )
    kept = tuple(route for route in routes if (route.network_address, route.prefixlen) not in servers)
    return kept, pushed.capped(about)


def _mtu(text: str | None, launch: Launch) -> tuple[int | None, tuple[str, ...]]:
    if text is None or not text.strip() or text.strip() == "0":  # how several servers say that they say nothing
        return None, ()
    mtu = pushed.mtu(text)
    if mtu is None:
        return None, (f"an MTU of {pushed.shown(text.strip())} is left out: there is none like that",)
    if mtu > launch.uplink.mtu:
        return None, (f"an MTU of {mtu} is left out: the uplink takes {launch.uplink.mtu} bytes",)
    return mtu, ()


def _banner(text: str | None) -> tuple[str, tuple[str, ...]]:
    banner = pushed.banner(text)
    is_long = len((text or "").strip()) > pushed.MAX_BANNER
    return banner, (f"the banner is cut: it has more than {pushed.MAX_BANNER} characters",) if is_long else ()
