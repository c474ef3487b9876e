"""The program named resolvconf: which of the three it is, and how it is told things.

openresolv and Debian's resolvconf share their commands. systemd's resolvectl answers to the name too, but wants real
links for its records and speaks for systemd-resolved alone (tailscale/tailscale#12871).
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autovpn.core.dnsfacts import Flavour, ResolvconfFacts
from autovpn.core.resolvconf import ResolvConf, parse
from autovpn.errors import AutovpnError, Refused, StepFailed

_RESOLVECTL = frozenset({"resolvectl", "systemd-resolve"})
_HEADING = b"# resolv.conf from "
_MOST_WORDS = 300

_DEBIAN = re.compile(rb"Debian resolvconf (\d+)\.(\d+)")
_LISTS_SINCE = (1, 91)
"""The first of Debian's that knows -l; what an older one was told could be neither verified nor found again."""

_EMPTY = 2
"""The status of openresolv's -l where there are no records; it prints nothing then (tailscale/tailscale#20825)."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended: its status (None: it did not in time), what it printed, and what it complained about."""

    status: int | None
    output: bytes = b""
    errors: bytes = b""


Run = Callable[[Sequence[str], bytes], Awaitable[Ran]]
"""Runs a program to its end, with this on its standard input; raises SystemFault where it can't be started."""


class ResolvconfProgram:
    """The machine's resolvconf."""

    def __init__(self, run: Run, search_path: str) -> None:
        """Find it in `search_path`, anew each time: packages come and go."""
        self._run = run
        self._search_path = search_path

    async def facts(self) -> ResolvconfFacts:
        """Tell which one it is, by its own word rather than by its name; one that can't say is as good as none."""
        try:
            return await self._identified()
        except AutovpnError:
            return ResolvconfFacts()

    async def _identified(self) -> ResolvconfFacts:
        """Tell which one it is; raises where it is there and can't say so."""
        program = await asyncio.to_thread(self._found)
        if program is None:
            return ResolvconfFacts()
        if await asyncio.to_thread(lambda: program.resolve().name) in _RESOLVECTL:
            return ResolvconfFacts(Flavour.RESOLVECTL, str(program))
        ran = await self._run((str(program), "--version"), b"")
        if ran.status is None:
            raise StepFailed("dns", f"{program}: did not say in time which resolvconf it is")
        flavour = _flavour(ran.output)
        return ResolvconfFacts(flavour, "" if flavour is Flavour.NONE else str(program))

    async def add(self, record: str, text: str, *, options: Sequence[str] = ()) -> None:
        """Put a record in force in place of the one of that name.

        Raises Refused where it does not write over another program's resolv.conf (openresolv since 3.17), StepFailed
        for any other failure.
        """
        await self._told((*options, "-a", record), text.encode())

    async def delete(self, record: str) -> None:
        """Take a record out of force, if it is there."""
        await self._told(("-d", record, "-f"))

    async def records(self, flavour: Flavour) -> dict[str, ResolvConf]:
        """Return what each record says, in the program's order; none where the program isn't of that flavour.

        Raises where they can't be told, which is not the same as that there are none.
        """
        facts = await self._identified()
        if facts.flavour is not flavour:
            return {}
        ran = await self._run((facts.program, "-l"), b"")
        if ran.status is None or (not ran.output and ran.status not in (0, _EMPTY)):
            raise _failure(facts.program, ran)
        parts = (part.partition(b"\n") for part in (b"\n" + ran.output).split(b"\n" + _HEADING)[1:])
        return {name.decode(errors="replace").strip(): parse(text) for name, _, text in parts}

    async def _told(self, arguments: Sequence[str], text: bytes = b"") -> None:
        program = await asyncio.to_thread(self._found)
        if program is None:
            raise StepFailed("dns", "resolvconf: is not installed any more")
        ran = await self._run((str(program), *arguments), text)
        if b"signature mismatch" in ran.errors + ran.output:
            raise Refused(str(program), _words(ran), "'resolvconf -u' has it take over resolv.conf")
        if ran.status != 0:
            raise _failure(str(program), ran)

    def _found(self) -> Path | None:
        found = shutil.which("resolvconf", path=self._search_path)
        return Path(found) if found else None


def _flavour(said: bytes) -> Flavour:
    """Tell which one says this of its version."""
    if b"openresolv" in said:
        return Flavour.OPENRESOLV
    if said.startswith(b"systemd "):
        return Flavour.RESOLVECTL
    debian = _DEBIAN.search(said)
    if debian and (int(debian[1]), int(debian[2])) >= _LISTS_SINCE:
        return Flavour.DEBIAN
    return Flavour.NONE


def _failure(program: str, ran: Ran) -> StepFailed:
    if ran.status is None:
        return StepFailed("dns", f"{program}: did not end in time")
    return StepFailed("dns", f"{program}: ended with status {ran.status}: {_words(ran) or 'without a word'}")


def _words(ran: Ran) -> str:
    return (ran.errors or ran.output).decode(errors="replace").strip()[:_MOST_WORDS]
