"""What is done before a tunnel's program is ended never fails: at worst it says what went wrong."""

from __future__ import annotations

import asyncio
import shutil
import socket
import struct
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from vici.protocol import Message, Packet

from autovpn.core.actions import DropRules, Run, ViciCall, ViciErrand
from autovpn.errors import SystemFault
from autovpn.system import farewell, vici
from autovpn.system.farewell import carry_out

LENGTH = struct.Struct("!I")
CALLS = (
    ViciCall("terminate", "terminate", {"ike": "autovpn-office"}),
    ViciCall("unload-conn", "unload-conn", {"name": "autovpn-office"}),
)


@pytest.fixture
def path() -> Iterator[str]:
    """Give a socket's path that is short enough."""
    folder = Path(tempfile.mkdtemp(prefix="avt"))
    yield str(folder / "vici")
    shutil.rmtree(folder)


@asynccontextmanager
async def strongswan(path: str, answers: int) -> AsyncIterator[list[str]]:
    """Have a strongSwan listen that refuses this many commands and then hangs up; yield the commands as they come."""
    commands: list[str] = []
    conversations: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.current_task()
        assert conversation
        conversations.append(conversation)
        refusal = Message.serialize({"success": "no", "errmsg": "there is none"})
        reply = bytes([Packet.CMD_RESPONSE]) + refusal
        try:
            while len(commands) < answers:
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                packet = await reader.readexactly(length)
                commands.append(packet[2 : 2 + packet[1]].decode())
                writer.write(LENGTH.pack(len(reply)) + reply)
        except asyncio.IncompleteReadError:
            pass  # the errand is done, or has only asked whether somebody listens
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async with await asyncio.start_unix_server(serve, path):
        yield commands
        await asyncio.gather(*conversations)


async def test_every_command_is_given_whatever_strongswan_says_to_the_one_before(path: str) -> None:
    async with strongswan(path, 9) as commands:
        assert await carry_out(ViciErrand(path, CALLS), "nonce") == ""
    assert commands == ["terminate", "unload-conn"]


@pytest.mark.parametrize("answers", [0, 1])
async def test_a_strongswan_that_hangs_up_has_nothing_left_to_undo(path: str, answers: int) -> None:
    async with strongswan(path, answers):
        assert await carry_out(ViciErrand(path, CALLS), "nonce") == ""


async def test_a_program_is_not_run_where_the_file_that_it_needs_is_not_there(tmp_path: Path) -> None:
    needed, made = tmp_path / "needed", tmp_path / "made"
    run = Run("touch", ("touch", str(made)), (("PATH", "/usr/bin:/bin"),), needs=str(needed))
    assert await carry_out(run, "nonce") == ""
    assert not made.exists()
    needed.touch()
    assert await carry_out(run, "nonce") == ""
    assert made.exists()


async def test_where_nobody_listens_nothing_is_to_be_undone(path: str) -> None:
    assert await carry_out(ViciErrand(path, CALLS), "nonce") == ""
    with socket.socket(socket.AF_UNIX) as left:  # as by a strongSwan that was killed
        left.bind(path)
    assert await carry_out(ViciErrand(path, CALLS), "nonce") == ""


async def test_a_strongswan_that_does_not_answer_is_waited_for_no_longer_than_the_deadline(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        said = await carry_out(ViciErrand(path, CALLS, deadline=0.1), "nonce")
    assert said == f"strongSwan at {path} did not answer within 0.1 s"


async def test_without_the_package_that_speaks_to_strongswan_nothing_was_told_to_it(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vici, "_protocol", lambda: None)
    async with strongswan(path, 9) as commands:
        assert await carry_out(ViciErrand(path, CALLS), "nonce") == ""
    assert commands == []


async def test_a_program_is_run_and_its_complaint_is_one_line() -> None:
    failing = Run("stop", (sys.executable, "-c", "import sys; sys.exit('no\\nmore')"))
    assert await carry_out(failing, "nonce") == rf"{sys.executable}: no\x0amore"
    assert await carry_out(Run("stop", (sys.executable, "-c", "")), "nonce") == ""


@pytest.mark.parametrize("words", ["", "no rule: Operation not permitted"])
async def test_rules_are_dropped_and_a_refusal_of_the_kernel_is_said(
    words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def drop(priority: int, table: int) -> None:
        asked.append((priority, table))
        if words:
            raise SystemFault(words)

    monkeypatch.setattr(farewell, "drop_rules", drop)
    assert await carry_out(DropRules(32790, 34559), "nonce") == words
    assert asked == [(32790, 34559)]
