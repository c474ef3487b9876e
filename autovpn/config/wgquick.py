"""Read a wg-quick file (wg-quick(8), wg(8)) as it is, without keeping its keys.

Commands in it are refused, since a file that others share must not run programs here; what autovpn does by itself
(tables, marks, saving) is named and left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import TypeVar

from autovpn.config.fields import domain
from autovpn.config.report import quoted
from autovpn.core.network import IPInterface, IPNetwork
from autovpn.core.settings import Endpoint, WireguardPeer, WireguardSettings
from autovpn.core.wgini import Entry, Section, sections

_WG_KEY = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")  # 32 bytes in base64
_ENDPOINT = re.compile(r"(?:\[([0-9A-Za-z:.%]+)\]|([^\s:\[\]/]+)):([0-9]{1,5})")
_HIGHEST = 65535  # of a port, and of a keepalive in seconds

_Value = TypeVar("_Value")

_SPELLINGS = {
    name.lower(): name
    for name in (
        *("PreUp", "PostUp", "PreDown", "PostDown", "Table", "FwMark", "SaveConfig"),
        *("PrivateKey", "Address", "DNS", "MTU", "ListenPort"),
        *("PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive"),
    )
}
_COMMANDS = frozenset({"preup", "postup", "predown", "postdown"})
_REPLACED = {
    "table": "routes go into a table of our own; say which with routes.mode",
    "fwmark": "a rule keeps the tunnel's own packets outside it, without a mark",
    "saveconfig": "the file is only read",
}


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to say about a line, counted from 1."""

    line: int
    text: str


@dataclass(slots=True)
class WgQuick:
    """What a file says, and what is to be said about it. Without problems the settings are whole."""

    settings: WireguardSettings
    problems: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)


def parse(text: str, path: str) -> WgQuick:
    """Return what the text of a wg-quick file says; `path` is kept for the driver, which reads the keys later."""
    reader = _Reader(WgQuick(WireguardSettings(config=path)))
    for section in sections(text):
        reader.section(section)
    return reader.finish()


class _Reader:
    def __init__(self, result: WgQuick) -> None:
        self.result = result
        self.peers: list[tuple[int, WireguardPeer]] = []
        self.has_private_key = False

    def section(self, section: Section) -> None:
        """Take one section; whatever it says wrongly is a problem, and reading goes on."""
        match section.name:
            case "interface":
                take = self._set_interface
            case "peer":
                self.peers.append((section.line, WireguardPeer(public_key="")))
                take = self._set_peer
            case "":
                self._problem(section.line, "something stands before the first [section]")
                return
            case name:
                self._problem(
                    section.line, f"{quoted(name)} is no section of a wg-quick file; known are Interface and Peer"
                )
                return
        for entry in section.entries:
            self._take(entry, take)

    def finish(self) -> WgQuick:
        """Return the result, with what is missing from the whole."""
        if not self.has_private_key:
            self._problem(1, "has no PrivateKey in its [Interface]")
        if not self.peers:
            self._problem(1, "has no [Peer]")
        for number, peer in self.peers:
            if not peer.public_key:
                self._problem(number, "this [Peer] has no PublicKey")
        if self.peers and not any(peer.endpoint for _, peer in self.peers):
            self.result.notes.append(Remark(1, "no [Peer] has an Endpoint, so the tunnel can only wait for its peers"))
        self.result.settings = replace(self.result.settings, peers=tuple(peer for _, peer in self.peers))
        return self.result

    def _take(self, entry: Entry, take: Callable[[str, str], None]) -> None:
        name = _SPELLINGS.get(entry.key, entry.key)
        if not entry.key or entry.value is None:
            self._problem(entry.line, "is neither a [section] nor 'key = value'")  # it may be half of a key: not shown
        elif entry.key in _COMMANDS:
            self._problem(entry.line, f"{name} would run a command; move it to [[hooks]] of the profile")
        elif entry.key in _REPLACED:
            self.result.notes.append(Remark(entry.line, f"{name} is not used: {_REPLACED[entry.key]}"))
        else:
            try:
                take(entry.key, entry.value)
            except ValueError as error:
                self._problem(entry.line, f"{name}: {error}")

    def _set_interface(self, key: str, value: str) -> None:
        settings = self.result.settings
        match key:
            case "privatekey":
                _check_key(value)
                self.has_private_key = True
            case "address":
                settings = replace(settings, addresses=settings.addresses + _each(value, _address))
            case "dns":
                for item in _items(value):
                    settings = _with_dns(settings, item)
            case "mtu":
                settings = replace(settings, mtu=_number(value, 576, _HIGHEST))
            case "listenport":
                settings = replace(settings, listen_port=_number(value, 0, _HIGHEST))
            case _:
                raise ValueError("is no key of [Interface] in a wg-quick file")
        self.result.settings = settings

    def _set_peer(self, key: str, value: str) -> None:
        number, peer = self.peers[-1]
        match key:
            case "publickey":
                _check_key(value)
                peer = replace(peer, public_key=value)
            case "presharedkey":
                _check_key(value)
            case "allowedips":
                peer = replace(peer, allowed_ips=peer.allowed_ips + _each(value, _network))
            case "endpoint":
                peer = replace(peer, endpoint=_endpoint(value))
            case "persistentkeepalive":
                peer = replace(peer, keepalive=None if value in ("off", "0") else _number(value, 1, _HIGHEST))
            case _:
                raise ValueError("is no key of [Peer] in a wg-quick file")
        self.peers[-1] = (number, peer)

    def _problem(self, number: int, text: str) -> None:
        self.result.problems.append(Remark(number, text))


def _items(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def _each(value: str, read: Callable[[str], _Value]) -> tuple[_Value, ...]:
    return tuple(read(item) for item in _items(value))


def _check_key(value: str) -> None:
    if not _WG_KEY.fullmatch(value):
        raise ValueError("is no WireGuard key; 'wg genkey' and 'wg pubkey' make them")


def _address(item: str) -> IPInterface:
    try:
        return ip_interface(item)
    except ValueError:
        raise ValueError(f"{quoted(item)} is no address") from None


def _network(item: str) -> IPNetwork:
    try:
        return ip_network(item, strict=False)  # wg(8) ignores the bits beyond the prefix length, too
    except ValueError:
        raise ValueError(f"{quoted(item)} is no prefix") from None


def _endpoint(value: str) -> Endpoint:
    match = _ENDPOINT.fullmatch(value)
    if match is None:
        raise ValueError(f"{quoted(value)} is no endpoint; write HOST:PORT or [IPV6]:PORT")
    return Endpoint(match[1] or match[2], _number(match[3], 1, _HIGHEST), "udp")


def _number(value: str, lowest: int, highest: int) -> int:
    if not (
        value.isascii() and value.isdigit() and len(value) <= len(str(highest)) and lowest <= int(value) <= highest
    ):
        raise ValueError(f"{quoted(value)} is no number from {lowest} to {highest}")
    return int(value)


def _with_dns(settings: WireguardSettings, item: str) -> WireguardSettings:
    """Add a server, or what is no address: a search domain (wg-quick(8))."""
    try:
        server = str(ip_address(item))
    except ValueError:
        return replace(settings, search=(*settings.search, domain(item)))
    return replace(settings, dns=(*settings.dns, server))
