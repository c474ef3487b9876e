"""From the decision to the wanted steps: what each phase of a tunnel allows, and that plans lead there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.decide import Decision, decide
from autovpn.core.diff import Amend, Do, Plan, Undo, diff
from autovpn.core.memory import Memory
from autovpn.core.profile import DnsSettings, Event, Hook, Key, Policy
from autovpn.core.snapshot import Snapshot
from autovpn.core.steps import (
    AddressValue,
    DnsValue,
    HookMoment,
    HookValue,
    RoutesValue,
    Step,
    StepKey,
    StepKind,
    TunnelValue,
)
from autovpn.core.supervise import BecameReady, Broke, Due, Ended, Resolved, TunnelEvent, Unwanted, Wanted, supervise
from autovpn.core.tunnel import (
    Facts,
    Failure,
    FailureClass,
    Health,
    HealthCheck,
    PinnedEndpoint,
    RouteMode,
    RouteWish,
    TunnelPhase,
    TunnelState,
)
from autovpn.core.wanted import (
    current_tunnel,
    describe_network,
    hook_context,
    instance_of,
    steps_for,
    tunnel_events,
)
from tests.core.builders import cable, connect, gone, on, policy, seen, ssh, trusted, wifi

PINS = (PinnedEndpoint(ip_address("203.0.113.1"), 22, "tcp"),)
FACTS = Facts("av-tun", (ip_interface("10.98.0.2/30"),), ip_address("10.98.0.1"), (ip_network("10.8.0.0/16"),))
HOOKS = (Hook(Event.PREUP, ("/a",)), Hook(Event.POSTDOWN, ("/b",)), Hook(Event.PREDOWN, ("/c",)))
CAMPUS = connect("campus", on(Key.SSID, b"Campus"), full=True, dns=DnsSettings(servers=("10.8.0.1",)), hooks=HOOKS)
RULES = policy(CAMPUS)
KEY = ("campus", "campus-tunnel")

_WITH_PIN = ["preup", "guard", "pin"]
_ALL = [kind.value for kind in StepKind]


def decided(rules: Policy = RULES, snapshot: Snapshot | None = None, memory: Memory | None = None) -> Decision:
    return decide(snapshot or seen(wifi()), rules, memory or Memory(), 0.0)


def in_phase(phase: TunnelPhase, facts: Facts | None = None, rules: Policy = RULES) -> Snapshot:
    """Return a snapshot in which the tunnel of the first profile is in a phase."""
    decision, profile = decided(rules), rules.profiles[0]
    spec, activation = profile.tunnels[0], decision.activation(profile.name)
    assert activation
    state = TunnelState(phase, instance_of(activation, spec), 1, endpoints=PINS, facts=facts)
    return Snapshot((wifi(),), {(profile.name, spec.name): state})


def wanted(snapshot: Snapshot, rules: Policy = RULES, applied: Iterable[Step] = ()) -> dict[str, Step]:
    return {step.kind.value: step for step in steps_for(decided(rules, snapshot), snapshot, rules, applied)}


@pytest.mark.parametrize(
    ("phase", "facts", "kinds"),
    [
        (TunnelPhase.REST, None, _WITH_PIN),
        (TunnelPhase.RESOLVING, None, _WITH_PIN),
        (TunnelPhase.CONNECTING, None, [*_WITH_PIN, "tunnel"]),
        (TunnelPhase.VERIFYING, None, [*_WITH_PIN, "tunnel"]),
        (TunnelPhase.VERIFYING, FACTS, _ALL),
        (TunnelPhase.UP, FACTS, _ALL),
        (TunnelPhase.STOPPING, None, _WITH_PIN),
        (TunnelPhase.BACKOFF, None, ["guard", "pin"]),
        (TunnelPhase.FAILED, None, []),
    ],
)
def test_each_phase_of_the_tunnel_allows_the_ranks_up_to_its_own(
    phase: TunnelPhase, facts: Facts | None, kinds: list[str]
) -> None:
    """Between attempts the guard and the pin stay; a `preup` that is not there is not run once more meanwhile."""
    assert list(wanted(in_phase(phase, facts))) == kinds


@pytest.mark.parametrize("phase", [TunnelPhase.BACKOFF, TunnelPhase.FAILED])
def test_a_preup_that_has_run_stays_between_attempts(phase: TunnelPhase) -> None:
    before = steps_for(decided(), in_phase(TunnelPhase.CONNECTING), RULES)

    assert "preup" in wanted(in_phase(phase), applied=before)


@pytest.mark.parametrize("phase", [TunnelPhase.UP, TunnelPhase.CONNECTING, TunnelPhase.RESOLVING])
def test_a_tunnel_of_another_configuration_ends_before_the_new_one_begins(phase: TunnelPhase) -> None:
    snapshot = in_phase(phase, FACTS)
    other = {KEY: replace(snapshot.tunnels[KEY], instance="0-other")}

    assert list(wanted(replace(snapshot, tunnels=other))) == _WITH_PIN


def test_an_attempt_is_told_what_came_before_and_is_no_other_one_for_that() -> None:
    before = in_phase(TunnelPhase.CONNECTING)
    (key, state), *_ = before.tunnels.items()
    failure = Failure(FailureClass.LOST, "no answer", passed_nothing=True)
    after = replace(before, tunnels={key: replace(state, last_failure=failure, fruitless=1)})

    step = wanted(after)["tunnel"]

    assert isinstance(step.value, TunnelValue)
    assert (step.value.last_failure, step.value.fruitless) == (failure, 1)
    assert step == wanted(before)["tunnel"]


def test_a_tunnel_without_a_device_has_no_addresses_and_no_routes() -> None:
    kinds = wanted(in_phase(TunnelPhase.UP, Facts()))

    assert list(kinds) == [*_WITH_PIN, "tunnel", "dns", "postup"]


def test_before_the_far_end_is_known_there_is_no_pin() -> None:
    snapshot = in_phase(TunnelPhase.CONNECTING)
    unknown = {KEY: replace(snapshot.tunnels[KEY], endpoints=())}

    assert "pin" not in wanted(replace(snapshot, tunnels=unknown))


@pytest.mark.parametrize(
    ("mode", "kinds"),
    [(RouteMode.FULL, {"guard", "routes"}), (RouteMode.SPLIT, {"routes"}), (RouteMode.NONE, set())],
)
def test_the_mode_says_what_goes_through_the_tunnel(mode: RouteMode, kinds: set[str]) -> None:
    rules = policy(replace(CAMPUS, tunnels=(ssh("campus-tunnel", mode),)))

    assert wanted(in_phase(TunnelPhase.UP, FACTS, rules), rules).keys() & {"guard", "routes"} == kinds


def test_routes_are_what_was_asked_for_and_what_was_pushed_each_once() -> None:
    spec = replace(
        ssh("campus-tunnel"), routes=RouteWish(include=(ip_network("10.8.0.0/16"), ip_network("10.9.0.0/16")))
    )
    rules = policy(replace(CAMPUS, tunnels=(spec,)))
    value = wanted(in_phase(TunnelPhase.UP, FACTS, rules), rules)["routes"].value

    assert isinstance(value, RoutesValue)
    assert value.prefixes == (ip_network("10.8.0.0/16"), ip_network("10.9.0.0/16"))
    assert value.dns == (ip_address("10.8.0.1"),)
    assert (value.uplink, value.has_ipv4, value.has_ipv6) == ("wlan2", True, False)
    assert value.on_link == (ip_network("192.0.2.0/24"),)


@pytest.mark.parametrize("version", [4, 6])
def test_a_tunnel_without_an_address_carries_the_families_of_the_networks_behind_us(version: int) -> None:
    local = (ip_network({4: "192.168.7.0/24", 6: "2001:db8:7::/64"}[version]),)
    rules = policy(replace(CAMPUS, tunnels=(replace(ssh("campus-tunnel"), local=local),)))
    value = wanted(in_phase(TunnelPhase.UP, replace(FACTS, addresses=()), rules), rules)["routes"].value

    assert isinstance(value, RoutesValue)
    assert (value.has_ipv4, value.has_ipv6) == (version == 4, version == 6)


@pytest.mark.parametrize(
    ("dns", "pushed", "servers"),
    [
        (DnsSettings(), (), None),
        (DnsSettings(), ("10.0.0.1",), ("10.0.0.1",)),
        (DnsSettings(servers=("10.8.0.1",)), ("10.0.0.1",), ("10.8.0.1",)),
        (DnsSettings(servers=()), ("10.0.0.1",), None),
        (DnsSettings(file="x", file_text="nameserver 10.8.0.1\n"), (), ()),
    ],
)
def test_the_profile_says_its_dns_else_the_tunnel_does(
    dns: DnsSettings, pushed: tuple[str, ...], servers: tuple[str, ...] | None
) -> None:
    rules = policy(replace(CAMPUS, dns=dns))
    steps = wanted(in_phase(TunnelPhase.UP, replace(FACTS, dns=pushed, search=("a.example",)), rules), rules)
    value = steps["dns"].value if "dns" in steps else None

    assert (value.wish.servers if isinstance(value, DnsValue) else None) == servers
    if isinstance(value, DnsValue):
        assert value.wish.search == ("a.example",)
        assert value.wish.whole_file == dns.file_text


@pytest.mark.parametrize(
    ("spec_mtu", "pushed", "mtu"), [(1300, 1400, 1300), (None, 1400, 1400), (None, None, 1420), (None, 9000, 1420)]
)
def test_the_mtu_is_the_users_else_the_tunnels_as_far_as_it_fits_into_the_uplinks_less_the_overhead(
    spec_mtu: int | None, pushed: int | None, mtu: int
) -> None:
    rules = policy(replace(CAMPUS, tunnels=(replace(CAMPUS.tunnels[0], mtu=spec_mtu),)))
    value = wanted(in_phase(TunnelPhase.UP, replace(FACTS, mtu=pushed), rules), rules)["address"].value

    assert isinstance(value, AddressValue)
    assert value.mtu == mtu


def test_a_profile_without_a_tunnel_has_its_hooks_and_its_dns() -> None:
    home = trusted("home", on(Key.INTERFACE, "wlan2"), hooks=HOOKS, dns=DnsSettings(servers=("192.0.2.53",)))

    assert list(wanted(seen(wifi()), policy(home))) == ["preup", "dns", "postup"]


def test_hooks_are_told_the_moment_and_owe_their_counterpart() -> None:
    preup = wanted(in_phase(TunnelPhase.REST))["preup"]
    assert isinstance(preup.context, HookMoment)

    assert [hook.run for hook in preup.context.up] == [("/a",)]
    assert [hook.run for hook in preup.context.down] == [("/b",)]
    context = preup.context.context
    assert (context.event, context.profile, context.uplink, context.ssid) == ("preup", "campus", "wlan2", b"Campus")
    assert (context.network, context.tunnel, context.device, context.alive) == (
        'Wi-Fi "Campus"',
        "campus-tunnel",
        None,
        False,
    )


def test_postup_is_done_anew_for_another_attempt_and_preup_is_not() -> None:
    first = in_phase(TunnelPhase.UP, FACTS)
    second = replace(first, tunnels={KEY: replace(first.tunnels[KEY], attempt=2)})
    here, there = wanted(first), wanted(second)

    assert here["preup"] == there["preup"]
    assert here["postup"].value == HookValue(1, "campus-tunnel", 1)
    assert there["postup"].value == HookValue(1, "campus-tunnel", 2)


def test_a_lingering_activation_keeps_what_it_has() -> None:
    snapshot = in_phase(TunnelPhase.UP, FACTS)
    first = decided(snapshot=snapshot)
    applied = steps_for(first, snapshot, RULES)
    lost = Snapshot((gone(wifi()),), snapshot.tunnels)
    lingering = decide(lost, RULES, first.memory, 1.0)

    assert lingering.activations[0].lingering
    assert steps_for(lingering, lost, RULES, applied) == applied


def test_an_activation_that_stands_by_or_has_lost_its_profile_wants_nothing() -> None:
    both = policy(CAMPUS, connect("desk", on(Key.INTERFACE, "eth3"), full=True))
    snapshot = seen(wifi(), cable())
    decision = decide(snapshot, both, Memory(), 0.0)

    assert [a.runs for a in decision.activations] == [True, False]
    assert {step.activation for step in steps_for(decision, snapshot, both)} == {"desk"}
    assert steps_for(decision, snapshot, policy()) == ()
    assert tunnel_events(decision, snapshot, policy()) == {}


class TestWhoseTurn:
    TWO = policy(replace(CAMPUS, tunnels=(ssh("one"), ssh("two"))))

    def state(self, name: str, phase: TunnelPhase, instance: str = "") -> TunnelState:
        activation = decided(self.TWO).activations[0]
        spec = self.TWO.profiles[0].tunnel(name)
        assert spec
        return TunnelState(
            phase, instance or instance_of(activation, spec), 1, last_failure=Failure(FailureClass.AUTH, "")
        )

    def turn(self, *failed: str, instance: str = "", named: str | None = None) -> str | None:
        activation = replace(decided(self.TWO).activations[0], tunnel=named)
        states = {("campus", name): self.state(name, TunnelPhase.FAILED, instance) for name in failed}
        spec = current_tunnel(activation, self.TWO.profiles[0], states)
        return spec.name if spec else None

    def test_the_first_that_has_not_given_up(self) -> None:
        assert self.turn() == "one"
        assert self.turn("one") == "two"

    def test_the_last_when_all_have(self) -> None:
        assert self.turn("one", "two") == "two"

    def test_the_failure_of_another_activation_counts_for_nothing(self) -> None:
        assert self.turn("one", instance="0-other") == "one"

    def test_the_one_named_by_hand(self) -> None:
        assert self.turn(named="two") == "two"
        assert self.turn(named="removed since") == "one"

    def test_none_where_the_profile_wants_none(self) -> None:
        assert current_tunnel(decided().activations[0], trusted("home"), {}) is None

    def test_one_that_gave_up_keeps_its_state_so_that_the_next_has_its_turn(self) -> None:
        snapshot = Snapshot((wifi(),), {("campus", "one"): self.state("one", TunnelPhase.FAILED)})
        events = tunnel_events(decided(self.TWO, snapshot), snapshot, self.TWO)

        assert events.keys() == {("campus", "two")}

    def test_what_nobody_wants_is_told_so(self) -> None:
        old = ("gone", "tunnel")
        states = {
            old: TunnelState(TunnelPhase.UP, "x", 1),
            ("campus", "one"): self.state("one", TunnelPhase.FAILED, "0-other"),
            ("gone", "resting"): TunnelState(),
        }
        snapshot = Snapshot((wifi(),), states)
        events = tunnel_events(decided(self.TWO, snapshot), snapshot, self.TWO)

        assert events.keys() == {old, ("campus", "one")}
        assert events[old] == Unwanted()
        assert isinstance(events["campus", "one"], Wanted)


def test_a_reload_replaces_a_tunnel_only_for_what_it_cannot_amend() -> None:
    activation, spec = decided().activations[0], CAMPUS.tunnels[0]
    health = Health(HealthCheck.PING, ip_address("10.8.0.1"))
    same = replace(spec, routes=RouteWish(RouteMode.NONE), connect_timeout=5.0, health=health)

    assert instance_of(activation, same) == instance_of(activation, spec)
    assert instance_of(activation, replace(spec, fingerprint="other")) != instance_of(activation, spec)
    assert instance_of(replace(activation, epoch=9), spec) != instance_of(activation, spec)


def test_a_network_is_named_by_its_ssid_else_by_its_prefixes() -> None:
    assert describe_network(wifi(b"a\x1bb")) == r'Wi-Fi "a\x1bb"'
    assert describe_network(cable()) == "198.51.100.0/24"
    assert describe_network(cable(addresses=())) == "no address"


def test_hooks_are_told_what_is_known_when_the_uplink_has_vanished() -> None:
    context = hook_context(Event.PREDOWN, decided().activations[0], None, None, TunnelState())

    assert (context.ssid, context.bssid, context.network, context.tunnel) == (None, None, "", None)


# -- plans lead to what is wanted, on whatever steps_for says

SPLIT = connect("split", on(Key.INTERFACE, "eth3"), dns=DnsSettings(servers=("10.7.0.1",), domains=("a.example",)))
HOME = trusted("home", on(Key.SSID, b"Home"), hooks=HOOKS)
CAFE = connect("cafe", full=True, is_default=True)
POLICIES = st.sampled_from(
    [
        policy(CAMPUS, SPLIT, HOME, CAFE),
        policy(replace(CAMPUS, tunnels=(ssh("one"), ssh("two"))), CAFE),
        policy(CAFE, linger=0.0),
        policy(),
    ]
)
LINKS = st.lists(
    st.sampled_from([wifi(), wifi(b"Home"), wifi(b"Cafe"), gone(wifi()), wifi(mtu=1400)])
    | st.sampled_from([cable(), gone(cable()), cable(gateways=())]),
    max_size=2,
    unique_by=lambda link: link.id,
)
EVENTS: st.SearchStrategy[TunnelEvent] = st.sampled_from(
    [
        Resolved(PINS),
        BecameReady(FACTS),
        BecameReady(replace(FACTS, dns=("10.0.0.9",))),
        Broke(Failure(FailureClass.LOST, "")),
        Broke(Failure(FailureClass.AUTH, "")),
        Due(),
    ]
)


def run(applied: dict[StepKey, Step], plan: Plan) -> dict[StepKey, Step]:
    """Return what is there after a plan, each of whose changes must find what it changes."""
    after = dict(applied)
    for change in plan.changes:
        match change:
            case Undo(step):
                assert after.pop(step.key) == step
            case Do(step):
                assert step.key not in after
                after[step.key] = step
            case Amend(old, new):
                assert after[new.key] == old
                after[new.key] = new
    return after


def fold(states: dict[tuple[str, str], TunnelState], decision: Decision, snapshot: Snapshot, rules: Policy) -> None:
    for key, event in tunnel_events(decision, replace(snapshot, tunnels=states), rules).items():
        states[key] = supervise(states.get(key, TunnelState()), event, 0.0)


@given(st.data())
def test_diff_then_run_reaches_the_wanted_set_and_stays_there(data: st.DataObject) -> None:
    """Whatever networks, configurations and tunnels do, one plan leads there, and none is needed afterwards."""
    states: dict[tuple[str, str], TunnelState] = {}
    applied: dict[StepKey, Step] = {}
    memory, now = Memory(), 0.0
    for _ in range(data.draw(st.integers(1, 8))):
        rules, links = data.draw(POLICIES), tuple(data.draw(LINKS))
        now += data.draw(st.sampled_from([0.0, 1.0, 20.0]))
        decision = decide(Snapshot(links, dict(states)), rules, memory, now)
        memory = decision.memory
        for _ in range(2):
            fold(states, decision, Snapshot(links), rules)
        for key in sorted(states):
            if event := data.draw(st.none() | EVENTS):
                states[key] = supervise(states[key], event, now)
        snapshot = Snapshot(links, dict(states))

        target = steps_for(decision, snapshot, rules, applied.values())
        applied = run(applied, diff(applied.values(), target))

        assert {key: step.value for key, step in applied.items()} == {step.key: step.value for step in target}
        assert not diff(applied.values(), steps_for(decision, snapshot, rules, applied.values()))
        for key, state in states.items():
            if state.phase is TunnelPhase.STOPPING and (StepKind.TUNNEL, *key) not in applied:
                states[key] = supervise(state, Ended(), now)
    assert run(applied, diff(applied.values(), ())) == {}, "undoing all reaches the empty machine"


@given(st.data())
def test_nothing_stands_above_a_tunnel_that_is_not_there(data: st.DataObject) -> None:
    rules, links = data.draw(POLICIES), tuple(data.draw(LINKS))
    decision = decide(Snapshot(links), rules, Memory(), 0.0)
    states: dict[tuple[str, str], TunnelState] = {}
    fold(states, decision, Snapshot(links), rules)
    for key in sorted(states):
        for event in data.draw(st.lists(EVENTS, max_size=4)):
            states[key] = supervise(states[key], event, 0.0)
    steps = steps_for(decision, Snapshot(links, states), rules)

    with_tunnel = {step.activation for step in steps if step.kind is StepKind.TUNNEL}
    for step in steps:
        profile = rules.profile(step.activation)
        if profile and profile.wants_tunnel and step.rank > StepKind.TUNNEL.rank:
            assert step.activation in with_tunnel
