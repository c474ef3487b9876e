"""`type = "command"`: a tunnel by whatever programs the user names."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PlainValidator, model_validator

from autovpn.config.context import Context
from autovpn.config.fields import Address, Argument, InterfaceAddress, Table, Text
from autovpn.config.locate import KeyPath
from autovpn.config.sockets import FarEnd, ListeningAt
from autovpn.config.tunnel import Reading, TunnelTable
from autovpn.core.settings_command import CommandSettings, ReadyBy
from autovpn.core.tunnel import RouteMode


def yes(value: object) -> bool:
    """Return true, the only answer that chooses something."""
    if value is not True:
        raise ValueError("can only be true; leave out what isn't meant")
    return True


Yes = Annotated[bool, PlainValidator(yes)]
Program = Annotated[list[Argument], Field(min_length=1)]
Words = list[Text]


class ReadyTable(Table):
    """`ready`: what shows that the tunnel is there; exactly one of these."""

    check: Yes | None = None
    exit: Yes | None = None
    link: Yes | None = None
    notify: Yes | None = None
    line: Text | None = None
    port: ListeningAt | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> ReadyTable:
        if len(self._given()) != 1:
            names = ", ".join(way.value for way in ReadyBy)
            raise ValueError(f"says in more or less than one way when the tunnel is there; use one of {names}")
        return self

    @property
    def by(self) -> ReadyBy:
        """Return the one way."""
        (way,) = self._given()
        return way

    def _given(self) -> list[ReadyBy]:
        return [way for way in ReadyBy if getattr(self, way.value) is not None]


class FailuresTable(Table):
    """`failures`: what the programs print where another try is no use."""

    auth: Words = Field(default_factory=list)
    trust: Words = Field(default_factory=list)


class CommandTunnel(TunnelTable):
    """The keys of a tunnel by other programs."""

    type: Literal["command"]
    start: Program
    stop: Program | None = None
    check: Program | None = None
    ready: ReadyTable
    detaches: bool = False
    endpoints: list[FarEnd] = Field(default_factory=list)
    addresses: list[InterfaceAddress] = Field(default_factory=list)
    peer: Address | None = None
    failures: FailuresTable = FailuresTable()

    @model_validator(mode="after")
    def _fits_together(self) -> CommandTunnel:
        for fault in (self._fault_of_ready(), self._fault_of_detaching(), self._fault_of_device()):
            if fault:
                raise ValueError(fault)
        return self

    def _fault_of_ready(self) -> str:
        by = self.ready.by
        if by is ReadyBy.CHECK and self.check is None:
            return "is ready by a 'check' that it doesn't have; give it one"
        if by is ReadyBy.LINK and self.device is None:
            return "is ready by a link that has no name; give it a 'device'"
        return ""

    def _fault_of_detaching(self) -> str:
        by = self.ready.by
        if not self.detaches and by is ReadyBy.EXIT:
            return (
                "is ready when 'start' has ended, but doesn't say that it ends; set 'detaches', or be ready otherwise"
            )
        if not self.detaches:
            return ""
        if self.stop is None:
            return "detaches, so nothing but a 'stop' can end it; give it one"
        if by in (ReadyBy.LINE, ReadyBy.NOTIFY):
            return f"detaches, so nobody is left to say the {by.value}; be ready by exit, check, link or port"
        return ""

    def _fault_of_device(self) -> str:
        if self.device is None and (self.addresses or self.peer or self.mtu):
            return "has 'addresses', 'peer' or 'mtu', but no 'device' for them"
        if self.peer and not self.addresses:
            return "has a 'peer', but no 'addresses' of its own"
        if self.routes.mode in ("full", "split") and not self.addresses:
            return "has no 'addresses', so autovpn can route nothing into it; give them, or leave the routes to 'start'"
        if self.routes.mode == "full" and not self.endpoints:
            return "takes everything, its own packets too; name its far end in 'endpoints', so that they stay outside"
        return ""

    def default_device(self, name: str) -> str:  # noqa: ARG002 (the types')
        """Return none: what a program makes, if anything, only the user knows."""
        return ""

    def read(self, context: Context, key: KeyPath) -> Reading | None:
        """Check that the programs can be run, and are root's."""
        for name, argv in (("start", self.start), ("stop", self.stop), ("check", self.check)):
            if argv:
                context.check_program((*key, name), argv[0])
        if self.detaches and self.device is None and self.health is None:
            context.note((*key, "detaches"), "nothing notices when this tunnel dies", "give it a table 'health'")
        settings = CommandSettings(
            start=tuple(self.start),
            ready=self.ready.by,
            stop=tuple(self.stop or ()),
            check=tuple(self.check or ()),
            line=self.ready.line or "",
            listener=self.ready.port,
            detaches=self.detaches,
            endpoints=tuple(self.endpoints),
            addresses=tuple(self.addresses),
            peer=self.peer,
            auth_words=tuple(self.failures.auth),
            trust_words=tuple(self.failures.trust),
        )
        return Reading(settings, mode=RouteMode.SPLIT if self.addresses else RouteMode.NONE, reach=())
