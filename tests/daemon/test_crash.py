"""The daemon dies at every moment there is, is recovered in every way there is, and dies again meanwhile.

Its journal may be lost or damaged besides.
"""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator

import pytest

from autovpn.core.steps import HookMoment, Step, StepKind
from autovpn.system import journal
from tests.daemon import steps
from tests.daemon.fake_machine import FakeLink, Machine, Moment
from tests.strikes import count

Recovery = Callable[[Machine, tuple[Step, ...]], Awaitable[None]]


async def restart(machine: Machine, wanted: tuple[Step, ...]) -> None:
    """Start another daemon, which adopts what is whole and still wanted; then have it stop."""
    result = await machine.steer(*wanted)
    assert result.failed is None, result.failed
    assert await machine.applied() == wanted, "neither adopted nor made anew"
    await machine.assert_as_recorded()
    result = await machine.steer()
    assert not result.complaints, result.complaints


async def recover(machine: Machine, wanted: tuple[Step, ...]) -> None:
    """Run `autovpn recover`."""
    recovered = await machine.recover()
    assert (recovered.complaints, recovered.left) == ((), ())


RECOVERIES: dict[str, Recovery] = {"restart": restart, "recover": recover}


REBOOTS: dict[str, Callable[[Machine], None]] = {
    "reboot": lambda machine: machine.reboot(),
    "power cut": lambda machine: machine.reboot(power_cut=True),
}
ACCIDENTS: dict[str, Callable[[Machine], None]] = {
    "nothing else": lambda _: None,
    "boot volume lost": lambda machine: machine.lose_boot_volume(),
    **REBOOTS,
}
MARKED = tuple(kind for kind in StepKind if kind is not StepKind.ADDRESS)
"""The kinds that are found without the journal; an address goes with its device, which is the tunnel's."""


