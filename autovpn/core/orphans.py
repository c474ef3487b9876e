"""What is nobody's: all that carries our marks and that no entry of the journal would take away.

A journal can be lost (an emptied /run) or damaged. What was made because of it is still there then, and could keep the
machine closed for good, but it is marked: processes and devices by a nonce, rules and routes by `AUTOVPN_PROTO`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from operator import or_

from autovpn.core.receipts import HookProgress, Laid
from autovpn.core.records import Entry
from autovpn.core.routing import RoutePlan


@dataclass(frozen=True, slots=True)
class MarkedProcess:
    """A process of a tunnel, by the nonce in its environment."""

    pid: int
    name: str
    nonce: str

    def __str__(self) -> str:
        """Name it for people."""
        return f"process {self.name} ({self.pid})"


@dataclass(frozen=True, slots=True)
class MarkedDevice:
    """A device, by its alias, `autovpn:<nonce>`."""

    index: int
    name: str
    alias: str

    @property
    def nonce(self) -> str:
        """Return the nonce in the alias."""
        return self.alias.partition(":")[2]

    def __str__(self) -> str:
        """Name it for people."""
        return f"device {self.name}"


@dataclass(frozen=True, slots=True)
class Traces:
    """What carries our marks."""

    processes: tuple[MarkedProcess, ...] = ()
    devices: tuple[MarkedDevice, ...] = ()
    plan: RoutePlan = field(default_factory=RoutePlan)

    def __bool__(self) -> bool:
        """Report whether there is anything."""
        return bool(self.processes or self.devices or self.plan)

    def __sub__(self, other: Traces) -> Traces:
        """Return what the other has not."""
        return Traces(
            tuple(process for process in self.processes if process not in other.processes),
            tuple(device for device in self.devices if device not in other.devices),
            self.plan - other.plan,
        )

    @property
    def words(self) -> tuple[str, ...]:
        """Name each of them for people."""
        return (
            *map(str, self.processes),
            *map(str, self.devices),
            *(f"IPv{rule.family} rule {rule}" for rule in self.plan.rules),
            *(f"IPv{route.family} route {route}" for route in self.plan.routes),
        )


def orphans(there: Traces, entries: Iterable[Entry]) -> Traces:
    """Return what of all that is there none of the entries names, so that undoing them all would leave it."""
    have = tuple(entries)
    nonces = {nonce for entry in have if (nonce := _nonce(entry)) is not None}
    laid = reduce(or_, map(_plan, have), RoutePlan())
    return Traces(
        processes=tuple(process for process in there.processes if process.nonce not in nonces),
        devices=tuple(device for device in there.devices if device.nonce not in nonces),
        plan=there.plan - laid,
    )


def _nonce(entry: Entry) -> str | None:
    """Return the mark by which undoing the entry finds its processes and its device."""
    known = entry.receipt or entry.before
    if isinstance(known, HookProgress):
        return known.nonce
    return entry.before if isinstance(entry.before, str) else None


def _plan(entry: Entry) -> RoutePlan:
    """Return the rules and routes that undoing the entry takes away."""
    known = entry.receipt or entry.before
    return known.plan if isinstance(known, Laid) else RoutePlan()
