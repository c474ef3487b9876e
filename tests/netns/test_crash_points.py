"""A daemon that is killed after each record of its journal, going up and going down, for each type of tunnel."""

from __future__ import annotations

import itertools
import json
import signal

import pytest

from tests.netns.clients import tunnel_clients
from tests.netns.every_server import SERVERS
from tests.netns.laptop import Laptop
from tests.netns.nursery import Newborn, Nursery
from tests.netns.servers import Charon, Server, Sshd, Wireguard
from tests.netns.test_main_job import moments, office_profile
from tests.netns.world import OFFICE, wait_until
from tests.strikes import count

ANNOUNCES = {
    ("Begin", "preup"): "preup",
    ("Begin", "postup"): "postup",
    ("Note", "postup"): "predown",
    ("Note", "preup"): "postdown",
}
"""The hook that a record announces: who dies right after it has not run it, and nobody will, since it counts as run."""


WHOLE = {Sshd, Wireguard, Charon}
"""The types that die after each record: a program alone, a device, a program with a script. What the journal says is
the same for all types, so each of the others dies after every third record, from a place of its own.
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", SERVERS)
def test_a_daemon_killed_after_any_record_is_followed_by_one_that_adopts_or_undoes(
    laptop: Laptop, kind: type[Server]
) -> None:
    laptop.configure('[daemon]\nlinger = "60s"\n')
    office_profile(laptop, kind(laptop.world))
    nursery = Nursery(laptop)
    before = laptop.picture()
    whole: tuple[str, str] | None = None
    fates = set()

    begin, pace = (1, 1) if kind in WHOLE else (1 + SERVERS.index(kind) % 3, 3)

    for records in itertools.count(begin, pace):
        laptop.log.unlink(missing_ok=True)
        first = nursery.bear(records)
        if is_up(laptop, first):
            first.stop()
        if first.wait() == 0:
            break  # all of its records are through
        assert first.wait() == -signal.SIGKILL
        assert first.last_record
        hooks = [*moments(laptop), *filter(None, [ANNOUNCES.get(first.last_record)])]
        run = len(moments(laptop))
        left = tunnel_clients(laptop.namespace)
        where = f"after record {records}, {' '.join(first.last_record)}"
        assert len(left) <= 1, f"never both, {where}"

        second = nursery.bear()
        assert is_up(laptop, second)
        running = tunnel_clients(laptop.namespace)
        assert len(running) == 1, f"never both, {where}"
        assert running == left or first.last_record != ("Done", "postup"), "what was whole is adopted"
        fates.add("adopted" if running == left else "undone" if left else "begun")
        wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer")
        whole = whole or made(laptop)
        assert made(laptop) == whole, f"never half, {where}"

        assert second.stop() == 0
        assert laptop.picture() == before, where
        hooks += moments(laptop)[run:]
        assert is_balanced(hooks), f"{where}: {hooks}"
        count("kills of a real daemon after a record of its journal", kind.__name__)

    assert records > 2 * 8, "each of eight steps has its records, up and down"
    assert fates == {"adopted", "undone", "begun"}
    assert laptop.picture() == before
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]


def is_up(laptop: Laptop, daemon: Newborn) -> bool:
    """Report whether a daemon comes to rest with its tunnel up, rather than to its end."""

    def rests() -> bool:
        try:
            return laptop.state("office") == "up" and not laptop.request("plan")["changes"]
        except (OSError, json.JSONDecodeError):
            return False

    reached = False

    def decided() -> bool:
        nonlocal reached
        reached = rests()
        return reached or daemon.is_dying

    try:
        wait_until(decided, "the daemon to be up, or to die", 60.0)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{laptop.daemon and laptop.daemon.output}") from None
    return reached and not daemon.is_dying


def made(laptop: Laptop) -> tuple[str, str]:
    """Return what a tunnel makes of the machine, as far as it is the same each time."""
    rules = "".join(laptop.namespace.run("ip", family, "rule").stdout for family in ("-4", "-6"))
    return rules, laptop.resolv_conf


def is_balanced(hooks: list[str]) -> bool:
    """Report whether each up hook is followed by its down hook, once, and brackets stand within each other."""
    text = " ".join(hooks)
    while (less := text.replace("postup predown", "").replace("preup postdown", "").replace("  ", " ").strip()) != text:
        text = less
    return not text
