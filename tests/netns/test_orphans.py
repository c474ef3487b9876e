"""Whatever becomes of the journal, what a dead daemon left is found by its marks and removed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.netns.laptop import Laptop
from tests.netns.meter import INTERNET, Meter
from tests.netns.servers import Wireguard
from tests.netns.test_full_tunnel import made
from tests.netns.world import GATEWAY, wait_until


def empty(laptop: Laptop) -> None:
    """Empty the folder of all that lasts for a boot, as a clean-up of /run that knows no better would."""
    laptop.namespace.run_private("sh", "-c", "rm -r /run/autovpn/*")


def damage(laptop: Laptop) -> None:
    """Make the record unreadable without which the guard is nobody's."""
    journal = laptop.namespace.file("/run/autovpn/journal")
    lines = journal.read_bytes().splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if b"GuardValue" in line)
    lines[place] = lines[place].replace(b"GuardValue", b"GuardXalue")
    journal.write_bytes(b"".join(lines))


@pytest.fixture(params=[empty, damage])
def accident(request: pytest.FixtureRequest) -> Callable[[Laptop], None]:
    chosen: Callable[[Laptop], None] = request.param
    return chosen


def killed(laptop: Laptop, accident: Callable[[Laptop], None]) -> str:
    """Kill a daemon with a full tunnel up and spoil its journal; return the picture from before it."""
    made(laptop, Wireguard)
    Meter(laptop.world)
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "up")
    laptop.kill()
    accident(laptop)
    assert laptop.processes("wireguard-go"), "the tunnel should have outlived its daemon"
    return before


def test_recover_removes_what_no_record_tells_of(laptop: Laptop, accident: Callable[[Laptop], None]) -> None:
    before = killed(laptop, accident)

    _, said = laptop.ask("recover")

    assert "no record tells of it; removed" in said
    assert laptop.picture() == before
    wait_until(lambda: laptop.namespace.ping(GATEWAY), "the gateway to answer")
    assert laptop.ask("recover") == (0, "nothing was left to undo\n")


def test_recover_succeeds_when_the_journal_is_gone_with_all_of_its_folder(laptop: Laptop) -> None:
    killed(laptop, empty)

    code, said = laptop.ask("recover")

    assert code == 0, said
    assert "process wireguard-go" in said


def test_another_daemon_removes_what_no_record_tells_of(laptop: Laptop, accident: Callable[[Laptop], None]) -> None:
    before = killed(laptop, accident)

    laptop.start()
    laptop.wait_for("office", "up")
    assert len(laptop.processes("wireguard-go")) == 1
    wait_until(lambda: laptop.namespace.ping(INTERNET), "the tunnel to carry packets")
    assert any("no record tells of it; removed" in words for words in laptop.status()["problems"]["journal"])

    assert laptop.stop() == 0
    assert laptop.picture() == before


def test_only_the_tunnels_of_this_network_namespace_are_ended(laptop: Laptop) -> None:
    """Another daemon may be at work in another namespace, and what a hook left running is meant to be there."""
    nonce = f"AUTOVPN_NONCE=of-{laptop.namespace.name}"
    ours = laptop.namespace.spawn("env", nonce, "sleep", "600")
    elsewhere = laptop.world.gateway.spawn("env", f"{nonce}-elsewhere", "sleep", "600")
    hooks = laptop.namespace.spawn("env", f"{nonce}-hook", "AUTOVPN_EVENT=postup", "sleep", "600")
    wait_until(lambda: len(laptop.processes("sleep")) == 2, "the programs to run")

    code, said = laptop.ask("recover")

    assert code == 0, said
    assert f"process sleep ({ours.pid})" in said
    ours.process.wait(40)
    assert elsewhere.process.poll() is None
    assert hooks.process.poll() is None
