"""Hooks run as the contract says, whatever they do, and only where root alone could have put them."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from autovpn.core.hookenv import HookContext
from autovpn.core.profile import Event, Hook
from autovpn.errors import Refused
from autovpn.system.hooks import MOST_LINES, HookResult, run_hook, trusted_program
from autovpn.system.procfs import find_by_nonce

BEGUN = 2.0
"""Seconds after which a shell has begun with its script, also on a busy machine."""

CONTEXT = HookContext("postup", "campus", "wlan0", "Café".encode(), tunnel="office", reason="matched", alive=True)
NOT_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")


class Run:
    """Hooks as a test runs them, and what they logged."""

    def __init__(self) -> None:
        self.nonce = uuid.uuid4().hex
        self.log: list[str] = []
        self.printed = asyncio.Event()

    def _take(self, line: str) -> None:
        self.log.append(line)
        self.printed.set()

    async def sh(self, script: str, timeout: float = 20.0, user: str | None = None) -> HookResult:  # noqa: ASYNC109
        hook = Hook(Event.POSTUP, ("/bin/sh", "-c", script), timeout, user)
        return await run_hook(hook, CONTEXT, self.nonce, self._take)

    async def left(self) -> tuple[int, ...]:
        return await asyncio.to_thread(find_by_nonce, self.nonce)

    async def leaves(self, processes: int) -> None:
        """Wait until so many are left: while a process begins another program, it can't be told whose it is."""
        async with asyncio.timeout(60):
            while len(await self.left()) != processes:
                pass


@pytest.fixture
async def run() -> Run:
    return Run()


@pytest.fixture(autouse=True)
def nothing_is_left(run: Run) -> Iterator[None]:
    """End what a hook left running on purpose."""
    yield
    for pid in find_by_nonce(run.nonce):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def test_a_hook_is_told_its_moment_in_its_environment(run: Run) -> None:
    result = await run.sh('echo "$IFACE $SSID $SSIDVAR $SSID_HEX $AUTOVPN_EVENT $AUTOVPN_TUNNEL $AUTOVPN_ALIVE"; env')
    assert result.succeeded
    assert run.log[0] == "wlan0 Café Caf__ 436166c3a9 postup office 1"
    names = {line.partition("=")[0] for line in run.log[1:]}
    assert not names & {"HOME", "USER", "LOGNAME", "LC_ALL", "VIRTUAL_ENV"}


async def test_a_hook_starts_at_the_root_with_an_empty_input_and_the_usual_umask(run: Run) -> None:
    result = await run.sh("pwd; umask; cat; ps -o sid= -p $$ | tr -d ' '; echo $$")
    directory, umask, session, pid = run.log
    assert (directory, umask) == ("/", "0022")
    assert session == pid
    assert result.output.splitlines() == run.log


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", -9)])
async def test_the_status_of_a_hook_is_told(run: Run, script: str, status: int) -> None:
    result = await run.sh(script)
    assert (result.status, result.timed_out, result.refused) == (status, False, None)
    assert result.succeeded == (status == 0)


