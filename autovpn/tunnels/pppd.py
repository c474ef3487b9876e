"""What pppd(8) is told, and what its exit status and its lines mean.

pppd runs its ip-up script once packets can pass, with the addresses as arguments and the DNS servers that it was given
in the environment. `ip-up-script` names ours instead of /etc/ppp/ip-up (options.c), so none of the distribution's
scripts runs, of which Debian's rewrites resolv.conf as soon as a server was asked for DNS (`usepeerdns`).
"""

from __future__ import annotations

from shlex import join
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from autovpn.core.settings import Mppe
from autovpn.core.tunnel import FailureClass
from autovpn.tunnels.attempt import NOT_STARTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autovpn.core.driving import Launch
    from autovpn.core.settings import PptpSettings
    from autovpn.tunnels.attempt import Telltales

OVERHEAD = 64
"""Bytes of IPv4, enhanced GRE (RFC 2637), PPP and MPPE around a packet, with room to spare."""

MRU = 1400
"""What Windows servers take at most; pppd tells nobody what the server asked for, so ours must not be larger."""

MPPE_PAD = 4
"""Bytes by which MPPE makes a packet longer; pppd takes them off the MTU (ccp.c)."""

LONGEST_PASSWORD = 255
"""MAXSECRETLEN in pppd.h, less the NUL: passwordfd.so cuts the rest off without a word."""

RESTART = 2
"""Seconds between two requests of LCP."""

DEAD_AFTER = (5, 4)
"""Seconds between two echo requests while nothing comes in, and how many may stay without an answer."""

SCRIPT = "ip-up"

# The notifier's socket and the mark of the tunnel's processes: pppd starts its scripts with an empty environment, and
# in a session of their own.
SOCKET_VARIABLE = "AUTOVPN_NOTIFY"
NONCE_VARIABLE = "AUTOVPN_NONCE"

NO_ANSWER = "LCP: timeout sending Config-Requests"
"""Not one packet of the other side's PPP has come in."""

HANGUP = 16
"""EXIT_HANGUP: pptp has ended, mostly since the server has ended the call."""

TELLTALES: Telltales = (
    ("mutual authentication failed", FailureClass.TRUST),  # the server does not know our password
    ("kernel has no support", FailureClass.LOCAL),  # MPPE without ppp_mppe
    ("MPPE required", FailureClass.TRUST),
    ("MPPE disabled, closing", FailureClass.TRUST),
    ("Peer is not authorized to use remote address", FailureClass.TRUST),
    ("CHAP authentication failed", FailureClass.AUTH),
    ("no suitable secrets", FailureClass.AUTH),
    ("Couldn't rename interface", FailureClass.LOCAL),
    ("Couldn't create new ppp unit", FailureClass.LOCAL),
    ("Cannot bind GRE socket", FailureClass.LOCAL),
)
"""What else pppd and pptp say (refused, no route, hangup) may be better later."""

_LOCAL, _LOST = FailureClass.LOCAL, FailureClass.LOST
STATUSES: Final[Mapping[int, tuple[FailureClass, str]]] = MappingProxyType(
    {
        0: (FailureClass.UNREACHABLE, "the server ended the connection"),
        1: (_LOCAL, "pppd met a fatal error"),
        2: (_LOCAL, "pppd does not take its options, or those of /etc/ppp/options; ppp 2.4.9 is known to"),
        3: (_LOCAL, "pppd was not started by root"),
        4: (_LOCAL, "this kernel has no PPP: modprobe ppp_generic ppp_async ppp_mppe"),
        5: (_LOST, "somebody else ended pppd"),
        6: (_LOCAL, "pppd could not lock its terminal"),
        7: (_LOCAL, "pppd could not open its terminal"),
        8: (_LOCAL, "a connect script of /etc/ppp/options failed"),
        9: (_LOCAL, "pptp could not be run; is it installed?"),
        10: (FailureClass.UNREACHABLE, "the two sides could not agree"),
        11: (FailureClass.TRUST, "the server did not prove who it is"),
        12: (_LOST, "nothing was sent for the time that /etc/ppp/options allows"),
        13: (_LOST, "the time that /etc/ppp/options allows is over"),
        14: (FailureClass.UNREACHABLE, "the server wants to call back"),
        15: (_LOST, "the server answers no more"),
        HANGUP: (FailureClass.UNREACHABLE, "the connection to the server ended"),
        17: (FailureClass.UNREACHABLE, "our own packets came back"),
        18: (_LOCAL, "an init script of /etc/ppp/options failed"),
        19: (FailureClass.AUTH, "the server refuses the user or the password"),
        20: (_LOST, "the traffic that /etc/ppp/options allows is used up"),
        21: (FailureClass.TRUST, "the number of the server is not authorized"),
        NOT_STARTED: (_LOCAL, "pppd can't be started; is it installed?"),
    }
)
"""The exit statuses of pppd(8) before the tunnel is up, what each means and how it reads."""

