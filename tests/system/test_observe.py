"""From the kernel's tables to links: what belongs to the machine is seen, what we did ourselves is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.decide import Decision, decide
from autovpn.core.memory import Memory
from autovpn.core.network import Gateway, Security, UplinkDns, Wireless
from autovpn.core.profile import DnsSettings, Key
from autovpn.core.routing import AUTOVPN_PROTO, Place, RoutePlan, TunnelRoutes, guard, pin_rules, tunnel_routing
from autovpn.core.snapshot import Link, LinkType, Phase, Snapshot
from autovpn.core.steps import AddressValue, GuardValue, PinValue, RoutesValue, Step, StepKind
from autovpn.core.tunnel import Facts, PinnedEndpoint, RouteMode, RouteWish, TunnelPhase, TunnelState
from autovpn.core.wanted import instance_of, steps_for
from autovpn.system.observe import ALIAS_PREFIX, Associations, observe_links
from autovpn.system.rtnl_abi import OperState
from autovpn.system.rtnl_rows import AddressRow, LinkRow, NeighbourRow, NextHop, RouteRow, RuleRow, Tables
from tests.core.builders import connect, on, policy, ssh, trusted

ETHER, RAWIP, PPP, LOOPBACK = 1, 519, 512, 772
MAIN, UNICAST, UNREACHABLE = 254, 1, 7
FR_ACT_TO_TABLE, FR_ACT_UNREACHABLE = 1, 7
REACHABLE, STALE, INCOMPLETE, FAILED, PERMANENT = 0x02, 0x04, 0x01, 0x20, 0x80
GATEWAY, GATEWAY6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
MAC = "02:00:00:00:00:aa"


def row(index: int = 2, name: str = "", **changes: object) -> LinkRow:
    """Return a cable that is up."""
    cable = LinkRow(
        index=index,
        generation=1,
        name=name or f"eth{index}",
        kind=None,
        master=None,
        flags_up=True,
        operstate=OperState.UP,
        carrier=True,
        alias=None,
        mac=f"02:00:00:00:01:{index:02x}",
        permanent_mac=None,
        mtu=1500,
        arphrd=ETHER,
    )
    return replace(cable, **changes)  # type: ignore[arg-type]


def address(index: int = 2, text: str = "192.0.2.10/24", **changes: object) -> AddressRow:
    return replace(AddressRow(index, ip_interface(text), 0), **changes)  # type: ignore[arg-type]


def default(index: int | None = 2, gateway: object = GATEWAY, **changes: object) -> RouteRow:
    """Return a default route of the main table."""
    route = RouteRow(4, MAIN, None, gateway, index, 100, 16, 0, UNICAST)  # type: ignore[arg-type]
    return replace(route, **changes)  # type: ignore[arg-type]


def tables(
    *rows: LinkRow,
    addresses: tuple[AddressRow, ...] = (),
    routes: tuple[RouteRow, ...] = (),
    neighbours: tuple[NeighbourRow, ...] = (),
    rules: tuple[RuleRow, ...] = (),
) -> Tables:
    return Tables({one.index: one for one in rows}, addresses, routes, rules, neighbours)


CAMPUS = Wireless(b"Campus", "02:00:00:00:01:00", 2412, security=Security.PSK, authorized=True)
WIRED = tables(row(), addresses=(address(),), routes=(default(),), neighbours=(NeighbourRow(2, GATEWAY, MAC, STALE),))


def only(observed: tuple[Link, ...]) -> Link:
    (link,) = observed
    return link


def see(these: Tables, stations: Mapping[int, Wireless | None] | None = None, **wishes: object) -> tuple[Link, ...]:
    return observe_links(these, Associations(stations or {}), **wishes)  # type: ignore[arg-type]


def test_a_cable_is_seen_whole() -> None:
    link = only(see(WIRED))

    assert (link.name, link.type, link.phase, link.is_uplink) == ("eth2", LinkType.ETHERNET, Phase.USABLE, True)
    assert link.addresses == (ip_interface("192.0.2.10/24"),)
    assert link.gateways == (Gateway(GATEWAY, MAC),)
    assert (link.metric, link.mtu) == (100, 1500)


@pytest.mark.parametrize(
    ("changes", "phase"),
    [
        ({"flags_up": False}, Phase.DOWN),
        ({"carrier": False, "operstate": OperState.DOWN}, Phase.DOWN),
        ({"operstate": OperState.DORMANT}, Phase.DORMANT),
        ({"operstate": OperState.LOWER_LAYER_DOWN}, Phase.CARRIER),
        ({"operstate": OperState.UNKNOWN}, Phase.USABLE),
    ],
)
def test_the_phase_follows_the_operstate(changes: dict[str, Any], phase: Phase) -> None:
    assert only(see(tables(row(**changes), addresses=(address(),)))).phase is phase


@pytest.mark.parametrize("changes", [{"scope": 253}, {"tentative": True}, {"dadfailed": True}])
def test_an_address_that_cannot_be_used_is_none(changes: dict[str, Any]) -> None:
    assert only(see(tables(row(), addresses=(address(**changes),)))).phase is Phase.ADDRESSING


@given(st.permutations(["192.0.2.10/24", "192.0.2.9/24", "10.0.0.1/8", "2001:db8::9/64", "2001:db8::2/64"]))
def test_an_order_is_no_change(texts: list[str]) -> None:
    shuffled = tables(row(), addresses=tuple(address(text=text) for text in texts))
    in_order = tables(row(), addresses=tuple(address(text=text) for text in sorted(texts)))

    assert see(shuffled) == see(in_order)


@pytest.mark.parametrize(
    ("state", "mac"), [(REACHABLE, MAC), (STALE, MAC), (PERMANENT, MAC), (INCOMPLETE, None), (FAILED, None)]
)
def test_a_gateway_has_a_mac_while_its_neighbour_entry_has_one(state: int, mac: str | None) -> None:
    these = replace(WIRED, neighbours=(NeighbourRow(2, GATEWAY, MAC, state),))

    assert only(see(these)).gateways == (Gateway(GATEWAY, mac),)


def test_a_neighbour_of_another_link_or_without_a_mac_tells_nothing() -> None:
    these = replace(WIRED, neighbours=(NeighbourRow(3, GATEWAY, MAC, STALE), NeighbourRow(2, GATEWAY, None, STALE)))

    assert only(see(these)).gateways == (Gateway(GATEWAY, None),)


def test_the_best_default_route_gives_the_metric_and_all_give_gateways_each_once() -> None:
    routes = (default(metric=600), default(metric=100), default(family=6, gateway=GATEWAY6, metric=1024))
    link = only(see(replace(WIRED, routes=routes, neighbours=())))

    assert link.metric == 100
    assert link.gateways == (Gateway(GATEWAY), Gateway(GATEWAY6))


@pytest.mark.parametrize(
    "changes",
    [
        {"table": 100},
        {"type": UNREACHABLE},
        {"dst": ip_network("10.0.0.0/8")},
        {"protocol": AUTOVPN_PROTO},
        {"oif": None},
    ],
)
def test_only_the_main_tables_way_out_is_a_default_route(changes: dict[str, Any]) -> None:
    link = only(see(replace(WIRED, routes=(default(**changes),))))

    assert (link.metric, link.gateways) == (None, ())


def test_a_route_without_a_gateway_is_a_way_out_all_the_same() -> None:
    link = only(see(replace(WIRED, routes=(default(gateway=None),))))

    assert (link.metric, link.gateways) == (100, ())


def test_a_multipath_route_counts_for_each_of_its_links() -> None:
    other = ip_address("192.0.2.2")
    hops = (NextHop(GATEWAY, 2, 1), NextHop(other, 2, 1), NextHop(None, 3, 1))
    first, second = see(tables(row(2), row(3), routes=(default(None, None, nexthops=hops),)))

    assert [gateway.address for gateway in first.gateways] == [GATEWAY, other]
    assert (second.metric, second.gateways) == (100, ())


@pytest.mark.parametrize(
    ("changes", "stations", "expected"),
    [
        ({}, {}, LinkType.ETHERNET),
        ({}, {2: None}, LinkType.WIFI),
        ({"kind": "wwan"}, {}, LinkType.WWAN),
        ({"arphrd": RAWIP}, {}, LinkType.WWAN),
        ({"kind": "ppp", "arphrd": PPP}, {}, LinkType.OTHER),
    ],
)
def test_the_type_is_what_a_user_calls_it(
    changes: dict[str, Any], stations: dict[int, Wireless | None], expected: LinkType
) -> None:
    assert only(see(tables(row(**changes)), stations)).type is expected


def test_a_station_is_wifi_before_its_association_is_known() -> None:
    link = only(observe_links(tables(row()), Associations(pending=frozenset({2}))))

    assert (link.type, link.wireless, link.wireless_pending) == (LinkType.WIFI, None, True)


@pytest.mark.parametrize("pending", [frozenset[int](), frozenset({2})])
def test_a_radio_on_no_network_is_not_usable_whatever_the_kernel_still_says_of_its_carrier(
    pending: frozenset[int],
) -> None:
    assert only(observe_links(WIRED, Associations({2: None}, pending))).phase is Phase.DOWN
    assert only(observe_links(WIRED, Associations({2: CAMPUS}, pending))).phase is Phase.USABLE


def test_a_roam_that_the_kernel_tells_late_leaves_the_activation_alone() -> None:
    rules = policy(connect("campus", on(Key.SSID, CAMPUS.ssid)), connect("anywhere", is_default=True))
    roamed = replace(CAMPUS, bssid="02:00:00:00:02:00")
    memory, began = Memory(), []
    for now, association in ((0.0, CAMPUS), (100.0, None), (100.1, roamed)):
        decision = decide(Snapshot(observe_links(WIRED, Associations({2: association}))), rules, memory, now)
        memory = decision.memory
        began.append([(ride.profile, ride.epoch) for ride in memory.rides])
        assert not decision.endings

    assert began == [[("campus", 1)]] * 3


@pytest.mark.parametrize(
    ("changes", "routes", "expected"),
    [
        ({"kind": "veth"}, (), False),
        ({"kind": "veth"}, (default(),), True),
        ({"kind": "tun"}, (default(),), False),
        ({"kind": "dummy"}, (default(),), False),
        ({"master": 9}, (default(),), False),
        ({"arphrd": LOOPBACK, "name": "lo"}, (), False),
    ],
)
def test_an_uplink_is_told_by_its_kind(
    changes: dict[str, Any], routes: tuple[RouteRow, ...], *, expected: bool
) -> None:
    assert only(see(tables(row(**changes), routes=routes))).is_uplink is expected


def test_the_user_is_taken_at_their_word() -> None:
    tun = tables(row(kind="tun"))

    assert only(see(tun, include=frozenset({"eth2"}))).is_uplink
    assert not only(see(WIRED, exclude=frozenset({"eth2"}))).is_uplink


def test_the_machines_dns_belongs_to_an_uplink_while_there_is_a_single_one() -> None:
    dns = UplinkDns(("192.0.2.53",))
    beside = {**WIRED.links, 3: row(3, kind="dummy")}

    assert [link.dns for link in see(replace(WIRED, links=beside), dns=dns)] == [dns, None]
    assert [link.dns for link in see(tables(row(2), row(3)), dns=dns)] == [None, None]


# -- our own effects are left out

PREFIXES = [ip_network("0.0.0.0/1"), ip_network("10.0.0.0/8"), ip_network("192.0.2.0/24"), None]
RULES = policy(
    connect("campus", on(Key.SSID, b"Campus"), full=True),
    connect("desk", on(Key.GATEWAY_MAC, MAC)),
    trusted("home", on(Key.DNS_SUFFIX, "home.example")),
    connect("cafe", full=True, is_default=True),
)
ASSOCIATION = Wireless(b"Campus", "02:00:00:00:00:01", security=Security.PSK, authorized=True)


@st.composite
def machines(draw: st.DrawFn) -> tuple[Tables, Associations]:
    """Return a machine without us: cables, stations, veths and toys, in any condition."""
    links, addresses, routes, neighbours = [], [], [], []
    stations: dict[int, Wireless | None] = {}
    for index in range(2, draw(st.integers(2, 5)) + 1):
        kind = draw(st.sampled_from([None, None, "veth", "dummy", "bridge"]))
        up = draw(st.booleans())
        links.append(row(index, kind=kind, flags_up=up, alias=draw(st.none() | st.just("the user's own"))))
        if kind is None and draw(st.booleans()):
            stations[index] = draw(st.none() | st.just(ASSOCIATION))
        if draw(st.booleans()):
            addresses.append(address(index, f"192.0.2.{index}/24"))
        if draw(st.booleans()):
            routes.append(default(index, metric=draw(st.sampled_from([100, 600]))))
            neighbours.append(NeighbourRow(index, GATEWAY, MAC, draw(st.sampled_from([STALE, INCOMPLETE]))))
    made = tables(*links, addresses=tuple(addresses), routes=tuple(routes), neighbours=tuple(neighbours))
    return made, Associations(stations, draw(st.frozensets(st.sampled_from(sorted(made.links)), max_size=1)))


@st.composite
def ours(draw: st.DrawFn) -> Tables:
    """Return what a plan of ours puts on a machine: devices with our alias, routes and rules of our protocol."""
    links, addresses, routes, rules = [], [], [], []
    for index in range(90, 90 + draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["tun", "wireguard", None, "veth"]))
        links.append(row(index, f"av-{index}", kind=kind, alias=f"autovpn:{draw(st.text(max_size=4))}"))
        addresses.append(address(index, f"10.98.0.{index}/30"))
        addresses.append(address(index, "2001:db8:98::2/64"))
    for number in range(draw(st.integers(0, 4))):
        routes.append(
            RouteRow(
                family=4,
                table=draw(st.sampled_from([MAIN, 0x7650 + number])),
                dst=draw(st.sampled_from(PREFIXES)),
                gateway=draw(st.none() | st.just(GATEWAY)),
                oif=draw(st.sampled_from([2, 3, *(link.index for link in links)])),
                metric=draw(st.sampled_from([0, 1])),
                protocol=AUTOVPN_PROTO,
                scope=0,
                type=draw(st.sampled_from([UNICAST, UNREACHABLE])),
            )
        )
        rules.append(RuleRow(4, 7000 + number, 0x7650, 1, dst=ip_network("203.0.113.1/32"), protocol=AUTOVPN_PROTO))
    return tables(*links, addresses=tuple(addresses), routes=tuple(routes), rules=tuple(rules))


def beside(one: Tables, other: Tables) -> Tables:
    return Tables(
        {**one.links, **other.links},
        (*one.addresses, *other.addresses),
        (*one.routes, *other.routes),
        (*one.rules, *other.rules),
        (*one.neighbours, *other.neighbours),
    )


@given(machines(), ours(), st.none() | st.just(UplinkDns(("192.0.2.53",), ("home.example",))))
def test_what_we_do_never_changes_what_we_decide(
    machine: tuple[Tables, Associations], effects: Tables, dns: UplinkDns | None
) -> None:
    """decide(observe(apply(plan(s)))) == decide(s): our devices, routes and rules are not seen at all."""
    without, stations = machine
    before = Snapshot(observe_links(without, stations, dns=dns))
    after = Snapshot(observe_links(beside(without, effects), stations, dns=dns))
    decision = decide(before, RULES, Memory(), 0.0)

    assert after == before
    assert decide(after, RULES, Memory(), 0.0) == decision
    again = decide(after, RULES, decision.memory, 0.0)
    assert (again.activations, again.judgements, again.endings) == (decision.activations, decision.judgements, ())
    assert steps_for(again, after, RULES) == steps_for(decision, before, RULES)


@given(machines(), ours())
def test_nothing_rides_on_a_device_of_ours(machine: tuple[Tables, Associations], effects: Tables) -> None:
    without, stations = machine
    snapshot = Snapshot(observe_links(beside(without, effects), stations))
    decision = decide(snapshot, RULES, Memory(), 0.0)

    assert not {activation.uplink.index for activation in decision.activations} & effects.links.keys()


# -- the same with the effects of a real plan

WISH = (
    RouteWish(RouteMode.SPLIT, (ip_network("10.0.0.0/8"), ip_network("192.0.2.0/24"))),
    RouteWish(RouteMode.SPLIT, (ip_network("0.0.0.0/1"), ip_network("128.0.0.0/1"), ip_network("2000::/3"))),
    RouteWish(RouteMode.FULL),
    RouteWish(RouteMode.NONE),
)
DEVICE_NAME = "av-office"
FACTS = Facts(
    DEVICE_NAME,
    (ip_interface("10.98.0.2/30"), ip_interface("2001:db8:98::2/64")),
    ip_address("10.98.0.1"),
    dns=("10.98.0.53",),
)
ENDPOINTS = (PinnedEndpoint(ip_address("203.0.113.1"), 22, "tcp"), PinnedEndpoint(ip_address("2001:db8::1"), 51, "udp"))
PLACE, DEVICE = Place(), 90


def laid(steps: tuple[Step, ...]) -> RoutePlan:
    """Return the rules and routes of these steps, as the executor makes them."""
    plan = RoutePlan()
    for step in steps:
        match step.value:
            case GuardValue(uplink, local):
                plan |= guard(uplink, PLACE, local)
            case PinValue(endpoints):
                plan |= pin_rules(endpoints, PLACE)
            case RoutesValue() as value:
                plan |= tunnel_routing(
                    TunnelRoutes(
                        DEVICE, value.mode, value.prefixes, value.dns, value.on_link, value.has_ipv4, value.has_ipv6
                    ),
                    PLACE,
                )
            case _:
                pass
    return plan


def effects_of(steps: tuple[Step, ...]) -> Tables:
    """Return what the kernel's tables hold once these steps are done."""
    plan = laid(steps)
    wanted = [step.value for step in steps if isinstance(step.value, AddressValue)]
    links = [row(DEVICE, one.device, kind="tun", alias=f"{ALIAS_PREFIX}nonce", mtu=one.mtu) for one in wanted]
    addresses = tuple(AddressRow(DEVICE, address, 0) for one in wanted for address in one.addresses)
    routes = tuple(
        RouteRow(one.family, one.table, one.dst, None, one.device, one.metric, AUTOVPN_PROTO, 0, one.kind)
        for one in plan.routes
    )
    rules = tuple(
        RuleRow(
            one.family,
            one.priority,
            one.table or 0,
            FR_ACT_TO_TABLE if one.table else FR_ACT_UNREACHABLE,
            dst=one.dst,
            oif=one.oif,
            ipproto=one.ipproto,
            sport=one.sport,
            dport=(one.dport, one.dport) if one.dport else None,
            protocol=AUTOVPN_PROTO,
        )
        for one in plan.rules
    )
    return tables(*links, addresses=addresses, routes=routes, rules=rules)