async def test_the_ssid_of_a_stranger_is_no_command(run: Run, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    context = HookContext("postup", "p", "wlan0", f"$(touch {trap})".encode()[:32])
    hook = Hook(Event.POSTUP, ("/bin/sh", "-c", 'printf %s "$SSID"'))
    result = await run_hook(hook, context, run.nonce)
    assert result.output == f"$(touch {trap})"[:32]
    assert not await asyncio.to_thread(trap.exists)


@pytest.mark.parametrize(
    "script",
    [
        "sleep 1000",
        "trap '' TERM; while :; do sleep 0.01; done",
        "trap '' TERM; (trap '' TERM; sleep 1000) & exec sleep 1000",
        "while :; do echo flood; done",
        "exec yes",
        "exec <&- >&- 2>&-; while :; do sleep 0.01; done",
    ],
    ids=["hangs", "ignores SIGTERM", "with children", "floods", "floods fast", "closes everything"],
)
async def test_a_hook_that_does_not_end_is_killed_with_its_children(run: Run, script: str) -> None:
    result = await run.sh(script, timeout=0.2)
    assert (result.status, result.timed_out) == (None, True)
    assert not await run.left()
    assert len(run.log) <= MOST_LINES + 1


async def test_a_hook_out_of_time_may_clean_up(run: Run) -> None:
    result = await run.sh("trap 'echo cleaned; exit 0' TERM; while :; do sleep 0.01; done", timeout=BEGUN)
    assert result.timed_out
    assert "cleaned" in run.log


async def test_a_cancelled_hook_is_killed_with_its_children(run: Run) -> None:
    running = asyncio.create_task(run.sh("trap 'echo asked' TERM; sleep 1000 & echo ready; while :; do wait; done"))
    async with asyncio.timeout(60):
        await run.printed.wait()
    for _ in range(10):  # and no further one lets it run on
        running.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not await run.left()
    assert "asked" in run.log


async def test_a_flood_stops_neither_hook_nor_daemon_and_its_beginning_and_end_are_kept(run: Run) -> None:
    result = await run.sh("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done")
    assert result.succeeded
    assert run.log[:MOST_LINES] == [f"line {n}" for n in range(MOST_LINES)]
    assert run.log[MOST_LINES:] == [f"({20000 - MOST_LINES} more lines left out)"]
    assert result.output.splitlines()[-1] == "line 19999"


async def test_a_hook_that_leaves_something_running_is_not_waited_for_and_it_lives_on(run: Run) -> None:
    result = await run.sh("setsid sleep 1000 & sleep 1000 & echo done")
    assert result.succeeded
    assert run.log == ["done"]
    await run.leaves(2)


async def test_out_of_time_a_service_that_the_hook_started_properly_lives_on(run: Run) -> None:
    result = await run.sh("setsid sleep 1000 & while :; do sleep 0.01; done", timeout=BEGUN)
    assert result.timed_out
    await run.leaves(1)


async def test_output_does_nothing_to_the_log(run: Run) -> None:
    await run.sh(r"printf 'a\033[2Jb\rc\nd'")
    assert run.log == [r"a\x1b[2Jb\x0dc", "d"]


async def test_hooks_run_side_by_side_and_hold_nothing(run: Run) -> None:
    """One that waits for another, as a hook that calls the daemon back does, finds it running."""
    other = Run()
    first = asyncio.create_task(run.sh("echo waiting; while ! [ -e /proc/self/none ]; do sleep 0.01; done", timeout=5))
    async with asyncio.timeout(60):
        await run.printed.wait()
    assert (await other.sh("exit 0")).succeeded
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first


@NOT_ROOT
async def test_a_hook_runs_as_its_user_with_that_users_groups(run: Run) -> None:
    nobody = pwd.getpwnam("nobody")
    result = await run.sh("id -un; id -G; echo $HOME $USER $LOGNAME", user="nobody")
    assert result.succeeded, result
    user, groups, home = run.log
    assert user == "nobody"
    assert set(groups.split()) == {str(group) for group in os.getgrouplist("nobody", nobody.pw_gid)}
    assert home == f"{nobody.pw_dir} nobody nobody"


async def test_a_hook_of_an_unknown_user_is_refused(run: Run) -> None:
    result = await run.sh("exit 0", user="no-such-user")
    assert result.refused is not None
    assert "user no-such-user: does not exist" in result.refused


async def test_a_refused_hook_says_why_and_does_not_run(run: Run) -> None:
    result = await run_hook(Hook(Event.POSTUP, ("no-such-hook",)), CONTEXT, run.nonce)
    assert result.status is None
    assert result.words == "not run: no-such-hook: is not installed; install it, or write its whole path"


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (HookResult(3), "exit status 3"),
        (HookResult(-15), "killed by signal 15"),
        (HookResult(timed_out=True, seconds=30.2), "killed after 30 s"),
    ],
)
def test_how_a_hook_went_is_said_in_words(result: HookResult, words: str) -> None:
    assert result.words == words


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Give an executable of ours in a folder of ours."""
    folder = tmp_path / "hooks"
    folder.mkdir(mode=0o755)
    path = folder / "hook"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_program_that_only_we_can_have_put_there_is_trusted(program: Path, tmp_path: Path) -> None:
    assert trusted_program(str(program), below=tmp_path) == program


def test_a_symlink_in_trusted_folders_is_followed(program: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(program)
    assert trusted_program(str(link), below=tmp_path) == link


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_a_program_in_a_folder_that_others_may_write_is_refused(program: Path, tmp_path: Path, mode: int) -> None:
    program.parent.chmod(mode)
    with pytest.raises(Refused, match="may be written by others"):
        trusted_program(str(program), below=tmp_path)


@pytest.mark.parametrize(("mode", "why"), [(0o775, "written by others"), (0o757, "written"), (0o644, "executable")])
def test_a_program_of_a_bad_mode_is_refused(program: Path, tmp_path: Path, mode: int, why: str) -> None:
    program.chmod(mode)
    with pytest.raises(Refused, match=why):
        trusted_program(str(program), below=tmp_path)


@NOT_ROOT
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_program_of_another_user_is_refused(program: Path, tmp_path: Path, what: str) -> None:
    os.chown(program if what == "file" else program.parent, 65534, -1)
    with pytest.raises(Refused, match="belongs to user 65534"):
        trusted_program(str(program), below=tmp_path)


def test_a_link_from_a_safe_folder_into_an_unsafe_one_is_refused(program: Path, tmp_path: Path) -> None:
    unsafe = tmp_path / "unsafe"
    unsafe.mkdir()
    (unsafe / "hook").symlink_to(program)
    unsafe.chmod(0o777)
    link = tmp_path / "link"
    link.symlink_to(unsafe / "hook")
    with pytest.raises(Refused, match="may be written by others"):
        trusted_program(str(link), below=tmp_path)


@pytest.mark.parametrize("name", ["./hook", "hooks/hook", "/none/hook", "/etc"])
def test_what_is_no_program_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        trusted_program(name)


def test_a_bare_name_is_looked_for_where_no_caller_can_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = tmp_path / "sh"
    evil.write_text("#!/bin/sh\n")
    evil.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert trusted_program("sh").parent != tmp_path
