"""Values of the core as JSON and back, for what must outlive the process: the journal and the memory.

A value is written with the name of its class, and only classes of the registry are read: what comes from a file builds
nothing else. No secret is ever written: the one class that holds secrets is refused by name, so that a journal which
would leak one is never made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from json import dumps
from math import isfinite
from typing import Any, TypeGuard

from autovpn.core import (
    dnschoice,
    driving,
    endpoint,
    hookenv,
    memory,
    network,
    profile,
    receipts,
    records,
    routing,
    settings,
    settings_command,
    settings_zebedee,
    snapshot,
    steps,
    tunnel,
)
from autovpn.errors import AutovpnError

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

TAG = "$"

_DATACLASSES: tuple[type, ...] = (
    steps.Step,
    steps.HookValue,
    steps.HookMoment,
    steps.GuardValue,
    steps.PinValue,
    steps.TunnelValue,
    steps.AddressValue,
    steps.RoutesValue,
    steps.DnsValue,
    hookenv.HookContext,
    profile.Hook,
    dnschoice.DnsWish,
    driving.Uplink,
    snapshot.LinkId,
    network.Network,
    tunnel.TunnelSpec,
    tunnel.RouteWish,
    settings.SecretRef,
    endpoint.Endpoint,
    tunnel.PinnedEndpoint,
    settings.WireguardPeer,
    settings.WireguardSettings,
    endpoint.Listener,
    settings_command.CommandSettings,
    settings_zebedee.ZebedeeForward,
    settings_zebedee.ZebedeeSettings,
    settings.SshForward,
    settings.OpensshSettings,
    settings.VpncSettings,
    settings.TincPeer,
    settings.TincSettings,
    settings.OpenconnectSettings,
    settings.OpenvpnSettings,
    settings.IpsecSettings,
    settings.LibreswanSettings,
    settings.PptpSettings,
    tunnel.Health,
    tunnel.Facts,
    tunnel.Failure,
    tunnel.TunnelState,
    memory.Memory,
    memory.Ride,
    memory.Arrival,
    memory.Override,
    memory.Flap,
    routing.RuleSpec,
    routing.RouteSpec,
    routing.RoutePlan,
    routing.Place,
    receipts.HookProgress,
    receipts.Laid,
    receipts.Dressed,
    records.Origin,
    records.Header,
    records.Begin,
    records.Done,
    records.Amending,
    records.Amended,
    records.Note,
    records.Undoing,
    records.Undone,
)
_ENUMS: tuple[type[Enum], ...] = (
    steps.StepKind,
    profile.Event,
    profile.OnFail,
    tunnel.RouteMode,
    tunnel.HealthCheck,
    settings.IpsecAuth,
    tunnel.FailureClass,
    tunnel.TunnelPhase,
    network.Security,
    settings_command.ReadyBy,
    settings.Mppe,
    routing.RouteKind,
)
_ADDRESSES = (IPv4Address, IPv6Address, IPv4Interface, IPv6Interface, IPv4Network, IPv6Network)


class CodecError(AutovpnError):
    """A value that is never written, or a text that does not say a value."""


class Codec:
    """Writes and reads the values of some classes."""

    def __init__(self, dataclasses: tuple[type, ...], enums: tuple[type[Enum], ...]) -> None:
        """Take the registry; names must be unique in it."""
        self._fields = {cls: tuple(field.name for field in fields(cls)) for cls in dataclasses}
        self._required = {cls: frozenset(f.name for f in fields(cls) if _is_required(f)) for cls in dataclasses}
        self._classes = {cls.__name__: cls for cls in dataclasses}
        self._readers: dict[str, Callable[[Any], object]] = {cls.__name__: cls for cls in (*enums, *_ADDRESSES)}
        self._readers["bytes"] = bytes.fromhex
        self._written_by_value = frozenset(enums)

    def encode(self, value: object) -> Json:
        """Return the value as what JSON knows; CodecError for a secret or a class that is not registered."""
        if value is None or isinstance(value, str | bool) or type(value) is int or _is_finite(value):
            return value
        if isinstance(value, tuple):
            return [self.encode(item) for item in value]
        if isinstance(value, bytes):
            return {TAG: "bytes", "value": value.hex()}
        if isinstance(value, Enum) and type(value) in self._written_by_value:
            return {TAG: type(value).__name__, "value": value.value}
        if type(value) in _ADDRESSES:
            return {TAG: type(value).__name__, "value": str(value)}
        if isinstance(value, frozenset):
            return {TAG: "frozenset", "value": sorted((self.encode(item) for item in value), key=dumps)}
        if isinstance(value, Mapping):
            return {TAG: "map", "value": [[self.encode(key), self.encode(item)] for key, item in value.items()]}
        names = self._fields.get(type(value))
        if names is None:
            raise CodecError(f"a value of {type(value).__name__} is never written down")
        return {TAG: type(value).__name__, **{name: self.encode(getattr(value, name)) for name in names}}

    def decode(self, json: Json) -> object:
        """Return the value that `encode` was given; CodecError for an unknown class or a field too many or too few."""
        if isinstance(json, list):
            return tuple(self.decode(item) for item in json)
        if not isinstance(json, dict):
            return json
        content = dict(json)
        tag = content.pop(TAG, None)
        cls = self._classes.get(tag) if isinstance(tag, str) else None
        if cls is not None:
            return self._build(cls, content)
        if content.keys() != {"value"}:
            raise CodecError(f"{tag!r}: not a value that this version knows")
        try:
            return self._read(tag, content["value"])
        except (ValueError, TypeError) as error:
            raise CodecError(f"{tag}: {error}") from error

    def _build(self, cls: type, content: dict[str, Json]) -> object:
        """Build a value; what an older version did not write yet has its default."""
        names = set(self._fields[cls])
        wrong = (content.keys() - names) | (self._required[cls] - content.keys())
        if wrong:
            raise CodecError(f"{cls.__name__}: missing or unknown: {', '.join(sorted(wrong))}")
        return cls(**{name: self.decode(item) for name, item in content.items()})

    def _read(self, tag: object, value: Json) -> object:
        if tag == "frozenset" and isinstance(value, list):
            return frozenset(self.decode(item) for item in value)
        if tag == "map" and isinstance(value, list):
            return {self.decode(key): self.decode(item) for key, item in map(_pair, value)}
        reader = self._readers.get(tag) if isinstance(tag, str) else None
        if reader is None or not isinstance(value, str | int):
            raise CodecError(f"{tag!r}: not a value that this version knows")
        return reader(value)


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, float) and isfinite(value)


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _pair(item: Json) -> tuple[Json, Json]:
    if isinstance(item, list) and len(item) == 2:  # noqa: PLR2004 (key and value)
        return item[0], item[1]
    raise CodecError("map: an item is not a pair")


CODEC = Codec(_DATACLASSES, _ENUMS)


def encode(value: object) -> Json:
    """Return a value of the core as what JSON knows; CodecError for a secret or anything else that is never written."""
    return CODEC.encode(value)


def decode(json: Json) -> object:
    """Return the value that was encoded; CodecError where it is none that this version knows."""
    return CODEC.decode(json)