_NOISE: Final = (
    "Plugin passwordfd.so loaded",
    "Using interface ",
    "Renamed interface ",
    "Connect: ",
    "Connect time ",
    "Sent ",
    "Modem hangup",
    "Hangup (",
    "Terminating on signal",
    "Connection terminated",
    "Starting negotiation",
    "Waiting for ",
    "  script ",
    "Script ",
    "PAP authentication succeeded",
)

_MPPE: Final[Mapping[Mppe, tuple[str, ...]]] = MappingProxyType(
    {Mppe.REQUIRED: ("require-mppe-128",), Mppe.ANY: ("require-mppe",), Mppe.OFF: ("nomppe",)}
)


def is_noise(text: str) -> bool:
    """Report whether a line says nothing about why a tunnel failed."""
    return text.strip() in {"", "MPPE disabled"} or text.startswith(_NOISE)  # MPPE ends with every connection


def script(launch: Launch) -> bytes:
    """Return the script that pppd runs when packets can pass: our notifier, with what pppd tells it."""
    return f'#!/bin/sh\nexec {join(launch.notifier)} "$@"\n'.encode()


def ipparam(launch: Launch) -> str:
    """Return the word by which a report is known to be of this very tunnel."""
    return f"autovpn:{launch.nonce}"


def mtu(launch: Launch) -> int:
    """Return the tunnel's MTU in bytes."""
    return launch.spec.mtu or min(MRU, launch.uplink.mtu - OVERHEAD) - MPPE_PAD


def command(launch: Launch, settings: PptpSettings, server: str) -> tuple[str, ...]:
    """Return the command line. What is said here wins over /etc/ppp/options, which pppd always reads."""
    interval, failures = DEAD_AFTER
    requests = max(2, int(launch.spec.connect_timeout * 0.6 / RESTART))
    valued = {
        "pty": f"exec pptp {server} --nolaunchpppd --nohostroute --loglevel 0",
        "user": settings.user,
        "plugin": "passwordfd.so",
        "passwordfd": "0",
        "maxfail": "1",
        "lcp-restart": str(RESTART),
        "lcp-max-configure": str(requests),
        "lcp-max-terminate": "1",
        "lcp-echo-interval": str(interval),
        "lcp-echo-failure": str(failures),
        "ifname": launch.spec.device,
        "ipparam": ipparam(launch),
        "mtu": str(mtu(launch) + MPPE_PAD),
        "mru": str(mtu(launch) + MPPE_PAD),
        "logfd": "2",
        "ip-up-script": f"{launch.directory}/{SCRIPT}",
        "ip-down-script": f"{launch.directory}/ip-down",  # there is none, which is fine with pppd
    }
    environment = {
        SOCKET_VARIABLE: f"{launch.directory}/notify.sock",
        NONCE_VARIABLE: launch.nonce,
        "LC_ALL": "C",
    }
    return (
        *("pppd", "nodetach", "noauth", "nopersist", "nodefaultroute", "noproxyarp", "noipdefault", "noipv6"),
        *(part for option, value in valued.items() for part in (option, value)),
        *("lcp-echo-adaptive", "hide-password", "nobsdcomp", "nodeflate", "novj"),
        *("refuse-eap", "refuse-pap", "refuse-chap", "refuse-mschap"),
        *_MPPE[settings.mppe],
        *(("usepeerdns",) if settings.ask_dns else ()),
        *(part for name, value in environment.items() for part in ("set", f"{name}={value}")),
    )
