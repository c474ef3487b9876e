"""What leaves a laptop in clear and what through its tunnel, counted at the gateway; and traffic to be counted."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from tests.netns.world import OFFICE, OFFICE6

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.netns.namespace import Namespace
    from tests.netns.world import World

INTERNET, INTERNET6 = "203.0.113.7", "2001:db8:113::7"
"""Hosts that the gateway reaches for whoever asks, in clear or by a tunnel."""

EVERYWHERE = (INTERNET, OFFICE, INTERNET6, OFFICE6)

_DISCARD = 9  # RFC 863

# Neighbour discovery and multicast never leave the link, so they are no leak; a device sends some for itself, too,
# some seconds after it is up.
_TABLE = """
table inet counted {
    counter clear { }
    counter clear_dns { }
    counter tunnelled { }
    counter tunnelled_dns { }
    chain arriving {
        type filter hook prerouting priority -400;
        ip6 daddr { fe80::/10, ff00::/8 } return
        iifname { "wgs0", "tun0", "ipsec0" } udp dport 53 counter name tunnelled_dns
        iifname { "wgs0", "tun0", "ipsec0" } counter name tunnelled return
        iifname != "eth0" return
        ip daddr 224.0.0.0/4 return
        udp dport { 500, 4500, 51820 } return
        tcp dport 2222 return
        udp dport 53 counter name clear_dns return
        counter name clear
    }
}
"""


class Meter:
    """Counts at a world's gateway. Questions to name servers are counted apart, since the daemon itself asks some."""

    def __init__(self, world: World) -> None:
        """Begin to count, and give the gateway the hosts of the Internet."""
        self._gateway = world.gateway
        self._gateway.batch(f"addr add {INTERNET}/32 dev lo", f"addr add {INTERNET6}/128 dev lo")
        self._gateway.run("nft", "-f", "-", stdin=_TABLE)

    def reset(self) -> None:
        """Count from zero."""
        self._gateway.run("nft", "reset", "counters")

    @property
    def clear(self) -> int:
        """Packets that arrived in clear."""
        return self._read("clear")

    @property
    def clear_dns(self) -> int:
        """Questions to name servers that arrived in clear."""
        return self._read("clear_dns")

    @property
    def tunnelled(self) -> int:
        """Packets that came out of the tunnel."""
        return self._read("tunnelled")

    @property
    def tunnelled_dns(self) -> int:
        """Questions to name servers that came out of the tunnel."""
        return self._read("tunnelled_dns")

    def _read(self, name: str) -> int:
        listing = json.loads(self._gateway.run("nft", "--json", "list", "counter", "inet", "counted", name).stdout)
        return next(int(item["counter"]["packets"]) for item in listing["nftables"] if "counter" in item)


class Chatter:
    """Programs of the laptop that never stop sending, whatever they are told; each datagram by a new socket."""

    def __init__(self, namespace: Namespace, addresses: Iterable[str] = EVERYWHERE) -> None:
        """Send to these addresses for as long as the block lasts."""
        self._namespace = namespace
        self._addresses = tuple(addresses)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._talk)
        self.rounds = 0

    def __enter__(self) -> Self:
        """Begin to talk."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Fall silent."""
        self._over.set()
        self._thread.join()

    def _talk(self) -> None:
        with self._namespace.enter():
            while not self._over.wait(0.002):
                for address in self._addresses:
                    send(address, _DISCARD)
                self.rounds += 1


def send(address: str, port: int) -> None:
    """Send one datagram; that there is no way is fine."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender, suppress(OSError):
        sender.sendto(b"is anybody listening?", (address, port))
