"""Policy rules and routes: making those of a `RoutePlan` true or gone, whatever of them is there already.

All of ours carry `AUTOVPN_PROTO`, so that what we put there can be told from what others did, also after a crash.
"""

from __future__ import annotations

import errno
import socket
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, Any, Final, TypeVar

from autovpn.core.routing import AUTOVPN_PROTO, RouteKind, RoutePlan, RouteSpec, RuleSpec
from autovpn.system.netlink import ask, requests

if TYPE_CHECKING:
    from collections.abc import Iterable

    from autovpn.system.rtnl_rows import RouteRow, RuleRow, Tables

_FAMILIES: Final[dict[int, int]] = {4: AF_INET, 6: AF_INET6}
_VERSIONS: Final[dict[int, int]] = {family: version for version, family in _FAMILIES.items()}
_THERE: Final = frozenset({errno.EEXIST})
_GONE: Final = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV})
_LACKING: Final = frozenset({errno.EAFNOSUPPORT, errno.EOPNOTSUPP})  # ipv6.disable=1
_FR_ACT_UNREACHABLE: Final = 7  # fib_rules.h

Spec = TypeVar("Spec", RuleSpec, RouteSpec)


async def apply(plan: RoutePlan) -> None:
    """Put every rule and route of the plan there; what is there already stays.

    The routes come first and the rules in the order of their priority, so that no packet meets a rule whose table is
    empty, or the catch-all before its exceptions.

    Raises:
        SystemFault: the kernel refused one of them; those before it are in place.
    """
    async with requests() as kernel:
        for route in _possible(plan.routes):
            await ask(f"route {route}", kernel.route("replace", **_route_fields(route)))
        for rule in _possible(plan.rules):
            await ask(f"rule {rule}", kernel.rule("add", **_rule_fields(rule)), fine=_THERE)


async def remove(plan: RoutePlan) -> None:
    """Take every rule and route of the plan away, the catch-all first; what is gone already is fine.

    Raises:
        SystemFault: the kernel refused for another reason.
    """
    async with requests() as kernel:
        for rule in reversed(_possible(plan.rules)):
            await ask(f"no rule {rule}", kernel.rule("del", **_rule_fields(rule)), fine=_GONE)
        for route in reversed(_possible(plan.routes)):
            await ask(f"no route {route}", kernel.route("del", **_route_fields(route)), fine=_GONE)


async def drop_rules(priority: int, table: int) -> None:
    """Take away another program's rules of this priority for this table, of both families; none is fine.

    Raises:
        SystemFault: the kernel refused for another reason.
    """
    async with requests() as kernel:
        for version, family in _FAMILIES.items():
            request = kernel.rule("del", family=family, priority=priority, table=table)
            await ask(f"no IPv{version} rule {priority} for table {table}", request, fine=_GONE | _LACKING)


async def amend(before: RoutePlan, after: RoutePlan) -> None:
    """Turn one plan into another without a moment in which a packet meets neither.

    Raises:
        SystemFault: as `apply` and `remove`.
    """
    await apply(after)
    await remove(before - after)


def present(tables: Tables) -> RoutePlan:
    """Return all that carries our protocol number: to be compared with what we put there."""
    rules = [_rule_spec(row) for row in tables.rules if row.protocol == AUTOVPN_PROTO]
    routes = [_route_spec(row) for row in tables.routes if row.protocol == AUTOVPN_PROTO]
    return RoutePlan() | RoutePlan(tuple(rules), tuple(routes))


def tables_in_use(tables: Tables) -> frozenset[int]:
    """Return the routing tables that a route or a rule names, ours included: each activation takes a free one."""
    return frozenset(row.table for row in tables.routes) | frozenset(row.table for row in tables.rules)


def foreign_priorities(tables: Tables) -> frozenset[int]:
    """Return the priorities of other programs' rules."""
    return frozenset(row.priority for row in tables.rules if row.protocol != AUTOVPN_PROTO)


def _possible(specs: Iterable[Spec]) -> list[Spec]:
    """Leave out IPv6 where the kernel has none (ipv6.disable=1): there is nothing to route or block then."""
    ipv6 = _kernel_has_ipv6()
    return [spec for spec in specs if ipv6 or _FAMILIES[spec.family] != AF_INET6]


def _kernel_has_ipv6() -> bool:
    """Ask by a socket, since a refusal to add a rule could mean too that IPv6 can't be blocked, which must be said."""
    try:
        socket.socket(AF_INET6, socket.SOCK_DGRAM).close()
    except OSError as error:
        return error.errno != errno.EAFNOSUPPORT
    return True


def _rule_fields(rule: RuleSpec) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "family": _FAMILIES[rule.family],
        "priority": rule.priority,
        "protocol": AUTOVPN_PROTO,
    }
    fields |= {"action": _FR_ACT_UNREACHABLE} if rule.table is None else {"table": rule.table}
    if rule.dst is not None:
        fields |= {"dst": str(rule.dst.network_address), "dst_len": rule.dst.prefixlen}
    if rule.oif is not None:
        fields["oifname"] = rule.oif
    if rule.ipproto is not None:
        fields["ip_proto"] = rule.ipproto
    if rule.sport is not None:
        fields["sport_range"] = "{}:{}".format(*rule.sport)
    if rule.dport is not None:
        fields["dport_range"] = f"{rule.dport}:{rule.dport}"
    if rule.suppress is not None:
        fields["suppress_prefixlen"] = rule.suppress
    return fields


def _route_fields(route: RouteSpec) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "family": _FAMILIES[route.family],
        "table": route.table,
        "dst": "default",
        "type": int(route.kind),
        "priority": route.metric,
        "proto": AUTOVPN_PROTO,
    }
    if route.dst is not None:
        fields |= {"dst": str(route.dst.network_address), "dst_len": route.dst.prefixlen}
    if route.device is not None:
        fields["oif"] = route.device
    return fields


def _rule_spec(row: RuleRow) -> RuleSpec:
    return RuleSpec(
        family=_VERSIONS[row.family],
        priority=row.priority,
        table=None if row.action == _FR_ACT_UNREACHABLE else row.table,
        dst=row.dst,
        oif=row.oif,
        ipproto=row.ipproto,
        sport=row.sport,
        dport=row.dport[0] if row.dport else None,
        suppress=row.suppress_prefixlength,
    )


def _route_spec(row: RouteRow) -> RouteSpec:
    """Read a route back; IPv6 shows its unreachable routes with the loopback device, which nobody asked for."""
    unreachable = row.type == RouteKind.UNREACHABLE
    return RouteSpec(
        family=_VERSIONS[row.family],
        table=row.table,
        dst=row.dst,
        device=None if unreachable else row.oif,
        kind=RouteKind.UNREACHABLE if unreachable else RouteKind.UNICAST,
        metric=row.metric,
    )
