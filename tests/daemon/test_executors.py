"""What each executor does where all does not go well: another's change, a refusal, a failing hook, a full disk."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from autovpn.core.diff import Do, Plan, Undo
from autovpn.core.dnschoice import MachineDns, merge
from autovpn.core.profile import OnFail
from autovpn.core.routing import RoutePlan
from autovpn.core.steps import HookMoment, PinValue, Step, StepKind
from autovpn.daemon.executors.dns import DnsExecutor
from autovpn.dns.backend import Outcome, Receipt
from autovpn.errors import Refused, StepFailed
from autovpn.system.runner import Runner
from tests.daemon import steps
from tests.daemon.fake_machine import FakeLink, FakeResolver, Machine


def programs(machine: Machine) -> list[str]:
    return [program.removeprefix("/hooks/") for _, program in machine.hooks_run]


def with_on_fail(step: Step, on_fail: OnFail) -> Step:
    assert isinstance(step.context, HookMoment)
    return replace(step, context=replace(step.context, up=tuple(replace(h, on_fail=on_fail) for h in step.context.up)))


# -- hooks


async def test_a_failing_preup_ends_the_plan_and_gets_its_postdown() -> None:
    machine = Machine()
    machine.failing = {"/hooks/preup-1"}

    result = await machine.steer(*steps.activation())

    assert result.failed == (steps.bracket(StepKind.PREUP), "preup: hook /hooks/preup-1: exit status 1")
    assert programs(machine) == ["preup-1", "postdown-1", "postdown-2"]
    assert await machine.applied() == ()


async def test_a_failing_postup_is_a_complaint_and_the_tunnel_stays() -> None:
    machine = Machine()
    machine.failing = {"/hooks/postup-1"}

    result = await machine.steer(*steps.activation())

    assert (result.failed, result.complaints) == (None, ("postup of campus: hook /hooks/postup-1: exit status 1",))
    assert await machine.applied() == steps.activation()


@pytest.mark.parametrize(
    ("kind", "on_fail", "fails"),
    [
        (StepKind.PREUP, OnFail.IGNORE, False),
        (StepKind.PREUP, OnFail.ABORT, True),
        (StepKind.POSTUP, OnFail.ABORT, True),
        (StepKind.POSTUP, OnFail.IGNORE, False),
    ],
)
async def test_on_fail_overrules_what_a_hooks_failure_means(kind: StepKind, on_fail: OnFail, fails: bool) -> None:
    machine = Machine()
    machine.failing = {f"/hooks/{kind.value}-2"}

    result = await machine.steer(with_on_fail(steps.bracket(kind), on_fail))

    assert bool(result.failed) == fails


async def test_failing_down_hooks_hold_no_teardown_up() -> None:
    machine = Machine()
    before = machine.view()
    await machine.steer(*steps.activation())
    machine.failing = {f"/hooks/{event}-{number}" for event in ("predown", "postdown") for number in (1, 2)}

    result = await machine.steer()

    assert len(result.complaints) == 4
    assert machine.view() == before
    assert await machine.applied() == ()


async def test_down_hooks_are_told_why_and_whether_the_tunnel_lives() -> None:
    machine = Machine()
    await machine.steer(steps.bracket(StepKind.POSTUP))
    await machine.steer()

    told = [(context.event, context.reason, context.alive, context.ssid) for context in machine.contexts[2:]]

    assert told == [("predown", "test", True, b"\xff\0$(reboot)")] * 2


async def test_down_hooks_are_those_of_the_list_whose_up_hooks_ran() -> None:
    """A reload changes the list at the next moment, never in the middle of a bracket."""
    machine = Machine()
    await machine.steer(steps.bracket(StepKind.PREUP))
    fresh = replace(steps.bracket(StepKind.PREUP), context=replace(steps.bracket(StepKind.PREUP).context, down=()))  # type: ignore[type-var]

    assert not (await machine.steer(fresh)).done
    await machine.steer()

    assert programs(machine)[2:] == ["postdown-1", "postdown-2"]


async def test_a_newer_decision_ends_a_bracket_in_the_middle_and_closes_it() -> None:
    machine = Machine()
    stop = asyncio.Event()
    machine.hanging = {"/hooks/preup-1"}
    machine.on_point = lambda name: stop.set() if name == "in hook /hooks/preup-1" else None

    result = await machine.steer(*steps.activation(), stop=stop)

    assert result.stopped
    assert await machine.applied() == ()
    assert programs(machine) == ["preup-1", "postdown-1", "postdown-2"]
    assert not machine.hooks_running


async def test_a_cancelled_caller_leaves_nothing_half_done() -> None:
    machine = Machine()
    before = machine.view()
    in_hook = asyncio.Event()
    machine.hanging = {"/hooks/postup-1"}
    machine.on_point = lambda name: in_hook.set() if name == "in hook /hooks/postup-1" else None
    steering = asyncio.ensure_future(machine.steer(*steps.activation()))
    await in_hook.wait()

    steering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await steering

    assert await machine.applied() == steps.activation(top=StepKind.DNS)
    await machine.recover()
    assert machine.view() == before


# -- routing


async def test_a_rule_that_two_activations_want_goes_with_the_second() -> None:
    machine = Machine()
    before = machine.view()
    one, two = steps.pin(owner="campus"), steps.pin(owner="office")
    await machine.steer(one, two)
    assert len(machine.rules) == 2, "the same rule serves both"

    await machine.steer(two)
    assert len(machine.rules) == 2
    await machine.steer()

    assert machine.view() == before


async def test_a_rule_that_another_activation_wants_survives_an_amendment() -> None:
    machine = Machine()
    await machine.steer(steps.pin(1, "campus"), steps.pin(1, "office"))

    await machine.steer(steps.pin(0, "campus"), steps.pin(1, "office"))

    assert {rule.family for rule in machine.rules - set(machine.foreign.rules)} == {4, 6}


async def test_activations_have_tables_of_their_own_and_priorities_in_common() -> None:
    machine = Machine()
    for owner in ("campus", "office"):
        machine.links[machine.number()] = FakeLink(steps.device_of(owner))
    await machine.steer(*(step for owner in ("campus", "office") for step in (steps.guard(0, owner),)))

    ours = machine.rules - set(machine.foreign.rules)

    assert {rule.table for rule in ours} == {None, 254, 0x8701, 0x8702}
    assert {rule.priority // 10 for rule in ours} == {871}, "8700 is another program's"


async def test_what_somebody_else_removed_is_said_and_what_they_put_there_is_left() -> None:
    machine = Machine()
    await machine.steer(steps.guard())
    gone = next(rule for rule in machine.rules if rule.oif and rule.family == 4)
    theirs = replace(gone, oif="eth9")
    machine.rules = machine.rules - {gone} | {theirs}
    machine.foreign |= RoutePlan((theirs,))

    result = await machine.steer()

    assert result.complaints == (f"guard of campus: {gone}: somebody else has changed or removed it",)
    assert machine.rules == set(machine.foreign.rules)


async def test_a_pin_for_a_protocol_that_nobody_knows_fails_in_words() -> None:
    strange = replace(steps.pin(), value=PinValue((replace(steps.ENDPOINTS[0][0], protocol="x"),)))

    result = await Machine().steer(strange)

    assert result.failed is not None
    assert "no IP protocol is called 'x'" in result.failed[1]


@pytest.mark.parametrize("step", [steps.address(), steps.routes()])
async def test_a_step_on_a_device_that_is_gone_fails_in_words(step: Step) -> None:
    result = await Machine().steer(step)

    assert result.failed is not None
    assert "the device av-campus is not there any more" in result.failed[1]


# -- tunnel and DNS


async def test_a_device_without_our_mark_is_nobody_of_ours() -> None:
    machine = Machine()
    await machine.steer(steps.tunnel())
    index = next(index for index, link in machine.links.items() if link.name == "av-campus")
    machine.links[index].alias = "somebody's"

    await machine.steer()

    assert machine.links[index].alias == "somebody's"
    assert not machine.processes


async def test_the_resolver_gets_the_merge_of_all_wishes_and_its_own_back_after_the_last() -> None:
    machine = Machine()
    whole, split = steps.dns(), steps.dns(1, "office", ("office.example",))

    for wanted, owners in (((whole,), {"campus"}), ((whole, split), {"campus", "office"}), ((split,), {"office"})):
        await machine.steer(*wanted)
        assert machine.dns is not None
        assert {wish.owner for wish in (machine.dns.exclusive, *machine.dns.split) if wish} == owners
    await machine.steer()

    assert machine.dns is None


async def test_a_wish_that_could_not_be_undone_is_not_put_in_force_again() -> None:
    class Stuck(FakeResolver):
        async def revert(self) -> Outcome:
            raise StepFailed("dns", "the lock is held")

    machine = Machine()
    runner = Runner(await machine.journal(), {StepKind.DNS: DnsExecutor(Stuck(machine))})
    campus, office = steps.dns(), steps.dns(1, "office")

    result = await runner.run(Plan((Do(campus), Undo(campus), Do(office))), asyncio.Event())

    assert result.complaints == ("dns of campus: dns: the lock is held",)
    assert machine.dns is not None
    assert machine.dns.exclusive == merge([office.value.wish]).exclusive  # type: ignore[union-attr]


async def test_a_resolver_that_refuses_costs_the_dns_and_not_the_tunnel() -> None:
    class Refusing(FakeResolver):
        async def apply(self, dns: MachineDns) -> Receipt:
            raise Refused("/etc/resolv.conf", "is immutable", "chattr -i")

        async def revert(self) -> Outcome:
            return Outcome(clean=False, why=("edited by hand",))

    machine = Machine()
    journal = await machine.journal()
    runner = Runner(journal, {StepKind.DNS: DnsExecutor(Refusing(machine))})

    result = await runner.run(Plan((Do(steps.dns()),)), asyncio.Event())

    assert (result.failed, result.complaints) == (None, ("dns of campus: /etc/resolv.conf: is immutable; chattr -i",))


# -- the journal's disk


@pytest.mark.parametrize("log", ["boot_log", "disk_log"])
async def test_on_a_full_disk_nothing_is_changed_that_cannot_be_recorded(log: str) -> None:
    machine = Machine()
    before = machine.view()
    getattr(machine, log).room = 0

    result = await machine.steer(*steps.activation())

    assert result.failed is not None
    assert "no space left" in result.failed[1]
    getattr(machine, log).room = None
    await machine.recover()
    assert machine.view() == before


@pytest.mark.parametrize("room", range(60))
async def test_a_disk_that_fills_up_at_any_moment_leaves_nothing_that_is_not_undone(room: int) -> None:
    machine = Machine()
    machine.remembers = False
    before = machine.view()
    machine.boot_log.room = machine.disk_log.room = room

    await machine.steer(*steps.activation())
    await machine.steer(*steps.activation(1))
    await machine.steer()
    machine.boot_log.room = machine.disk_log.room = None
    recovered = await machine.recover()

    assert recovered.left == ()
    assert machine.view() == before
    assert len(set(machine.hooks_run)) == len(machine.hooks_run)
