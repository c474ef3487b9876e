"""`type = "openvpn"`: a tunnel that is described by OpenVPN's own file."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator

from autovpn.config.context import Context
from autovpn.config.fields import FilePath, Text
from autovpn.config.files import told
from autovpn.config.health import OwnCheck
from autovpn.config.locate import KeyPath
from autovpn.config.tunnel import Reading, SecretTable, TunnelTable, no_literal
from autovpn.core.escape import show_text
from autovpn.core.openvpnfile import (
    FILES,
    INLINE,
    KEY,
    LIBRARIES,
    OWNED,
    REMOTES,
    SECRET_FILES,
    UNSUPPORTED,
    Directive,
    NoRemote,
    directives,
    gives_way,
    reading_fault,
    remotes,
)
from autovpn.core.settings import Endpoint, OpenvpnSettings
from autovpn.errors import Refused

_LONGEST_USERNAME = 255  # OPTION_PARM_SIZE in OpenVPN's options.h, less the NUL
_RELAXED = "redirect-gateway"


class OpenvpnTunnel(TunnelTable):
    """The keys of an OpenVPN tunnel."""

    programs: ClassVar[tuple[str, ...]] = ("openvpn",)
    own_check: ClassVar[OwnCheck] = "dpd"

    type: Literal["openvpn"]
    config: FilePath
    username: Text | None = None
    key_password: Annotated[SecretTable | None, BeforeValidator(no_literal)] = None

    def read(self, context: Context, key: KeyPath) -> Reading | None:
        """Read OpenVPN's file for its servers and the files that it names; it may hold keys, and they are not kept."""
        path = context.resolve(self.config)
        text = context.read((*key, "config"), path, secret=True)
        if text is None:
            return None
        if fault := reading_fault(text):
            context.report.refuse(show_text(path), fault, "OpenVPN would read another thing in it than we do")
            return None
        if self.username and len(self.username.encode()) > _LONGEST_USERNAME:
            context.refuse((*key, "username"), f"is longer than {_LONGEST_USERNAME} bytes, which OpenVPN does not take")
        found = tuple(directives(text))
        for directive in found:
            self._judge(directive, context, show_text(path))
        secret = self.key_password.reference(context) if self.key_password else None
        return Reading(
            OpenvpnSettings(config=path, remotes=_servers(found, context, show_text(path)), username=self.username),
            files=(path,),
            watched=tuple(self._files(found, context, path)),
            secrets=((KEY, secret),) if secret else (),
        )

    def _judge(self, directive: Directive, context: Context, file: str) -> None:
        place, name = f"{file}:{directive.first}", directive.name
        if not directive.is_closed:
            context.report.refuse(place, f"the block <{name}> has no end", f"end it with </{name}>")
        elif name in UNSUPPORTED:
            context.report.refuse(place, f"'{name}' {UNSUPPORTED[name]}")
        elif name in ("dev", "dev-type") and directive.arguments and directive.arguments[0].startswith("tap"):
            meant = "use 'dev tun' on both sides"
            context.report.refuse(place, "a bridge of networks (tap) is no tunnel that autovpn can route into", meant)
        elif name == "connection":
            _note_connection(directive, context, file)
        elif name == LIBRARIES:
            _note_libraries(directive, context, file)
        elif name == _RELAXED and self.routes.mode != "full":
            meant = 'say routes.mode = "full" in the profile to send everything through the tunnel'
            context.report.note(place, f"'{name}' has no effect", meant)
        elif self._gives_way(directive) and name not in REMOTES:
            context.report.note(place, f"'{name}' is replaced by our own or left out when the tunnel starts")

    def _gives_way(self, directive: Directive) -> bool:
        return gives_way(
            directive,
            password=self.password is not None or self.username is not None,
            key_password=self.key_password is not None,
        )

    def _files(self, found: tuple[Directive, ...], context: Context, config: str) -> list[str]:
        """Return the files that OpenVPN will read, once it is sure that they are there and trusted."""
        named = []
        for directive in found:
            name, arguments = directive.name, directive.arguments
            is_file = name in FILES or name in SECRET_FILES
            if not is_file or not arguments or arguments[0] == INLINE or self._gives_way(directive):
                continue
            path = str(PurePosixPath(config).parent / arguments[0])
            named.append(path)
            try:
                context.files.check(path, secret=name in SECRET_FILES)
            except Refused as refused:
                context.report.warn(f"{show_text(config)}:{directive.first}", *told(refused))
        return named


def _servers(found: tuple[Directive, ...], context: Context, file: str) -> tuple[Endpoint, ...]:
    try:
        servers = remotes(found)
    except NoRemote as error:
        context.report.refuse(f"{file}:{error.line}", str(error))
        return ()
    if not servers:
        context.report.refuse(file, "names no server", "add a line 'remote HOST PORT udp'")
    return servers


def _note_libraries(directive: Directive, context: Context, file: str) -> None:
    """Say that OpenVPN will run this code as root, and refuse what others could have written."""
    place = f"{file}:{directive.first}"
    meant = "leave it out where the key is on no smart card"
    context.report.note(place, f"'{directive.name}' has openvpn run the code of a library as root", meant)
    for library in directive.arguments:
        try:
            if "/" in library:
                context.files.check(str(PurePosixPath(file).parent / library))
        except Refused as refused:
            context.report.refuse(place, *told(refused))


def _note_connection(directive: Directive, context: Context, file: str) -> None:
    """Say what of a connection block is not used: we make one line of it."""
    for inner in directives("\n".join(directive.body)):
        place = f"{file}:{directive.first + inner.first}"
        if inner.name in UNSUPPORTED:
            context.report.refuse(place, f"'{inner.name}' {UNSUPPORTED[inner.name]}")
        elif inner.name not in REMOTES and inner.name not in OWNED:
            context.report.note(place, f"'{inner.name}' in a <connection> is not used", "write it outside of the block")
