"""What outlives the daemon: read back as it was, or not at all, and never a reason to stop."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from autovpn.core.memory import Arrival, Flap, Memory, Override, Ride
from autovpn.core.records import Origin
from autovpn.core.snapshot import LinkId
from autovpn.core.tunnel import Facts, Failure, FailureClass, PinnedEndpoint, TunnelPhase, TunnelState
from autovpn.daemon.remember import Memories, Remembered, relinked
from tests.core.builders import cable, wifi

ORIGIN = Origin("boot", 1)
SEEN = wifi(b"\xff\0$(reboot)")
MEMORY = Memory(
    rides=(Ride("campus", SEEN.id, SEEN.network, 3, 10.0, "02:00:00:00:00:01", 11.0, 12.0),),
    arrivals={SEEN.id: Arrival(SEEN.network, 9.0)},
    overrides=(Override(True, "campus", SEEN.id, SEEN.network, "office", 99.0),),
    leaving={SEEN.id: 13.0},
    flaps={"campus": Flap(2, 5.0)},
    next_epoch=4,
)
FACTS = Facts("av-tun", (ip_interface("10.98.0.2/30"),), ip_address("10.98.0.1"), dns=("10.8.0.1",))
PINS = (PinnedEndpoint(ip_address("203.0.113.1"), 22, "tcp"),)
FAILURE = Failure(FailureClass.LOST, "silence")
TUNNELS = {("campus", "office"): TunnelState(TunnelPhase.UP, "3-abc", 2, None, 8.0, PINS, FACTS, FAILURE, 1)}


async def kept(path: Path, origin: Origin = ORIGIN) -> Remembered:
    """Save, and load as the next daemon does."""
    await Memories(path, ORIGIN).save(MEMORY, TUNNELS)
    return await asyncio.to_thread(Memories(path, origin).load)


async def test_everything_comes_back_as_it_was(tmp_path: Path) -> None:
    assert await kept(tmp_path / "memory.json") == Remembered(MEMORY, TUNNELS)


@pytest.mark.parametrize("origin", [Origin("next boot", 1), Origin("boot", 2)])
async def test_another_boot_or_namespace_knows_nothing(tmp_path: Path, origin: Origin) -> None:
    assert await kept(tmp_path / "memory.json", origin) == Remembered()


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"{", b"[]", b'"words"', b'{"kind": "Memory"}', b"[1, 2, 3]", b"null", b"\0" * 100]
)
def test_a_damaged_file_is_no_memory(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "memory.json"
    path.write_bytes(content)

    assert Memories(path, ORIGIN).load() == Remembered()


async def test_any_part_of_the_file_is_no_memory_and_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    await kept(path)
    content = path.read_bytes()
    for length in range(0, len(content), 17):
        path.write_bytes(content[:length])
        assert await asyncio.to_thread(Memories(path, ORIGIN).load) == Remembered()


def test_a_file_that_is_not_there_or_cannot_be_read_is_no_memory(tmp_path: Path) -> None:
    assert Memories(tmp_path / "none", ORIGIN).load() == Remembered()
    assert Memories(tmp_path, ORIGIN).load() == Remembered(), "a folder"


async def test_a_place_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    await Memories(tmp_path / "file" / "memory.json", ORIGIN).save(MEMORY, TUNNELS)


async def test_what_has_not_changed_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    memories = Memories(path, ORIGIN)
    await memories.save(MEMORY, TUNNELS)
    first = path.stat()
    await memories.save(MEMORY, dict(TUNNELS))
    assert path.stat() == first
    await memories.save(replace(MEMORY, next_epoch=5), TUNNELS)
    assert path.stat() != first
    assert path.stat().st_mode & 0o777 == 0o600


async def test_no_secret_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    await kept(path)

    assert "password" not in json.dumps(json.loads(path.read_text()))


class TestRelinked:
    def test_a_link_is_found_again_by_its_index(self) -> None:
        now = wifi(id=LinkId(2, 7))
        memory = relinked(MEMORY, (now, cable()))

        assert memory.rides[0].uplink == now.id
        assert memory.overrides[0].uplink == now.id
        assert memory.arrivals.keys() == memory.leaving.keys() == {now.id}

    def test_one_that_is_gone_is_no_other(self) -> None:
        memory = relinked(MEMORY, (cable(3),))

        assert memory.rides[0].uplink == LinkId(2, -1)

    def test_a_network_is_the_same_although_its_security_cannot_be_read_again(self) -> None:
        now = wifi(b"\xff\0$(reboot)", security=None)  # type: ignore[arg-type]
        memory = relinked(MEMORY, (now,))

        assert memory.rides[0].network.security is None
        assert not memory.rides[0].network.conflicts(now.network)


async def test_what_could_not_be_kept_is_kept_the_next_time(tmp_path: Path) -> None:
    """Somebody may empty /run under a running daemon."""
    blocked = tmp_path / "run"
    blocked.write_text("in the way")
    memories = Memories(blocked / "memory.json", ORIGIN)
    await memories.save(MEMORY, {})
    blocked.unlink()

    await memories.save(MEMORY, {})

    assert (await asyncio.to_thread(memories.load)).memory == MEMORY
