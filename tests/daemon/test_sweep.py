"""The sweep removes what it can of what is nobody's, and says what it could not."""

from __future__ import annotations

import logging

import pytest

from autovpn.core.routing import RoutePlan
from autovpn.daemon.sweep import Sweep, Swept
from autovpn.errors import SystemFault
from tests.daemon import steps
from tests.daemon.fake_machine import FakeLinks, FakeProcesses, FakeRoutes, Machine


class Unkillable(FakeProcesses):
    """Processes that hang in the kernel."""

    async def end(self, nonce: str) -> None:
        raise SystemFault(f"process {nonce} can't be killed")


class Busy(FakeLinks):
    """Devices that the kernel does not let go."""

    async def delete(self, index: int, alias: str) -> None:
        raise OSError(16, f"device {index} is busy")


class Frozen(FakeRoutes):
    """Rules and routes that the kernel does not let go."""

    async def remove(self, plan: RoutePlan) -> None:
        raise SystemFault("the kernel refuses")


async def orphaned() -> Machine:
    """Return a machine with a whole activation on it, and no journal."""
    machine = Machine()
    await machine.steer(*steps.activation())
    machine.lose_boot_volume()
    return machine


async def swept(machine: Machine, processes: FakeProcesses, links: FakeLinks, routes: FakeRoutes) -> Swept:
    return await Sweep(processes, links, routes).run((await machine.journal()).entries)


async def test_each_thing_that_is_removed_is_said_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    machine = await orphaned()
    there = len(machine.rules) + len(machine.routes) - len(machine.foreign.rules) - len(machine.foreign.routes)
    caplog.set_level(logging.INFO)

    done = await swept(machine, FakeProcesses(machine), FakeLinks(machine), FakeRoutes(machine))

    assert done.left == ()
    assert len(set(done.removed)) == len(caplog.messages) == there + len(("the process", "the device"))
    assert machine.routes == set(machine.foreign.routes)


async def test_what_can_not_be_removed_is_said_and_holds_nothing_else_up() -> None:
    machine = await orphaned()
    frozen = machine.rules - set(machine.foreign.rules)

    done = await swept(machine, Unkillable(machine), Busy(machine), FakeRoutes(machine))

    assert done.left[0] == f"process {next(iter(machine.processes.values()))} can't be killed"
    assert done.left[1].endswith("is busy")
    assert [words.partition(":")[2] for words in done.left[2:]] == [" no record tells of it, and it is still there"] * 2
    assert machine.rules == set(machine.foreign.rules)
    assert len([words for words in done.removed if " rule " in words]) == len(frozen)


async def test_a_kernel_that_keeps_the_rules_is_said_for_each_of_them() -> None:
    machine = await orphaned()
    frozen = machine.rules - set(machine.foreign.rules)

    done = await swept(machine, FakeProcesses(machine), FakeLinks(machine), Frozen(machine))

    assert done.left[0] == "the kernel refuses"
    assert len({words for words in done.left if " rule " in words}) == len(frozen)
    assert not machine.processes


async def test_where_every_trace_is_in_the_journal_nothing_is_touched() -> None:
    machine = Machine()
    await machine.steer(*steps.activation())
    before = machine.view()

    assert await swept(machine, Unkillable(machine), Busy(machine), Frozen(machine)) == Swept()
    assert machine.view() == before
