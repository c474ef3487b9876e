"""Whatever a plan meets, and whatever others do between a step and its undo: it is said, and nothing of ours stays."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import ip_interface, ip_network

import pytest

from autovpn.core.routing import RoutePlan, RuleSpec
from autovpn.core.steps import Step, StepKind
from autovpn.errors import JournalError, SystemFault
from tests.daemon import steps
from tests.daemon.fake_machine import FakeLink, Machine
from tests.daemon.test_crash import lines_are_read_once, prepared
from tests.strikes import count

__all__ = ["lines_are_read_once"]

NO_ANSWER = ("torn append", "after append", "after replace", "before hook", "in hook", "after hook")
"""Where nothing can fail by itself: a log takes a line whole or not at all, and a hook tells its status."""

ONE_OF = 6
"""Of the points of a whole activation, which are those of its steps once more."""

FAULTS: dict[str, Callable[[], Exception]] = {
    "the kernel refuses": lambda: SystemFault("rule: No buffer space available"),
    "the kernel does not answer": lambda: TimeoutError("no answer"),
}
STORIES: dict[str, tuple[StepKind | None, tuple[tuple[Step, ...], ...]]] = {
    **{kind.value: (kind, ((steps.one(kind),), (steps.one(kind, 1),), ())) for kind in StepKind},
    "activation": (None, (steps.activation(), steps.activation(1), ())),
}


class Fault:
    """What goes wrong at the point numbered `at`, and with `lasting` until the plan has ended."""

    def __init__(self, at: int, what: Callable[[], Exception], *, lasting: bool) -> None:
        self.at = at
        self.what = what
        self.lasting = lasting
        self.points = 0
        self.struck = ""

    def __call__(self, name: str) -> None:
        if name.startswith(NO_ANSWER):
            return
        self.points += 1
        if self.points - 1 == self.at or (self.struck and self.lasting):
            self.struck = self.struck or name
            raise JournalError(f"{name}: no space left") if "append" in name or "replace" in name else self.what()


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for the plan"])
@pytest.mark.parametrize("what", FAULTS)
@pytest.mark.parametrize("name", STORIES)
async def test_a_fault_at_any_point_of_a_plan_is_said_and_leaves_nothing(
    name: str, what: str, *, lasting: bool
) -> None:
    """A point after a change is one whose answer was lost: it was made, and counts as failed."""
    kind, story = STORIES[name]
    for at in itertools.count(step=1 if kind else ONE_OF):
        machine = prepared(kind)
        machine.remembers = False
        before = machine.view()
        fault = Fault(at, FAULTS[what], lasting=lasting)
        for wanted in story:
            struck = fault.struck
            machine.on_point = fault
            result = await machine.steer(*wanted)
            if fault.struck != struck:
                assert result.failed or result.complaints or _is_harmless(fault), f"{fault.struck}: nothing is said"
            if result.failed and wanted is story[0] and not lasting:
                assert result.failed[0] not in await machine.applied(), f"{fault.struck}: half of it stays"
            fault.lasting = fault.lasting and not fault.struck
        machine.on_point = lambda _: None
        await machine.steer()  # what is left of a fault is undone by the next plan
        assert machine.view() == before, fault.struck
        assert not await machine.applied(), fault.struck
        assert max(Counter(machine.hooks_run).values(), default=1) == 1, fault.struck
        if not fault.struck:
            break
        count("faults in the middle of a plan", name)
    assert at > len(story), "the story has no point at which anything can go wrong"


def _is_harmless(fault: Fault) -> bool:
    """Tell whether the journal found another way to write it: a line instead of a new file, or the other way round."""
    return not fault.lasting and ("append" in fault.struck or "replace" in fault.struck)


# -- what others do meanwhile


def ours(machine: Machine) -> RoutePlan:
    return RoutePlan(tuple(machine.rules), tuple(machine.routes)) - machine.foreign


def tunnel_device(machine: Machine) -> int:
    return next(index for index, link in machine.links.items() if link.alias)


def remove_a_route(machine: Machine) -> Iterator[Callable[[], None]]:
    for route in ours(machine).routes:
        yield lambda route=route: machine.routes.discard(route)  # type: ignore[misc]


def remove_a_rule(machine: Machine) -> Iterator[Callable[[], None]]:
    for rule in ours(machine).rules:
        yield lambda rule=rule: machine.rules.discard(rule)  # type: ignore[misc]


def replace_a_rule(machine: Machine) -> Iterator[Callable[[], None]]:
    """Put another rule with another meaning in the place of ours."""

    def replace(old: RuleSpec) -> None:
        theirs = RuleSpec(4, old.priority, 0x8700, dst=ip_network("198.51.100.0/24"))
        machine.rules.discard(old)
        machine.rules.add(theirs)
        machine.foreign |= RoutePlan((theirs,))

    for rule in ours(machine).rules:
        yield lambda rule=rule: replace(rule)  # type: ignore[misc]


def rename_the_device(machine: Machine) -> Iterator[Callable[[], None]]:
    def rename() -> None:
        machine.links[tunnel_device(machine)].name = "renamed0"

    yield rename


def take_the_devices_index(machine: Machine) -> Iterator[Callable[[], None]]:
    """Remove our device, and give its index to another of the same name."""

    def take() -> None:
        index = tunnel_device(machine)
        name = machine.links[index].name
        machine.remove_link(index)
        machine.links[index] = FakeLink(name, addresses={(ip_interface("203.0.113.77/24"), None)})

    yield take


def take_the_devices_mark(machine: Machine) -> Iterator[Callable[[], None]]:
    """Have somebody else declare the device theirs."""

    def take() -> None:
        machine.links[tunnel_device(machine)].alias = "my own now"

    yield take


def take_the_processs_number(machine: Machine) -> Iterator[Callable[[], None]]:
    """End the tunnel's process, and give its number to another."""

    def take() -> None:
        pid = next(iter(machine.processes))
        machine.processes[pid] = ""

    yield take


