"""What a dead daemon left behind: told, and undone by `autovpn recover` and by a daemon that can't begin.

No configuration is read and none of the daemon's loop is loaded: this has to work on a machine where much is broken.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from autovpn.daemon.backends import machine_resolver
from autovpn.daemon.devices import KernelDevices
from autovpn.daemon.executors import executors
from autovpn.daemon.kernel import KernelLinks, KernelRoutes
from autovpn.daemon.places import Directories, Recovery
from autovpn.daemon.programs import HookPrograms, TunnelPrograms
from autovpn.daemon.questions import Questions
from autovpn.daemon.recovery import recover_all
from autovpn.daemon.resolver import MachineResolver
from autovpn.daemon.sessions import Place, Sessions
from autovpn.daemon.sweep import Sweep, Swept
from autovpn.errors import AutovpnError, JournalError
from autovpn.system.journal import Journal, this_origin
from autovpn.system.logfile import LogFile
from autovpn.system.rtnl import Rtnl
from autovpn.system.rtnl_rows import Changes, Tables
from autovpn.tunnels.drivers import DRIVERS

NOTIFIER = (sys.executable, "-I", "-S", str(Path(__file__).parents[1] / "notify.py"))
"""The argument list by which a tunnel's program reports to us; isolated, so that it starts fast."""


async def recover(directories: Directories) -> Recovery:
    """Undo all that a dead daemon left behind; the caller holds the lock."""
    journal = journal_in(directories)
    found = await journal.open()
    with await asyncio.to_thread(Rtnl.open) as rtnl:
        look = _looker(rtnl)
        sessions = Sessions(place_in(directories), KernelDevices(look), Questions())
        resolver = machine_resolver(directories)
        done = await recover_all(
            journal, executors(HookPrograms(), KernelRoutes(look), KernelLinks(look), sessions, resolver)
        )
        swept = await sweep(journal, look)
        dns = await _revert(resolver)  # also what no record tells of: the two names on disk are the truth
    return Recovery(
        undone=(*done.undone, *swept.removed),
        left=(*done.complaints, *done.left, *swept.left, *dns, *await _mend(journal)),
        found=found,
    )


async def left_behind(directories: Directories) -> tuple[str, ...]:
    """Return the steps that a daemon which is gone has left on the machine; nothing is changed."""
    journal = await asyncio.to_thread(journal_in, directories)
    await journal.open()
    return tuple(str(entry.step) for entry in journal.entries)


async def sweep(journal: Journal, look: Callable[[], Tables]) -> Swept:
    """Remove what no entry of the journal names; the locks say that no other daemon of ours is at work here."""
    processes = TunnelPrograms(journal.origin.namespace)
    return await Sweep(processes, KernelLinks(look), KernelRoutes(look)).run(journal.entries)


def journal_in(directories: Directories) -> Journal:
    """Return the journal of these directories; it is yet to be opened."""
    return Journal(
        LogFile(directories.run / "journal", durable=False),
        LogFile(directories.state / "journal", durable=True),
        this_origin(),
    )


def place_in(directories: Directories) -> Place:
    """Return where tunnels live, and what drives them."""
    return Place(directories.run / "tunnels", DRIVERS, NOTIFIER)


async def _revert(resolver: MachineResolver) -> tuple[str, ...]:
    try:
        return (await resolver.revert()).why
    except AutovpnError as error:
        return (str(error),)


async def _mend(journal: Journal) -> tuple[str, ...]:
    try:
        await journal.mend()
    except JournalError as error:
        return (str(error),)
    return ()


def _looker(rtnl: Rtnl) -> Callable[[], Tables]:
    def look() -> Tables:
        while rtnl.drain() & Changes.MORE:
            pass
        return rtnl.tables()

    return look
