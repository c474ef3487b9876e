"""What is nobody's: all that carries our marks, less what undoing the journal's entries would take away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autovpn.core.orphans import MarkedDevice, MarkedProcess, Traces, orphans
from autovpn.core.receipts import HookProgress, Laid
from autovpn.core.records import Entry, EntryState, Origin
from autovpn.core.routing import Place, RoutePlan, guard
from autovpn.core.steps import StepKind
from tests.daemon import steps

HERE = Origin("boot-1", 1)
PROCESS = MarkedProcess(7, "ssh", "n1")
DEVICE = MarkedDevice(5, "av-office", "autovpn:n1")
LAID, WIDER = (Laid(Place(), guard(uplink, Place())) for uplink in ("wlan0", "eth0"))
EVERYTHING = Traces((PROCESS,), (DEVICE,), LAID.plan)


def entry(kind: StepKind, before: object, receipt: object = None) -> Entry:
    return Entry(steps.one(kind), before, HERE, receipt, EntryState.DONE)


@pytest.mark.parametrize(
    ("entries", "left"),
    [
        pytest.param([], EVERYTHING, id="no journal"),
        pytest.param([entry(StepKind.TUNNEL, "n1")], Traces(plan=LAID.plan), id="the tunnel's"),
        pytest.param([entry(StepKind.TUNNEL, "n1", {"pid": 7})], Traces(plan=LAID.plan), id="the running tunnel's"),
        pytest.param([entry(StepKind.TUNNEL, "n2")], EVERYTHING, id="another tunnel's"),
        pytest.param([entry(StepKind.TUNNEL, "n2", {"nonce": "n1"})], EVERYTHING, id="not what undoing looks for"),
        pytest.param([entry(StepKind.PREUP, HookProgress("n1"))], Traces(plan=LAID.plan), id="a hook's"),
        pytest.param(
            [entry(StepKind.PREUP, HookProgress("n2"), HookProgress("n1", 1))],
            Traces(plan=LAID.plan),
            id="the hook's newer mark",
        ),
        pytest.param([entry(StepKind.GUARD, LAID)], replace(EVERYTHING, plan=RoutePlan()), id="the guard's"),
        pytest.param(
            [entry(StepKind.GUARD, LAID, WIDER)],
            replace(EVERYTHING, plan=LAID.plan - WIDER.plan),
            id="what the guard was amended to",
        ),
        pytest.param([entry(StepKind.TUNNEL, "n1"), entry(StepKind.GUARD, LAID)], Traces(), id="all"),
        pytest.param([entry(StepKind.DNS, None, "file")], EVERYTHING, id="the resolver's"),
    ],
)
def test_what_no_entry_names_is_nobodys(entries: list[Entry], left: Traces) -> None:
    assert orphans(EVERYTHING, entries) == left
    assert bool(orphans(EVERYTHING, entries)) is (left != Traces())


def test_all_of_it_is_named_for_people() -> None:
    words = EVERYTHING.words
    assert words[:2] == ("process ssh (7)", "device av-office")
    assert any(one.startswith("IPv4 rule 8707: from all oif wlan0") for one in words)
    assert any(one.startswith("IPv6 route unreachable default") for one in words)
    assert Traces().words == ()
