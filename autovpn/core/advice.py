"""What a user can do about a tunnel that failed: one or two sentences for each class of failure."""

from __future__ import annotations

from autovpn.core.settings import OpenconnectSettings as Openconnect
from autovpn.core.settings import OpensshSettings as Openssh
from autovpn.core.settings import OpenvpnSettings as Openvpn
from autovpn.core.settings import PptpSettings as Pptp
from autovpn.core.settings import TincSettings as Tinc
from autovpn.core.settings import VpncSettings as Vpnc
from autovpn.core.settings import WireguardSettings as Wireguard
from autovpn.core.tunnel import Failure, FailureClass, TunnelSpec

_ONCE = "It is tried once only, so that no account is locked; after mending it: autovpn up {profile}"

_GENERAL = {
    FailureClass.AUTH: f"The far end refuses the credentials. {_ONCE}",
    FailureClass.TRUST: "The far end could not prove who it is: another machine may stand in its place. Compare its "
    "key or certificate with what its administrator gives you before you accept it",
    FailureClass.UNREACHABLE: "Nothing answered. Check the address and the port; this network may block them, and "
    "a second tunnel of the profile, on TCP port 443, often gets through",
    FailureClass.NAME: "The name of the far end can't be resolved through this network's own DNS. Check its spelling, "
    "or give an address; behind a captive portal, log in there first",
    FailureClass.LOCAL: "Something on this machine is in the way: a missing program, module, file or permission. "
    "The words above name it; 'autovpn check' may name more",
    FailureClass.LOST: "It was up and stopped answering. It comes back by itself when the network does; where this "
    "happens again and again, shorten its keepalive",
}

_BY_TYPE: dict[tuple[FailureClass, type], str] = {
    (FailureClass.AUTH, Openssh): "The server accepts none of our keys. Try, as root: ssh -v -i IDENTITY USER@HOST; "
    f"and look for the key in the server's authorized_keys. {_ONCE}",
    (FailureClass.AUTH, Vpnc): "The gateway refuses the group's secret or the user's password. Check 'IPSec secret', "
    f"'Xauth username' and the password's file. {_ONCE}",
    (FailureClass.AUTH, Wireguard): f"The keys do not fit the peer's. Compare both sides' public keys. {_ONCE}",
    (
        FailureClass.AUTH,
        Openconnect,
    ): "The server refuses the user, the password or the certificate, or it asks for more "
    f"than the profile has: 'autovpn up' at a terminal asks you for a one-time code. {_ONCE}",
    (
        FailureClass.TRUST,
        Openconnect,
    ): "The server's certificate is not one to be believed. Compare its fingerprint with "
    "its administrator before you write it as 'server_cert'; a private authority's certificate belongs in 'ca'",
    (FailureClass.TRUST, Openssh): "The server's host key is not the one in known_hosts. Compare fingerprints with "
    "its administrator (ssh-keygen -l) before you change known_hosts; until then nothing is sent to it",
    (FailureClass.UNREACHABLE, Wireguard): "No handshake was answered. WireGuard is silent about every mistake: check "
    "the endpoint, that UDP gets through here, both sides' public keys, and this machine's clock",
    (FailureClass.AUTH, Openvpn): "The server refuses the user, the password, the code or our certificate; the words "
    f"above say which. {_ONCE}",
    (FailureClass.TRUST, Openvpn): "The server's certificate is not of the authority in 'ca', or not in the name that "
    "the file asks for ('verify-x509-name', 'remote-cert-tls'). Ask its administrator before you change either",
    (FailureClass.AUTH, Pptp): "The server refuses the user or the password, or it wants a weaker method than "
    f"MS-CHAPv2. A user of Windows may have to be written as DOMAIN\\USER. {_ONCE}",
    (FailureClass.TRUST, Pptp): "The server encrypts nothing or too weakly, or does not know your password itself. "
    "'mppe' says what is enough; to lower it protects nothing",
    (FailureClass.UNREACHABLE, Pptp): "PPTP needs TCP port 1723 and IP protocol 47 (GRE). Many networks drop GRE, and "
    "nothing can be done about that from here: name another tunnel after this one",
    (
        FailureClass.UNREACHABLE,
        Tinc,
    ): "No node could be connected to. Check 'Address' in its file below hosts/, that TCP "
    "and UDP port 655 get through here, and that both nodes have each other's public key: a wrong one looks the same",
    (FailureClass.UNREACHABLE, Vpnc): "The gateway does not answer. Check 'IPSec gateway', and that UDP ports 500 and "
    "4500 get through here; a wrong 'IPSec ID' can look the same",
}


def advice(failure: Failure, spec: TunnelSpec | None, profile: str = "PROFILE") -> str:
    """Return what to do about a failure of this tunnel; `spec` is None when its configuration is gone."""
    special = _BY_TYPE.get((failure.kind, type(spec.settings))) if spec else None
    return (special or _GENERAL[failure.kind]).format(profile=profile)
