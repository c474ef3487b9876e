"""The demo: every claim holds, and nothing is left of it, however it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autovpn import demo
from autovpn.demo import needs
from tests.netns.world import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
DEMO = (sys.executable, "-m", "autovpn", "demo")
DAEMON = b"autovpn\0run\0"
PROGRAMS = ("cp", "cat", "date", "ip", "mount", "nft", "nsenter", "ping", "sh", "ss", "ssh", "ssh-keygen", "tee")
PATHS = ("/etc/resolv.conf", "/etc/autovpn", "/run/autovpn", "/run/stage", "/run/sshd", "/var/lib/autovpn")


def namespaces_of(pid: int) -> set[str]:
    """Return a process's PID, network and mount namespace."""
    return {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in ("pid", "net", "mnt")}


def descendants(pid: int) -> list[int]:
    """Return a process's children, and theirs."""
    with suppress(OSError):
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [found for child in children for found in (child, *descendants(child))]
    return []


def running_below(pid: int, ending: bytes) -> list[int]:
    """Return a process's descendants whose command line, with a NUL after each word, ends in this."""
    found = []
    for child in descendants(pid):
        with suppress(OSError):
            if Path(f"/proc/{child}/cmdline").read_bytes().endswith(ending):
                found.append(child)
    return found


def inhabited() -> set[str]:
    """Return every namespace in which a process lives."""
    found: set[str] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                found |= namespaces_of(int(entry.name))
    return found


def machine() -> dict[str, object]:
    """Return what the demo could have changed of this machine; other test runs may make their namespaces meanwhile."""
    netns = Path("/run/netns")
    named = {path.name for path in netns.iterdir()} if netns.exists() else set()
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {
        "links": sorted(name for _, name in socket.if_nameindex()),
        "namespaces": sorted(name for name in named if not name.startswith("avt")),
        "mounts": sorted(point for point in mounts if not point.startswith("/run/netns")),
        "files": [(path, os.lstat(path).st_ino if os.path.lexists(path) else None) for path in PATHS],
    }


class Performance:
    """A demo that runs, and whatever is seen of it."""

    def __init__(self, output: Path, path: str | None = None) -> None:
        self.output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                DEMO,
                cwd=REPOSITORY,
                env=os.environ | ({"PATH": path} if path else {}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self.namespaces: set[str] = set()
        self.pids: set[int] = set()

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, words: str) -> None:
        """Wait until it has printed these words, and look at the namespaces that it lives in."""
        wait_until(lambda: words in self.text or self.process.poll() is not None, words, 60.0)
        assert words in self.text, self.text
        self.pids |= set(descendants(self.process.pid))
        for pid in self.pids:
            with suppress(OSError):  # one that has just ended
                self.namespaces |= namespaces_of(pid) - namespaces_of(os.getpid())

    def freeze(self) -> None:
        """Stop its director, if there is one yet, so that it cannot end by having been told to its end."""
        for pid in running_below(self.process.pid, b"autovpn.demo.director\0"):
            os.kill(pid, signal.SIGSTOP)

    def is_gone(self) -> bool:
        """Report whether nothing lives in its namespaces any more."""
        return not self.namespaces & inhabited()


@contextmanager
def performance(output: Path, path: str | None = None) -> Iterator[Performance]:
    """Give a demo that is killed at the end, if it still runs."""
    demo = Performance(output, path)
    try:
        yield demo
    finally:
        for pid in {demo.process.pid, *demo.pids}:
            with suppress(OSError):
                if namespaces_of(pid) & demo.namespaces or pid == demo.process.pid:
                    os.kill(pid, signal.SIGKILL)
        demo.process.wait()


def test_every_claim_holds_and_nothing_is_left(tmp_path: Path) -> None:
    before = machine()

    with performance(tmp_path / "output") as running:
        running.wait_for("is dead")
        status = running.process.wait(60.0)

    assert status == demo.HELD, running.text
    assert "✗" not in running.text
    assert running.text.count("✓") == 17  # sixteen claims, and the verdict
    assert "\x1b" not in running.text, "a file is no terminal"
    assert len(running.namespaces) >= 4, "it has a PID and a mount namespace, and a network for each machine"
    assert running.is_gone()
    assert machine() == before


