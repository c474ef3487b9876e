"""What libreswan's pluto is told: its command line, the connection, and the secrets.

The words are those of ipsec.conf(5), ipsec.secrets(5), ipsec_pluto(8) and ipsec_auto(8).
"""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address
from shlex import join
from typing import TYPE_CHECKING, Final

from autovpn.core.actions import Run
from autovpn.core.secret import Secret
from autovpn.core.settings import IpsecAuth, LibreswanSettings
from autovpn.tunnels.attempt import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autovpn.core.driving import Launch, Uplink
    from autovpn.core.network import IPAddress

CONNECTION: Final = "ipsec.conf"
SECRETS: Final = "ipsec.secrets"
SOCKET: Final = "pluto.ctl"
LEFT_BEHIND: Final = "left-behind"
"""The file that says what a pluto of ours leaves in the kernel; there is none where no pluto was started."""

USERS: Final = re.compile(r'\("([^"]+)",pid=')
"""The names of programs in what ss(8) prints."""

DEAD_PEER_AFTER: Final = 10
"""Seconds of silence before the server is asked whether it still lives."""

PATIENCE: Final = 13
"""Seconds until a message without an answer is given up; pluto's own 60 would be longer than an attempt."""

FAREWELL: Final = 2.0
"""Seconds that pluto has to take leave of the server; it has long answered unless it hangs."""

_LEFT_BEHIND: Final = "".join(
    f"xfrm policy {what} src ::/0 dst ::/0 proto ipv6-icmp type {kind} dir {direction}\n"
    for kind in (135, 136)
    for direction in ("in", "out", "fwd")
    for what in ("update", "delete")
)
"""The policies that let neighbours find each other, in the words of ip-xfrm(8): pluto makes them at its start, and
leaves it to the scripts of `ipsec.service` to flush all that there is. One that a pluto did not come to make is made
first, since ip(8) would call it an error to find none."""

SHARED_KEY: Final = ("authby=secret",)

_GROUP = re.compile(r"-(?:modp|ecp|dh|curve|x25519)")


def connection_name(launch: Launch) -> str:
    """Return the name of our connection."""
    return f"autovpn-{launch.spec.name}"


def settings_of(launch: Launch) -> LibreswanSettings:
    """Return the settings of the type."""
    if not isinstance(launch.spec.settings, LibreswanSettings):
        raise TypeError(f"tunnel {launch.spec.name} is not libreswan's")
    return launch.spec.settings


def interface_number(launch: Launch) -> int:
    """Return the number in the device's name, which for libreswan is also what ties it to its policies."""
    return int(launch.spec.device.removeprefix("ipsec"))


def command(launch: Launch) -> tuple[str, ...]:
    """Return what starts a pluto of our own in the foreground, which keeps all of its files in the tunnel's folder.

    An end by the server would be no end: pluto begins anew what was brought up once, perhaps with another address, and
    says so to nobody. Only `rekey=no` and this ipsec_pluto(8) option stop it, and the former lets the keys run out.
    """
    folder = launch.directory
    return (
        settings_of(launch).ipsec,
        "pluto",
        "--nofork",
        "--stderrlog",
        "--no-dnssec",
        *("--impair", "revival"),
        *("--config", f"{folder}/{CONNECTION}"),
        *("--secretsfile", f"{folder}/{SECRETS}"),
        *("--rundir", folder),
        *("--ipsecdir", folder),
        *("--nssdir", folder),
        *("--dumpdir", folder),
    )


def add(launch: Launch) -> Run:
    """Return what has pluto read the connection."""
    return _auto(launch, "add", ("--config", f"{launch.directory}/{CONNECTION}"))


def up(launch: Launch) -> Run:
    """Return what brings the connection up; its exit status says nothing, and it takes as long as that takes."""
    return _auto(launch, "up", deadline=launch.spec.connect_timeout)


def traffic(launch: Launch) -> Run:
    """Return what lists the connections that do pass packets."""
    argv = (settings_of(launch).ipsec, "whack", "--ctlsocket", f"{launch.directory}/{SOCKET}", "--trafficstatus")
    return Run("traffic", argv, ENVIRONMENT)


def ports() -> Run:
    """Return what lists the sockets of other IKE programs, with their names."""
    return Run("ports", ("ss", "-H", "-l", "-u", "-n", "-p", "sport = :500 or sport = :4500"), ENVIRONMENT)


def clearing() -> Secret:
    """Return the words, for ip(8), that take away what pluto leaves behind."""
    return Secret(_LEFT_BEHIND.encode())


def own_addresses(launch: Launch, uplink: Uplink) -> list[IPAddress]:
    """Return the uplink's addresses from which the server may be reached, the one that pluto is given first."""
    version = launch.endpoints[0].address.version
    return [one for one in uplink.addresses if one.version == version and not one.is_link_local]


def leave(launch: Launch) -> tuple[Run, ...]:
    """Return what ends the connection, which pluto would revive for ever, tells the server, and clears up after it."""
    policies = f"{launch.directory}/{LEFT_BEHIND}"
    clear = Run("clear", ("ip", "-force", "-batch", policies), ENVIRONMENT, needs=policies)
    ends = (_auto(launch, what, deadline=FAREWELL) for what in ("down", "delete"))
    return *(replace(end, needs=f"{launch.directory}/{SOCKET}") for end in ends), clear


