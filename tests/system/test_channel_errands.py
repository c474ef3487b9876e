"""What channels do for a driver beside its program: files, signals, questions, connections, sd_notify."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest

from autovpn.core.actions import AskPerson, Dial, Run, Signal, Spawn, Write
from autovpn.core.driving import Answered, Dialled, DialOutcome, Exited, Line, Notified, Ran
from autovpn.core.secret import Secret
from autovpn.errors import SystemFault
from autovpn.system.process import recover
from autovpn.system.procfs import find_by_nonce
from tests.system.test_channels import Tunnel

LOOPBACK = IPv4Address("127.0.0.1")


# -- files


async def test_a_file_is_put_into_the_tunnel_s_own_folder_for_us_alone(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(Write("keys/own", Secret(b"wonder land")))
    path = tunnel.directory / "keys" / "own"
    facts = [found.stat().st_mode & 0o777 for found in (path, path.parent, tunnel.directory)]
    assert (path.read_bytes(), facts) == (b"wonder land", [0o600, 0o700, 0o700])


async def test_an_executable_file_can_be_run(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(Write("up", Secret(b"#!/bin/sh\necho up\n"), executable=True))
    await tunnel.channels.execute(Run("up", (str(tunnel.directory / "up"),)))
    assert await tunnel.until(Ran) == Ran("up", 0, "up\n")


async def test_a_link_in_the_place_of_a_file_is_replaced_and_what_it_leads_to_is_not_touched(
    tunnel: Tunnel, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text("somebody's")
    await tunnel.channels.execute(Write("own", Secret(b"old and longer")))
    (tunnel.directory / "own").unlink()
    (tunnel.directory / "own").symlink_to(other)
    await tunnel.channels.execute(Write("own", Secret(b"new")))
    assert ((tunnel.directory / "own").read_bytes(), other.read_text()) == (b"new", "somebody's")


async def test_a_file_that_cannot_be_written_is_named(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(Write("own/file", Secret(b"")))
    with pytest.raises(SystemFault, match="own/file/below: can't be written: File exists"):
        await tunnel.channels.execute(Write("own/file/below", Secret(b"")))


# -- signals, programs beside


async def test_a_signal_reaches_the_program_alone(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(Signal(signal.SIGUSR1))  # nobody to be signalled is fine
    await tunnel.sh("trap 'echo seen; exit 3' USR1; echo ready; while :; do sleep 0.01; done")
    await tunnel.until(Line)
    await tunnel.channels.execute(Signal(signal.SIGUSR1))
    assert await tunnel.until(Exited) == Exited(3)
    assert Line("seen") in tunnel.events


async def test_a_program_beside_the_tunnel_is_given_its_secret(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(Run("login", ("sh", "-c", "read name; echo $name"), stdin=Secret(b"alice\n")))
    assert await tunnel.until(Ran) == Ran("login", 0, "alice\n")


async def test_what_a_program_prints_in_confidence_is_a_secret_and_its_errors_are_shown(tunnel: Tunnel) -> None:
    script = "echo COOKIE=wonder; echo warned >&2"
    await tunnel.channels.execute(Run("login", ("sh", "-c", script), confidential=True))
    ran = await tunnel.until(Ran)
    assert ran.secret is not None
    assert (ran.secret.reveal(), ran.output) == (b"COOKIE=wonder\n", "warned\n")
    assert "wonder" not in repr(ran)


async def test_a_program_of_the_user_s_that_others_could_have_written_is_not_run(
    tunnel: Tunnel, tmp_path: Path
) -> None:
    program = tmp_path / "start"
    program.write_text("#!/bin/sh\necho never\n")
    program.chmod(0o777)
    await tunnel.channels.execute(Run("check", (str(program),), by_user=True))
    await tunnel.channels.execute(Spawn((str(program),), by_user=True))
    ran = await tunnel.until(Ran)
    said = await tunnel.until(Line)
    assert (ran.status, await tunnel.until(Exited)) == (127, Exited(127))
    for words in (ran.output, said.text):
        assert f"{program}: it may be written by others" in words


async def test_a_trusted_program_of_the_user_s_is_run(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(Run("x", ("sh", "-c", "echo fine"), by_user=True))
    assert await tunnel.until(Ran) == Ran("x", 0, "fine\n")


# -- people


async def test_a_person_who_is_not_there_answers_nothing(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(AskPerson("code", "One-time code"))
    assert await tunnel.until(Answered) == Answered("code", None)


async def test_a_question_reaches_a_person_and_the_answer_the_driver(tunnel: Tunnel) -> None:
    asked: list[AskPerson] = []

    async def ask(question: AskPerson) -> Secret:
        asked.append(question)
        return Secret(b"123456")

    tunnel.channels._ask = ask
    question = AskPerson("code", "One-time code", hidden=False)
    await tunnel.channels.execute(question)
    answered = await tunnel.until(Answered)
    assert asked == [question]
    assert answered.answer is not None
    assert answered.answer.reveal() == b"123456"


# -- connections


Serve = Callable[[bytes | None], Awaitable[int]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Give a maker of servers that say something, or hang up (None), to whoever connects; it returns their port."""
    servers: list[asyncio.Server] = []
    over = asyncio.Event()

    async def make(greeting: bytes | None) -> int:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(greeting or b"")
            if greeting is not None:
                await over.wait()
            writer.close()

        servers.append(await asyncio.start_server(greet, "127.0.0.1"))
        port: int = servers[-1].sockets[0].getsockname()[1]
        return port

    yield make
    over.set()
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    ("greeting", "hold", "outcome"),
    [
        (None, 0.0, DialOutcome.STOOD),
        (None, 60.0, DialOutcome.CLOSED),
        (b"", 0.05, DialOutcome.STOOD),
        (b"SSH-2.0", 60.0, DialOutcome.SPOKE),
    ],
)
async def test_a_connection_is_told_by_what_becomes_of_it(
    tunnel: Tunnel, serve: Serve, greeting: bytes | None, hold: float, outcome: DialOutcome
) -> None:
    await tunnel.channels.execute(Dial("probe", LOOPBACK, await serve(greeting), hold=hold))
    assert await tunnel.until(Dialled) == Dialled("probe", outcome)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_port_at_which_nobody_listens_refuses(tunnel: Tunnel, host: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as bound:
        bound.bind((host, 0))
        await tunnel.channels.execute(Dial("probe", ip_address(host), bound.getsockname()[1]))
        assert await tunnel.until(Dialled) == Dialled("probe", DialOutcome.REFUSED, "Connection refused")


async def test_a_port_that_does_not_answer_is_given_up_in_time(tunnel: Tunnel) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):  # the one that the backlog takes
            await tunnel.channels.execute(Dial("probe", LOOPBACK, full.getsockname()[1], deadline=0.1))
            dialled = await tunnel.until(Dialled)
    assert dialled == Dialled("probe", DialOutcome.REFUSED, "no answer within 0.1 s")


