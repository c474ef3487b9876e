"""Runs hooks: programs that only root can have put there, bounded in time and output, as a user of their own."""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import shutil
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autovpn.core.hookenv import HookContext, hook_environment
from autovpn.core.profile import Hook
from autovpn.errors import Refused, SystemFault
from autovpn.system.files import open_trusted
from autovpn.system.output import Lines
from autovpn.system.programs import run_program
from autovpn.system.spawn import SEARCH_PATH, Account

_log = logging.getLogger(__name__)

MOST_LINES = 200
"""Lines of one hook's output that reach the log."""

_LAST_LINES = 20
_EXECUTABLE = 0o111
_UMASK = 0o022


@dataclass(frozen=True, slots=True)
class HookResult:
    """How a hook went.

    `status` is its exit status (negative: the signal that killed it), None when it ran out of time or was refused;
    `refused` says why it was not run; `output` is the end of what it printed; `seconds` is how long it took.
    """

    status: int | None = None
    timed_out: bool = False
    refused: str | None = None
    output: str = ""
    seconds: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Report whether the hook ran and ended with 0."""
        return self.status == 0

    @property
    def words(self) -> str:
        """Say how it went, for `status` and the log."""
        if self.refused is not None:
            return f"not run: {self.refused}"
        if self.status is None:
            return f"killed after {self.seconds:.0f} s"
        return f"killed by signal {-self.status}" if self.status < 0 else f"exit status {self.status}"


async def run_hook(hook: Hook, context: HookContext, nonce: str, log: Callable[[str], None] = _log.info) -> HookResult:
    """Run one hook and return when it ends; it never raises for what the hook does.

    Its file is checked now, whatever a check said at load. Output goes line by line to `log`, bounded. Out of time, or
    when the caller is cancelled, its session gets SIGTERM, two seconds later SIGKILL. `nonce` is to be recorded first:
    by it a hook that outlives the daemon is found and ended.
    """
    began = time.monotonic()
    printed = _Printed(log)
    try:
        program, account = await asyncio.to_thread(_prepared, hook)
        done = await run_program(
            (str(program), *hook.run[1:]),
            {**hook_environment(context), **_home(account)},
            nonce=nonce,
            deadline=hook.timeout,
            keep=0,
            umask=_UMASK,
            account=account,
            report=printed.take,
        )
    except (Refused, SystemFault) as error:
        return HookResult(refused=str(error))
    seconds = time.monotonic() - began
    return HookResult(done.status, timed_out=done.status is None, output=printed.end(), seconds=seconds)


def trusted_program(name: str, below: Path = Path("/")) -> Path:
    """Return the path of a program that only root, or we ourselves, can have put there; raise Refused.

    A name without a slash is looked for on a fixed PATH. It is checked on open descriptors, each directory and symlink
    of its path (from `below` on) too, so that afterwards the path leads to the same file: nobody else can change it.
    """
    path = _located(name)
    try:
        descriptor = open_trusted(path, owner=os.geteuid(), below=below)
    except OSError as error:
        raise Refused(str(path), f"can't be opened: {error.strerror}") from error
    try:
        if not os.fstat(descriptor).st_mode & _EXECUTABLE:
            raise Refused(str(path), "is not executable", f"mend it with 'chmod +x {path}'")
    finally:
        os.close(descriptor)
    return path


def _located(name: str) -> Path:
    if name.startswith("/"):
        return Path(name)
    if "/" in name:
        raise Refused(name, "is relative to no folder", "write its whole path")
    found = shutil.which(name, path=SEARCH_PATH)
    if found is None:
        raise Refused(name, "is not installed", "install it, or write its whole path")
    return Path(found)


def _prepared(hook: Hook) -> tuple[Path, Account | None]:
    return trusted_program(hook.run[0]), _account(hook.user) if hook.user is not None else None


def _account(name: str) -> Account:
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise Refused(f"user {name}", "does not exist", "create it, or name another in the hook") from error
    groups = os.getgrouplist(name, entry.pw_gid)
    return Account(name, entry.pw_uid, entry.pw_gid, tuple(groups), entry.pw_dir)


def _home(account: Account | None) -> dict[str, str]:
    """Return what programs of a user expect; root's hooks have none of it, as with netifrc."""
    return {"HOME": account.home, "USER": account.name, "LOGNAME": account.name} if account else {}


class _Printed:
    """What a hook prints: its first lines for the log, its last ones for the result."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._lines = Lines()
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._count = 0

    def take(self, data: bytes) -> None:
        self._note(self._lines.feed(data))

    def end(self) -> str:
        self._note(self._lines.rest())
        if self._count > MOST_LINES:
            self._log(f"({self._count - MOST_LINES} more lines left out)")
        return "\n".join(self._last)

    def _note(self, lines: list[str]) -> None:
        for line in lines:
            self._count += 1
            self._last.append(line)
            if self._count <= MOST_LINES:
                self._log(line)
