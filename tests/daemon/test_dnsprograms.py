"""Programs that write resolv.conf: never stopped half-way, and what they make or restart is not ours to hide or end."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from autovpn.core.hookenv import EVENT_VARIABLE
from autovpn.daemon.dnsprograms import run_briefly
from autovpn.errors import Unsupported


async def test_a_caller_that_is_cancelled_ends_only_when_the_program_has(tmp_path: Path) -> None:
    gate, begun, written = tmp_path / "gate", tmp_path / "begun", tmp_path / "written"
    os.mkfifo(gate)
    os.mkfifo(begun)
    script = 'echo begun >"$1"; read line <"$0"; echo "$line" >"$2"'
    argv = ("/bin/sh", "-c", script, *map(str, (gate, begun, written)))
    telling = asyncio.ensure_future(run_briefly(argv, b""))
    await asyncio.to_thread(begun.read_text)

    telling.cancel()
    await asyncio.to_thread(gate.write_text, "whole\n")

    with pytest.raises(asyncio.CancelledError):
        await telling
    assert written.read_text() == "whole\n"


async def test_it_gets_the_text_and_what_it_prints_and_complains_of_is_kept_apart() -> None:
    ran = await run_briefly(("/bin/sh", "-c", "cat; echo wrong >&2; exit 3"), b"nameserver 192.0.2.1\n")

    assert (ran.status, ran.output, ran.errors) == (3, b"nameserver 192.0.2.1\n", b"wrong\n")


async def test_all_may_read_what_it_makes(tmp_path: Path) -> None:
    await run_briefly(("/bin/sh", "-c", 'echo >"$0"', str(tmp_path / "resolv.conf")), b"")

    assert (tmp_path / "resolv.conf").stat().st_mode & 0o777 == 0o644


async def test_a_service_that_it_restarts_is_taken_for_no_tunnel_of_ours() -> None:
    """What inherits our mark and says that it is no hook's would be ended after a crash."""
    assert (await run_briefly(("/usr/bin/env",), b"")).output.count(f"{EVENT_VARIABLE}=".encode()) == 1


async def test_a_program_that_is_not_there_is_an_error_that_names_it() -> None:
    with pytest.raises(Unsupported, match="/nowhere/resolvconf: there is no such program"):
        await run_briefly(("/nowhere/resolvconf",), b"")
