"""`autovpn recover` as a program: what it loads, whom it refuses, what it says, and that once is enough."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from autovpn.core.records import Begin, Origin
from autovpn.core.steps import Step
from autovpn.daemon.places import Directories
from autovpn.system import journal as journals
from autovpn.system.journal import Journal
from autovpn.system.lock import DaemonLock
from autovpn.system.logfile import LogFile
from tests.daemon import steps

HERE = Origin("boot-1", 1)
HEAVY = {"pydantic", "dbus_next", "dns", "tomli", "rich", "vici"}
DAEMONS = {"autovpn.config.load", "autovpn.daemon.assembly", "autovpn.daemon.loop", "autovpn.system.wireless"}
PROGRAM = """
import sys
from pathlib import Path
from autovpn import wiring
from autovpn.cli.main import main
from autovpn.core.records import Origin
from autovpn.system import journal
journal.this_origin = lambda: Origin("boot-1", 1)  # a namespace that does not exist: nobody's programs are ended
if sys.argv[1] == "broken":
    sys.modules.update(dict.fromkeys(("pydantic", "dbus_next", "dns", "tomli", "rich", "vici")))
if sys.argv[1] == "stuck":
    from autovpn.dns.file import FileBackend
    from autovpn.errors import Refused
    async def revert(backend): raise Refused("/etc/resolv.conf", "is immutable")
    FileBackend.revert = revert
folder = Path(sys.argv[2])
real = wiring.Directories
wiring.Directories = lambda *given: real(*given, resolv_conf=folder / "resolv.conf")
status = main(["recover", "--run-dir", str(folder / "run"), "--state-dir", str(folder / "lib"), *sys.argv[3:]])
if sys.argv[1] == "modules":
    print(*sys.modules)
sys.exit(status)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    return tmp_path


def recover(folder: Path, *options: str, mode: str = "as it is") -> subprocess.CompletedProcess[str]:
    """Run the command on directories of its own, with none of the variables of this machine's session bus."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, mode, str(folder), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": os.environ["PATH"]},
    )


def leave(folder: Path, begun: Sequence[Step], origin: Origin = HERE) -> Directories:
    """Leave the journal of a daemon that died after it had begun these steps."""
    directories = Directories(run=folder / "run", state=folder / "lib")
    logs = LogFile(directories.run / "journal", durable=False), LogFile(directories.state / "journal", durable=True)

    async def write() -> None:
        journal = Journal(*logs, origin)
        await journal.open()
        for step in begun:
            await journal.record(Begin(step, None, origin))

    asyncio.run(write())
    for log in logs:
        log.close()
    return directories


def test_it_loads_nothing_of_the_daemon_and_nothing_heavy(folder: Path) -> None:
    leave(folder, [steps.dns()])

    done = recover(folder, mode="modules")

    said, _, modules = done.stdout.rstrip().rpartition("\n")
    assert (done.returncode, said) == (0, "undone: dns of campus: undone"), done.stderr
    loaded = set(modules.split())
    assert not {name.partition(".")[0] for name in loaded} & HEAVY
    assert not loaded & DAEMONS


def test_it_works_where_what_only_the_daemon_needs_is_broken(folder: Path) -> None:
    leave(folder, [steps.dns()])

    done = recover(folder, mode="broken")

    assert (done.returncode, done.stdout) == (0, "undone: dns of campus: undone\n"), done.stderr


def test_it_refuses_while_a_daemon_holds_the_lock_and_names_it(folder: Path) -> None:
    directories = leave(folder, [steps.dns()])
    before = directories.state.joinpath("journal").read_bytes()

    with DaemonLock(*directories.locks):
        done = recover(folder)

    assert done.returncode == 1
    assert f"(process {os.getpid()})" in done.stderr
    assert directories.state.joinpath("journal").read_bytes() == before


def test_a_second_call_finds_nothing(folder: Path) -> None:
    leave(folder, [steps.dns()])

    answers = [json.loads(recover(folder, "--json").stdout) for _ in range(2)]

    assert [answer["undone"] for answer in answers] == [["dns of campus: undone"], []]
    assert [answer["problems"] for answer in answers] == [[], []]


def test_what_was_wrong_with_the_journal_is_said_once_and_mended(folder: Path) -> None:
    """Also where no record is left that would have it written anew."""
    leave(folder, [steps.dns(), steps.guard()])
    for volume in ("run", "lib"):
        journal = folder / volume / "journal"
        journal.write_bytes(journal.read_bytes().splitlines(keepends=True)[0] + b'{"crc":"torn')

    first, second = recover(folder), recover(folder)

    assert first.returncode == 0, first.stderr
    assert first.stdout.count("the last record was cut off in the writing") == 2
    assert (second.returncode, second.stdout) == (0, "nothing was left to undo\n")


def test_dns_that_cannot_be_undone_is_told_and_keeps_the_journal_from_nothing(folder: Path) -> None:
    leave(folder, [steps.dns()])
    journal = folder / "lib" / "journal"
    journal.write_bytes(journal.read_bytes() + b'{"crc":"torn')

    first, second = recover(folder, "--json", mode="stuck"), recover(folder)

    answer = json.loads(first.stdout)
    assert "/etc/resolv.conf: is immutable" in answer["problems"]
    assert "the last record was cut off in the writing" in answer["found"][0]
    assert (second.returncode, second.stdout) == (0, "undone: dns of campus: undone\n"), second.stderr


def test_what_another_boot_changed_in_its_kernel_is_said_and_forgotten(folder: Path) -> None:
    leave(folder, [steps.guard()], Origin("boot-0", 1))

    first, second = recover(folder), recover(folder)

    assert first.returncode == 0, first.stderr
    assert "1 changes of another boot are gone, and forgotten" in first.stdout
    assert second.stdout == "nothing was left to undo\n"


def test_a_journal_of_another_version_is_read_as_far_as_it_goes(folder: Path) -> None:
    leave(folder, [steps.dns()])
    journal = folder / "lib" / "journal"
    _, *records = journal.read_bytes().splitlines(keepends=True)
    header = {"number": 0, "record": {"$": "HeaderOfTomorrow", "version": 99}}
    journal.write_bytes(b"".join((journals._text({"crc": journals._crc(header), **header}), b"\n", *records)))

    done = recover(folder)

    assert done.returncode == 0, done.stderr
    assert "found: " in done.stdout
    assert done.stdout.endswith("undone: dns of campus: undone\n")
