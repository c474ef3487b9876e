"""Real programs for the DNS back ends that tell one: run to the end, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from autovpn.core.hookenv import EVENT_VARIABLE
from autovpn.daemon.executors.nonce import new_nonce
from autovpn.dns.resolvconf_program import Ran
from autovpn.system.process import uncancelled
from autovpn.system.programs import Errors, run_program

DEADLINE = 30.0
"""Seconds: openresolv and Debian's resolvconf wait ten for each other, and restart services besides."""

_NOT_OURS = {EVENT_VARIABLE: "dns"}
"""Tells that a service which such a program restarts is meant to stay, as with hooks: it inherits our mark."""


async def run_briefly(argv: Sequence[str], text: bytes) -> Ran:
    """Run a program that writes resolv.conf.

    Raises what `spawn` raises. It is never stopped half-way, since it may write the file in place; all may read what
    it makes.
    """
    running = asyncio.ensure_future(
        run_program(
            argv,
            _NOT_OURS,
            nonce=new_nonce(),
            deadline=DEADLINE,
            stdin=text,
            keep=1 << 18,
            errors=Errors.APART,
            umask=0o022,
        )
    )
    try:
        done = await asyncio.shield(running)
    except asyncio.CancelledError:
        await uncancelled(running)
        raise
    return Ran(done.status, done.output, done.errors)
