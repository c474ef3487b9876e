"""`[tunnel.NAME.health]`: how a tunnel that is up is asked whether it still passes packets."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, PlainValidator, model_validator

from autovpn.config.context import Context
from autovpn.config.fields import Address, Argument, Table, duration
from autovpn.config.locate import KeyPath
from autovpn.config.report import quoted
from autovpn.core.tunnel import Health, HealthCheck

SHORTEST_INTERVAL: Final = 1.0
"""Seconds; what looks more often costs a laptop its battery and tells no more."""

OwnCheck = Literal["", "handshake", "dpd"]
"""The check that a type of tunnel brings along; most have none."""

_KEYS: Final = {
    "handshake": frozenset[str](),
    "dpd": frozenset[str](),
    "ping": frozenset({"address"}),
    "tcp": frozenset({"address", "port"}),
    "command": frozenset({"command"}),
}
"""What each check needs, and the others have no use for."""


def interval(value: object) -> float:
    """Return a time in seconds that is not shorter than a second."""
    seconds = duration(value)
    if seconds < SHORTEST_INTERVAL:
        raise ValueError(f'{quoted(value)} is too short; look once a second ("1s") at the most')
    return seconds


Interval = Annotated[float, PlainValidator(interval)]


class HealthTable(Table):
    """The keys of a tunnel's health."""

    check: Literal["handshake", "dpd", "ping", "tcp", "command"]
    address: Address | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    command: Annotated[list[Argument], Field(min_length=1)] | None = None
    interval: Interval = 30.0
    fail_after: Annotated[int, Field(ge=1, le=100)] = 3

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> HealthTable:
        needed = _KEYS[self.check]
        given = {name for name in ("address", "port", "command") if getattr(self, name) is not None}
        if missing := sorted(needed - given):
            raise ValueError(f"checks by {self.check}, which needs {' and '.join(map(repr, missing))}")
        if needless := sorted(given - needed):
            raise ValueError(f"checks by {self.check}, which has no use for {' and '.join(map(repr, needless))}")
        return self

    def read(
        self, kind: str, own_check: OwnCheck, *, has_device: bool, context: Context, key: KeyPath
    ) -> Health | None:
        """Return the core's value for a tunnel of this type, or None after having reported why there is none."""
        if self.check in ("handshake", "dpd") and self.check != own_check:
            meant = f"use '{own_check}', 'ping', 'tcp' or 'command'" if own_check else "use 'ping', 'tcp' or 'command'"
            context.refuse((*key, "check"), f"a tunnel of type {kind} has no check '{self.check}'", meant)
            return None
        if self.check in ("ping", "tcp") and not has_device:
            what = "ping" if self.check == "ping" else "connection"
            meant = "use 'command', with a program that goes where this tunnel leads: the proxy, the forward, the host"
            context.refuse((*key, "check"), f"this tunnel has no device that a {what} could go through", meant)
            return None
        if self.command:
            context.check_program((*key, "command"), self.command[0])
        return Health(
            check=HealthCheck(self.check),
            address=self.address,
            port=self.port,
            command=tuple(self.command or ()),
            interval=self.interval,
            fail_after=self.fail_after,
        )
