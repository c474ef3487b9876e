"""Guard, pin and routes: the policy rules and routes of core/routing.py, put there and taken away.

An activation has one table, chosen by whichever of its steps comes first; all activations share their priorities. Two
steps can want the same rule (two tunnels to one gateway), so what another step still wants is never removed.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

from autovpn.core.receipts import Laid
from autovpn.core.records import Entry, EntryState
from autovpn.core.routing import (
    Place,
    RoutePlan,
    TunnelRoutes,
    choose_priority,
    choose_table,
    guard,
    pin_rules,
    tunnel_routing,
)
from autovpn.core.steps import GuardValue, PinValue, RoutesValue, Step
from autovpn.daemon.ports import Links, Routes
from autovpn.errors import StepFailed
from autovpn.system.runner import Outcome, UndoContext, Work


class RoutingExecutor:
    """Carries out the steps that are policy rules and routes."""

    def __init__(self, routes: Routes, links: Links) -> None:
        """Take the ports."""
        self._routes = routes
        self._links = links

    async def prepare(self, step: Step, others: tuple[Entry, ...]) -> Laid:
        """Choose the activation's place, and tell every rule and route that will be there."""
        place = await self._place(step, others)
        return Laid(place, await self._plan(step, place))

    async def do(self, work: Work) -> Outcome:
        """Put them there."""
        await self._routes.apply(_laid(work.entry).plan)
        return Outcome()

    async def amend(self, work: Work, new: Step) -> Outcome:
        """Turn the old ones into the new ones; while that goes on, either may be there."""
        old = _laid(work.entry)
        wanted = await self._plan(new, old.place)
        await work.note(Laid(old.place, old.plan | wanted))
        await self._routes.amend(old.plan - _wanted_by(work.others), wanted)
        return Outcome(Laid(old.place, wanted))

    async def undo(self, work: Work, why: UndoContext) -> tuple[str, ...]:  # noqa: ARG002 (the protocol's)
        """Take away what is there as we put it there; say what somebody else has changed or taken away."""
        ours = _laid(work.entry).plan - _wanted_by(work.others)
        missing = await self._routes.missing(ours)
        await self._routes.remove(ours)
        if work.entry.state is not EntryState.DONE:
            return ()
        kept = tuple(route for route in missing.routes if route.device is None)  # the others went with their device
        return tuple(f"{one}: somebody else has changed or removed it" for one in (*missing.rules, *kept))

    async def _place(self, step: Step, others: tuple[Entry, ...]) -> Place:
        laid = {entry.key: _laid(entry).place for entry in others if isinstance(entry.before, Laid)}
        for (_, activation, _), place in laid.items():
            if activation == step.activation:
                return place
        occupied = await self._routes.occupied()
        table = choose_table(occupied.tables | {place.table for place in laid.values()})
        shared = next((place.priority for place in laid.values()), None)
        priority = choose_priority(occupied.priorities) if shared is None else shared
        if table is None or priority is None:
            what = "routing table" if table is None else "rule priorities"
            raise StepFailed(str(step), f"no {what} of our range is free; see 'ip rule' and 'ip route show table all'")
        return Place(table, priority)

    async def _plan(self, step: Step, place: Place) -> RoutePlan:
        match step.value:
            case GuardValue(uplink, local):
                return guard(uplink, place, local)
            case PinValue(endpoints):
                try:
                    return pin_rules(endpoints, place)
                except ValueError as error:
                    raise StepFailed(str(step), str(error)) from error
            case RoutesValue() as value:
                return tunnel_routing(await self._tunnel(step, value), place)
            case _:
                raise StepFailed(str(step), "is no matter of rules and routes")

    async def _tunnel(self, step: Step, value: RoutesValue) -> TunnelRoutes:
        index = await self._links.index_of(value.device)
        if index is None:
            raise StepFailed(str(step), f"the device {value.device} is not there any more")
        return TunnelRoutes(
            device=index,
            mode=value.mode,
            prefixes=value.prefixes,
            dns=value.dns,
            on_link=value.on_link,
            has_ipv4=value.has_ipv4,
            has_ipv6=value.has_ipv6,
            local=value.local,
        )


def _laid(entry: Entry) -> Laid:
    known = entry.receipt or entry.before
    if not isinstance(known, Laid):
        raise StepFailed(str(entry.step), "the journal does not say which rules and routes it has")
    return known


def _wanted_by(entries: tuple[Entry, ...]) -> RoutePlan:
    """Return what other steps have put there, too."""
    return reduce(or_, (_laid(entry).plan for entry in entries if isinstance(entry.before, Laid)), RoutePlan())
