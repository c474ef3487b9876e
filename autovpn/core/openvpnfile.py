"""A user's openvpn(8) configuration: what it says, and what of it gives way to ours.

Both `check`, which says so, and the driver, which does it, read it here. Words are cut as OpenVPN cuts them
(parse_line in its options_parse.c).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from autovpn.core.settings import Endpoint

DEFAULT_PORT = 1194

REMOTES = ("remote", "port", "rport", "proto", "connection")
"""The directives that say where the servers are: their addresses are put in by the daemon."""

SCRIPTS = ("up", "down", "ipchange", "route-up", "route-pre-down", "tls-verify", "auth-user-pass-verify",
           "client-connect", "client-disconnect", "client-crresponse", "learn-address", "tls-crypt-v2-verify",
           "plugin", "iproute", "script-security")  # fmt: skip
"""The directives that run programs."""

OWNED = (
    *SCRIPTS,
    *("dev", "dev-type", "dev-node", "lladdr", "route-noexec", "ifconfig-noexec", "persist-tun", "persist-key",
      "nobind", "bind", "bind-dev", "local", "lport", "multihome", "mark"),
    *("remote-random", "remote-random-hostname", "resolv-retry", "connect-retry", "connect-retry-max",
      "connect-timeout", "server-poll-timeout", "remap-usr1", "proto-force"),
    *("daemon", "log", "log-append", "syslog", "errors-to-stderr", "machine-readable-output", "verb", "mute", "echo",
      "suppress-timestamps", "status", "writepid", "cd", "chroot", "tmp-dir", "setenv", "setenv-safe"),
    *("auth-nocache",  # asks again at each renegotiation, also while no daemon is there to answer
      "auth-retry", "up-delay", "up-restart", "down-pre", "mktun", "rmtun"),
)  # fmt: skip
"""The directives that we set or leave out, whatever the user's file says; so are all that begin with `management`."""

PASSWORD, KEY_PASSWORD = "auth-user-pass", "askpass"
"""The directives that give way when the profile has a user name or password, or a password of the key."""

UNSUPPORTED = {
    "config": "includes another file; put its lines here",
    "http-proxy": "goes through a proxy, which autovpn does not support",
    "socks-proxy": "goes through a proxy, which autovpn does not support",
    "secret": "is for static keys, without any key exchange, which OpenVPN gives up; use certificates",
    "server": "makes this machine a server",
    "server-bridge": "makes this machine a server",
    "tls-server": "makes this machine a server",
}
"""The directives with which no tunnel can be made, and why."""

FILES = ("ca", "cert", "extra-certs", "crl-verify")
SECRET_FILES = ("key", "pkcs12", "tls-auth", "tls-crypt", "tls-crypt-v2", PASSWORD, KEY_PASSWORD)
"""The directives whose first argument is a file that OpenVPN reads."""

LIBRARIES = "pkcs11-providers"
"""The directive that has OpenVPN load libraries into itself, as root, from any place: a smart card can't do without."""

KEY = "key_password"
"""The name of the private key's password among a tunnel's secrets."""

INLINE = "[inline]"
"""How older files say that a block follows."""

_LOADED_BY_NAME = ("engine", "providers")
"""The directives that name modules of OpenSSL's; by a path they would load any code at all."""

_SPACE = " \t\n\v\f\r"
"""What isspace(3) takes for one in OpenVPN; Python knows more."""

_LONGEST_LINE = 254
"""Bytes of a line that OpenVPN reads whole inside of a block (OPTION_LINE_SIZE, less newline and NUL)."""

