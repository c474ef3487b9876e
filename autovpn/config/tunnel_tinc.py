"""`type = "tinc"`: a node of a mesh, described by tinc's own folder, which is read and never written."""

from __future__ import annotations

import os
import re
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from autovpn.config.context import Context
from autovpn.config.fields import FilePath, InterfaceAddress
from autovpn.config.health import OwnCheck
from autovpn.config.locate import KeyPath
from autovpn.config.report import quoted
from autovpn.config.tunnel import Reading, TunnelTable
from autovpn.core.escape import show_text
from autovpn.core.settings import Endpoint, TincPeer, TincSettings
from autovpn.core.tincfile import (
    DEFAULT_PORT,
    KEY_FILES,
    OWNED,
    VARIABLES,
    TincLine,
    is_node,
    nonsense_in,
    settings_in,
    values_of,
)

MOST_HOSTS = 1000
"""Files of other nodes that are read at each start; more than any mesh that people keep by hand."""

REFUSED = {
    "PrivateKey": "keep the key in a file of mode 0600 (tincd -K makes one), and drop this line",
    "Proxy": "only packets to the nodes themselves are let out past the tunnel; drop this line",
}
"""Variables with which no tunnel can be made, and what to do instead."""

_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9._:%-]*")
_HIGHEST_PORT = 65535


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class TincTunnel(TunnelTable):
    """The keys of a tinc tunnel."""

    programs: ClassVar[tuple[str, ...]] = ("tincd",)
    joins_networks: ClassVar[bool] = True
    own_check: ClassVar[OwnCheck] = "dpd"

    type: Literal["tinc"]
    config: FilePath
    address: Annotated[list[InterfaceAddress], BeforeValidator(_as_list), Field(min_length=1)]

    def read(self, context: Context, key: KeyPath) -> Reading | None:
        """Read tinc's folder for who we are and whom we connect to."""
        if self.password:
            context.refuse((*key, "password"), "a tinc tunnel has no password", "its keys are in its folder")
        return _Folder(context, (*key, "config"), context.resolve(self.config)).reading(tuple(self.address))


