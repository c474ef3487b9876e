"""The text protocol of userspace WireGuard (https://www.wireguard.com/xplatform/): settings out, answers in."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autovpn.core.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autovpn.core.settings import WireguardPeer
    from autovpn.core.tunnel import PinnedEndpoint
    from autovpn.tunnels.wgkeys import Keys

QUESTION = Secret(b"get=1\n\n")
NOISE = ("┌", "│", "└", "WARNING")
"""How the lines of wireguard-go's banner begin, which it prints on a kernel without WireGuard too."""

_LONGEST_ANSWER = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, without the keys in it. `handshake` is the newest of any peer, in seconds since the epoch, or 0.

    `received` and `sent` are the bytes of all peers, those of handshakes too.
    """

    error: int
    lists_device: bool
    handshake: float
    received: int = 0
    sent: int = 0


def settings(
    keys: Keys | None, peers: tuple[WireguardPeer, ...], endpoints: tuple[PinnedEndpoint, ...], listen_port: int | None
) -> Secret:
    """Return the request that adds these peers with their keys, or without keys changes those that are there.

    `endpoints` are of the peers that have one, in order.
    """
    own = _own_lines(keys, listen_port) if keys else ()
    return Secret("".join(f"{line}\n" for line in ("set=1", *own, *_lines(keys, peers, endpoints), "")).encode())


def answers(data: bytes) -> tuple[tuple[Answer, ...], bytes]:
    """Return the whole answers in what was received so far, and the beginning of the next."""
    *whole, rest = data.split(b"\n\n")
    return tuple(_answer(text.decode(errors="replace")) for text in whole if text.strip()), rest[-_LONGEST_ANSWER:]


def _answer(text: str) -> Answer:
    pairs = [line.partition("=")[::2] for line in text.split("\n")]
    error = next((value for key, value in pairs if key == "errno"), "0")
    listed = any(key in {"private_key", "listen_port", "public_key"} for key, _ in pairs)

    def numbers(name: str) -> list[int]:
        return [int(value) for key, value in pairs if key == name and value.isdecimal()]

    return Answer(
        int(error) if error.lstrip("-").isdecimal() else 1,
        listed,
        float(max(numbers("last_handshake_time_sec"), default=0)),
        sum(numbers("rx_bytes")),
        sum(numbers("tx_bytes")),
    )


def _own_lines(keys: Keys, listen_port: int | None) -> Iterator[str]:
    yield f"private_key={_hex(keys.private.reveal())}"
    if listen_port is not None:
        yield f"listen_port={listen_port}"


def _lines(keys: Keys | None, peers: tuple[WireguardPeer, ...], endpoints: tuple[PinnedEndpoint, ...]) -> Iterator[str]:
    resolved = iter(endpoints)
    for peer in peers:
        yield f"public_key={_hex(peer.public_key)}"
        if keys is None:
            yield "update_only=true"
        elif shared := keys.preshared.get(peer.public_key):
            yield f"preshared_key={_hex(shared.reveal())}"
        if peer.endpoint and (end := next(resolved, None)):
            yield f"endpoint={f'[{end.address}]' if end.address.version == 6 else end.address}:{end.port}"  # noqa: PLR2004 - IPv6
        if peer.keepalive is not None:
            yield f"persistent_keepalive_interval={peer.keepalive}"
        if keys is not None:
            yield "replace_allowed_ips=true"
            yield from (f"allowed_ip={prefix}" for prefix in peer.allowed_ips)


def _hex(key: str | bytes) -> str:
    return b64decode(key).hex()
