"""Several tunnels in one profile: each has its turn, and one that works is not disturbed for one that does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autovpn.core.decide import Decision, decide
from autovpn.core.memory import Memory
from autovpn.core.profile import Key
from autovpn.core.snapshot import Snapshot
from autovpn.core.supervise import ATTEMPTS, BecameReady, Broke, Resolved
from autovpn.core.tunnel import Facts, Failure, FailureClass, TunnelPhase
from autovpn.core.wanted import TunnelKey
from autovpn.daemon.tunnels import TunnelStates
from tests.core.builders import cable, connect, on, policy, seen, ssh

TWO = replace(connect("office", on(Key.INTERFACE, "eth3")), tunnels=(ssh("first"), ssh("second")))
RULES = policy(TWO)
FIRST, SECOND = ("office", "first"), ("office", "second")


class Run:
    """The states of the tunnels of one activation, with a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.states = TunnelStates()
        self.decision: Decision = decide(seen(cable()), RULES, Memory(), 0.0)

    def settle(self) -> None:
        self.states.pass_time(RULES, self.now)
        snapshot: Snapshot = replace(seen(cable()), tunnels=self.states.view())
        self.states.settle(self.decision, snapshot, RULES, self.now)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.settle()

    def fail(self, key: TunnelKey) -> None:
        """Have a tunnel give up."""
        for _ in range(ATTEMPTS):
            self.states.tell(key, Resolved(()), self.now)
            self.states.tell(key, Broke(Failure(FailureClass.UNREACHABLE, "no answer")), self.now)
            self.pass_time(5.0)

    def bring_up(self, key: TunnelKey) -> None:
        self.states.tell(key, Resolved(()), self.now)
        self.states.tell(key, BecameReady(Facts(device="tun0")), self.now)

    def phase(self, key: TunnelKey) -> TunnelPhase:
        return self.states.state(key).phase


def test_the_next_tunnel_has_its_turn_when_one_gives_up() -> None:
    run = Run()
    run.settle()
    run.fail(FIRST)

    assert run.phase(FIRST) is TunnelPhase.FAILED
    assert run.phase(SECOND) is TunnelPhase.RESOLVING


def test_a_tunnel_that_is_up_is_not_disturbed_for_one_that_gave_up() -> None:
    run = Run()
    run.settle()
    run.fail(FIRST)
    run.bring_up(SECOND)

    run.pass_time(3600.0)

    assert run.phase(FIRST) is TunnelPhase.FAILED
    assert run.phase(SECOND) is TunnelPhase.UP
    assert run.states.next_look(RULES) is None, "nothing is due, so nothing wakes the daemon"


def test_when_the_last_tunnel_has_given_up_the_first_is_tried_again_later() -> None:
    run = Run()
    run.settle()
    run.fail(FIRST)
    run.fail(SECOND)
    due = run.states.next_look(RULES)
    assert due is not None

    run.pass_time(due - run.now)

    assert run.phase(FIRST) is TunnelPhase.RESOLVING
    assert run.phase(SECOND) is TunnelPhase.FAILED


def test_why_a_tunnel_failed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    run = Run()
    run.settle()
    run.fail(FIRST)

    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "tunnel.backoff activation=office tunnel=first attempt=1 class=unreachable words=no answer",
        "tunnel.backoff activation=office tunnel=first attempt=2 class=unreachable words=no answer",
        "tunnel.failed activation=office tunnel=first attempt=3 class=unreachable words=no answer",
    ]