class _Folder:
    """The user's folder while it is read."""

    def __init__(self, context: Context, key: KeyPath, path: str) -> None:
        self._context = context
        self._report = context.report
        self._key = key
        self._path = path
        self._settings = [
            f"{path}/tinc.conf",
            *(f"{path}/conf.d/{name}" for name in _listed(f"{path}/conf.d", ".conf")),
        ]

    def reading(self, addresses: tuple[InterfaceAddress, ...]) -> Reading | None:
        texts = [self._context.read(self._key, path) for path in self._settings]
        lines = [
            (f"{show_text(path)}:{line.number}", line)
            for path, text in zip(self._settings, texts, strict=True)
            for line in settings_in(text or "")
        ]
        for path, text in zip(self._settings, texts, strict=True):
            for number in nonsense_in(text or ""):
                self._report.note(
                    f"{show_text(path)}:{number}", "is no setting, so tinc passes it over", "NAME = VALUE"
                )
        if None in texts or not self._accepts(lines):
            return None
        names = [line.value for _, line in lines if line.is_one_of(("Name",))]
        if not names or not is_node(names[0]):
            what = f"{quoted(names[0])} is no name of a node" if names else "says no Name"
            self._report.refuse(
                show_text(self._settings[0]), what, "write out 'Name = NODE', of letters, digits and '_'"
            )
            return None
        peers = self._peers(lines)
        keys = self._keys(lines)
        hosts = self._hosts(names[0])
        if not peers or not keys:
            return None
        settings = TincSettings(
            self._path, names[0], peers, addresses, keys, settings=tuple(self._settings), hosts=hosts
        )
        public = (*self._settings, *(f"{self._path}/hosts/{host}" for host in hosts))
        return Reading(settings, files=tuple(path for _, path in keys), public=public)

    def _accepts(self, lines: list[tuple[str, TincLine]]) -> bool:
        """Report whether a tunnel can be made of these settings, and say what of them is replaced."""
        fits = True
        for place, line in lines:
            refused = next((name for name in REFUSED if line.is_one_of((name,))), None)
            if refused:
                self._report.refuse(place, f"'{refused}' can't be used", REFUSED[refused])
                fits = False
            elif line.is_one_of(("Mode",)) and line.value.lower() != "router":
                what = f"the mode {quoted(line.value)} carries Ethernet, and autovpn routes"
                self._report.refuse(place, what, "use 'Mode = router' on every node")
                fits = False
            elif line.is_one_of(OWNED):
                self._report.note(place, f"'{show_text(line.name)}' is replaced by our own when the tunnel starts")
            elif not line.is_one_of(VARIABLES):
                self._report.note(place, f"{quoted(line.name)} is no variable of tinc's", "see tinc.conf(5)")
        return fits

    def _peers(self, lines: list[tuple[str, TincLine]]) -> tuple[TincPeer, ...]:
        """Return the nodes that are connected to; none, after having said why, where one of them can't be."""
        peers = []
        for place, line in lines:
            if not line.is_one_of(("ConnectTo",)):
                continue
            ends = self._addresses(line.value) if is_node(line.value) else ()
            if not is_node(line.value):
                self._report.refuse(place, f"{quoted(line.value)} is no name of a node")
            if not ends:
                return ()
            peers.append(TincPeer(line.value, ends))
        if not peers:
            what, meant = "names nobody to connect to", "add a line 'ConnectTo = NODE', and hosts/NODE with its Address"
            self._report.refuse(show_text(self._settings[0]), what, meant)
        return tuple(dict.fromkeys(peers))

    def _addresses(self, node: str) -> tuple[Endpoint, ...]:
        path = f"{self._path}/hosts/{node}"
        text = self._context.read(self._key, path)
        if text is None:
            return ()
        usual = next(iter(values_of(text, "Port")), str(DEFAULT_PORT))
        ends = []
        for value in values_of(text, "Address"):
            host, _, port = value.replace("\t", " ").partition(" ")
            end = _endpoint(host, port.strip() or usual)
            if end is None:
                self._report.refuse(show_text(path), f"'Address = {show_text(value)}' is no host and port")
                return ()
            ends.append(end)
        if not ends:
            self._report.refuse(show_text(path), "says no Address to connect to", "add a line 'Address = HOST'")
        return tuple(ends)

    def _keys(self, lines: list[tuple[str, TincLine]]) -> tuple[tuple[str, str], ...]:
        """Return the private keys that are there; tinc 1.0 has the first, tinc 1.1 the second or both."""
        found = []
        for name, variable in KEY_FILES.items():
            elsewhere = [line.value for _, line in lines if line.is_one_of((variable,))]
            path = os.path.join(self._path, elsewhere[0] if elsewhere else name)  # noqa: PTH118  # paths are text
            if elsewhere or os.path.lexists(path):
                found.append((name, path))
        if not found:
            self._report.refuse(show_text(self._path), "holds no private key", f"tincd -c {self._path} -K makes one")
            return ()
        usable = [self._context.check(self._key, path, secret=True) for _, path in found]
        return tuple(found) if all(usable) else ()

    def _hosts(self, own: str) -> tuple[str, ...]:
        """Return the nodes whose files are there."""
        hosts = [name for name in _listed(f"{self._path}/hosts") if is_node(name)]
        if own not in hosts:
            meant = f"it holds this machine's public key, for the others; tincd -c {self._path} -K makes it"
            self._report.warn(show_text(f"{self._path}/hosts/{own}"), "is not there", meant)
        if len(hosts) > MOST_HOSTS:
            what = f"holds {len(hosts)} nodes, of which the first {MOST_HOSTS} are used"
            self._report.warn(show_text(f"{self._path}/hosts"), what)
        return tuple(hosts[:MOST_HOSTS])


def _endpoint(host: str, port: str) -> Endpoint | None:
    if not _HOST.fullmatch(host) or not (port.isascii() and port.isdecimal()) or not 1 <= int(port) <= _HIGHEST_PORT:
        return None
    return Endpoint(host, int(port), "tcp")


def _listed(folder: str, ending: str = "") -> list[str]:
    try:
        names = os.listdir(folder)  # noqa: PTH208  # text, as all paths here
    except OSError:
        return []  # whatever is needed of it is missed by name
    return sorted(name for name in names if name.endswith(ending) and not name.startswith("."))
