"""The back end that swaps /etc/resolv.conf itself: the last resort, which asks nobody and always gives back."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from autovpn.core.dnschoice import DnsWish, MachineDns, refuse_split
from autovpn.core.dnsfacts import DnsFacts
from autovpn.core.dnsstanding import Standing
from autovpn.core.resolvconf import ResolvConf
from autovpn.dns.backend import DnsBackend, DnsChanged, Drift, Outcome, Receipt
from autovpn.dns.defence import Defence, settled
from autovpn.dns.file_look import file_facts, look, original_facts, servers_of
from autovpn.dns.file_patience import PATIENCE, QUIET, Settling
from autovpn.dns.file_swap import Swap, View
from autovpn.errors import StepFailed
from autovpn.system.files import Disk, NameWatch, to_its_end

T = TypeVar("T")

_IN_FORCE = frozenset({Standing.APPLIED, Standing.ORPHAN})
_LOCK_TRIES = 200
_LOCK_PAUSE = 0.05


class FileBackend(DnsBackend):
    """resolv.conf, swapped: `apply`, `revert`, `verify`, `changes`, and `revert_now` for who has no event loop.

    `on_conflict` is what to do about a program that overwrites us: "reapply" takes its file as the new original and
    goes on top again, a few times a minute; "yield" gives in at once. All file work happens in a worker thread, under
    a lock that other processes honour, and is never cancelled half-way.
    """

    name = "file"

    def __init__(
        self,
        path: Path = Path("/etc/resolv.conf"),
        state: Path = Path("/var/lib/autovpn"),
        run: Path = Path("/run/autovpn"),
        *,
        on_conflict: str = "reapply",
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve `path`; `state` survives a reboot, `run` holds the lock."""
        self._path = path
        self._swap = Swap(path, state, disk or Disk())
        self._run = run
        self._clock = clock
        self._defence = Defence(str(path), clock, on_conflict=on_conflict)
        self._applied: View | None = None
        self._applies = 0
        self.quiet = QUIET
        self.patience = PATIENCE

    async def facts(self) -> DnsFacts:
        """Gather what the choice of a back end needs to know of the file, and of the original behind ours."""
        return await to_its_end(self._looked, self._facts)

    async def original(self) -> ResolvConf:
        """Return the machine's own DNS, as it was before us and as others have changed it since."""
        return await to_its_end(self._looked, self._original)

    async def apply(self, dns: MachineDns) -> Receipt:
        """Put `dns` in force; see `DnsBackend`. Where we yield to another program the receipt says so."""
        return await to_its_end(self._locked, lambda: self._apply(dns))

    async def revert(self) -> Outcome:
        """Undo whatever is left of us, whoever left it."""
        return await to_its_end(self.revert_now)

    def revert_now(self) -> Outcome:
        """Do the same without an event loop: what `autovpn recover` calls."""
        return self._locked(self._revert, "'autovpn recover' tries again")

    async def verify(self, dns: MachineDns) -> Drift | None:
        """Return how the file differs from `dns`, or None."""
        return await to_its_end(self._locked, lambda: self._verify(dns))

    async def changes(self) -> AsyncGenerator[DnsChanged, None]:
        """Yield when another program changed what is in force and has come to rest; at the start, if it already has."""
        watch = NameWatch(self._path, self._swap.beside.kept.name)
        try:
            while True:
                settling = Settling.begin(self._clock(), self.quiet, self.patience)
                await settled(watch.disturbed, self._reading, self._clock, settling)
                why = await to_its_end(self._locked, self._trouble)
                if why:
                    yield DnsChanged(why)
                await watch.disturbed()
        finally:
            watch.close()

    def _apply(self, dns: MachineDns) -> Receipt:
        notes = (*dns.refused, *(refuse_split(wish) for wish in dns.split))
        if dns.exclusive is None:
            outcome = self._revert()
            degraded = refuse_split(dns.split[0]) if dns.split else "" if outcome.clean else outcome.why[0]
            return Receipt(self.name, in_force=not degraded, degraded=degraded, notes=(*notes, *outcome.why))
        yielded = self._yielded(self._swap.view())
        if yielded:
            return Receipt(self.name, in_force=False, degraded=yielded, notes=notes)
        view = self._swap.apply(dns.exclusive)
        self._applied, self._applies = view, self._applies + 1
        drift = self._compare(dns.exclusive, view)
        degraded = drift.why if drift else self._words(view) if view.standing is Standing.ORPHAN else ""
        return Receipt(self.name, in_force=drift is None, degraded=degraded, notes=notes)

    def _revert(self) -> Outcome:
        self._applied = None
        was = self._swap.revert()
        why = () if was.standing in (Standing.CLEAN, Standing.UNSWAPPED, Standing.APPLIED) else (self._words(was),)
        covered = self._swap.is_covered()
        if covered:
            why = (*why, f"{self._path}: something is mounted over it; unmount that, then run 'autovpn recover'")
        return Outcome(clean=was.standing not in (Standing.EDITED, Standing.ORPHAN) and not covered, why=why)

    def _verify(self, dns: MachineDns) -> Drift | None:
        view = self._swap.view()
        if dns.exclusive is None:
            return Drift(f"{self._path}: our servers are still in it") if view.standing in _IN_FORCE else None
        drift = self._compare(dns.exclusive, view)
        if drift is None and self._applied is None:  # adopted from a daemon before us: from now on it is ours to defend
            self._applied = view
        return drift

    def _compare(self, wish: DnsWish, view: View) -> Drift | None:
        if view.standing not in _IN_FORCE:
            return Drift(self._words(view))
        if view.text != self._swap.expected(wish, view).rstrip(b"\n"):
            return Drift(f"{self._path}: holds our file for another wish")
        return None

    def _yielded(self, view: View) -> str:
        """Return why another program's change is left alone, or an empty string: it may be answered."""
        if view.standing is Standing.EDITED:
            return self._words(view)
        if self._applied is None or view.standing in _IN_FORCE:
            return ""
        # Each answer begins a new round: a file that is deleted twice looks the same both times.
        change = (self._applies, view.current and (view.current.inode, view.current.changed, view.current.size))
        return self._defence.refuses(change)

    def _trouble(self) -> str:
        """Return what became of what we applied, or an empty string."""
        if self._applied is None:
            return ""
        view = self._swap.view()
        if (view.standing, view.text) == (self._applied.standing, self._applied.text):
            return ""
        return self._words(view)

    def _facts(self) -> DnsFacts:
        original = self._original_at()
        return DnsFacts(file_facts(self._path, original), original_facts(original))

    def _original(self) -> ResolvConf:
        return servers_of(self._original_at())

    def _original_at(self) -> Path:
        standing = self._swap.view().standing
        return self._swap.kept_at() if standing in _IN_FORCE or standing is Standing.VACATED else self._path

    def _reading(self) -> tuple[object, bool]:
        with suppress(FileNotFoundError):
            return look(self._path), bool(servers_of(self._path).nameservers)
        return None, False

    def _words(self, view: View) -> str:
        """Say what a standing means to a person."""
        kept = self._swap.kept_at()
        match view.standing:
            case Standing.EDITED:
                return (
                    f"{self._path}: was edited by hand while it was ours, and is left as it is; "
                    f"the file from before is {kept if view.kept else 'not there'}; "
                    "remove the first line to keep the edit"
                )
            case Standing.ORPHAN:
                return (
                    f"{self._path}: is ours, but the original that we kept is gone; "
                    "let your network manager or DHCP client write it anew (on openSUSE: netconfig update -f)"
                )
            case Standing.FOREIGN:
                return f"{self._path}: another program has written it since"
            case Standing.VACATED:
                return f"{self._path}: another program removed or emptied it"
            case _:
                return f"{self._path}: our file is not in place"

    def _locked(self, work: Callable[[], T], then: str = "it is left as it was") -> T:
        with self._lock():
            return self._worded(work, then)

    def _worded(self, work: Callable[[], T], then: str) -> T:
        try:
            return work()
        except OSError as error:
            raise StepFailed("dns", f"{error.filename or self._path}: {error.strerror or error}; {then}") from error

    def _looked(self, work: Callable[[], T]) -> T:
        """Read between the changes of others, leaving no trace: where there is no lock to be had nobody is at work."""
        with ExitStack() as stack:
            with suppress(OSError):
                descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                stack.callback(os.close, descriptor)
                _flock(descriptor)
            return self._worded(work, "it could not be read")

    @property
    def _lock_file(self) -> Path:
        return self._run / "dns.lock"

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Keep other threads and other processes (`autovpn recover`) out."""
        try:
            self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StepFailed("dns", f"{self._lock_file}: {error.strerror}") from error
        try:
            _flock(descriptor)
            yield
        finally:
            os.close(descriptor)


def _flock(descriptor: int) -> None:
    for _ in range(_LOCK_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_LOCK_PAUSE)
    raise StepFailed("dns", "another autovpn has held the DNS lock for 10 s; see 'pgrep -a autovpn'")
