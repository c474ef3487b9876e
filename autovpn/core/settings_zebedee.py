"""What a user says of a Zebedee tunnel."""

from __future__ import annotations

from dataclasses import dataclass

from autovpn.core.endpoint import Endpoint, Listener

DEFAULT_PORT = 11965


@dataclass(frozen=True, slots=True)
class ZebedeeForward:
    """Connections to `listen` on this machine come out at `target`, as HOST:PORT, on the far side."""

    listen: Listener
    target: str


@dataclass(frozen=True, slots=True)
class ZebedeeSettings:
    """A Zebedee client: TCP ports of this machine, all at one address, that lead to targets behind a server.

    `key` is the path of our private key; `server_id` the fingerprint of the server's, 40 hexadecimal digits;
    `key_length` is in bits.
    """

    server: str
    forwards: tuple[ZebedeeForward, ...]
    port: int = DEFAULT_PORT
    key: str | None = None
    server_id: str | None = None
    key_length: int = 128

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the far ends whose packets must stay outside the tunnel."""
        return (Endpoint(self.server, self.port, "tcp", version=4),)

    @property
    def may_push_dns(self) -> bool:
        """Report whether DNS servers can come from the tunnel itself."""
        return False
