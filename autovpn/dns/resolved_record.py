"""What we have told systemd-resolved, on disk before it is told: all that an undo after a crash needs."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autovpn.errors import StepFailed
from autovpn.system.files import read_small, write_durably

LARGEST = 1 << 20
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Told:
    """The links, by index, with the name that each had; and the names of the delegates."""

    links: tuple[tuple[int, str], ...] = ()
    delegates: tuple[str, ...] = ()

    def joined(self, other: Told) -> Told:
        """Return both."""
        return Told(
            tuple(dict.fromkeys((*self.links, *other.links))),
            tuple(dict.fromkeys((*self.delegates, *other.delegates))),
        )


class Record:
    """One small file below /run, which does not outlive the boot, as systemd-resolved's own memory doesn't."""

    def __init__(self, directory: Path) -> None:
        """Keep it in `directory`."""
        self._path = directory / "dns-resolved.json"

    def read(self) -> Told:
        """Return what was told in this boot; nothing where no record is, or none that can be read."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            known = json.loads(read_small(self._path, LARGEST) or b"{}")
            if known["boot"] == _boot():
                return Told(tuple((int(index), str(name)) for index, name in known["links"]), tuple(known["delegates"]))
        return Told()

    def write(self, told: Told) -> None:
        """Keep what is told, or is about to be; raises StepFailed where that can't be kept."""
        known = {"boot": _boot(), "links": told.links, "delegates": told.delegates}
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(self._path, json.dumps(known).encode())
        except OSError as error:
            raise StepFailed("dns", f"{self._path}: {error.strerror}; nothing was changed") from error

    def forget(self) -> None:
        """Remove it: nothing of ours is left."""
        self._path.unlink(missing_ok=True)


def has_still(index: int, name: str) -> bool:
    """Tell whether a link still has the name that it had: an index may be used again."""
    with suppress(OSError):
        return socket.if_indextoname(index) == name
    return False


def _boot() -> str:
    return BOOT_ID.read_text().strip()
