"""Places on the network: the far end of a tunnel, and where somebody listens."""

from __future__ import annotations

from dataclasses import dataclass

from autovpn.core.network import IPAddress


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The far end of a tunnel as the user names it; `host` may be a name or an address.

    `protocol` is the IP protocol of the tunnel's own packets ("tcp", "udp", "esp", "gre"), `version` the only version
    of IP that the tunnel's program speaks, None for one that speaks both.
    """

    host: str
    port: int | None
    protocol: str = "udp"
    version: int | None = None

    def is_reached_at(self, address: IPAddress) -> bool:
        """Report whether this far end can be called at an address of its host."""
        return self.version in (None, address.version)


@dataclass(frozen=True, slots=True)
class Listener:
    """Where somebody listens for TCP connections."""

    address: IPAddress
    port: int