_VARIABLES = ("FORWARD_COMPATIBLE", "CLIENT_CERT")
_PEER_INFO = ("UV_", "IV_")
"""Variables that are settings of OpenVPN's rather than for scripts, or that `push-peer-info` tells the server."""


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive from line `first` to line `last`, counted from 1; `body` is what an inline block has in it."""

    name: str
    arguments: tuple[str, ...]
    first: int
    last: int
    body: tuple[str, ...] = field(default=(), repr=False)
    is_closed: bool = True


def reading_fault(text: str) -> str:
    """Return why OpenVPN would cut a configuration into other directives than we do, so that some could hide.

    A NUL ends a line for it and not for us, and of a long line in a block the middle may be a line to it, and end that.
    """
    if "\0" in text:
        return "holds a NUL byte"
    lines = enumerate(text.split("\n"), 1)
    long = (number for number, line in lines if "</" in line and len(line.encode(errors="replace")) > _LONGEST_LINE)
    number = next(long, None)
    return f"has more than {_LONGEST_LINE} bytes in line {number}, and '</' among them" if number else ""


def directives(text: str) -> Iterator[Directive]:
    """Yield what a configuration says; comments and empty lines say nothing."""
    lines = text.removeprefix("\ufeff").split("\n")
    number = 0
    while number < len(lines):
        first, words = number, words_of(lines[number])
        number += 1
        if not words:
            continue
        name = words[0].removeprefix("--") if len(words[0]) > len("--") else words[0]
        if len(words) == 1 and name.startswith("<") and name.endswith(">"):
            name = name[1:-1]
            ends = (at for at in range(number, len(lines)) if lines[at].lstrip(_SPACE).startswith(f"</{name}>"))
            end = next(ends, None)
            body = tuple(lines[number:end])
            number = len(lines) if end is None else end + 1
            yield Directive(name, (), first + 1, number, body, is_closed=end is not None)
        elif words[:2] == ["setenv", "opt"] and len(words) > 2:  # noqa: PLR2004 (an optional directive)
            yield Directive(words[2].removeprefix("--"), tuple(words[3:]), number, number)
        else:
            yield Directive(name, tuple(words[1:]), number, number)


def words_of(line: str) -> list[str]:
    """Return the words of a line, unquoted."""
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    escaped = False
    for character in line.rstrip("\r"):
        if word is None and not quote and (character in _SPACE or character in "#;"):
            if character not in _SPACE:
                return words
            escaped = False  # before a word OpenVPN passes a space over, with a backslash too
        elif escaped:
            word = [*(word or ()), character]
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            if character == quote:
                words.append("".join(word or ()))
                word, quote = None, ""
            else:
                word = [*(word or ()), character]
        elif character in _SPACE:
            words.append("".join(word or ()))
            word = None
        elif word is None and character in "\"'":
            quote = character
        else:
            word = [*(word or ()), character]
    return [*words, "".join(word)] if word is not None else words


def gives_way(directive: Directive, *, password: bool = False, key_password: bool = False) -> bool:
    """Report whether a directive is replaced or left out; `password` says that the profile has one of its own."""
    name = directive.name
    if name == "setenv":
        variable = directive.arguments[0] if directive.arguments else ""
        return variable not in _VARIABLES and not variable.startswith(_PEER_INFO)
    if name in _LOADED_BY_NAME and any("/" in argument for argument in directive.arguments):
        return True
    given = (PASSWORD,) * password + (KEY_PASSWORD,) * key_password
    return name in OWNED or name in REMOTES or name in given or name.startswith("management")


class NoRemote(ValueError):
    """A server without a host, a port that is none, or a protocol that OpenVPN doesn't have; `line` counts from 1."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__(words)
        self.line = line


def remotes(found: Iterable[Directive]) -> tuple[Endpoint, ...]:
    """Return the servers in the order of the file, each once.

    Raises:
        NoRemote: one of them is none.
    """
    listed = tuple(found)
    last = {directive.name: directive.arguments[0] for directive in listed if directive.arguments}
    port, protocol = last.get("rport", last.get("port", str(DEFAULT_PORT))), last.get("proto", "udp")
    servers: list[Endpoint] = []
    for directive in listed:
        try:
            if directive.name == "connection":
                inner = directives("\n".join([f"port {port}", f"proto {protocol}", *directive.body]))
                servers += remotes(inner)
            elif directive.name == "remote":
                servers.append(_endpoint(*directive.arguments, defaults=(port, protocol)))
        except ValueError as error:
            raise NoRemote(directive.first, str(error)) from error
    return tuple(dict.fromkeys(servers))


def _endpoint(host: str = "", *further: str, defaults: tuple[str, str]) -> Endpoint:
    port, protocol = (*further, *defaults[len(further) :])[:2]
    if not host:
        raise ValueError("'remote' names no host")
    if not (port.isascii() and port.isdecimal() and 1 <= int(port[:6]) <= 65535):  # noqa: PLR2004 (the highest port)
        raise ValueError(f"{port!r} is no port")
    family = protocol.lower().replace("4", "").replace("6", "").removesuffix("-client")
    if family not in ("udp", "tcp"):
        raise ValueError(f"{protocol!r} is no protocol of a client: udp or tcp")
    return Endpoint(host, int(port), family)
