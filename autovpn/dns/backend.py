"""What every way of telling this machine its resolvers can do: apply, revert, verify, changes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from autovpn.core.dnschoice import MachineDns
from autovpn.core.resolvconf import ResolvConf


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of an apply.

    `in_force`: what was asked for holds now. `degraded` says in one sentence why it does not, or what is amiss
    although it does; it is empty when all is well. `notes` are further sentences for the log and for `status`.
    """

    backend: str
    in_force: bool
    degraded: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a revert: `clean` when nothing of ours is left in force; `why` says what else was found."""

    clean: bool
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drift:
    """How the machine differs from what was applied."""

    why: str


@dataclass(frozen=True, slots=True)
class DnsChanged:
    """Somebody changed what we had put in force: look again. `why` says what was seen."""

    why: str


class DnsBackend(Protocol):
    """One way of telling this machine which resolvers to use; who is one derives from this.

    All are idempotent, and `revert` needs nothing but what is left on the machine: it works after a crash, and after
    one of itself, and is quick where nothing is. A machine that does not allow it raises `Refused`; a change that fails
    half-way is undone and raises `StepFailed`.
    """

    name: str

    async def apply(self, dns: MachineDns) -> Receipt:
        """Put `dns` in force, or change what is in force to it; nothing wished is a revert."""
        ...

    async def revert(self) -> Outcome:
        """Undo whatever is left of us."""
        ...

    async def verify(self, dns: MachineDns) -> Drift | None:
        """Return how the machine differs from `dns`, or None: it is in force."""
        ...

    def changes(self) -> AsyncGenerator[DnsChanged, None]:
        """Yield when somebody else changed what is in force, once it has settled; never for our own changes.

        Close it when done (`contextlib.aclosing`), since it holds a descriptor.
        """
        ...

    async def original(self) -> ResolvConf | None:
        """Return the machine's own DNS where what is in force hides it; None where resolv.conf tells."""
        return None

    async def behind(self) -> tuple[str, ...] | None:
        """Return whom a resolver on this machine asks without us, where files would name our servers; else None."""
        return None

    def look_again(self) -> None:
        """Have `changes` look soon: the network changed, and what is in force may have gone with it."""
        return
