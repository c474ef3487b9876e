"""The database of certificates and keys that libreswan's pluto reads: empty, or with a client's certificate and key.

The key goes in as PKCS#12, which is all that pk12util(1) takes; openssl-pkcs12(1ssl) gets it on its standard input.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from autovpn.core.actions import Run, Write
from autovpn.core.secret import Secret
from autovpn.core.settings import IpsecAuth
from autovpn.tunnels.attempt import ENVIRONMENT
from autovpn.tunnels.pluto import settings_of

if TYPE_CHECKING:
    from autovpn.core.driving import Launch, Ran

BUNDLE: Final = "client.p12"
BUNDLE_LOCK: Final = "client.p12.password"

_CLIENT: Final = "client"
_AUTHORITY: Final = "authority"
_TRUSTED: Final = "CT,,"
"""As an issuer of certificates of servers and clients: pluto asks for both."""

_NAME_FORM: Final = "utf8,sep_comma_plus,sname,esc_2253"
"""How pluto reads a name: as RFC 2253 escapes it, but in the order of the certificate."""

_KIND: Final = re.compile(r"<\s*0>\s*(rsa|ec)\b")
_SIGNING: Final = {"rsa": "rsasig", "ec": "ecdsa"}
_UNWRITABLE: Final = re.compile(r'["\x00-\x1f\x7f]')

STEPS: Final = ("database", "bundle", "import", "authority", "subject", "kind")
"""What is done in this order; all but the first where there is a certificate."""

UNUSABLE: Final = {
    "subject": "the name of the authority has a character that ipsec.conf(5) can't have in one",
    "kind": "the private key is neither RSA's nor ECDSA's, and libreswan signs with no other",
}
"""What is wrong where nothing can be learned."""


def database(launch: Launch) -> Run:
    """Return what makes the empty database without which pluto does not start."""
    return _run("database", "certutil", "-N", "-d", _place(launch), "--empty-password")


def after(launch: Launch, name: str) -> tuple[Write | Run, ...]:
    """Return what the database needs next; nothing when all is in it."""
    if settings_of(launch).auth is not IpsecAuth.CERTIFICATE:
        return ()
    following = STEPS[STEPS.index(name) + 1 :]
    return _step(launch, following[0]) if following else ()


def _step(launch: Launch, name: str) -> tuple[Write | Run, ...]:
    """Return the actions of one of the steps with a certificate."""
    settings = settings_of(launch)
    bundle, password = f"{launch.directory}/{BUNDLE}", f"{launch.directory}/{BUNDLE_LOCK}"
    authority, certificate = str(settings.ca), str(settings.certificate)
    match name:
        case "bundle":
            key = launch.files[str(settings.key)]
            making = ("openssl", "pkcs12", "-export", "-in", certificate, "-inkey", "/dev/stdin", "-name", _CLIENT)
            run = Run(name, (*making, "-out", bundle, "-passout", f"file:{password}"), ENVIRONMENT, stdin=key)
            return Write(BUNDLE_LOCK, Secret(launch.nonce.encode())), run
        case "import":
            return (_run(name, "pk12util", "-i", bundle, "-d", _place(launch), "-w", password, "-K", ""),)
        case "authority":
            trust = ("certutil", "-A", "-d", _place(launch), "-n", _AUTHORITY, "-t", _TRUSTED, "-a", "-i", authority)
            return (_run(name, *trust),)
        case "subject":
            return (_run(name, "openssl", "x509", "-in", authority, "-noout", "-subject", "-nameopt", _NAME_FORM),)
        case _:
            return (_run(name, "certutil", "-K", "-d", _place(launch)),)


def learned(ran: Ran) -> tuple[str, ...] | None:
    """Return the lines for ipsec.conf(5) that follow from what was printed; None where they can't be written.

    Without the name of the authority pluto does not ask for the server's certificate, and most servers then send none.
    """
    match ran.name:
        case "subject":
            subject = ran.output.strip().removeprefix("subject=").strip()
            return None if not subject or _UNWRITABLE.search(subject) else (f'rightca="{subject}"',)
        case "kind":
            found = _KIND.search(ran.output)
            return (f"authby={_SIGNING[found[1]]}",) if found else None
        case _:
            return ()


def identity() -> tuple[str, ...]:
    """Return the lines that name our certificate; it is sent also to a server that does not ask."""
    return f"leftcert={_CLIENT}", "leftsendcert=always"


def _place(launch: Launch) -> str:
    return f"sql:{launch.directory}"


def _run(name: str, *argv: str) -> Run:
    return Run(name, argv, ENVIRONMENT)
