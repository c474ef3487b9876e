"""`implementation = "libreswan"` in a table of `type = "ipsec"`: what it can't be, and what it becomes."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from autovpn.core.settings import IpsecAuth, LibreswanSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autovpn.config.context import Context
    from autovpn.config.locate import KeyPath
    from autovpn.config.tunnel_ipsec import IpsecTunnel

NAME: Final = "libreswan"

Paths = tuple[str | None, str | None, str | None, str | None]
"""The files of a tunnel: of the authority, the certificate, its key, and the shared key."""

_DEVICE = re.compile(r"ipsec[1-9][0-9]{0,6}")
_UNWRITABLE = re.compile(r'["\\]')
_USER = re.compile(r"[^\s\"'#@:]+")

_FIRST_DEVICE: Final = 20000
_DEVICES: Final = 40000


def default_device(name: str) -> str:
    """Return a device by the only name that libreswan gives one: its number ties it to its policies, too."""
    return f"ipsec{_FIRST_DEVICE + int(sha256(name.encode()).hexdigest()[:8], 16) % _DEVICES}"


def fault(table: IpsecTunnel) -> str | None:
    """Return why libreswan can't be what the table says; None where it can."""
    return next(_faults(table), None)


def _faults(table: IpsecTunnel) -> Iterator[str]:
    if table.auth == "eap":
        yield 'has auth = "eap", of which libreswan knows no password; write another "auth", or take strongswan'
    if table.vici or table.charon or table.esp == "user":
        yield "is libreswan's, so 'vici', 'charon' and esp = \"user\", which are strongSwan's, have no place in it"
    if table.protocol == "ah" and table.mode == "tunnel":
        yield "wants AH in tunnel mode, whose keys libreswan ties to no device; drop 'protocol', or take strongswan"
    if len(table.remote) > 1 or len(table.local) > 1:
        yield "joins more than one network with one, which takes a connection of libreswan's each; name one"
    if table.local and table.virtual_address:
        yield "has networks of its own and asks for an address; with libreswan drop 'local' or 'virtual_address'"
    if table.device and not _DEVICE.fullmatch(table.device):
        yield 'names its \'device\' otherwise than libreswan can: "ipsec" and a number, such as "ipsec7"'
    if table.user and not _USER.fullmatch(table.user):
        yield "has a 'user' with a character that ipsec.secrets(5) can't have in one"
    if any(name and _UNWRITABLE.search(name) for name in (table.local_id, table.remote_id)):
        yield "has an identity with a quote or a backslash, which ipsec.conf(5) can't have in one"


def settings(table: IpsecTunnel, paths: Paths, *, virtual_address: bool) -> LibreswanSettings:
    """Return the core's settings."""
    ca, certificate, key, psk = paths
    return LibreswanSettings(
        server=table.server,
        auth=IpsecAuth(table.auth),
        version=table.version,
        aggressive=table.aggressive,
        user=table.user,
        local_id=table.local_id,
        remote_id=table.remote_id,
        ca=ca,
        certificate=certificate,
        key=key,
        psk=psk,
        remote=table.remote[0] if table.remote else None,
        virtual_address=virtual_address,
        mode=table.mode,
        protocol=table.protocol,
        encap=table.encap,
        ike_proposals=tuple(table.ike_proposals),
        proposals=tuple(table.proposals),
        ipsec=table.ipsec or "ipsec",
    )


def check_programs(table: IpsecTunnel, context: Context, key: KeyPath) -> None:
    """Warn of what is not there to be run."""
    if table.ipsec:
        context.check_program((*key, "ipsec"), table.ipsec)
    else:
        context.check_client((*key, "type"), "ipsec")
    for program in ("certutil", *(("pk12util", "openssl") if table.auth == "certificate" else ())):
        context.check_client((*key, "type"), program)