CHANGES: dict[str, tuple[Callable[[Machine], Iterator[Callable[[], None]]], tuple[StepKind, ...]]] = {
    "a route removed": (remove_a_route, (StepKind.GUARD, StepKind.ROUTES)),
    "a rule removed": (remove_a_rule, (StepKind.GUARD, StepKind.PIN, StepKind.ROUTES)),
    "a rule replaced": (replace_a_rule, (StepKind.GUARD, StepKind.PIN, StepKind.ROUTES)),
    "the device renamed": (rename_the_device, (StepKind.TUNNEL,)),
    "its index reused": (take_the_devices_index, (StepKind.TUNNEL,)),
    "its mark changed": (take_the_devices_mark, (StepKind.TUNNEL,)),
    "the pid reused": (take_the_processs_number, (StepKind.TUNNEL,)),
}


def theirs(machine: Machine) -> dict[str, object]:
    """Return what is on a machine that is none of ours."""
    links = {index: (link.name, link.alias) for index, link in machine.links.items()}
    return {
        "rules": set(machine.foreign.rules),
        "routes": set(machine.foreign.routes),
        "links": {index: named for index, named in links.items() if not (named[1] or "").startswith("autovpn:")},
        "processes": {pid: mark for pid, mark in machine.processes.items() if not mark.startswith("nonce-")},
    }


@pytest.mark.parametrize("way", ["recover", "stop"])
@pytest.mark.parametrize(
    ("change", "kind"), [(change, kind) for change, (_, kinds) in CHANGES.items() for kind in kinds]
)
async def test_what_others_change_before_the_undo_is_left_as_they_want_it(
    change: str, kind: StepKind, way: str
) -> None:
    make, _ = CHANGES[change]
    for number in itertools.count():
        machine = prepared(kind)
        machine.remembers = False
        assert (await machine.steer(steps.one(kind))).failed is None
        interfere = next(itertools.islice(make(machine), number, None), None)
        if interfere is None:
            break
        interfere()
        left_alone = theirs(machine)

        if way == "recover":
            recovered = await machine.recover()
            complaints, left = recovered.complaints, recovered.left
        else:
            complaints, left = (await machine.steer()).complaints, ()

        assert not left
        assert theirs(machine) == left_alone
        assert ours(machine) == RoutePlan()
        assert not any((link.alias or "").startswith("autovpn:") for link in machine.links.values())
        assert not [mark for mark in machine.processes.values() if mark.startswith("nonce-")]
        assert not await machine.applied()
        if "rule" in change or kind is StepKind.GUARD:
            assert any("somebody else has changed or removed it" in words for words in complaints), complaints
        count("changes by others before an undo", change)
    assert number, "nothing was changed"


@pytest.mark.parametrize("change", ["the device renamed", "its index reused", "its mark changed", "the pid reused"])
async def test_a_tunnel_that_others_laid_hands_on_is_gone_for_good_with_its_activation(change: str) -> None:
    make, _ = CHANGES[change]
    machine = Machine()
    machine.remembers = False
    await machine.steer(*steps.activation())
    next(make(machine))()
    left_alone = theirs(machine)

    recovered = await machine.recover()

    assert not recovered.left
    assert theirs(machine) == left_alone
    assert ours(machine) == RoutePlan()
    assert machine.dns is None
    count("changes by others before an undo", change)
