"""Real daemons killed at random moments for as long as one likes: no part of the other checks, `make soak` runs it.

`AUTOVPN_SOAK_SECONDS` says for how long, ten minutes at most; `AUTOVPN_SOAK_SEED` repeats the dice of another run.
"""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.netns.every_server import SERVERS
from tests.netns.laptop import Laptop
from tests.netns.servers import Server
from tests.netns.test_kill_loop import Victim, all_is_well_with_the_last, kill_at_random
from tests.strikes import count

MOST_SECONDS = 600.0
LAST_ROUND = 20.0
"""Seconds for the last round of a type and for all that comes before and after it."""

SEED = int(os.environ.get("AUTOVPN_SOAK_SEED") or random.SystemRandom().randrange(1_000_000))
END = time.monotonic() + min(float(os.environ.get("AUTOVPN_SOAK_SECONDS") or MOST_SECONDS), MOST_SECONDS)


@pytest.mark.timeout(MOST_SECONDS)
@pytest.mark.parametrize("kind", SERVERS)
def test_daemons_killed_for_minutes_leave_nothing_twice_and_nothing_half(laptop: Laptop, kind: type[Server]) -> None:
    """Each type has an equal share of what is left of the time, and is killed once at least."""
    share = (END - time.monotonic()) / (len(SERVERS) - SERVERS.index(kind)) - LAST_ROUND
    end = time.monotonic() + share
    victim = Victim(laptop, kind)
    before = laptop.picture()

    toll = kill_at_random(
        victim,
        random.Random(f"{SEED} {kind.__name__}"),
        lambda toll: not toll.killed or time.monotonic() < end,
    )

    all_is_well_with_the_last(victim, before)
    count(f"kills of a real daemon in this soak, with AUTOVPN_SOAK_SEED={SEED}", kind.__name__, toll.killed)
