"""What each kind of step leaves in the journal beside its value: enough to undo it without having done it."""

from __future__ import annotations

from dataclasses import dataclass

from autovpn.core.routing import Place, RoutePlan


@dataclass(frozen=True, slots=True)
class HookProgress:
    """How far a bracket of hooks has come: `down` counts the down hooks that were started, whatever came of them.

    A running hook carries `nonce` in its environment, so that one which outlives its daemon is found.
    """

    nonce: str
    down: int = 0


@dataclass(frozen=True, slots=True)
class Laid:
    """All the rules and routes that may be there because of a step, and the place of its activation."""

    place: Place
    plan: RoutePlan


@dataclass(frozen=True, slots=True)
class Dressed:
    """The device that was given addresses: by its index, since another may have its name later."""

    index: int
