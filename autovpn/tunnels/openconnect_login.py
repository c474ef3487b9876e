"""What openconnect is told on its command line and its stdin, and how what it prints is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from shlex import join, split
from typing import TYPE_CHECKING, Final

from autovpn.core.actions import Run
from autovpn.core.secret import Secret
from autovpn.core.settings import OpenconnectSettings
from autovpn.tunnels.attempt import ENVIRONMENT, detection_in

if TYPE_CHECKING:
    from autovpn.core.driving import Launch
    from autovpn.core.network import IPAddress
    from autovpn.core.tunnel import PinnedEndpoint

LOGIN: Final = "login"

PROBING = 10
"""Seconds of silence before openconnect asks whether the server still lives; twice as many, and it is dead."""

PATIENCE = 30
"""Seconds of pauses between tries to reconnect; openconnect's own 300 let a dead tunnel stand for many minutes."""

LONGEST_LINE = 1023
"""Bytes of a line that openconnect reads from its stdin (read_stdin in its main.c)."""

HTTPS_PORT = 443

NOBODYS = f"pin-sha256:{'A' * 43}="
"""A fingerprint that no certificate has: 32 zero bytes."""

CONFIRMATION = b"yes"
"""What openconnect takes from its stdin for a person's word that a certificate is fine (validate_peer_cert in its
main.c), unless it may not ask or was given any fingerprint."""

_FINGERPRINT = re.compile(r"(pin-sha256|sha256|sha1):[A-Za-z0-9+/=]{1,128}|[0-9A-Fa-f]{40}")
_URL = re.compile(r"https://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?(/[!-~]*)?")
_WANTS_MORE = ("User input required", "fgets (stdin)")
"""How openconnect says that the server asks for what it was not given."""

_REQUEST = re.compile(r"(POST|GET) https://")

_NOISE = re.compile(
    r"(POST|GET|HEAD) https?://|Connected to |SSL negotiation with |XML POST enabled|Please enter |Got CONNECT response"
    r"|CSTP connected|Established |Configured as |Deferring DTLS|Caller paused|User requested reconnect|\*\*\*"
    # It is said of every certificate that no authority vouches for, also of one that is pinned.
    r"|Server certificate verify failed"
    r"|Failed to complete authentication|Failed to open HTTPS connection|SSL connection failure: Error in the cert"
    r"|User input required|fgets \(stdin\)|Socket connect cancelled|.*: Interrupted system call"
    r"|To trust this server in future|Failed to write incoming packet|(Username|Password): ?(\*\*\*)?$"
)
"""What goes well, and what only repeats that something did not."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a login gave: the cookie, the checked certificate's fingerprint, and the place that takes the cookie."""

    cookie: Secret
    fingerprint: str
    url: str | None


def settings_of(launch: Launch) -> OpenconnectSettings:
    """Return the type's own settings."""
    if not isinstance(launch.spec.settings, OpenconnectSettings):
        raise TypeError(f"tunnel {launch.spec.name} is not of type openconnect")
    return launch.spec.settings


def server_address(endpoints: tuple[PinnedEndpoint, ...]) -> IPAddress | None:
    """Return where the server is, which the daemon has resolved."""
    return next((endpoint.address for endpoint in endpoints if endpoint.protocol == "tcp"), None)


def run(launch: Launch, answers: tuple[Secret, ...], deadline: float) -> Run:
    """Return the login. Once a person has answered it may ask, which is to say: read on from its stdin.

    It must never ask there whether to trust a certificate: with any fingerprint it does not, and one that nobody has
    changes nothing for a certificate that the authority vouches for.
    """
    settings = settings_of(launch)
    known = [line_of(secret) for secret in (launch.password, *answers) if secret]
    argv = (
        *_common(launch, settings),
        "--authenticate",
        *(() if answers else ("--non-inter",)),
        *((f"--user={settings.user}",) if settings.user else ()),
        *(("--passwd-on-stdin",) if launch.password else ()),
        *_trust(settings),
        *((f"--servercert={NOBODYS}",) if answers and settings.ca else ()),
        url_of(settings),
    )
    stdin = Secret(b"".join(line + b"\n" for line in known)) if known else None
    return Run(LOGIN, argv, ENVIRONMENT, deadline, stdin, confidential=True)


def tunnel_argv(launch: Launch, session: Session) -> tuple[str, ...]:
    """Return the command line of the tunnel's own openconnect, which reads the cookie from its stdin."""
    settings = settings_of(launch)
    return (
        *_common(launch, settings),
        "--non-inter",
        "--cookie-on-stdin",
        *_pin(session.fingerprint),
        f"--interface={launch.spec.device}",
        f"--script={join(launch.notifier)}",
        f"--force-dpd={_probing(launch)}",
        f"--reconnect-timeout={PATIENCE}",
        f"--base-mtu={launch.uplink.mtu}",
        *(() if settings.udp_port else ("--no-dtls",)),
        session.url or url_of(settings),
    )


