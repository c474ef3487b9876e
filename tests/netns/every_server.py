"""Every type of server that the daemon's own tests are repeated with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.netns.server_command import Command
from tests.netns.server_ipsec import Ipsec
from tests.netns.server_openconnect import Ocserv
from tests.netns.server_openvpn import Openvpn
from tests.netns.server_pptp import Pptp
from tests.netns.server_tinc import Tinc
from tests.netns.servers import Charon, Sshd, Wireguard

if TYPE_CHECKING:
    from tests.netns.servers import Server

SERVERS: tuple[type[Server], ...] = (
    Sshd,
    Command,
    Wireguard,
    Charon,
    Tinc,
    Ipsec,
    Openvpn,
    Ocserv,
    Pptp,
)
