"""The private parts of a wg-quick file, which are read again at each start and kept nowhere else."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from autovpn.core.secret import Secret
from autovpn.core.wgini import sections

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys in base64, as wg(8) has them; `preshared` is by the peer's public key."""

    private: Secret
    preshared: Mapping[str, Secret]


@dataclass(frozen=True, slots=True)
class KeysFault:
    """Why there are no usable keys, without any of them."""

    words: str


def keys_in(path: str, content: Secret) -> Keys | KeysFault:
    """Return the keys in a wg-quick file."""
    private: str | None = None
    preshared: dict[str, Secret] = {}
    for section in sections(content.reveal().decode(errors="replace")):
        if section.name == "interface":
            private = section.value("PrivateKey") or private
        elif section.name == "peer" and (shared := section.value("PresharedKey")) is not None:
            if not is_key(shared):
                return KeysFault(f"{path}:{section.line}: PresharedKey is not a WireGuard key; 'wg genpsk' makes one")
            preshared[section.value("PublicKey") or ""] = Secret(shared.encode())
    if private is None:
        return KeysFault(f"{path}: [Interface] has no PrivateKey; 'wg genkey' makes one")
    if not is_key(private):
        return KeysFault(f"{path}: the PrivateKey is not a WireGuard key; 'wg genkey' makes one")
    return Keys(Secret(private.encode()), MappingProxyType(preshared))


def is_key(text: str) -> bool:
    """Report whether a text is 32 bytes in base64."""
    try:
        return len(b64decode(text, validate=True)) == KEY_BYTES
    except (Error, ValueError):
        return False
