"""The swap of resolv.conf: look where it stands, do what the table says. Synchronous; the caller holds the lock."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autovpn.core.dnschoice import DnsWish
from autovpn.core.dnsfacts import refuse_file
from autovpn.core.dnsstanding import ON_APPLY, ON_REVERT, Action, Kind, Look, Standing, standing
from autovpn.core.resolvconf import Original, unseal
from autovpn.dns.file_look import file_facts, look, servers_of
from autovpn.dns.file_place import Beside, InPlace, Place
from autovpn.dns.file_text import sealed_text
from autovpn.errors import Refused, StepFailed
from autovpn.system.files import Disk, is_mount_point, temporary

_MOST_TRIES = 3


@dataclass(frozen=True, slots=True)
class View:
    """The file and its kept original as they are now, and what that means."""

    current: Look | None
    kept: Look | None
    standing: Standing

    @property
    def text(self) -> bytes:
        """Return what the file says, without the newlines that a rewrite in place may have left at its end."""
        return self.current.data.rstrip(b"\n") if self.current else b""

    @property
    def original(self) -> Original:
        """Return what stood there before us."""
        seal = unseal(self.current.data) if self.current and self.current.kind is Kind.FILE else None
        if seal and seal.original:
            return seal.original
        return Original(self.current.kind.value) if self.current else Original.ABSENT


class Swap:
    """Our file over the machine's, and back. A crash between any two changes leaves what `revert` undoes.

    Which place is used is asked each time: a container runtime may mount over the name, or unmount it, at any moment.
    """

    def __init__(self, path: Path, state: Path, disk: Disk) -> None:
        """Serve `path`; `state` is the directory that keeps a mount point's original."""
        self.path = path
        self.beside = Beside(path, disk)
        self._in_place = InPlace(path, state, disk)
        self._disk = disk

    def view(self) -> View:
        """Return where the swap stands."""
        current, kept = look(self.path), look(self._place().kept)
        return View(current, kept, standing(current, kept))

    def kept_at(self) -> Path:
        """Return where the original is kept while the swap is in force."""
        return self._place().kept

    def expected(self, wish: DnsWish, view: View) -> bytes:
        """Return the text that `wish` asks for where the swap stands as in `view`."""
        place = self._place()
        return sealed_text(wish, view.original, servers_of(place.kept), place.way_back(view.original))

    def apply(self, wish: DnsWish) -> View:
        """Put `wish` in force and return where the swap stands then.

        Raises Refused where the file may not be touched; OSError after a failed change, which is undone.
        """
        self._refuse()
        self._sweep()
        view = self.view()
        if ON_APPLY[view.standing] is Action.UNDO_THEN_SWAP:
            self._undo(view)
            view = self.view()
        if ON_APPLY[view.standing] is Action.REWRITE:
            self._put(wish, view)
            return self.view()
        try:
            self._put(wish, self._keep())
        except OSError:
            with suppress(OSError):  # the first error is the one to tell
                self.revert()
            raise
        return self.view()

    def revert(self) -> View:
        """Undo what is left of us; return where the swap stood before."""
        self._sweep()
        view = self.view()
        self._undo(view)
        return view

    def is_covered(self) -> bool:
        """Tell whether our swap lies under something that was mounted over it since."""
        return is_mount_point(self.path) and os.path.lexists(self.beside.kept)

    def _undo(self, view: View) -> None:
        place = self._place()
        match ON_REVERT[view.standing]:
            case Action.RESTORE if view.kept is None:
                place.remove()
            case Action.RESTORE:
                place.restore()
            case Action.UNKEEP:
                place.unkeep()
            case Action.FORGET:
                place.forget()
            case _:
                pass

    def _keep(self) -> View:
        """Keep the original, and make sure that it is the one that is kept: it may be exchanged under our hands."""
        place = self._place()
        for _ in range(_MOST_TRIES):
            self._refuse()
            before = look(self.path)
            if before is not None:
                with suppress(FileNotFoundError):  # gone since
                    place.keep(before)
            after = look(self.path)
            if (before is None and after is None) or (before and after and after.is_unchanged(before)):
                return View(before, look(place.kept), Standing.UNSWAPPED)
            place.forget()
        raise StepFailed("dns", f"{self.path} changes faster than it can be read; another program is rewriting it")

    def _put(self, wish: DnsWish, view: View) -> None:
        place = self._place()
        text = self.expected(wish, view)
        if view.text != text.rstrip(b"\n"):
            place.put(text, view.kept)

    def _refuse(self) -> None:
        refusal = refuse_file(file_facts(self.path))
        if refusal is not None:
            raise Refused(refusal.what, refusal.why, refusal.hint)

    def _sweep(self) -> None:
        """Remove the half-made files of a crash."""
        for path in (self.path, self.beside.kept, self._in_place.kept):
            self._disk.remove(temporary(path))

    def _place(self) -> Place:
        return self._in_place if is_mount_point(self.path) else self.beside
