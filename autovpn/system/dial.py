"""TCP connections that are made to learn whether somebody is there."""

from __future__ import annotations

import asyncio
import os
import socket

from autovpn.core.actions import Dial
from autovpn.core.driving import Dialled, DialOutcome


async def dial(action: Dial) -> Dialled:
    """Connect, wait for as long as the connection has to stand, and hang up; what goes wrong is in the answer."""
    family = socket.AF_INET if action.address.version == 4 else socket.AF_INET6  # noqa: PLR2004 (IP versions)
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as connection:
        try:
            async with asyncio.timeout(action.deadline):
                await asyncio.get_running_loop().sock_connect(connection, (str(action.address), action.port))
        except TimeoutError:
            return Dialled(action.name, DialOutcome.REFUSED, f"no answer within {action.deadline:g} s")
        except OSError as error:
            # asyncio puts the address into the text of the error, and loses strerror.
            return Dialled(action.name, DialOutcome.REFUSED, os.strerror(error.errno) if error.errno else str(error))
        return Dialled(action.name, await _outcome(connection, action.hold))


async def _outcome(connection: socket.socket, hold: float) -> DialOutcome:
    if not hold:
        return DialOutcome.STOOD
    try:
        async with asyncio.timeout(hold):
            spoke = await asyncio.get_running_loop().sock_recv(connection, 1)
    except TimeoutError:
        return DialOutcome.STOOD
    except OSError:
        return DialOutcome.CLOSED
    return DialOutcome.SPOKE if spoke else DialOutcome.CLOSED
