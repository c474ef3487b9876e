"""The configuration that openvpn is given: the user's file as it is, but for what is ours to say."""

from __future__ import annotations

from math import ceil

from autovpn.core.driving import Launch
from autovpn.core.openvpnfile import KEY, PASSWORD, directives, gives_way
from autovpn.core.secret import Secret
from autovpn.core.settings import OpenvpnSettings
from autovpn.core.tunnel import PinnedEndpoint
from autovpn.tunnels.attempt import detection_in

OURS = """dev {device}
dev-type tun
nobind
persist-tun
persist-key
route-noexec
ifconfig-noexec
script-security 0
management {directory}/management.sock unix
management-hold
management-query-passwords
management-up-down
auth-retry interact
resolv-retry 0
connect-retry 1
server-poll-timeout {patience}
setenv IV_SSO crtext
suppress-timestamps
verb 3
"""
"""The directives that hold whatever the user's file says. `auth-retry interact` lets the server ask a question."""

DEFAULTS = "ping 10\nping-restart 60\n"
"""A server that is dead is noticed within a minute, unless the user's file or the server says otherwise."""


DETECTION = """ping {interval}
ping-restart {dead}
pull-filter ignore "ping"
"""
"""How a server is found dead as the profile wants it, whatever the server itself pushes."""


def configuration(launch: Launch) -> Secret:
    """Return the whole configuration: our defaults, the user's file without what gives way, our directives.

    The last of repeated directives holds. Those of a server that is tried in turn come in the order of the file.
    """
    settings = settings_of(launch)
    password = launch.spec.password is not None or settings.username is not None
    key_password = KEY in dict(launch.spec.secrets)
    content = launch.files[settings.config].reveal().removeprefix(b"\xef\xbb\xbf")
    lines = content.split(b"\n")
    for directive in directives(content.decode("latin-1")):
        if gives_way(directive, password=password, key_password=key_password):
            lines[directive.first - 1 : directive.last] = [b""] * (directive.last - directive.first + 1)
    servers = servers_of(launch)
    ours = OURS.format(
        device=launch.spec.device, directory=launch.directory, patience=_patience(launch, len(servers))
    ) + "".join(f"remote {server.address} {server.port} {_protocol(server)}\n" for server in servers)
    if health := detection_in(launch):
        ours += DETECTION.format(interval=ceil(health.interval), dead=ceil(health.interval * health.fail_after))
    if password:
        ours += f"{PASSWORD}\n"
    return Secret(DEFAULTS.encode() + b"\n".join(lines) + b"\n" + ours.encode())


def servers_of(launch: Launch) -> tuple[PinnedEndpoint, ...]:
    """Return the servers that are tried, in this order."""
    return tuple(dict.fromkeys(launch.endpoints))


def _protocol(server: PinnedEndpoint) -> str:
    return "tcp-client" if server.protocol == "tcp" else "udp"


def _patience(launch: Launch, servers: int) -> int:
    """Return how many seconds a server has to answer: its share, or all the time, which then is ours to take."""
    whole = launch.spec.connect_timeout
    return ceil(whole) + 1 if servers == 1 else max(1, int(whole / servers))


def settings_of(launch: Launch) -> OpenvpnSettings:
    """Return the settings of a tunnel of this type."""
    if not isinstance(launch.spec.settings, OpenvpnSettings):
        raise TypeError(f"tunnel {launch.spec.name} is not of type openvpn")
    return launch.spec.settings
