"""What `plan` says: every change that would be made now, in its order, in words."""

from __future__ import annotations

from typing import assert_never

from autovpn.core.diff import Amend, Change, Do, Plan, Undo
from autovpn.core.steps import (
    AddressValue,
    DnsValue,
    GuardValue,
    HookMoment,
    HookValue,
    PinValue,
    RoutesValue,
    Step,
    StepKind,
    TunnelValue,
)
from autovpn.core.tunnel import RouteMode
from autovpn.daemon.report import Report


def plan(plan: Plan) -> Report:
    """Return the changes of a plan in the order in which they would be carried out."""
    return {"changes": [_change(change) for change in plan.changes]}


def _change(change: Change) -> Report:
    match change:
        case Do(step):
            return {"change": "do", **_step(step), "what": describe(step), "was": None}
        case Undo(step):
            return {"change": "undo", **_step(step), "what": describe(step, undoing=True), "was": None}
        case Amend(old, new):
            return {"change": "amend", **_step(new), "what": describe(new), "was": describe(old)}
        case _:
            assert_never(change)


def _step(step: Step) -> Report:
    return {"kind": step.kind.value, "activation": step.activation, "object": step.object, "rank": step.rank}


def describe(step: Step, *, undoing: bool = False) -> str:
    """Return what a step puts on the machine, as a noun: `do` makes it, `undo` takes it away."""
    match step.value:
        case HookValue():
            return _hooks(step, undoing=undoing)
        case GuardValue(uplink=uplink):
            return f"a guard that lets nothing leave in clear through {uplink}"
        case PinValue(endpoints=endpoints):
            ends = ", ".join(f"{end.address} {end.protocol}{f' {end.port}' if end.port else ''}" for end in endpoints)
            return f"the way around the tunnel for its own packets to {ends or 'no address yet'}"
        case TunnelValue(attempt=attempt, uplink=uplink):
            return f"the tunnel {step.object} over {uplink.name}, attempt {attempt}"
        case AddressValue(device=device, addresses=addresses, mtu=mtu):
            given = ", ".join(map(str, addresses)) or "no address"
            return f"{given} on {device}, MTU {mtu}"
        case RoutesValue() as routes:
            return _routes(routes)
        case DnsValue() as dns:
            return _dns(dns)
        case _:
            assert_never(step.value)


def _hooks(step: Step, *, undoing: bool) -> str:
    """Name the hooks that would run: the counterpart's when the bracket is closed."""
    event = step.kind.value
    if undoing:
        event = "postdown" if step.kind is StepKind.PREUP else "predown"
    if not isinstance(step.context, HookMoment):
        return f"the {event} hooks"
    programs = [hook.run[0] for hook in (step.context.down if undoing else step.context.up)]
    return f"the {event} hooks: {', '.join(programs) or 'none in the profile'}"


def _routes(routes: RoutesValue) -> str:
    if routes.mode is RouteMode.FULL:
        families = [name for name, has in (("IPv4", routes.has_ipv4), ("IPv6", routes.has_ipv6)) if has]
        return f"all traffic through {routes.device} ({' and '.join(families) or 'no family'}; the rest is blocked)"
    through = [str(target) for target in (*routes.prefixes, *routes.dns)]
    return f"{', '.join(dict.fromkeys(through)) or 'nothing'} through {routes.device}"


def _dns(dns: DnsValue) -> str:
    wish = dns.wish
    if wish.whole_file is not None:
        return "a resolv.conf of the profile's own, whole"
    names = f"names under {', '.join(wish.domains)}" if wish.domains else "all names"
    return f"{', '.join(wish.servers)} for {names}"
