"""What is done before a tunnel's program is ended, since the program does not undo it by itself, or may be dead."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from autovpn.core.actions import DropRules, LastWord, Run, ViciErrand, ViciOpen
from autovpn.core.driving import Closed, DriverEvent, ViciAnswer
from autovpn.errors import SystemFault
from autovpn.system.errands import run_beside
from autovpn.system.output import shown
from autovpn.system.peer import roots_session
from autovpn.system.routes import drop_rules
from autovpn.system.vici import CHANNEL, MISSING, Vici


async def carry_out(last_word: LastWord, nonce: str) -> str:
    """Do it to its end; return in one line what went wrong, which is never raised: the tunnel ends all the same."""
    match last_word:
        case Run(needs=needs) if needs and not await asyncio.to_thread(Path(needs).exists):
            return ""
        case Run(argv=argv, environment=environment):
            done = await run_beside(last_word, dict(environment), nonce)
            return "" if done.status == 0 else f"{argv[0]}: {shown(done.output.strip().encode(errors='replace'))}"
        case ViciErrand():
            return await _told(last_word)
        case DropRules(priority, table):
            try:
                await drop_rules(priority, table)
            except SystemFault as error:
                return str(error)
            return ""


async def _told(errand: ViciErrand) -> str:
    """Tell a strongSwan; what it does not know any more, or one that is gone, has nothing to be undone."""
    try:
        async with asyncio.timeout(errand.deadline):
            if await _listens(errand.path):
                await _converse(errand)
    except TimeoutError:
        return f"strongSwan at {errand.path} did not answer within {errand.deadline:g} s"
    return ""


async def _listens(path: str) -> bool:
    with suppress(OSError):
        _, writer = await asyncio.open_unix_connection(path)
        writer.close()
        await writer.wait_closed()
        return True
    return False


async def _converse(errand: ViciErrand) -> None:
    events: asyncio.Queue[DriverEvent] = asyncio.Queue()
    vici = Vici(ViciOpen(errand.path), events.put_nowait, lambda server: roots_session(server) is not None)
    try:
        answer = await events.get()
        for call in errand.calls:
            if isinstance(answer, Closed) or answer == ViciAnswer(CHANNEL, MISSING):
                return
            vici.call(call)
            answer = await events.get()
    finally:
        vici.close()