def url_of(settings: OpenconnectSettings) -> str:
    """Return the server as a URL."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"https://{host}:{settings.port}{settings.path}"


def session_in(printed: Secret | None) -> Session | None:
    """Return what `openconnect --authenticate` printed: NAME='VALUE' lines, quoted for a shell; None for anything else.

    The cookie goes into no exception and no message.
    """
    found: dict[str, str] = {}
    for line in (printed.reveal() if printed else b"").decode(errors="surrogateescape").splitlines():
        name, _, quoted = line.partition("=")
        try:
            found[name] = "".join(split(quoted))
        except ValueError:
            return None
    cookie, fingerprint = found.get("COOKIE", ""), found.get("FINGERPRINT", "")
    if not cookie or not _FINGERPRINT.fullmatch(fingerprint):
        return None
    return Session(Secret(cookie.encode(errors="surrogateescape") + b"\n"), fingerprint, found.get("CONNECT_URL"))


def other_place(session: Session, launch: Launch) -> str:
    """Return why the cookie is not for the server that the profile names; empty where it is.

    Only that server's packets are let out beside the tunnel, and only its address was resolved by the daemon.
    """
    if session.url is None:  # an openconnect before 8.20 does not tell
        return ""
    settings = settings_of(launch)
    match = _URL.fullmatch(session.url)
    if match is None:
        return "openconnect names no usable place to connect to"
    host, port = match[1].strip("[]").lower(), int(match[2] or HTTPS_PORT)
    if (host, port) == (settings.host.lower(), settings.port):
        return ""
    return f"the server sends us on to {host}:{port}; name that as 'server' if it is the one that you mean"


def question_in(errors: str) -> str:
    """Return what openconnect would have asked at a terminal: what it printed since its last request.

    It is empty where openconnect did not fail for want of an answer.
    """
    if not any(line.startswith(_WANTS_MORE) for line in errors.splitlines()):
        return ""
    asked: list[str] = []
    for line in errors.splitlines():
        if _REQUEST.match(line):
            asked = []
        elif not line.startswith((*_WANTS_MORE, "Failed to complete")):
            asked.append(line.removesuffix("***").strip())
    words = " ".join(filter(None, asked[-4:]))
    return ascii("".join(character if character.isprintable() else " " for character in words))[1:-1][:200]


def is_noise(text: str) -> bool:
    """Report whether a line says nothing about a failure."""
    return not text.strip() or _NOISE.match(text.strip()) is not None


def line_fault(secret: Secret | None, what: str) -> str:
    """Return why openconnect can't be given a secret as a line of its stdin; empty where it can."""
    if secret is None:
        return ""
    text = line_of(secret)
    if not text:
        return f"the {what} is empty"
    if any(character in text for character in (b"\n", b"\r", b"\0")):
        return f"the {what} holds a line break, which openconnect can't be given"
    if len(text) > LONGEST_LINE:
        return f"the {what} is longer than the {LONGEST_LINE} bytes that openconnect reads"
    return ""


def answer_fault(answer: Secret, settings: OpenconnectSettings) -> str:
    """Return why openconnect can't be given a person's answer; empty where it can.

    The machine's own authorities are believed only where no fingerprint is given, so there it may ask about a
    certificate, and what confirms that must not be among the answers.
    """
    asks = not (settings.ca or settings.server_cert)
    if asks and line_of(answer).lower() == CONFIRMATION:
        return "openconnect could take this answer for trust in any certificate that the server shows; set 'ca' for it"
    return line_fault(answer, "answer")


def line_of(secret: Secret) -> bytes:
    """Return a secret without the line's end that it may have in a file."""
    return secret.reveal().removesuffix(b"\n").removesuffix(b"\r")


def _common(launch: Launch, settings: OpenconnectSettings) -> tuple[str, ...]:
    """Return what both steps are told: who the server is, and how we look to it."""
    return (
        "openconnect",
        f"--protocol={settings.protocol}",
        "--no-proxy",
        *_resolution(settings.host, server_address(launch.endpoints)),
        *((f"--certificate={settings.client_cert}",) if settings.client_cert else ()),
        *((f"--sslkey={settings.client_key}",) if settings.client_key else ()),
        *((f"--authgroup={settings.authgroup}",) if settings.authgroup else ()),
        *((f"--useragent={settings.useragent}",) if settings.useragent else ()),
        *((f"--os={settings.os}",) if settings.os else ()),
    )


def _probing(launch: Launch) -> int:
    health = detection_in(launch)
    return max(1, round(health.interval)) if health else PROBING


def _trust(settings: OpenconnectSettings) -> tuple[str, ...]:
    """Return by what the server's certificate is judged: one fingerprint, one authority, or the machine's own."""
    if settings.server_cert:
        return _pin(settings.server_cert)
    return ("--no-system-trust", f"--cafile={settings.ca}") if settings.ca else ()


def _pin(fingerprint: str) -> tuple[str, ...]:
    """Return the options that let one certificate pass. openconnect looks at no pin where an authority vouches."""
    return "--no-system-trust", f"--servercert={fingerprint}"


def _resolution(host: str, address: IPAddress | None) -> tuple[str, ...]:
    """Return the option that spares openconnect the resolver; the certificate is still checked against the name."""
    try:
        ip_address(host)
    except ValueError:
        return (f"--resolve={host}:{address}",)
    return ()
