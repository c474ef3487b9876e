"""Plans: one at a time for each activation, given up for another target, not repeated in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.diff import diff
from autovpn.core.steps import Step, StepKind
from autovpn.daemon.plans import Plans, still_right
from autovpn.system.runner import Runner, RunResult, UndoContext
from tests.daemon.fake_kernel import in_virtual_time
from tests.daemon.fake_machine import Machine
from tests.daemon.steps import activation, bracket, one, pin

STEPS = st.lists(
    st.builds(one, st.sampled_from(StepKind), st.integers(0, 1)), max_size=6, unique_by=lambda step: step.key
).map(tuple)


class Steered:
    """Plans on a fake machine, and what came of each."""

    def __init__(self, machine: Machine, runner: Runner) -> None:
        self.machine = machine
        self.results: list[RunResult] = []
        self.ended = asyncio.Event()
        self.plans = Plans(runner, machine.origin, lambda _: UndoContext("test"), self.finished)

    def finished(self, *news: Any) -> None:  # noqa: ANN401 - which activation, and what came of its plan
        self.results.append(news[-1])
        self.ended.set()

    async def steer(self, *target: Step) -> None:
        """Steer to a target and return when the plan, if there is one, has ended."""
        self.ended.clear()
        self.plans.steer("campus", target)
        if self.plans.is_running("campus"):
            await self.ended.wait()


def play(story: Callable[[Steered], Awaitable[None]]) -> None:
    async def run() -> None:
        machine = Machine()
        machine.remembers = False
        await story(Steered(machine, Runner(await machine.journal(), machine.executors())))

    in_virtual_time(run())


def test_an_activation_is_led_to_its_target_and_back() -> None:
    async def story(steered: Steered) -> None:
        await steered.steer(*activation())
        assert set(steered.plans.applied("campus")) == set(activation())
        assert steered.plans.activations() == {"campus"}
        assert steered.plans.unfinished() == frozenset()
        await steered.steer(*activation())
        assert steered.plans.count == 1, "what is there already needs no plan"
        await steered.steer()
        assert steered.plans.applied() == ()

    play(story)


def test_a_plan_that_failed_is_not_repeated_until_something_changes() -> None:
    async def story(steered: Steered) -> None:
        steered.machine.failing = {"/hooks/preup-1"}
        for _ in range(5):
            await steered.steer(bracket(StepKind.PREUP))
        assert steered.plans.is_stuck("campus")
        assert steered.plans.count == 1
        await steered.steer(bracket(StepKind.PREUP, 1))
        assert steered.plans.count == 2, "another target is another plan"
        steered.machine.failing = set()
        steered.plans.forget_failures()
        await steered.steer(bracket(StepKind.PREUP, 1))
        assert not steered.plans.is_stuck("campus")
        assert steered.plans.applied() == (bracket(StepKind.PREUP, 1),)

    play(story)


def test_a_target_that_is_reached_without_it_forgets_the_failure() -> None:
    async def story(steered: Steered) -> None:
        steered.machine.failing = {"/hooks/preup-1"}
        await steered.steer(bracket(StepKind.PREUP))
        await steered.steer()
        await steered.steer()
        assert not steered.plans.is_stuck("campus")

    play(story)


def test_a_running_plan_is_given_up_for_another_target_and_goes_on_for_more() -> None:
    async def story(steered: Steered) -> None:
        steered.machine.hanging = {"/hooks/preup-1"}
        steered.plans.steer("campus", (bracket(StepKind.PREUP),))
        await asyncio.sleep(1)
        steered.plans.steer("campus", activation())
        await asyncio.sleep(1)
        assert steered.plans.is_running("campus"), "the longer target begins with what is being done"
        assert not steered.plans.is_idle
        assert steered.plans.unfinished() == {bracket(StepKind.PREUP).key}
        steered.plans.steer("campus", ())
        await steered.ended.wait()
        assert steered.results[0].stopped
        assert not steered.plans.is_stuck("campus"), "what was given up has not failed"

    play(story)


def test_a_plan_goes_on_when_what_it_has_undone_is_wanted_again() -> None:
    """An activation that begins anew wants its pin back before the new hooks have ended: they must not be cut off."""

    async def story(steered: Steered) -> None:
        await steered.steer(bracket(StepKind.PREUP), pin())
        steered.machine.hanging = {"/hooks/preup-1"}
        steered.plans.steer("campus", (bracket(StepKind.PREUP, 1),))
        await asyncio.sleep(1)
        assert steered.plans.unfinished() == {bracket(StepKind.PREUP, 1).key}
        steered.plans.steer("campus", (bracket(StepKind.PREUP, 1), pin()))
        await asyncio.sleep(1)
        assert steered.plans.is_running("campus")

    play(story)


def test_quiescing_ends_what_runs_and_leaves_what_is_done() -> None:
    async def story(steered: Steered) -> None:
        steered.machine.hanging = {"/hooks/postup-1"}
        steered.plans.steer("campus", activation())
        await asyncio.sleep(1)
        await steered.plans.quiesce()
        assert steered.plans.is_idle
        kinds = {step.kind for step in steered.plans.applied()}
        assert StepKind.ROUTES in kinds

    play(story)


def test_what_is_lost_is_undone_with_what_stands_on_it() -> None:
    async def story(steered: Steered) -> None:
        await steered.steer(*activation())
        tunnel = next(step for step in activation() if step.kind is StepKind.TUNNEL)
        plan = steered.plans.next_plan("campus", activation(), {tunnel.key})
        undone = [change.step.kind for change in plan.changes[:5] if hasattr(change, "step")]
        assert undone == [StepKind.POSTUP, StepKind.DNS, StepKind.ROUTES, StepKind.ADDRESS, StepKind.TUNNEL]

    play(story)


@given(STEPS, STEPS)
def test_a_plan_is_right_for_the_target_that_it_was_made_for(have: tuple[Step, ...], target: tuple[Step, ...]) -> None:
    assert still_right(diff(have, target), target, have)


@given(STEPS, STEPS, STEPS)
def test_a_plan_that_is_still_right_makes_nothing_in_vain(
    have: tuple[Step, ...], target: tuple[Step, ...], other: tuple[Step, ...]
) -> None:
    if still_right(diff(have, target), other, have):
        assert {step for step in target if step not in have} <= set(other)


def test_a_plan_that_would_do_what_is_not_wanted_any_more_is_wrong() -> None:
    plan = diff((), (bracket(StepKind.PREUP),))

    assert not still_right(plan, (), ())
    assert not still_right(plan, (replace(bracket(StepKind.PREUP), object="other"),), ())


def test_a_plan_that_takes_away_what_is_wanted_again_is_wrong_until_it_has_taken_it() -> None:
    preup = bracket(StepKind.PREUP)
    plan = diff((preup,), ())

    assert not still_right(plan, (preup,), (preup,))
    assert still_right(plan, (preup,), ()), "what is half undone is undone before anything else"
