"""Any sequence of wanted sets and crashes: the machine gets where it is led, and back to where it was."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from autovpn.core.steps import Step, StepKind
from autovpn.core.tunnel import RouteMode
from tests.daemon import steps
from tests.daemon.fake_machine import Machine

TOPS = st.sampled_from(StepKind)


def office(version: int, top: StepKind) -> tuple[Step, ...]:
    """Return an activation beside `campus`, with a split tunnel to the same gateway."""
    wanted = steps.activation(version, "office", top)
    changed = {StepKind.ROUTES: steps.routes(version, "office", RouteMode.SPLIT)}
    changed[StepKind.DNS] = steps.dns(version, "office", ("office.example",))
    return tuple(changed.get(step.kind, step) for step in wanted if step.kind is not StepKind.GUARD)


WANTED = st.builds(
    lambda one, two: (*one, *two),
    st.one_of(st.just(()), st.builds(steps.activation, st.integers(0, 1), st.just("campus"), TOPS)),
    st.one_of(st.just(()), st.builds(office, st.integers(0, 1), TOPS)),
)


def in_order(wanted: tuple[Step, ...]) -> tuple[Step, ...]:
    return tuple(sorted(wanted, key=lambda step: (step.rank, step.activation, step.object)))


@given(st.lists(WANTED, min_size=1, max_size=5))
@settings(max_examples=40)
async def test_any_sequence_of_wanted_sets_is_reached_and_undone(history: list[tuple[Step, ...]]) -> None:
    machine = Machine()
    machine.remembers = False
    before = machine.view()
    for wanted in history:
        result = await machine.steer(*wanted)
        assert (result.failed, result.complaints) == (None, ())
        assert await machine.applied() == in_order(wanted)
        await machine.assert_as_recorded()

    await machine.steer()

    assert machine.view() == before
    assert max(Counter(machine.hooks_run).values(), default=1) == 1


@given(st.lists(st.tuples(WANTED, st.integers(0, 2**32)), min_size=1, max_size=4))
@settings(max_examples=40)
async def test_any_sequence_of_wanted_sets_and_crashes_is_undone(history: list[tuple[tuple[Step, ...], int]]) -> None:
    machine = Machine()
    before = machine.view()
    for wanted, dice in history:
        await machine.steer(*wanted)
        moments = tuple(machine.moments)
        machine = Machine.at(random.Random(dice).choice(moments)) if moments else machine

    recovered = await machine.recover()

    assert (recovered.complaints, recovered.left) == ((), ())
    assert machine.view() == before
    assert max(Counter(machine.hooks_run).values(), default=1) == 1