@pytest.fixture(autouse=True, scope="module")
def lines_are_read_once() -> Iterator[None]:
    """Thousands of journals are read here, which share most of their lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "_whole", functools.cache(journal._whole))
        yield


def prepared(kind: StepKind | None) -> Machine:
    """Return a machine for steps of one kind: what stands on a tunnel finds its device."""
    machine = Machine()
    if kind in (StepKind.ADDRESS, StepKind.ROUTES):
        machine.links[50] = FakeLink(steps.device_of("campus"))
    return machine


async def all_moments(kind: StepKind | None, story: tuple[tuple[Step, ...], ...]) -> dict[Moment, str]:
    """Go from one wanted set to the next with a daemon of its own each; return all the states on the way."""
    machine = prepared(kind)
    for wanted in story:
        assert (await machine.steer(*wanted)).failed is None
    return machine.moments


async def crash_everywhere(
    kind: StepKind | None,
    story: tuple[tuple[Step, ...], ...],
    way: str,
    accident: str,
    *,
    crashes: int,
    chosen: Callable[[dict[Moment, str]], dict[Moment, str]] = lambda moments: moments,
) -> None:
    """Recover from each state of the story, and, while crashes are left, from each state of each recovery."""
    moments = await all_moments(kind, story)
    assert moments, "the story has no moment to die in"
    seen: set[Moment] = set()
    for left in reversed(range(crashes)):
        after: dict[Moment, str] = {}
        for moment, name in chosen(moments).items():
            machine = Machine.at(moment)
            machine.remembers = left > 0
            before = prepared(kind)
            ACCIDENTS[accident](machine)
            if accident in REBOOTS:
                machine.links = dict(before.links)
            await RECOVERIES[way](machine, story[0])
            check(machine, before.view(), (name, way, accident))
            count("crashes of a daemon on the fake machine", kind.value if kind else "activation")
            count("ways out of these crashes", f"{way}, {accident}")
            after |= {one: f"{name}, then {again}" for one, again in machine.moments.items() if one not in seen}
        seen |= set(after)
        moments = after


def check(machine: Machine, before: dict[str, object], where: object) -> None:
    """Hold what every recovery must achieve against the machine."""
    assert machine.view() == before, where
    ran = Counter(machine.hooks_run)
    assert all(times == 1 for times in ran.values()), (where, ran)
    for nonce in {nonce for nonce, _ in ran}:
        programs = {program for mark, program in (*ran, *machine.doomed) if mark == nonce}
        kind = StepKind.PREUP if any("preup" in one or "postdown" in one for one in programs) else StepKind.POSTUP
        moment = steps.bracket(kind).context
        assert isinstance(moment, HookMoment)
        assert {hook.run[0] for hook in moment.down} <= programs, f"{where}: a down hook is owed"


@pytest.mark.parametrize("way", RECOVERIES)
@pytest.mark.parametrize(
    ("kind", "accident"),
    [
        pytest.param(kind, accident, id=f"{kind.value}-{accident}")
        for kind in StepKind
        for accident in ACCIDENTS
        if kind in MARKED or accident != "boot volume lost"
    ],
)
async def test_a_step_of_any_kind_is_adopted_or_undone_wherever_two_daemons_die(
    kind: StepKind, way: str, accident: str
) -> None:
    story = ((steps.one(kind),), (steps.one(kind, 1),), ())
    await crash_everywhere(kind, story, way, accident, crashes=2)


@pytest.mark.parametrize("accident", ACCIDENTS)
@pytest.mark.parametrize("way", RECOVERIES)
async def test_an_activation_is_adopted_or_undone_wherever_the_daemon_dies(way: str, accident: str) -> None:
    story = (steps.activation(), steps.activation(1), ())
    await crash_everywhere(None, story, way, accident, crashes=1)


@pytest.mark.parametrize("accident", ACCIDENTS)
@pytest.mark.parametrize("way", RECOVERIES)
async def test_an_activation_is_adopted_or_undone_when_three_daemons_die(way: str, accident: str) -> None:
    """The states are too many for all of them; a sample that is always the same stands for them."""
    story = (steps.activation(), steps.activation(1), ())
    dice = random.Random(f"{way} {accident}")

    def sample(moments: dict[Moment, str]) -> dict[Moment, str]:
        return dict(dice.sample(sorted(moments.items(), key=repr), min(len(moments), 12)))

    await crash_everywhere(None, story, way, accident, crashes=3, chosen=sample)


def seen_by_the_user(machine: Machine) -> dict[str, object]:
    """Return what a user could notice; a hook of which no record is left ends when it has done its work."""
    return {what: value for what, value in machine.view().items() if what != "running hooks"}


async def damage_everywhere(
    kind: StepKind | None, story: tuple[tuple[Step, ...], ...], way: str, choose: Callable[[int], Iterable[int]]
) -> None:
    """Damage the chosen ones of so many records after a crash in each state of the story, and recover."""
    for moment, name in (await all_moments(kind, story)).items():
        for number in choose(len(Machine.at(moment).records)):
            machine = Machine.at(moment)
            machine.remembers = False
            log, line = machine.records[number]
            log.damage(line)
            if way == "recover":
                assert not (await machine.recover()).left
            else:
                assert (await machine.steer(*story[0])).failed is None
                await machine.steer()
            assert seen_by_the_user(machine) == seen_by_the_user(prepared(kind)), (name, log.name, line, way)
            count("records damaged after a crash", kind.value if kind else "activation")


@pytest.mark.parametrize("way", RECOVERIES)
@pytest.mark.parametrize("kind", MARKED, ids=lambda kind: kind.value)
async def test_a_step_is_undone_whichever_record_of_it_is_damaged(kind: StepKind, way: str) -> None:
    story = ((steps.one(kind),), (steps.one(kind, 1),), ())
    await damage_everywhere(kind, story, way, range)


@pytest.mark.parametrize("way", RECOVERIES)
async def test_an_activation_is_undone_whichever_record_of_it_is_damaged(way: str) -> None:
    """One record in each state, chosen by dice that always fall the same way."""
    dice = random.Random(way)
    story = (steps.activation(), steps.activation(1), ())
    await damage_everywhere(None, story, way, lambda count: dice.sample(range(count), min(count, 1)))