@pytest.mark.parametrize("wish", WISH, ids=["split", "everything-by-halves", "full", "none"])
@pytest.mark.parametrize("stations", [{}, {2: CAMPUS}], ids=["wired", "wifi"])
@pytest.mark.parametrize("profile_dns", [None, ("10.98.0.54",)], ids=["pushed-dns", "own-dns"])
def test_the_steps_of_a_tunnel_never_change_what_is_decided(
    wish: RouteWish, stations: dict[int, Wireless | None], profile_dns: tuple[str, ...] | None
) -> None:
    """decide(observe(apply(plan(s)))) == decide(s), with the steps of the decision itself and nothing made up."""
    conditions = on(Key.GATEWAY_MAC, MAC), on(Key.INTERFACE_TYPE, LinkType.WIFI if stations else LinkType.ETHERNET)
    tunnel = replace(ssh("office"), device=DEVICE_NAME, routes=wish)
    office = connect("office", *conditions, tunnels=(tunnel,), dns=DnsSettings(servers=profile_dns))
    rules = policy(office, trusted("elsewhere", is_default=True))
    associations, now = Associations(stations), 1000.0

    def decided(these: Tables, memory: Memory) -> tuple[Snapshot, Decision]:
        snapshot = Snapshot(observe_links(these, associations, dns=UplinkDns(("192.0.2.53",))))
        return snapshot, decide(snapshot, rules, memory, now)

    before, decision = decided(WIRED, Memory())
    (activation,) = decision.activations
    up = TunnelState(TunnelPhase.UP, instance_of(activation, tunnel), 1, endpoints=ENDPOINTS, facts=FACTS)
    running = {("office", "office"): up}
    steps = steps_for(decision, replace(before, tunnels=running), rules)
    effects = effects_of(steps)
    assert {step.kind for step in steps} >= {StepKind.PIN, StepKind.TUNNEL, StepKind.ADDRESS, StepKind.DNS}
    assert bool(effects.routes) == (wish.mode is not RouteMode.NONE)

    after, again = decided(beside(WIRED, effects), decision.memory)

    assert after == before
    assert decided(beside(WIRED, effects), Memory())[1] == decision, "also for a successor that remembers nothing"
    assert (again.activations, again.judgements, again.endings) == (decision.activations, decision.judgements, ())
    assert steps_for(again, replace(after, tunnels=running), rules, steps) == steps
