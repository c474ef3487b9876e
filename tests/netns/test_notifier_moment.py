"""What ends while a tunnel's program waits for its script, the notifier: nothing of either may be left.

That moment is otherwise too short to be met. Here the notifier says that it has come and then waits at a gate, as one
does whose daemon is too busy to listen.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autovpn import notify
from autovpn.system.procfs import facts_of
from tests.netns.laptop import Laptop
from tests.netns.server_ipsec import Ipsec
from tests.netns.server_openconnect import Ocserv
from tests.netns.server_pptp import Pptp
from tests.netns.server_tinc import Tinc
from tests.netns.servers import Charon, Server, Sshd
from tests.netns.world import OFFICE, wait_until

pytestmark = pytest.mark.netns

KINDS = [Sshd, Charon, Tinc, Ocserv, Pptp, Ipsec]
"""The types whose programs run the notifier."""
EVENTS = ("preup", "postup", "predown", "postdown")
BEGIN = 'if __name__ == "__main__":\n'
WAIT = """\
    with open("/run/at-the-gate", "a") as file:
        file.write(f"{os.getpid()}\\n")
    open("/run/gate").close()  # blocks until somebody opens it for writing
"""


class Gate:
    """Where each notifier of a laptop waits."""

    def __init__(self, laptop: Laptop) -> None:
        """Put the gate before the laptop's notifier, closed."""
        self._laptop = laptop
        self._arrived = laptop.namespace.file("/run/at-the-gate")
        self._gate = laptop.namespace.file("/run/gate")
        os.mkfifo(self._gate)
        program = Path(notify.__file__).read_text()
        assert program.count(BEGIN) == 1
        laptop.write("/etc/autovpn/notify.py", program.replace(BEGIN, BEGIN + WAIT))
        laptop.namespace.run_private("mount", "--bind", "/etc/autovpn/notify.py", notify.__file__)

    def wait_for_notifier(self) -> None:
        """Return when a notifier waits at the gate."""
        wait_until(lambda: self.waiting, "a notifier to wait at the gate")

    @property
    def waiting(self) -> list[int]:
        """The notifiers that have come and are still there."""
        come = self._arrived.read_text().split() if self._arrived.exists() else []
        found = filter(None, map(facts_of, map(int, come)))
        return [process.pid for process in found if not process.has_ended]

    def open(self) -> None:
        """Let notifiers pass from now on."""
        self._gate.unlink()
        self._gate.touch()


@pytest.fixture
def gate(laptop: Laptop) -> Gate:
    """Give a laptop's notifier a gate to wait at."""
    return Gate(laptop)


def profile(laptop: Laptop, server: Server) -> None:
    tunnel = server.tunnel_toml("office")
    laptop.profile("10-office", f'tunnels = ["office"]\n[match]\ninterface = ["eth0"]\n{tunnel}{laptop.hooks(*EVENTS)}')


def moments(laptop: Laptop) -> list[str]:
    return [line.split()[0] for line in laptop.hook_log()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_daemon_that_is_stopped_meanwhile_leaves_neither_the_program_nor_its_script(
    laptop: Laptop, gate: Gate, kind: type[Server]
) -> None:
    profile(laptop, kind(laptop.world))
    before = laptop.picture()
    laptop.start()
    gate.wait_for_notifier()

    assert laptop.stop() == 0

    assert gate.waiting == []
    assert laptop.picture() == before
    assert (moments(laptop)[0], moments(laptop)[-1]) == ("preup", "postdown")


@pytest.mark.parametrize("kind", [Charon, Pptp])
def test_a_profile_that_is_taken_down_meanwhile_leaves_neither_the_program_nor_its_script(
    laptop: Laptop, gate: Gate, kind: type[Server]
) -> None:
    server = kind(laptop.world)
    laptop.start()
    before = laptop.picture()
    profile(laptop, server)
    laptop.request("reload")
    gate.wait_for_notifier()

    code, said = laptop.ask("down", "office")

    assert code == 0, said
    laptop.wait_for("office", None)
    assert gate.waiting == []
    assert laptop.picture() == before
    assert (moments(laptop)[0], moments(laptop)[-1]) == ("preup", "postdown")


@pytest.mark.parametrize("kind", KINDS)
def test_a_daemon_that_was_killed_meanwhile_ends_both_and_connects_anew(
    laptop: Laptop, gate: Gate, kind: type[Server]
) -> None:
    profile(laptop, kind(laptop.world))
    before = laptop.picture()
    laptop.start()
    gate.wait_for_notifier()
    orphans = gate.waiting

    laptop.kill()
    gate.open()  # for the next ones; the first wait as before
    assert gate.waiting == orphans
    laptop.start()  # a program that waits for its script hears no SIGTERM, and has 5 seconds to
    laptop.wait_for("office", "up")

    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer")
    if kind is not Pptp:  # pppd does not wait for its script, so its tunnel may have been up and be adopted
        assert not set(gate.waiting) & set(orphans)
    assert laptop.stop() == 0
    assert gate.waiting == []
    assert laptop.picture() == before
    assert moments(laptop)[-3:] == ["postup", "predown", "postdown"]
