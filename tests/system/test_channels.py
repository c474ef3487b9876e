"""Channels carry out every action of a driver and report what comes of it; the tunnel outlives them or ends whole."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from autovpn.core.actions import CreateDevice, Failed, LookAgainAt, Open, QueryWireguard, Ready, Run, Send, SetUp, Spawn
from autovpn.core.driving import (
    Closed,
    DeviceCreated,
    DeviceRefused,
    DriverEvent,
    Exited,
    Line,
    LinkAppeared,
    LinkVanished,
    Opened,
    Ran,
    Received,
    Report,
    Tick,
)
from autovpn.core.secret import Secret
from autovpn.core.tunnel import Facts, FailureClass
from autovpn.errors import SystemFault, Unsupported
from autovpn.system.channels import Channels
from autovpn.system.process import identify
from autovpn.system.procfs import find_by_nonce

NOTIFIER = (sys.executable, "-I", "-S", str(Path(__file__).parent.parent.parent / "autovpn" / "notify.py"))
E = TypeVar("E")


class KernelOfTest:
    """Links that only the test sees."""

    def __init__(self) -> None:
        self.others: dict[str, int] = {}
        self.aliases: dict[int, str] = {}
        self.up: list[str] = []
        self.refusal: SystemFault | None = None

    async def index_of(self, name: str) -> int | None:
        return self.others.get(name)

    async def create(self, kind: str, name: str, alias: str, if_id: int | None = None) -> int:
        if self.refusal:
            raise self.refusal
        self.aliases[len(self.aliases) + 10] = alias
        return len(self.aliases) + 9

    async def mark(self, index: int, alias: str) -> None:
        if self.refusal:
            raise self.refusal
        self.aliases[index] = alias

    async def set_up(self, name: str) -> None:
        if self.refusal:
            raise self.refusal
        self.up.append(name)

    async def delete(self, index: int, alias: str) -> None:
        if self.aliases.get(index) == alias:
            del self.aliases[index]


class Tunnel:
    """Channels of one tunnel and the events that they reported."""

    def __init__(self, directory: Path, nonce: str | None = None) -> None:
        self.directory = directory
        self.nonce = nonce or uuid.uuid4().hex
        self.kernel = KernelOfTest()
        self.events: list[DriverEvent] = []
        self._more = asyncio.Event()
        self.channels = Channels(directory, self.nonce, "avtest0", self.kernel, self._take)

    def _take(self, event: DriverEvent) -> None:
        self.events.append(event)
        self._more.set()

    async def until(self, kind: type[E], accept: Callable[[E], bool] = lambda _: True) -> E:
        async with asyncio.timeout(60):
            while True:
                for event in self.events:
                    if isinstance(event, kind) and accept(event):
                        return event
                self._more.clear()
                await self._more.wait()

    async def sh(self, script: str, secret: bytes | None = None) -> None:
        argv = ("sh", "-c", textwrap.dedent(script))
        await self.channels.execute(Spawn(argv, stdin=Secret(secret) if secret else None))


async def test_a_program_is_given_its_secret_and_its_lines_and_end_are_reported_in_order(tunnel: Tunnel) -> None:
    await tunnel.sh("cat; echo; printf 'last words'; exit 4", b"wonder land")
    await tunnel.until(Exited)
    assert tunnel.events == [Line("wonder land"), Line("last words"), Exited(4)]


async def test_a_program_that_cannot_be_started_counts_as_ended_and_says_why(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(Spawn(("no-such-vpn",)))
    words, ended = tunnel.events
    assert isinstance(words, Line)
    assert words.text.startswith("no-such-vpn: there is no such program")
    assert ended == Exited(127)


async def test_a_program_that_is_not_watched_reports_its_end_alone(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(Spawn(("sh", "-c", "echo unheard; exit 2"), watch_output=False))
    await tunnel.until(Exited)
    assert tunnel.events == [Exited(2)]


async def test_the_scripts_of_a_program_report_through_the_notifier(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(Spawn(NOTIFIER, (("reason", "connect"), ("TUNDEV", "avtest0"))))
    report = await tunnel.until(Report)
    assert report.values == {"reason": "connect", "TUNDEV": "avtest0"}
    assert await tunnel.until(Exited) == Exited(0)


async def test_no_program_is_started_for_a_device_whose_name_another_s_has(tunnel: Tunnel) -> None:
    tunnel.kernel.others["avtest0"] = 5
    await tunnel.sh("echo never heard")
    words, ended = tunnel.events
    assert isinstance(words, Line)
    assert words.text.startswith("there is an interface avtest0 already")
    assert ended == Exited(127)
    tunnel.channels.link_appeared("avtest0", 6)
    assert not tunnel.kernel.aliases, "the other program's was taken for the tunnel's own"


SERVER = """
import os, socket, sys
path = sys.argv[1]
server = socket.socket(socket.AF_UNIX)
server.bind(path)
print("bound", flush=True)
sys.stdin.read()
server.listen()
line, _ = server.accept()
line.sendall(b"hello")
line.sendall(line.recv(100).upper())
"""


async def test_a_dialogue_begins_when_the_program_listens_though_a_stale_socket_was_there(
    tunnel: Tunnel, tmp_path: Path
) -> None:
    path = tmp_path / "management.sock"
    stale = (sys.executable, "-c", f"import socket; socket.socket(socket.AF_UNIX).bind({str(path)!r})")
    await asyncio.to_thread(subprocess.run, stale, check=True)
    await tunnel.channels.execute(Open("management", str(path)))
    await tunnel.channels.execute(Send("management", Secret(b"too early")))
    for _ in range(10):
        await asyncio.sleep(0)  # long enough to be refused by the stale one
    assert tunnel.events == []
    await asyncio.to_thread(path.unlink)
    await tunnel.channels.execute(Spawn((sys.executable, "-c", SERVER, str(path))))
    await tunnel.until(Opened)
    await tunnel.channels.execute(Send("management", Secret(b"ping")))
    await tunnel.until(Closed)
    received = b"".join(event.data for event in tunnel.events if isinstance(event, Received))
    assert received == b"helloPING"
    await tunnel.channels.execute(Send("management", Secret(b"too late")))


async def test_a_stranger_who_listens_in_the_program_s_place_is_told_nothing(tunnel: Tunnel, tmp_path: Path) -> None:
    path = tmp_path / "management.sock"
    heard: list[bytes] = []
    called = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        called.set()
        writer.close()

    await tunnel.sh("sleep 1000")
    async with await asyncio.start_unix_server(listen, path):
        await tunnel.channels.execute(Open("management", str(path)))
        async with asyncio.timeout(60):
            await called.wait()
        await tunnel.channels.execute(Send("management", Secret(b"a private key")))
    assert heard[0] == b""
    assert tunnel.events == []


async def test_a_dialogue_that_can_never_begin_is_closed(tunnel: Tunnel, tmp_path: Path) -> None:
    await tunnel.channels.execute(Open("management", str(tmp_path / ("x" * 200))))
    assert await tunnel.until(Closed) == Closed("management")


async def test_what_is_sent_to_a_channel_that_was_never_opened_is_dropped(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(Send("nothing", Secret(b"x")))
    assert tunnel.events == []


async def test_a_program_run_beside_the_tunnel_reports_its_status_and_output(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(Run("check", ("sh", "-c", "echo well; echo bad >&2; exit 3")))
    assert await tunnel.until(Ran) == Ran("check", 3, "well\nbad\n")


async def test_a_program_run_beside_the_tunnel_ends_at_its_deadline(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(Run("check", ("sh", "-c", "echo begun; sleep 1000"), deadline=2.0))
    assert await tunnel.until(Ran) == Ran("check", None, "begun\n")


async def test_what_is_confidential_comes_back_as_a_secret_and_its_errors_in_the_open(tunnel: Tunnel) -> None:
    script = "cat; echo cookie; echo complaint >&2; exit 2"
    await tunnel.channels.execute(Run("login", ("sh", "-c", script), stdin=Secret(b"wonder land\n"), confidential=True))
    ran = await tunnel.until(Ran)
    assert (ran.status, ran.output) == (2, "complaint\n")
    assert ran.secret
    assert ran.secret.reveal() == b"wonder land\ncookie\n"
    assert "cookie" not in repr(ran)


@pytest.mark.parametrize("stream", [1, 2])
async def test_a_flood_of_what_is_confidential_or_complained_about_is_cut_and_stops_nobody(
    tunnel: Tunnel, stream: int
) -> None:
    script = f"head -c 1000000 /dev/zero >&{stream}; exit 3"
    await tunnel.channels.execute(Run("login", ("sh", "-c", script), confidential=True))
    ran = await tunnel.until(Ran)
    assert ran.status == 3
    assert ran.secret
    assert len(ran.secret.reveal() + ran.output.encode()) == 16 * 1024


async def test_a_missing_program_beside_the_tunnel_has_the_status_of_a_shells(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(Run("check", ("no-such-program",)))
    assert (await tunnel.until(Ran)).status == 127


async def test_a_device_is_made_with_our_alias_and_removed_by_stop(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(CreateDevice("wireguard", "avtest0"))
    await tunnel.channels.execute(SetUp("avtest0"))
    assert tunnel.events == [DeviceCreated("avtest0")]
    assert list(tunnel.kernel.aliases.values()) == [f"autovpn:{tunnel.nonce}"]
    assert tunnel.kernel.up == ["avtest0"]
    await tunnel.channels.stop()
    assert not tunnel.kernel.aliases


async def test_a_device_that_was_seen_before_it_had_its_name_stays_the_tunnels(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(CreateDevice("wireguard", "avtest0"))
    index = tunnel.channels.receipt()["index"]
    tunnel.channels.link_vanished("avtmp-0", index)  # the name under which it was made (system/links.py)
    tunnel.channels.link_appeared("avtest0", index)
    assert tunnel.events == [DeviceCreated("avtest0")]
    await tunnel.channels.stop()
    assert not tunnel.kernel.aliases


@pytest.mark.parametrize(("refusal", "unsupported"), [(Unsupported("no"), True), (SystemFault("no"), False)])
async def test_a_device_that_the_kernel_refuses_is_reported(
    tunnel: Tunnel, refusal: SystemFault, unsupported: bool
) -> None:
    tunnel.kernel.refusal = refusal
    for action in (CreateDevice("wireguard", "avtest0"), SetUp("avtest0")):
        await tunnel.channels.execute(action)
    assert tunnel.events == [DeviceRefused("avtest0", unsupported, "no")] * 2


async def test_a_kernel_without_wireguard_is_unsupported_and_one_with_it_refuses_a_missing_device(
    tunnel: Tunnel,
) -> None:
    await tunnel.channels.execute(QueryWireguard("avtest-none"))
    refused = await tunnel.until(DeviceRefused)
    assert refused.unsupported == (refused.words == "this kernel has no WireGuard")


async def test_a_device_that_the_program_made_is_marked_and_reported_once(tunnel: Tunnel) -> None:
    tunnel.channels.link_appeared("avtest0", 6)  # somebody else's: nothing of ours was started yet
    await tunnel.sh("sleep 1000")
    tunnel.channels.link_appeared("another", 8)
    tunnel.channels.link_appeared("avtest0", 7)
    tunnel.channels.link_appeared("avtest0", 7)
    assert await tunnel.until(LinkAppeared) == LinkAppeared("avtest0", 7)
    assert tunnel.kernel.aliases == {7: f"autovpn:{tunnel.nonce}"}
    tunnel.channels.link_vanished("another", 8)
    tunnel.channels.link_vanished("avtest0", 7)
    assert tunnel.events == [LinkAppeared("avtest0", 7), LinkVanished("avtest0")]


async def test_the_newest_time_to_look_again_replaces_any_earlier(tunnel: Tunnel) -> None:
    now = time.monotonic()
    await tunnel.channels.execute(LookAgainAt(now + 1000))
    await tunnel.channels.execute(LookAgainAt(now - 1))
    await tunnel.until(Tick)
    await tunnel.channels.execute(LookAgainAt(now + 1000))
    assert tunnel.events == [Tick()]


async def test_news_for_the_supervisor_changes_nothing(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(Ready(Facts()))
    await tunnel.channels.execute(Failed(FailureClass.LOST, "gone"))
    assert tunnel.events == []


async def test_stopping_ends_what_the_program_started_and_reports_nothing(tunnel: Tunnel) -> None:
    await tunnel.sh("trap 'echo asked; exit 0' TERM; setsid sleep 1000 & echo ready; while :; do sleep 0.01; done")
    await tunnel.until(Line)
    await tunnel.channels.execute(Run("check", ("sleep", "1000"), deadline=1000))
    await tunnel.channels.execute(Open("control", str(tunnel.directory / "none")))
    await tunnel.channels.stop()
    assert tunnel.events == [Line("ready")]


async def test_stopping_twice_and_stopping_nothing_is_fine(tunnel: Tunnel) -> None:
    await tunnel.channels.stop()
    await tunnel.channels.stop()


COUNTER = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.01; done"


async def test_a_tunnel_that_was_let_go_is_adopted_by_its_receipt_while_it_prints(tmp_path: Path) -> None:
    before = Tunnel(tmp_path / "tunnel")
    await before.sh(COUNTER)
    await before.until(Line)
    receipt = json.loads(json.dumps(before.channels.receipt()))
    before.channels.close()
    heard = len(before.events)

    after = Tunnel(tmp_path / "tunnel", before.nonce)
    assert await after.channels.reattach(receipt)
    first = await after.until(Line)
    assert first.text not in {line.text for line in before.events if isinstance(line, Line)}
    assert len(before.events) == heard
    assert after.channels.receipt() == receipt
    held = identify(receipt["pid"], receipt["start_time"])
    assert held is not None
    held.signal(signal.SIGKILL)
    held.release()
    await after.until(Exited)
    await after.channels.stop()


async def test_an_adopted_tunnel_is_stopped_with_its_device(tmp_path: Path) -> None:
    before = Tunnel(tmp_path / "tunnel")
    await before.sh(COUNTER)
    before.channels.link_appeared("avtest0", 7)
    await before.until(LinkAppeared)
    receipt = before.channels.receipt()
    before.channels.close()
    after = Tunnel(tmp_path / "tunnel", before.nonce)
    after.kernel = before.kernel
    after.channels._devices = before.kernel
    assert await after.channels.reattach(receipt)
    await after.channels.stop()
    assert not before.kernel.aliases
    assert not await asyncio.to_thread(find_by_nonce, before.nonce)


async def test_a_tunnel_that_ended_with_its_daemon_is_not_adopted(tmp_path: Path, tunnel: Tunnel) -> None:
    await tunnel.sh("exit 0")
    await tunnel.until(Exited)
    receipt = tunnel.channels.receipt()
    await tunnel.channels.stop()
    after = Tunnel(tmp_path / "tunnel", tunnel.nonce)
    assert not await after.channels.reattach(receipt)
    await after.channels.stop()


async def test_a_tunnel_without_a_process_is_adopted_by_its_device(tunnel: Tunnel) -> None:
    await tunnel.channels.execute(CreateDevice("wireguard", "avtest0"))
    receipt = tunnel.channels.receipt()
    tunnel.channels.close()
    after = Tunnel(tunnel.directory, tunnel.nonce)
    assert await after.channels.reattach(receipt)
    after.channels.link_vanished("avtest0", receipt["index"])
    assert after.events == [LinkVanished("avtest0")]


async def test_no_secret_is_in_receipt_or_representation(tunnel: Tunnel) -> None:
    await tunnel.sh("cat >/dev/null; sleep 1000", b"wonder land")
    assert "wonder" not in json.dumps(tunnel.channels.receipt())
    assert "wonder" not in repr(vars(tunnel.channels))
