"""There is one daemon; the second learns the first's process."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from autovpn.errors import AlreadyRunning, SystemFault
from autovpn.system.lock import DaemonLock

HOLDER = """
import sys
from pathlib import Path
from autovpn.system.lock import DaemonLock
with DaemonLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_is_told_the_firsts_pid(tmp_path: Path) -> None:
    path = tmp_path / "run" / "daemon.lock"
    with DaemonLock(path), pytest.raises(AlreadyRunning) as refused:
        DaemonLock(path).acquire()

    assert refused.value.pid == os.getpid()
    assert str(os.getpid()) in str(refused.value)


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    lock = DaemonLock(tmp_path / "daemon.lock")
    for _ in range(2):
        with lock:
            assert (tmp_path / "daemon.lock").read_text() == f"{os.getpid()}\n"
    lock.release()


def test_the_lock_of_a_killed_daemon_is_free(tmp_path: Path) -> None:
    path = tmp_path / "daemon.lock"
    argv = (sys.executable, "-c", HOLDER, str(path))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(AlreadyRunning) as refused:
            DaemonLock(path).acquire()
        holder.send_signal(signal.SIGKILL)
        holder.wait(100)

    assert refused.value.pid == holder.pid
    with DaemonLock(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_holder_that_has_not_written_its_pid_yet_is_nameless(tmp_path: Path) -> None:
    path = tmp_path / "daemon.lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(AlreadyRunning) as refused:
            DaemonLock(path).acquire()

    assert refused.value.pid is None


def test_children_do_not_inherit_the_lock(tmp_path: Path) -> None:
    with DaemonLock(tmp_path / "daemon.lock") as lock:
        assert not any(map(os.get_inheritable, lock._descriptors))


def test_no_lock_file_can_be_made_where_there_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")

    with pytest.raises(SystemFault, match=r"daemon\.lock"):
        DaemonLock(tmp_path / "run" / "daemon.lock").acquire()


def test_an_emptied_run_lets_no_second_daemon_in(tmp_path: Path) -> None:
    run, state = tmp_path / "run" / "daemon.lock", tmp_path / "lib" / "daemon.lock"
    with DaemonLock(run, state):
        shutil.rmtree(run.parent)

        with pytest.raises(AlreadyRunning) as refused:
            DaemonLock(run, state).acquire()
        assert refused.value.pid == os.getpid()
        with DaemonLock(run):  # the one that was refused holds nothing
            pass
    with DaemonLock(run, state):
        pass


def test_a_disk_that_takes_no_lock_leaves_the_one_in_run(tmp_path: Path) -> None:
    (tmp_path / "lib").write_text("a file")
    with DaemonLock(tmp_path / "daemon.lock", tmp_path / "lib" / "daemon.lock"), pytest.raises(AlreadyRunning):
        DaemonLock(tmp_path / "daemon.lock", tmp_path / "lib" / "daemon.lock").acquire()


def test_nobody_else_may_enter_a_folder_that_the_lock_has_made(tmp_path: Path) -> None:
    with DaemonLock(tmp_path / "run" / "daemon.lock"):
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700


def test_a_symlink_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "daemon.lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(SystemFault):
        DaemonLock(tmp_path / "daemon.lock").acquire()
    assert not (tmp_path / "elsewhere").exists()
