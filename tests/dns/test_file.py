"""resolv.conf swapped and given back: what is in force meanwhile, and what others do to it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import autovpn.dns.file as file_module
from autovpn.core.dnscandidates import CANDIDATES
from autovpn.core.dnschoice import DnsWish, MachineDns, choose
from autovpn.core.dnsstanding import Standing
from autovpn.core.resolvconf import parse
from autovpn.dns.backend import Drift, Receipt
from autovpn.dns.file import FileBackend
from autovpn.errors import Refused, StepFailed
from autovpn.system.files import Disk
from tests.dns.scene import FOREIGN, KINDS, LONGER, SHORTER, THEIRS, WORK, Scene, dns, fingerprint

MakeScene = Callable[[str], Scene]
FINE = Receipt("file", in_force=True)
SPLIT = DnsWish("lab", "wg0", ("10.1.0.1",), domains=("lab.example",))


def apply(backend: FileBackend, *wishes: DnsWish) -> Receipt:
    return asyncio.run(backend.apply(dns(*wishes)))


def verify(backend: FileBackend, *wishes: DnsWish) -> Drift | None:
    return asyncio.run(backend.verify(dns(*wishes)))


class TestGivingBack:
    """What was there before is there afterwards, as the same object."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_original_comes_back_with_its_inode_mode_owner_and_attributes(
        self, scene_of: MakeScene, kind: str
    ) -> None:
        scene = scene_of(kind)
        owed = scene.fingerprint()
        backend = scene.backend()

        assert apply(backend, WORK) == FINE
        assert apply(backend, LONGER) == FINE
        assert apply(backend, SHORTER) == FINE
        outcome = backend.revert_now()

        assert outcome.clean
        assert outcome.why == ()
        assert scene.fingerprint() == owed
        assert scene.litter() == set()

    @pytest.mark.parametrize("kind", KINDS)
    def test_giving_back_twice_or_for_nothing_changes_nothing(self, scene_of: MakeScene, kind: str) -> None:
        scene = scene_of(kind)
        owed = scene.fingerprint()

        assert scene.backend().revert_now().clean
        assert scene.fingerprint() == owed
        apply(scene.backend(), WORK)
        scene.backend().revert_now()
        scene.backend().revert_now()

        assert scene.fingerprint() == owed

    def test_no_wish_left_is_giving_back(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")
        owed = scene.fingerprint()
        backend = scene.backend()
        apply(backend, WORK)

        assert apply(backend) == FINE
        assert scene.fingerprint() == owed

    @pytest.mark.parametrize("kind", ["symlink", "relative"])
    def test_nothing_is_ever_written_through_a_symlink(self, scene_of: MakeScene, kind: str) -> None:
        scene = scene_of(kind)
        target = scene.root / "managed" / "resolv.conf"
        before = fingerprint(target)
        backend = scene.backend()

        apply(backend, WORK)
        apply(backend, LONGER)
        assert fingerprint(target) == before
        backend.revert_now()

        assert fingerprint(target) == before

    def test_a_program_that_still_has_the_original_open_writes_into_the_original(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")
        with scene.path.open("r+") as late_writer:
            apply(scene.backend(), WORK)
            late_writer.write("nameserver 203.0.113.9\n#")
        assert "10.0.0.1" in scene.path.read_text()

        scene.backend().revert_now()

        assert scene.path.read_text().startswith("nameserver 203.0.113.9\n")


class TestInForce:
    """What a program reads while a tunnel is up."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_servers_are_all_ours_and_the_file_is_a_plain_one_that_all_may_read(
        self, scene_of: MakeScene, kind: str
    ) -> None:
        scene = scene_of(kind)

        apply(scene.backend(), WORK)

        conf = parse(scene.path.read_bytes())
        assert conf.nameservers == WORK.servers
        assert conf.search == WORK.search
        assert scene.path.lstat().st_mode == stat.S_IFREG | 0o644

    def test_the_originals_options_stay_but_for_what_was_meant_for_a_local_resolver(self, scene_of: MakeScene) -> None:
        scene = scene_of("relative")

        apply(scene.backend(), WORK)

        conf = parse(scene.path.read_bytes())
        assert conf.options == ("ndots:2",)
        assert conf.sortlist == ("192.0.2.0/24",)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_our_file_has_the_owner_of_the_original_file(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")

        apply(scene.backend(), WORK)

        assert (scene.path.stat().st_uid, scene.path.stat().st_gid) == (1234, 4321)

    @pytest.mark.parametrize("umask", [0o077, 0o027, 0])
    def test_the_umask_has_no_say(self, scene_of: MakeScene, umask: int) -> None:
        scene = scene_of("absent")
        before = os.umask(umask)
        try:
            apply(scene.backend(), WORK)
        finally:
            os.umask(before)

        assert scene.path.stat().st_mode & 0o7777 == 0o644

    def test_what_is_in_force_already_is_not_written_again(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")
        apply(scene.backend(), WORK)
        before = scene.fingerprint()

        assert apply(scene.backend(), WORK) == FINE
        assert scene.fingerprint() == before

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_file_itself_says_how_to_undo_it_without_us(self, scene_of: MakeScene, kind: str) -> None:
        scene = scene_of(kind)
        owed = scene.fingerprint()
        apply(scene.backend(), WORK)
        command = scene.path.read_text().split("undo it with: ")[1].split("\n")[0]

        subprocess.run(command.split(), check=True)

        assert scene.fingerprint() == owed
        assert scene.litter() == set()
        assert scene.backend().revert_now().clean

    def test_a_fourth_server_is_not_written_for_libc_would_not_ask_it(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")

        apply(scene.backend(), replace(WORK, servers=tuple(f"10.0.0.{n}" for n in range(1, 7))))

        assert parse(scene.path.read_bytes()).nameservers == ("10.0.0.1", "10.0.0.2", "10.0.0.3")

    def test_a_name_from_outside_cannot_add_a_line(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")

        apply(scene.backend(), replace(WORK, owner="x\nnameserver 6.6.6.6", device="tun0\nnameserver 6.6.6.6"))

        assert parse(scene.path.read_bytes()).nameservers == WORK.servers

    def test_a_whole_file_is_swapped_in_under_our_first_line_and_given_back(self, scene_of: MakeScene) -> None:
        scene = scene_of("symlink")
        owed = scene.fingerprint()
        text = "# campus\ndomain campus.example\nnameserver 10.8.0.1\noptions rotate\n"
        whole = DnsWish("campus", "tun0", (), whole_file=text)

        assert apply(scene.backend(), whole) == FINE
        first, _, rest = scene.path.read_text().partition("\n")
        assert first.startswith("# Generated by autovpn original=symlink ")
        assert rest == text
        assert verify(scene.backend(), whole) is None
        scene.backend().revert_now()

        assert scene.fingerprint() == owed

    def test_split_dns_beside_an_exclusive_wish_is_refused_in_a_note(self, scene_of: MakeScene) -> None:
        receipt = apply(scene_of("file").backend(), WORK, SPLIT)

        assert receipt.in_force
        assert "lab.example alone is not possible" in receipt.notes[0]

    def test_split_dns_alone_is_refused_and_the_file_stays(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")
        owed = scene.fingerprint()

        receipt = apply(scene.backend(), SPLIT)

        assert not receipt.in_force
        assert "lab.example alone is not possible" in receipt.degraded
        assert scene.fingerprint() == owed

    def test_what_merging_refused_is_in_the_receipt(self, scene_of: MakeScene) -> None:
        receipt = apply(scene_of("file").backend(), WORK, replace(SHORTER, owner="other"))

        assert receipt.notes == ("other: wants all names, which work already has; its DNS is not used",)


class TestVerify:
    """Whether what is wished is what is there."""

    def test_what_was_applied_is_in_force_for_any_process(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")
        apply(scene.backend(), WORK)

        assert verify(scene.backend(), WORK) is None

    def test_another_wish_is_drift_that_applying_mends(self, scene_of: MakeScene) -> None:
        backend = scene_of("file").backend()
        apply(backend, WORK)

        drift = verify(backend, LONGER)

        assert drift is not None
        apply(backend, LONGER)
        assert verify(backend, LONGER) is None

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            (lambda scene: scene.rewrite_as_others_do(), "another program has written it"),
            (lambda scene: scene.path.write_text(FOREIGN), "another program has written it"),
            (lambda scene: scene.path.unlink(), "removed or emptied"),
            (lambda scene: scene.path.write_text(""), "removed or emptied"),
            (lambda scene: scene.kept.rename(scene.path), "our file is not in place"),
            (lambda scene: os.truncate(scene.path, 90), "edited by hand"),
        ],
    )
    def test_what_others_did_is_drift(self, scene_of: MakeScene, change: Callable[[Scene], None], why: str) -> None:
        scene = scene_of("file")
        backend = scene.backend()
        apply(backend, WORK)
        change(scene)

        drift = verify(backend, WORK)

        assert drift is not None
        assert why in drift.why

    def test_our_file_is_drift_when_nothing_is_wished(self, scene_of: MakeScene) -> None:
        backend = scene_of("file").backend()
        assert verify(backend) is None
        apply(backend, WORK)

        assert verify(backend) is not None


def _by_rename(scene: Scene) -> None:
    scene.rewrite_as_others_do()


def _in_place(scene: Scene) -> None:
    scene.path.write_text(FOREIGN)


def _by_symlink(scene: Scene) -> None:
    fresh = scene.root / "etc" / "link"
    fresh.symlink_to("../managed/resolv.conf")
    fresh.rename(scene.path)


def _by_delete_then_create(scene: Scene) -> None:
    scene.path.unlink()
    scene.path.write_text(FOREIGN)


FOREIGN_WRITES = [_by_rename, _in_place, _by_symlink, _by_delete_then_create]


class TestForeignChanges:
    """Another program writes the file while it is ours."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("write", FOREIGN_WRITES)
    def test_giving_back_leaves_what_they_wrote(
        self, scene_of: MakeScene, kind: str, write: Callable[[Scene], None]
    ) -> None:
        scene = scene_of(kind)
        apply(scene.backend(), WORK)
        write(scene)
        theirs = scene.fingerprint()

        assert scene.backend().revert_now().clean
        assert scene.fingerprint() == theirs
        assert scene.litter() == set()

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("write", FOREIGN_WRITES)
    def test_their_file_is_adopted_as_the_original_and_ours_goes_on_top(
        self, scene_of: MakeScene, kind: str, write: Callable[[Scene], None]
    ) -> None:
        scene = scene_of(kind)
        backend = scene.backend()
        apply(backend, WORK)
        write(scene)
        theirs = scene.fingerprint()

        assert apply(backend, WORK) == FINE
        assert parse(scene.path.read_bytes()).nameservers == WORK.servers
        backend.revert_now()

        assert scene.fingerprint() == theirs
        assert scene.litter() == set()

    @pytest.mark.parametrize("kind", KINDS[:-1])
    @pytest.mark.parametrize("text", [None, "", "\n\n"])
    def test_a_file_that_was_removed_or_emptied_is_no_wish_and_the_original_comes_back(
        self, scene_of: MakeScene, kind: str, text: str | None
    ) -> None:
        for goes_on_top in (False, True):
            scene = scene_of(kind)
            owed = scene.fingerprint()
            backend = scene.backend()
            apply(backend, WORK)
            scene.path.unlink() if text is None else scene.path.write_text(text)
            if goes_on_top:
                assert apply(backend, WORK) == FINE

            assert backend.revert_now().clean
            assert scene.fingerprint() == owed

    def test_our_file_edited_by_hand_is_left_with_its_original_and_that_is_said(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")
        kept = scene.fingerprint()
        backend = scene.backend()
        apply(backend, WORK)
        scene.path.write_text(scene.path.read_text() + "nameserver 10.9.9.9\n")
        edited = scene.fingerprint()

        receipt = apply(backend, LONGER)
        outcome = backend.revert_now()

        assert not receipt.in_force
        assert "edited by hand" in receipt.degraded
        assert not outcome.clean
        assert str(scene.kept) in outcome.why[0]
        assert scene.fingerprint() == edited
        assert fingerprint(scene.kept) == kept

    def test_an_edit_without_our_first_line_is_kept_as_the_users_own(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")
        apply(scene.backend(), WORK)
        scene.path.write_text("".join(scene.path.read_text().splitlines(keepends=True)[1:]) + "# mine\n")
        mine = scene.path.read_text()

        assert scene.backend().revert_now().clean
        assert scene.path.read_text() == mine
        assert scene.litter() == set()

    @pytest.mark.parametrize("kind", KINDS[:-1])
    def test_without_the_original_dns_keeps_working_and_our_file_is_never_taken_for_it(
        self, scene_of: MakeScene, kind: str
    ) -> None:
        scene = scene_of(kind)
        backend = scene.backend()
        apply(backend, WORK)
        scene.kept.unlink()

        receipt = apply(backend, LONGER)
        outcome = backend.revert_now()

        assert receipt.in_force
        assert "the original that we kept is gone" in receipt.degraded
        assert not outcome.clean
        assert "let your network manager" in outcome.why[0]
        assert parse(scene.path.read_bytes()).nameservers == LONGER.servers
        assert not scene.kept.exists()

    def test_an_original_that_was_edited_while_kept_comes_back_edited(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")
        apply(scene.backend(), WORK)
        scene.kept.write_text(FOREIGN)

        scene.backend().revert_now()

        assert scene.path.read_text() == FOREIGN

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_machines_own_dns_can_be_read_beneath_ours(self, scene_of: MakeScene, kind: str) -> None:
        scene = scene_of(kind)
        backend = scene.backend()
        before = asyncio.run(backend.original())
        apply(backend, WORK)

        assert asyncio.run(backend.original()) == before
        assert bool(before.nameservers) == (kind not in ("dangling", "absent"))
        scene.rewrite_as_others_do()
        assert asyncio.run(backend.original()) == parse(FOREIGN.encode())


class TestConflicts:
    """Two programs want one file; ours gives in."""

    def test_three_foreign_changes_in_a_minute_are_answered_and_the_fourth_is_not(self, scene_of: MakeScene) -> None:
        now = [1000.0]
        scene = scene_of("file")
        backend = scene.backend(clock=lambda: now[0])
        apply(backend, WORK)
        for _ in range(3):
            now[0] += 10
            scene.rewrite_as_others_do()
            assert apply(backend, WORK) == FINE
        now[0] += 10
        scene.rewrite_as_others_do()
        theirs = scene.fingerprint()

        receipt = apply(backend, WORK)

        assert not receipt.in_force
        assert receipt.degraded == f"{scene.path}: is rewritten by another program (4 times in 60 s)"
        assert scene.fingerprint() == theirs

    def test_a_file_that_is_deleted_again_and_again_uses_up_the_budget_too(self, scene_of: MakeScene) -> None:
        scene = scene_of("absent")
        backend = scene.backend(clock=lambda: 0.0)
        apply(backend, WORK)
        answered = 0
        for _ in range(6):
            scene.path.unlink(missing_ok=True)
            answered += apply(backend, WORK).in_force

        assert answered == 3

    def test_a_minute_after_the_last_change_we_try_again(self, scene_of: MakeScene) -> None:
        now = [0.0]
        scene = scene_of("file")
        backend = scene.backend(clock=lambda: now[0])
        apply(backend, WORK)
        for _ in range(4):
            scene.rewrite_as_others_do()
            apply(backend, WORK)
        now[0] = 59.0
        assert not apply(backend, WORK).in_force
        now[0] = 60.0

        assert apply(backend, WORK) == FINE

    def test_on_conflict_yield_gives_in_at_once(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")
        backend = scene.backend(on_conflict="yield")
        apply(backend, WORK)
        scene.rewrite_as_others_do()

        receipt = apply(backend, WORK)

        assert not receipt.in_force
        assert "dns.on_conflict is 'yield'" in receipt.degraded
        assert scene.path.read_text() == FOREIGN

    def test_what_a_dead_daemon_left_is_no_conflict(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")
        apply(scene.backend(), WORK)
        scene.rewrite_as_others_do()

        assert apply(scene.backend(on_conflict="yield"), WORK) == FINE

    def test_what_was_adopted_by_verifying_it_is_defended(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")
        apply(scene.backend(), WORK)
        successor = scene.backend(on_conflict="yield")
        assert verify(successor, WORK) is None
        scene.rewrite_as_others_do()

        assert not apply(successor, WORK).in_force

    def test_after_giving_back_nothing_is_a_conflict(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")
        backend = scene.backend(on_conflict="yield")
        apply(backend, WORK)
        scene.rewrite_as_others_do()
        backend.revert_now()

        assert apply(backend, WORK) == FINE


class TestTogether:
    """Several at once: threads, processes, a cancelled task."""

    def test_the_lock_is_held_at_every_change(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")
        seen: list[bool] = []

        def probe(_what: str) -> None:
            with (scene.root / "run" / "dns.lock").open() as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    seen.append(True)
                else:
                    seen.append(False)

        backend = scene.backend(disk=Disk(probe))
        apply(backend, WORK)
        backend.revert_now()

        assert len(seen) > 10
        assert all(seen)

    def test_a_lock_that_is_never_given_up_is_an_error_that_says_so(
        self, scene_of: MakeScene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scene = scene_of("file")
        monkeypatch.setattr(file_module, "_LOCK_PAUSE", 0.0)
        (scene.root / "run").mkdir()
        with (scene.root / "run" / "dns.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)

            with pytest.raises(StepFailed, match="another autovpn has held the DNS lock"):
                scene.backend().revert_now()

    def test_a_lock_that_cannot_be_made_is_an_error_that_names_it(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")
        (scene.root / "run").write_text("in the way")

        with pytest.raises(StepFailed, match=r"run/dns\.lock: "):
            scene.backend().revert_now()

    def test_recovering_while_the_daemon_applies_ends_in_one_of_the_two(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")
        owed = scene.fingerprint()
        with ThreadPoolExecutor(3) as pool:
            reverts = [pool.submit(scene.backend().revert_now) for _ in range(40)]
            applies = [pool.submit(apply, scene.backend(), WORK) for _ in range(40)]
        assert all(revert.result().clean for revert in reverts)
        assert all(applied.result() == FINE for applied in applies)
        assert scene.swap().view().standing in (Standing.CLEAN, Standing.APPLIED)

        scene.backend().revert_now()

        assert scene.fingerprint() == owed
        assert scene.litter() == set()

    async def test_a_cancelled_apply_is_finished_before_the_cancellation_is_felt(self, scene_of: MakeScene) -> None:
        scene = scene_of("file")
        loop = asyncio.get_running_loop()
        begun, cancelled = asyncio.Event(), threading.Event()

        def wait_for_the_cancellation(what: str) -> None:
            if what == "rename":
                loop.call_soon_threadsafe(begun.set)
                assert cancelled.wait(20)

        task = asyncio.ensure_future(scene.backend(disk=Disk(wait_for_the_cancellation)).apply(dns(WORK)))
        await begun.wait()
        for _ in range(10):  # more turns of the loop than a cancellation needs
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        cancelled.set()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await scene.backend().verify(dns(WORK)) is None

    @pytest.mark.parametrize("times", [1, 2, 3])
    def test_an_original_that_is_exchanged_while_we_keep_it_is_kept_in_its_newest_state(
        self, scene_of: MakeScene, times: int
    ) -> None:
        scene = scene_of("file")
        left = [times]

        def exchange(what: str) -> None:
            if what == "link" and left[0]:
                left[0] -= 1
                scene.rewrite_as_others_do(f"nameserver 198.51.100.{left[0] + 1}\n")

        if times == 3:
            with pytest.raises(StepFailed, match="changes faster than it can be read"):
                apply(scene.backend(disk=Disk(exchange)), WORK)
        else:
            assert apply(scene.backend(disk=Disk(exchange)), WORK) == FINE
        scene.backend().revert_now()

        assert scene.path.read_text() == "nameserver 198.51.100.1\n"
        assert scene.litter() == set()


@pytest.fixture
def immutable() -> Iterator[Callable[[Path, str], None]]:
    """Give a chattr that is taken back."""
    changed: list[tuple[Path, str]] = []

    def chattr(path: Path, flag: str) -> None:
        done = subprocess.run(["chattr", f"+{flag}", path], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"no chattr +{flag} here: {done.stderr.decode().strip()}")
        changed.append((path, flag))

    yield chattr
    for path, flag in changed:
        subprocess.run(["chattr", f"-{flag}", path], check=True)


class TestRefusals:
    """What is not touched, and the sentence for it."""

    @pytest.mark.parametrize("flag", ["i", "a"])
    @pytest.mark.parametrize("which", ["resolv.conf", "."])
    def test_an_immutable_file_or_directory(
        self, scene_of: MakeScene, immutable: Callable[[Path, str], None], flag: str, which: str
    ) -> None:
        if not shutil.which("chattr"):
            pytest.skip("needs chattr (e2fsprogs)")
        scene = scene_of("file")
        owed = scene.fingerprint()
        immutable(scene.root / "etc" / which, flag)

        with pytest.raises(Refused, match="immutable") as refused:
            apply(scene.backend(), WORK)

        assert refused.value.hint == (f"allow changes with 'chattr -i -a {scene.path}', or take DNS out of the profile")
        assert scene.fingerprint() == owed

    @pytest.mark.parametrize("what", ["directory", "fifo", "large"])
    def test_what_is_no_resolv_conf(self, scene_of: MakeScene, what: str) -> None:
        scene = scene_of("absent")
        if what == "directory":
            scene.path.mkdir()
        elif what == "fifo":
            os.mkfifo(scene.path)
        else:
            scene.path.write_bytes(b"#" * (1 << 20) + b"\n")

        with pytest.raises(Refused, match="neither a plain file of at most 1 MiB, nor a symlink") as refused:
            apply(scene.backend(), WORK)

        assert refused.value.hint == "see what it is with 'ls -l' and move it away"
        assert scene.litter() == set()
        assert scene.backend().revert_now().clean

    def test_the_choice_is_made_on_the_same_facts(self, scene_of: MakeScene) -> None:
        scene = scene_of("relative")

        choice = choose(asyncio.run(scene.backend().facts()), MachineDns(WORK), None, CANDIDATES)

        assert choice.backend == "file"
        assert "a symlink to ../managed/resolv.conf" in choice.why[-1]


def test_what_is_there_before_us_is_what_the_scene_says(scene_of: MakeScene) -> None:
    """The tests stand on this: a machine with a server, of each kind that has one."""
    assert {kind for kind in KINDS if scene_of(kind).has_nameserver} == {"file", "symlink", "relative"}
    assert THEIRS.count("nameserver") == 1


def test_asking_for_the_original_makes_nothing_and_waits_for_whoever_changes_it(scene_of: MakeScene) -> None:
    scene = scene_of("file")
    backend = scene.backend()
    assert asyncio.run(backend.original()) == parse(THEIRS.encode())
    assert not (scene.root / "run").exists()

    asyncio.run(backend.apply(dns(WORK)))
    with ThreadPoolExecutor() as threads:
        with backend._lock():
            asked = threads.submit(lambda: asyncio.run(backend.original()))
            with pytest.raises(TimeoutError):
                asked.result(0.2)
        assert asked.result(10) == parse(THEIRS.encode())
