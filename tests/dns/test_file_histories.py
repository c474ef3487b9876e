"""Any history of us, others, crashes and recoveries ends with what the others wished last."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from autovpn.core.dnschoice import DnsWish
from autovpn.core.dnsstanding import Standing
from tests.dns.conftest import SHARED_MEMORY
from tests.dns.scene import KINDS, LONGER, SHORTER, WORK, Fingerprint, Plug, PowerCutError, Scene

wishes = st.sampled_from([WORK, LONGER, SHORTER])


class Histories(RuleBasedStateMachine):
    """The model: `theirs` is the object that somebody else put there last."""

    @initialize(kind=st.sampled_from(KINDS))
    def begin(self, kind: str) -> None:
        place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        self.root = Path(tempfile.mkdtemp(dir=place, prefix="autovpn-test-"))
        self.scene = Scene.made(self.root / "machine", kind)
        self.theirs: Fingerprint = self.scene.fingerprint()
        self.had_server = self.scene.has_nameserver
        self.number = 0

    @rule(wish=wishes)
    def apply(self, wish: DnsWish) -> None:
        assert self.scene.swap().apply(wish).standing is Standing.APPLIED

    @rule(wish=wishes, at=st.integers(0, 15))
    def apply_and_crash(self, wish: DnsWish, at: int) -> None:
        with suppress(PowerCutError):
            self.scene.swap(Plug(at)).apply(wish)

    @rule()
    def revert(self) -> None:
        self.scene.backend().revert_now()
        assert self.scene.fingerprint() == self.theirs
        assert self.scene.litter() == set()

    @rule(at=st.integers(0, 6))
    def revert_and_crash(self, at: int) -> None:
        with suppress(PowerCutError):
            self.scene.swap(Plug(at)).revert()

    @rule(text=st.sampled_from(["", "# nothing yet\n", "search lan\n"]))
    def others_write_by_rename(self, text: str) -> None:
        self.number += 1
        self.scene.rewrite_as_others_do(f"{text}nameserver 198.51.100.{self.number % 250}\n")
        self.theirs, self.had_server = self.scene.fingerprint(), True

    @rule()
    def others_write_by_symlink(self) -> None:
        self.scene.path.unlink(missing_ok=True)
        self.scene.path.symlink_to("../managed/resolv.conf")
        self.theirs, self.had_server = self.scene.fingerprint(), True

    @precondition(lambda self: self.scene.swap().view().standing is Standing.APPLIED and self.scene.kept.exists())
    @rule()
    def others_remove_our_file(self) -> None:
        self.scene.path.unlink()
        self.scene.swap().apply(WORK)

    @invariant()
    def there_is_a_server_if_there_ever_was_one(self) -> None:
        assert self.scene.has_nameserver or not self.had_server

    def teardown(self) -> None:
        if hasattr(self, "scene"):
            self.revert()
            shutil.rmtree(self.root)


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=25)
