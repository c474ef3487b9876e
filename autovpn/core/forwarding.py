"""What lets a kernel pass packets on between a tunnel and the networks behind us: named to a person, never switched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from autovpn.core.network import IPNetwork

FORWARDING: Final = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
"""The setting of each family (Documentation/networking/ip-sysctl.rst); off is what a kernel begins with."""


def missing_forwarding(local: Iterable[IPNetwork], forwards: Callable[[int], bool]) -> tuple[str, ...]:
    """Return a sentence for each family of the networks behind us whose packets the kernel does not pass on.

    `forwards` tells whether it does so for a family (4 or 6).
    """
    networks = tuple(local)
    sentences = []
    for version, setting in FORWARDING.items():
        behind = [str(network) for network in networks if network.version == version]
        if behind and not forwards(version):
            sentences.append(
                f"{setting} is 0, so nothing passes between {', '.join(behind)} and the tunnel;"
                f" autovpn does not switch it: sysctl -w {setting}=1"
            )
    return tuple(sentences)