async def test_a_connection_that_is_held_ends_with_the_tunnel(tunnel: Tunnel, serve: Serve) -> None:
    await tunnel.channels.execute(Dial("probe", LOOPBACK, await serve(b""), hold=1000.0))
    await tunnel.channels.stop()
    assert tunnel.events == []


# -- sd_notify


NOTIFY = """
import array, os, socket, sys, time
path = os.environ["NOTIFY_SOCKET"]
link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
link.connect(path)
for message in sys.argv[1:]:
    link.send(message.encode().decode("unicode_escape").encode())
read, write = os.pipe()
link.sendmsg([b"BARRIER=1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write]))])
os.close(write)
os.read(read, 1)
print("let go", flush=True)
time.sleep(1000)
"""


async def test_a_program_notifies_in_the_way_of_systemd_and_is_let_go_at_its_barrier(tunnel: Tunnel) -> None:
    argv = (sys.executable, "-c", NOTIFY, r"STATUS=half\x1b way", r"READY=1\nSTATUS=all\nMAINPID=7")
    await tunnel.channels.execute(Spawn(argv, notifies=True))
    await tunnel.until(Line, lambda line: line.text == "let go")
    notified = [event for event in tunnel.events if isinstance(event, Notified)]
    assert notified == [Notified({"STATUS": r"half\x1b way"}), Notified({"READY": "1", "STATUS": "all"})]


async def test_a_stranger_and_a_message_that_is_too_long_are_turned_away(
    tunnel: Tunnel, caplog: pytest.LogCaptureFixture
) -> None:
    argv = (sys.executable, "-c", NOTIFY, "X" * 5000)
    await tunnel.channels.execute(Spawn(argv, notifies=True))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"READY=1", str(tunnel.directory / "sd.sock"))
    await tunnel.until(Line, lambda line: line.text == "let go")
    assert not any(isinstance(event, Notified) for event in tunnel.events)
    assert caplog.text.count("is not of this tunnel was turned away") == 1
    assert caplog.text.count("of more than 4096 bytes was turned away") == 1


WAITING = """
import os, socket, sys, time
print("ready", flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"STATUS=late", os.environ["NOTIFY_SOCKET"])
time.sleep(1000)
"""


async def test_a_program_that_was_adopted_can_still_notify(tmp_path: Path) -> None:
    before = Tunnel(tmp_path / "tunnel")
    await before.channels.execute(Spawn((sys.executable, "-c", WAITING, str(tmp_path / "go")), notifies=True))
    await before.until(Line)
    receipt = before.channels.receipt()
    before.channels.close()
    after = Tunnel(tmp_path / "tunnel", before.nonce)
    assert await after.channels.reattach(receipt)
    await asyncio.to_thread((tmp_path / "go").touch)
    assert await after.until(Notified) == Notified({"STATUS": "late"})
    await after.channels.stop()


async def test_a_program_that_does_not_notify_finds_no_socket(tunnel: Tunnel) -> None:
    await tunnel.sh('echo "${NOTIFY_SOCKET-none}"')
    assert await tunnel.until(Line) == Line("none")


# -- programs that leave the tunnel behind


async def test_a_program_that_detaches_is_no_part_of_the_tunnel_any_more_once_it_ended_well(tmp_path: Path) -> None:
    tunnel = Tunnel(tmp_path / "tunnel")
    script = "setsid sh -c 'while :; do echo alive; sleep 0.01; done' & echo $!"
    await tunnel.channels.execute(Spawn(("sh", "-c", script), detaches=True))
    assert await tunnel.until(Exited) == Exited(0)
    receipt = tunnel.channels.receipt()
    assert receipt["pid"] is None
    tunnel.channels.close()

    after = Tunnel(tmp_path / "tunnel", tunnel.nonce)
    assert await after.channels.reattach(receipt), "what it left can be taken over"
    await after.until(Line, lambda line: line.text == "alive")
    await after.channels.stop()
    await asyncio.to_thread(recover, after.nonce)
    assert not await asyncio.to_thread(find_by_nonce, after.nonce)


async def test_a_program_that_detaches_and_fails_is_reported_as_it_is(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(Spawn(("sh", "-c", "exit 3"), detaches=True))
    assert await tunnel.until(Exited) == Exited(3)
    assert tunnel.channels.receipt()["pid"] is not None
