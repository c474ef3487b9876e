"""`type = "wireguard"`: the built-in tunnel, described by a wg-quick file."""

from __future__ import annotations

from typing import ClassVar, Literal

from autovpn.config import wgquick
from autovpn.config.context import Context
from autovpn.config.fields import FilePath
from autovpn.config.health import OwnCheck
from autovpn.config.locate import KeyPath
from autovpn.config.packages import how_to_install
from autovpn.config.tunnel import Reading, TunnelTable
from autovpn.core.escape import show_text
from autovpn.core.settings import WireguardSettings
from autovpn.core.tunnel import RouteMode


class WireguardTunnel(TunnelTable):
    """The keys of a WireGuard tunnel."""

    joins_networks: ClassVar[bool] = True
    own_check: ClassVar[OwnCheck] = "handshake"

    type: Literal["wireguard"]
    config: FilePath

    def read(self, context: Context, key: KeyPath) -> Reading | None:
        """Read the wg-quick file; everything through the tunnel when a peer is allowed to carry everything."""
        _check_implementation(context, key)
        path = context.resolve(self.config)
        text = context.read((*key, "config"), path, secret=True)
        if text is None:
            return None
        found = wgquick.parse(text, path)
        for remark in found.problems:
            context.report.refuse(f"{show_text(path)}:{remark.line}", remark.text)
        for remark in found.notes:
            context.report.note(f"{show_text(path)}:{remark.line}", remark.text)
        if self.password:
            context.refuse((*key, "password"), "a WireGuard tunnel has no password", "its keys are in its file")
        reach = tuple(prefix for peer in found.settings.peers for prefix in peer.allowed_ips)
        return Reading(found.settings, files=(path,), mode=_mode(found.settings), reach=reach)


def _mode(settings: WireguardSettings) -> RouteMode:
    allowed = (prefix for peer in settings.peers for prefix in peer.allowed_ips)
    return RouteMode.FULL if any(prefix.prefixlen == 0 for prefix in allowed) else RouteMode.SPLIT


def _check_implementation(context: Context, key: KeyPath) -> None:
    if not context.programs.installed("wireguard-go") and not context.environment.kernel_has_wireguard():
        how = how_to_install("wireguard-go", context.environment.distribution())
        context.warn((*key, "type"), "this kernel has no WireGuard, and 'wireguard-go' is not installed", how)
