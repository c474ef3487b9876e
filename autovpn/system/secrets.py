"""Fetches secrets when they are needed, from where only root could put them, and shows them to nobody."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from autovpn.core.ownership import distrust_file
from autovpn.core.secret import Secret
from autovpn.core.settings import SecretRef
from autovpn.errors import Refused, SystemFault
from autovpn.system.files import open_trusted
from autovpn.system.hooks import trusted_program
from autovpn.system.programs import Errors, run_program

CREDENTIALS = "CREDENTIALS_DIRECTORY"
"""The variable in which systemd names the folder of a service's credentials (systemd.exec(5), LoadCredential=)."""

COMMAND_DEADLINE = 30.0
"""Seconds that a command has to print a secret."""

LARGEST = 1 << 20
"""Bytes; a larger file is no secret but a mistake."""


async def read_secret(
    reference: SecretRef, nonce: str, *, deadline: float = COMMAND_DEADLINE, below: Path = Path("/")
) -> Secret:
    """Return the secret that a reference names, without its one final newline.

    Directories above `below` are taken on trust. A command is tagged with the nonce, so that recovery finds it.
    Raises Refused for a file or program that others could have written or read, SystemFault for a command that fails.
    """
    if reference.command:
        return await _printed_by(reference.command, nonce, deadline)
    if reference.credential is not None:
        return await asyncio.to_thread(_credential, reference.credential)
    if reference.file is not None:
        return _without_newline(await asyncio.to_thread(_read, Path(reference.file), below))
    raise Refused("password", "names neither file, command nor credential")


async def read_files(paths: Iterable[str], *, secret: bool = True, below: Path = Path("/")) -> dict[str, Secret]:
    """Return the content of files, as it is, by path; raise as `read_secret` does.

    Files that are not `secret` may be read by others, though not written.
    """

    def read() -> dict[str, Secret]:
        return {path: Secret(_read(Path(path), below, secret=secret)) for path in paths}

    return await asyncio.to_thread(read)


def _read(path: Path, below: Path, *, secret: bool = True) -> bytes:
    """Read a file that root alone can write, and a secret one read, checked on the descriptor that is read."""
    ourselves = os.geteuid()
    try:
        descriptor = open_trusted(path, owner=ourselves, below=below)
    except OSError as error:
        raise Refused(str(path), f"can't be read: {error.strerror}") from error
    with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor)
        facts = os.fstat(descriptor)
        if why := distrust_file(facts.st_uid, facts.st_mode, {0, ourselves}, secret=secret):
            raise Refused(str(path), why, f"mend it with 'chmod go{'=' if secret else '-w'} {path}'")
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise Refused(str(path), f"is longer than {LARGEST >> 20} MiB")
    return content


async def _printed_by(command: tuple[str, ...], nonce: str, deadline: float) -> Secret:
    """Return what a command prints. Its words are not repeated in an error: they may hold what it should have kept."""
    program = await asyncio.to_thread(trusted_program, command[0])
    done = await run_program(
        (str(program), *command[1:]), {}, nonce=nonce, deadline=deadline, keep=LARGEST, errors=Errors.DROPPED
    )
    if done.status is None:
        msg = f"{command[0]}: printed no secret within {deadline:.0f} s; it must not ask anybody"
        raise SystemFault(msg)
    if done.status != 0 or not done.output:
        how = f"failed with status {done.status}" if done.status else "printed nothing"
        msg = f"{command[0]}: {how} instead of printing the secret; try it by hand as root"
        raise SystemFault(msg)
    return _without_newline(done.output)


def _credential(name: str) -> Secret:
    """Read one of the credentials that systemd unsealed for us alone, in a folder that nobody else may enter."""
    folder = os.environ.get(CREDENTIALS)
    if not folder:
        raise Refused(f"credential {name}", "systemd gave none", f"add 'LoadCredential={name}:FILE' to the unit")
    if "/" in name or name in {"", ".", ".."}:
        raise Refused(f"credential {name}", "is no name", "write the name that LoadCredential= gives it")
    path = Path(folder, name)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(str(path), f"can't be read: {error.strerror}", "is it in the unit's LoadCredential=?") from error
    with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Refused(str(path), "is not a plain file")
        return _without_newline(file.read(LARGEST))


def _without_newline(content: bytes) -> Secret:
    """Drop the newline that editors and `echo` put at the end: one, since more would be meant."""
    return Secret(content.removesuffix(b"\n").removesuffix(b"\r"))