def test_without_wireguard_it_is_openssh(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in (*PROGRAMS, "unshare"):
        found = needs.which(program)
        assert found
        (folder / program).symlink_to(found)
    if shutil.which("wg", path=os.pathsep.join(needs.SYSTEM_FOLDERS)):
        pytest.skip("wg is where root's programs are, so it can't be hidden")

    with performance(tmp_path / "output", str(folder)) as running:
        status = running.process.wait(60.0)

    assert status == demo.HELD, running.text
    assert "the tunnel is OpenSSH (ssh -w), since WireGuard's wg is not installed" in running.text


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("", signal.SIGINT),
        ("autovpn demo", signal.SIGTERM),
        ("cable is plugged in", signal.SIGINT),
        ("profile campus applies", signal.SIGINT),
        ("is dead", signal.SIGTERM),
        ("predown has run for elsewhere", signal.SIGINT),
    ],
)
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, words: str, number: signal.Signals) -> None:
    before = machine()

    with performance(tmp_path / "output") as running:
        running.wait_for(words)
        running.freeze()
        os.killpg(running.process.pid, number)  # as a terminal does
        status = running.process.wait(60.0)

        assert status in {demo.BY_SIGNAL + number, -number}, running.text
        assert running.is_gone()
    assert machine() == before


@pytest.mark.parametrize("words", ["autovpn demo", "postup has run for campus", "is dead"])
def test_a_killed_demo_takes_its_stage_along(tmp_path: Path, words: str) -> None:
    before = machine()

    with performance(tmp_path / "output") as running:
        running.wait_for(words)
        running.freeze()
        running.process.kill()
        running.process.wait()

        wait_until(running.is_gone, "the end of all that lived on the stage")
    assert machine() == before


def test_a_claim_that_does_not_hold_is_the_exit_status(tmp_path: Path) -> None:
    """The daemon is killed while the story goes on: the scene can't be told to its end."""
    with performance(tmp_path / "output") as running:
        running.wait_for("1  Without autovpn")
        wait_until(lambda: running_below(running.process.pid, DAEMON), "a daemon", 60.0)
        for pid in running_below(running.process.pid, DAEMON):
            os.kill(pid, signal.SIGKILL)
        status = running.process.wait(60.0)

    assert status == demo.BROKEN, running.text
    assert "✗" in running.text


def test_what_is_missing_is_named_with_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(needs, "which", lambda program: None if program in {"nft", "wg", "sshd"} else "/bin/true")

    assert demo.main() == demo.UNABLE

    said = capsys.readouterr().err
    assert (
        "nft is missing: apt install nftables (Fedora: nftables; Arch: nftables; Gentoo: net-firewall/nftables)" in said
    )
    assert "apt install wireguard-tools" in said
    assert "apt install openssh-server" in said
    assert "ssh is missing" not in said


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert demo.main() == demo.UNABLE
    assert "needs root: sudo autovpn demo" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["stage", "director"])
def test_no_part_of_it_runs_off_the_stage(part: str) -> None:
    """What the stage covers would be everybody's /etc and /run."""
    argv = (sys.executable, "-m", f"autovpn.demo.{part}")
    done = subprocess.run(argv, cwd=REPOSITORY, check=False, capture_output=True, text=True)

    assert done.returncode == 1
    assert "this is a part of: autovpn demo" in done.stderr


def test_as_json_it_tells_the_same_to_a_program() -> None:
    done = subprocess.run((*DEMO, "--json"), check=False, capture_output=True, text=True, timeout=60)
    entries = [json.loads(line) for line in done.stdout.splitlines()]

    assert done.returncode == 0, done.stdout
    assert [entry["held"] for entry in entries if "claim" in entry] == [True] * entries[-1]["claims"]
    assert entries[-1]["held"] == entries[-1]["claims"] > 10
