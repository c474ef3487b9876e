"""The small things that a tunnel's driver has done beside its program: other programs run, files put in its folder."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from autovpn.core.actions import Run, Spawn, Write
from autovpn.core.driving import Ran
from autovpn.core.secret import Secret
from autovpn.errors import Refused, SystemFault
from autovpn.system.files import to_its_end
from autovpn.system.hooks import trusted_program
from autovpn.system.programs import Errors, run_program

NOT_STARTED = 127
"""The status of a program that could not be started, as of a shell's."""


async def run_beside(action: Run, environment: Mapping[str, str], nonce: str) -> Ran:
    """Run a program to its end, or for as long as it may take; what goes wrong is in the answer."""
    try:
        done = await run_program(
            await trusted(action),
            environment,
            nonce=nonce,
            deadline=action.deadline,
            stdin=action.stdin.reveal() if action.stdin else None,
            errors=Errors.APART if action.confidential else Errors.WITH_OUTPUT,
        )
    except (Refused, SystemFault, OSError) as error:
        return Ran(action.name, NOT_STARTED, str(error))
    if action.confidential:
        return Ran(action.name, done.status, _text(done.errors), Secret(done.output))
    return Ran(action.name, done.status, _text(done.output))


def _text(printed: bytes) -> str:
    return printed.decode(errors="backslashreplace")


async def trusted(action: Spawn | Run) -> tuple[str, ...]:
    """Return what to run; raise Refused for a program of the user's that others could have written."""
    if not action.by_user:
        return action.argv
    return str(await asyncio.to_thread(trusted_program, action.argv[0])), *action.argv[1:]


async def put(directory: Path, action: Write) -> None:
    """Write a file below a tunnel's own folder; one of the same name is replaced, a link is never followed.

    A caller that is cancelled ends only when the file is there, so that whoever removes the folder then removes all of
    it. Raises SystemFault where it can't be written.
    """
    path = directory / action.name
    try:
        await to_its_end(_put, directory, path, action)
    except OSError as error:
        msg = f"{path}: can't be written: {error.strerror}"
        raise SystemFault(msg) from error


def _put(directory: Path, path: Path, action: Write) -> None:
    for folder in (directory, *reversed([parent for parent in path.parents if parent.is_relative_to(directory)])):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    mode = 0o700 if action.executable else 0o600
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor)
        file.write(action.content.reveal())
