"""The world that the other tests stand on does what it says, and leaves nothing."""

from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path

import pytest

from tests.netns.namespace import Namespace, namespaces, prefix_of
from tests.netns.world import GATEWAY, GATEWAY6, OFFICE, OFFICE6, World, wait_until


def test_the_gateway_answers_and_the_office_does_not_without_a_tunnel(world: World) -> None:
    for address in (GATEWAY, GATEWAY6):
        wait_until(partial(world.laptop.ping, address), f"{address} to answer")
    assert not world.laptop.ping(OFFICE)
    assert not world.laptop.ping(OFFICE6)


def test_the_office_answers_what_enters_the_gateway_by_another_device(world: World) -> None:
    """A second cable stands for a tunnel here, since not every kernel has a kind of tunnel without keys."""
    world.connect(world.laptop, "t0", world.gateway, "t0")
    world.laptop.batch("addr add 10.99.0.2/30 dev t0", "route add 10.20.0.0/24 via 10.99.0.1")
    world.gateway.batch("addr add 10.99.0.1/30 dev t0")
    wait_until(lambda: world.laptop.ping(OFFICE), "the office to answer")


def test_undoing_a_change_gives_an_equal_snapshot(world: World) -> None:
    before = world.laptop.snapshot()
    world.laptop.run("ip", "route", "add", "10.0.0.0/8", "via", GATEWAY, "table", "77")
    assert world.laptop.snapshot() != before
    world.laptop.run("ip", "route", "del", "10.0.0.0/8", "table", "77")
    assert world.laptop.snapshot() == before


def devices() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def test_python_is_inside_only_while_it_has_entered(world: World) -> None:
    outside = devices()
    with world.office.enter():
        inside = devices()
    assert "eth0" in inside
    assert devices() == outside
    assert world.office.call(devices) == inside


async def test_a_test_that_awaits_may_enter_too(world: World) -> None:
    with world.gateway.enter():
        assert {"eth0", "eth1"} <= devices()


def test_an_exception_leaves_the_namespace_and_reaches_the_caller(world: World) -> None:
    before = Path("/proc/thread-self/ns/net").readlink()
    with pytest.raises(ZeroDivisionError), world.laptop.enter():
        1 / 0  # noqa: B018
    with pytest.raises(ZeroDivisionError):
        world.laptop.call(lambda: 1 / 0)
    assert Path("/proc/thread-self/ns/net").readlink() == before


def test_the_private_file_system_is_nobody_elses(world: World) -> None:
    machines = Path("/etc/resolv.conf").read_bytes()
    world.laptop.run_private("ln", "/etc/resolv.conf", "/etc/resolv.conf.kept")
    world.laptop.run_private("tee", "/etc/resolv.conf", "/run/mark", "/var/lib/mark", stdin="nameserver 10.8.0.1\n")
    assert world.laptop.file("/etc/resolv.conf").read_text() == "nameserver 10.8.0.1\n"
    assert world.laptop.file("/etc/resolv.conf").stat().st_nlink == 2
    assert world.laptop.file("/run/mark").exists()
    assert Path("/etc/resolv.conf").read_bytes() == machines
    assert not Path("/run/mark").exists()
    assert not Path("/var/lib/mark").exists()
    assert world.laptop.run_private("ip", "-o", "link", "show", "eth0").stdout


def test_programs_end_with_the_world_even_those_that_became_daemons(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        listener = world.office.spawn_private("nc", "-l", "-k", "10.20.0.2", "7")
        world.office.run("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &")
        wait_until(lambda: _sleeper(world.office), "the daemon")
        daemon = _sleeper(world.office)
        assert daemon
        assert listener.process.poll() is None
    assert listener.process.poll() is not None
    wait_until(lambda: not _read(f"/proc/{daemon}/cmdline"), "the daemon's end")


def _sleeper(namespace: Namespace) -> int | None:
    pids = namespace.run("ip", "netns", "pids", namespace.name).stdout.split()
    return next((int(pid) for pid in pids if _read(f"/proc/{pid}/comm") == b"sleep\n"), None)


def _read(path: str) -> bytes:
    """Return what a file of /proc says: nothing of a process that has ended, or that waits for its reaper."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _fail_in_the_middle(scratch: Path) -> None:
    with World(scratch) as world:
        world.laptop.spawn_private("sleep", "1000")
        assert sum(name.startswith(prefix_of(os.getpid())) for name in namespaces()) == 3
        raise ZeroDivisionError


def test_nothing_is_left_of_a_world_whose_test_failed(tmp_path: Path) -> None:
    before, mounts = namespaces(), Path("/proc/self/mounts").read_text()
    with pytest.raises(ZeroDivisionError):
        _fail_in_the_middle(tmp_path)
    assert namespaces() == before
    assert Path("/proc/self/mounts").read_text() == mounts


def test_namespaces_of_a_run_that_was_killed_are_removed_by_the_next(tmp_path: Path) -> None:
    finished = os.posix_spawnp("true", ["true"], {})
    os.waitpid(finished, 0)
    abandoned = Namespace(f"{prefix_of(finished)}laptop", tmp_path / "abandoned")
    abandoned.create()
    with World(tmp_path):
        assert abandoned.name not in namespaces()
