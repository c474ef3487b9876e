"""How a wireless network is protected, read from the elements of its frames (IEEE 802.11-2020, 9.4.2).

The elements of a beacon come from a stranger: any byte may be missing, and any length may be a lie. Nothing here
raises; what can't be read counts as unknown, and the unknown is never taken for protection.

An AKM is a method of authentication and key management: the thing that `security` in a profile names.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from autovpn.core.network import Security

if TYPE_CHECKING:
    from collections.abc import Iterator

# IEEE 802.11-2020, table 9-92 (element IDs) and 9.4.1.4 (capability information).
ELEMENT_SSID: Final = 0
ELEMENT_RSN: Final = 48
ELEMENT_VENDOR: Final = 221
CAPABILITY_PRIVACY: Final = 0x0010

VENDOR_WPA: Final = bytes.fromhex("0050f2 01")  # Microsoft's element, from before 802.11i
VENDOR_RSN_OVERRIDES: Final = (bytes.fromhex("506f9a 29"), bytes.fromhex("506f9a 2a"))  # WPA3 v3.4, section 11

RSN: Final = bytes.fromhex("000fac")
WPA: Final = bytes.fromhex("0050f2")

_BY_RSN_TYPE: Final = {
    Security.EAP: (1, 3, 5, 11, 12, 13, 14, 15, 16, 17, 22, 23),
    Security.PSK: (2, 4, 6, 19, 20),
    Security.SAE: (8, 9, 24, 25),
    Security.OWE: (18,),
}

# IEEE 802.11-2024, table 9-190, and wpa_supplicant's src/common/ieee802_11_defs.h.
AKM: Final = {
    **{RSN + bytes([number]): security for security, numbers in _BY_RSN_TYPE.items() for number in numbers},
    WPA + b"\x01": Security.EAP,
    WPA + b"\x02": Security.PSK,
}
EAP_BY_DEFAULT: Final = frozenset({Security.EAP})  # an element that ends before its AKM list (9.4.2.24.1)

_STRENGTH: Final = {security: rank for rank, security in enumerate(Security)}


@dataclass(frozen=True, slots=True)
class Protection:
    """What a list of elements says: the methods that we know, and whether there are any that we don't."""

    methods: frozenset[Security]
    complete: bool = True

    @property
    def weakest(self) -> Security | None:
        """Return the least that an association may have been protected by, None when nobody can tell."""
        return min(self.methods, key=_STRENGTH.__getitem__, default=None) if self.complete else None


UNKNOWN: Final = Protection(frozenset(), complete=False)


def parse_elements(elements: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each element's ID and body, in order, up to the first whose length runs past the end."""
    at = 0
    while at + 2 <= len(elements):
        number, length = elements[at], elements[at + 1]
        body = elements[at + 2 : at + 2 + length]
        if len(body) < length:
            return
        yield number, body
        at += 2 + length


def ssid_of(elements: bytes) -> bytes:
    """Return the SSID's raw bytes; empty when hidden, absent, or longer than the 32 bytes that a name may have."""
    ssid = next((body for number, body in parse_elements(elements) if number == ELEMENT_SSID), b"")
    return ssid if len(ssid) <= 32 else b""  # noqa: PLR2004 (9.4.2.2)


def is_hidden(ssid: bytes) -> bool:
    """Report whether a name is withheld: beacons of a hidden network carry none, or as many NULs as it has bytes."""
    return not ssid.strip(b"\0")


def offered(elements: bytes, capability: int) -> Protection:
    """Return what an access point lists in its beacon or probe response."""
    if found := [_suites(body) for body in _security_elements(elements)]:
        return Protection(frozenset().union(*(each.methods for each in found)), all(each.complete for each in found))
    return Protection(frozenset({_without_rsn(capability)}))


def negotiated(request: bytes, capability: int) -> Protection:
    """Return what a station asked for in its association request, which is what the access point accepted.

    `capability` is the access point's: a request with neither an RSN nor a WPA element went to an open or a WEP
    network. A driver that hands over only a part of the elements leaves out the SSID too; then nothing is known.
    """
    protection = offered(request, capability)
    if protection.methods <= {Security.OPEN, Security.WEP} and ELEMENT_SSID not in dict(parse_elements(request)):
        return UNKNOWN
    return protection


def _without_rsn(capability: int) -> Security:
    return Security.WEP if capability & CAPABILITY_PRIVACY else Security.OPEN


def _security_elements(elements: bytes) -> Iterator[bytes]:
    """Yield the body of each element that lists AKMs, all in the layout of RSN (WPA's is the same behind its type)."""
    for number, body in parse_elements(elements):
        if number == ELEMENT_RSN:
            yield body
        elif number == ELEMENT_VENDOR and body.startswith((VENDOR_WPA, *VENDOR_RSN_OVERRIDES)):
            yield body[4:]


def _suites(body: bytes) -> Protection:
    """Read version, group cipher, pairwise ciphers, AKMs; the list may end after any of them (9.4.2.24.1)."""
    if body[:2] != b"\x01\x00":
        return UNKNOWN
    akms = 2 + 4
    if len(body) > akms:
        pairwise = _counted(body, akms)
        if pairwise is None:
            return UNKNOWN
        akms += 2 + len(pairwise)
    if len(body) <= akms:
        return Protection(EAP_BY_DEFAULT) if len(body) in {2, akms} else UNKNOWN
    listed = _counted(body, akms)
    if not listed:
        return UNKNOWN
    known = [AKM.get(listed[at : at + 4]) for at in range(0, len(listed), 4)]
    return Protection(frozenset(filter(None, known)), complete=None not in known)


def _counted(body: bytes, at: int) -> bytes | None:
    """Return a list of four-byte suites that a 16-bit count precedes, None when the body is too short for it."""
    if len(body) < at + 2:
        return None
    (count,) = struct.unpack_from("<H", body, at)
    suites = body[at + 2 : at + 2 + 4 * count]
    return suites if len(suites) == 4 * count else None
