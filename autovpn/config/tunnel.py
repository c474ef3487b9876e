"""What every `[tunnel.NAME]` has, whatever its type: a device, routes, a password, an MTU, a time to connect."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from autovpn.config.context import Context
from autovpn.config.fields import LONGEST_DEVICE, Argument, Credential, Device, FilePath, Prefix, Table, Timeout
from autovpn.config.files import fingerprint
from autovpn.config.health import HealthTable, OwnCheck
from autovpn.config.locate import KeyPath
from autovpn.core.forwarding import missing_forwarding
from autovpn.core.network import IPNetwork
from autovpn.core.settings import SecretRef, Settings
from autovpn.core.tunnel import Health, RouteMode, RouteWish, TunnelSpec


class SecretTable(Table):
    """Where a secret is: exactly one of the four."""

    file: FilePath | None = None
    command: Annotated[list[Argument], Field(min_length=1)] | None = None
    credential: Credential | None = None
    ask: Literal[True] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> SecretTable:
        if sum(place is not None for place in (self.file, self.command, self.credential, self.ask)) != 1:
            raise ValueError(
                "says where the secret is in more or less than one way; use one of file, command, credential, ask"
            )
        return self

    def reference(self, context: Context) -> SecretRef:
        """Return the core's value, with the file's whole path."""
        return SecretRef(
            file=context.resolve(self.file) if self.file else None,
            command=tuple(self.command or ()),
            credential=self.credential,
            ask=self.ask is True,
        )


def no_literal(value: object) -> object:
    """Return what says where a secret is; a secret itself is refused."""
    if isinstance(value, str):
        raise ValueError(  # noqa: TRY004  # pydantic collects ValueError
            'is a literal secret; put it into a file that only root may read, and write { file = "NAME" } here'
        )
    return value


class RoutesTable(Table):
    """`[tunnel.NAME.routes]`; `mode` absent means what suits the tunnel."""

    mode: Literal["full", "split", "none"] | None = None
    include: list[Prefix] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a type of tunnel made of its own keys.

    `files` are those whose content the driver needs at each start, `public` the like without a secret in them,
    `watched` those that the program reads by itself, `secrets` those beside the password. `reach` are the networks that
    the tunnel leads to; None where only the far end knows them.
    """

    settings: Settings
    files: tuple[str, ...] = ()
    public: tuple[str, ...] = ()
    watched: tuple[str, ...] = ()
    secrets: tuple[tuple[str, SecretRef], ...] = ()
    mode: RouteMode = RouteMode.SPLIT
    reach: tuple[IPNetwork, ...] | None = None


class TunnelTable(Table):
    """The keys that all types share. A type adds its own, and turns them into the core's settings."""

    programs: ClassVar[tuple[str, ...]] = ()
    joins_networks: ClassVar[bool] = False
    """Whether the far end can reach networks behind this machine, and not this machine alone."""

    own_check: ClassVar[OwnCheck] = ""
    """The check of health that the type brings along."""

    device: Device | None = None
    routes: RoutesTable = RoutesTable()
    password: Annotated[SecretTable | None, BeforeValidator(no_literal)] = None
    mtu: Annotated[int, Field(ge=576, le=65535)] | None = None
    connect_timeout: Timeout = 30.0
    local: list[Prefix] = Field(default_factory=list)
    health: HealthTable | None = None

    @abstractmethod
    def read(self, context: Context, key: KeyPath) -> Reading | None:
        """Return the settings, or None after having reported why there are none."""

    def default_device(self, name: str) -> str:
        """Return the device for a tunnel of this name: readable where it fits, else told apart by a digest."""
        plain = f"vpn-{name}"
        if len(plain) <= LONGEST_DEVICE:
            return plain
        return f"vpn-{name[:5]}-{sha256(name.encode()).hexdigest()[:5]}"

    def spec(self, name: str, kind: str, context: Context) -> TunnelSpec | None:
        """Return the core's value, or None after having reported why there is none."""
        key = ("tunnel", name)
        for program in self.programs:
            context.check_client((*key, "type"), program)
        self._check_local(kind, context, (*key, "local"))
        reading = self.read(context, key)
        if reading is None:
            return None
        password = self.password.reference(context) if self.password else None
        if password:
            context.check_secret((*key, "password"), password)
        for name_, secret in reading.secrets:
            context.check_secret((*key, name_), secret)
        secrets = [secret for _, secret in reading.secrets] + ([password] if password else [])
        watched = (
            *reading.files,
            *reading.public,
            *reading.watched,
            *(secret.file for secret in secrets if secret.file),
        )
        device = self.device or self.default_device(name)
        return TunnelSpec(
            name=name,
            type=kind,
            settings=reading.settings,
            device=device,
            routes=self._routes(reading, context, key),
            password=password,
            files=reading.files,
            public_files=reading.public,
            fingerprint=fingerprint(watched),
            mtu=self.mtu,
            connect_timeout=self.connect_timeout,
            local=tuple(self.local),
            secrets=reading.secrets,
            health=self._health(kind, device, reading, context, (*key, "health")),
        )

    def _check_local(self, kind: str, context: Context, key: KeyPath) -> None:
        if self.local and not self.joins_networks:
            meant = "join networks by a tunnel of type wireguard, ipsec or tinc"
            context.refuse(key, f"a tunnel of type {kind} leads from this machine alone", meant)
            return
        if any(network.prefixlen == 0 for network in self.local):
            context.refuse(key, "everything can't be behind this machine", "name its networks")
        for words in missing_forwarding(self.local, context.environment.forwards):
            context.warn(key, words)

    def _routes(self, reading: Reading, context: Context, key: KeyPath) -> RouteWish:
        mode = RouteMode(self.routes.mode) if self.routes.mode else reading.mode
        if mode is RouteMode.NONE and self.routes.include:
            context.refuse(
                (*key, "routes", "include"), "routes are listed, but the mode is 'none'", 'use mode = "split"'
            )
        return RouteWish(mode, tuple(self.routes.include))

    def _health(self, kind: str, device: str, reading: Reading, context: Context, key: KeyPath) -> Health | None:
        if self.health is None:
            return None
        health = self.health.read(kind, self.own_check, has_device=bool(device), context=context, key=key)
        leads_everywhere = reading.reach is None or (self.routes.mode or reading.mode.value) == RouteMode.FULL.value
        if health and health.address and not leads_everywhere:
            networks = (*(reading.reach or ()), *self.routes.include)
            if not any(health.address in network for network in networks):
                words = f"{health.address} is in no network that this tunnel leads to, so nothing may ever answer"
                context.note((*key, "address"), words, "name an address behind the tunnel")
        return health
