"""Which link is a tunnel's device, as long as only its program knows that."""

from __future__ import annotations

from pathlib import Path


class Claim:
    """The link of a name that was chosen; once `by_holder`, the tun device that the tunnel's program holds."""

    def __init__(self, name: str) -> None:
        """Wait for a link of this name."""
        self.name = name
        self._by_holder = False
        self._seen: dict[str, int] = {}

    def by_holder(self) -> None:
        """Wait for the device of the tunnel's program, whatever its name."""
        self._by_holder = True

    def is_by_name(self, name: str, index: int) -> bool:
        """Report whether a new link has the name that is waited for; another one is kept for `held`."""
        if self._by_holder:
            self._seen[name] = index
        return not self._by_holder and name == self.name

    def held(self, pid: int) -> tuple[str, int] | None:
        """Return the name and index of the link that a process holds, of those that appeared. Not for the event loop.

        The kernel tells of a device before its program holds it (tun_set_iff in drivers/net/tun.c), so that it has to
        be looked for again later.
        """
        if not self._by_holder:
            return None
        held = _tun_devices(pid)
        found = next(((name, index) for name, index in self._seen.items() if name in held), None)
        if found:
            self.name, self._by_holder = found[0], False
        return found


def _tun_devices(pid: int) -> set[str]:
    """Return the names of the tun devices that a process has open (tun_chr_show_fdinfo in drivers/net/tun.c)."""
    try:
        descriptors = list(Path(f"/proc/{pid}/fdinfo").iterdir())
    except OSError:
        return set()
    lines = (line for path in descriptors for line in _text(path).splitlines())
    return {line.removeprefix("iff:\t") for line in lines if line.startswith("iff:\t")}


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # it is closed meanwhile