def _auto(launch: Launch, what: str, more: tuple[str, ...] = (), deadline: float = 5.0) -> Run:
    socket = ("--ctlsocket", f"{launch.directory}/{SOCKET}")
    argv = (settings_of(launch).ipsec, "auto", *socket, *more, f"--{what}", connection_name(launch))
    return Run(what, argv, ENVIRONMENT, deadline=deadline)


def connection(launch: Launch, *, encap: bool, proof: tuple[str, ...] = SHARED_KEY) -> Secret:
    """Return the ipsec.conf: this connection and nothing of the machine's; `proof` says how both ends prove theirs."""
    lines = [f"conn {connection_name(launch)}", *(f"  {line}" for line in (*_lines(launch, encap=encap), *proof))]
    old = "accept" if settings_of(launch).version == 1 else "drop"
    return Secret("\n".join(("config setup", "  logtime=no", f"  ikev1-policy={old}", *lines, "")).encode())


def secrets(launch: Launch) -> Secret:
    """Return the ipsec.secrets, in hexadecimal: a text in quotes can't have quotes in it."""
    settings = settings_of(launch)
    shared = launch.files[settings.psk] if settings.psk else launch.password
    lines = [b": PSK 0x" + _hex(shared)] if shared else []
    if settings.auth is IpsecAuth.XAUTH and launch.password:
        lines.append(f"@{settings.user} : XAUTH 0x".encode() + _hex(launch.password))
    return Secret(b"\n".join((*lines, b"")))


def _hex(secret: Secret) -> bytes:
    return secret.reveal().removesuffix(b"\n").removesuffix(b"\r").hex().encode()


def _lines(launch: Launch, *, encap: bool) -> Iterator[str]:
    """Yield the settings of the connection, as words of ipsec.conf(5)."""
    settings = settings_of(launch)
    yield f"left={_own_address(launch)}"
    yield f"right={launch.endpoints[0].address}"
    yield f"ikev2={'insist' if settings.version == 2 else 'never'}"  # noqa: PLR2004 (of IKE)
    yield f"type={settings.mode}"
    yield f"phase2={settings.protocol}"
    yield f'leftupdown="{join(launch.notifier)}"'
    yield "keyingtries=1"
    yield f"retransmit-timeout={max(1, min(PATIENCE, int(launch.spec.connect_timeout) - 1))}s"
    yield f"dpddelay={DEAD_PEER_AFTER}"
    if settings.version == 1:  # IKEv2 gives up as it does with any other message
        yield f"dpdtimeout={3 * DEAD_PEER_AFTER}"
    yield "dpdaction=clear"
    if settings.protocol == "esp":
        yield f"encapsulation={'yes' if encap else 'auto'}"
    if settings.aggressive:
        yield "aggressive=yes"
    yield from _identities(settings)
    yield from _proposals(settings)
    if settings.mode == "tunnel":
        yield f"ipsec-interface={interface_number(launch)}"
        yield from _networks(launch, settings)


def _own_address(launch: Launch) -> str:
    """Return an address of the uplink's towards the server.

    pluto could ask the kernel for it, but without the protocol and port that alone may pass a full tunnel's guard.
    """
    own = own_addresses(launch, launch.uplink)
    return str(own[0]) if own else "%defaultroute"


def _identities(settings: LibreswanSettings) -> Iterator[str]:
    own, far = settings.local_id, settings.remote_id
    if settings.auth is IpsecAuth.CERTIFICATE:
        far = far or settings.server
        if not own:
            yield "leftid=%fromcert"
    for side, name in (("left", own), ("right", far)):
        if name:
            yield f'{side}id="{_identity(name)}"'
    if settings.auth is IpsecAuth.XAUTH:
        yield "leftxauthclient=yes"
        yield f"leftusername={settings.user}"


def _identity(name: str) -> str:
    """Return an identity in libreswan's words, which would look up a name that has no @ before it."""
    try:
        return str(ip_address(name))
    except ValueError:
        return name if "@" in name or "=" in name else f"@{name}"


def _proposals(settings: LibreswanSettings) -> Iterator[str]:
    """Yield the proposals. Without a group in them there is no forward secrecy of its own, as with other clients."""
    if settings.ike_proposals:
        yield f"ike={','.join(settings.ike_proposals)}"
    if settings.proposals:
        yield f"phase2alg={','.join(settings.proposals)}"
    yield f"pfs={'yes' if any(map(_GROUP.search, settings.proposals)) else 'no'}"


def _networks(launch: Launch, settings: LibreswanSettings) -> Iterator[str]:
    """Yield what is on either side; with an address of the server's, it says what of everything that is."""
    remote = settings.remote
    everything = "::/0" if remote and remote.version == 6 else "0.0.0.0/0"  # noqa: PLR2004
    yield f"rightsubnet={remote or everything}"
    if launch.spec.local:
        yield f"leftsubnet={launch.spec.local[0]}"
    if settings.virtual_address:
        yield "leftmodecfgclient=yes"
        if settings.version == 1:
            yield "modecfgpull=yes"
            return
        yield f"leftsubnet={everything}"
    if settings.version == 2:  # noqa: PLR2004
        yield "narrowing=yes"
