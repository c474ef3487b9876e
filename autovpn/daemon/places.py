"""Where the daemon's files are, and what is told to whoever runs without a daemon."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autovpn.core.decide import Decision
from autovpn.core.dnschoice import Choice
from autovpn.core.profile import Policy
from autovpn.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Directories:
    """Where the configuration is, and the two lifetimes of what the daemon keeps: until a boot, and for good."""

    config: Path = Path("/etc/autovpn")
    run: Path = Path("/run/autovpn")
    state: Path = Path("/var/lib/autovpn")
    resolv_conf: Path = Path("/etc/resolv.conf")

    @property
    def locks(self) -> tuple[Path, Path]:
        """Return the files whose locks the daemon holds: one for each place that it writes its records to."""
        return self.run / "daemon.lock", self.state / "daemon.lock"


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look at the machine, without a daemon, leads to; `dns` is the back end that would be used."""

    decision: Decision
    snapshot: Snapshot
    policy: Policy
    dns: Choice


@dataclass(frozen=True, slots=True)
class Recovery:
    """What became of the traces of a dead daemon: a sentence for each that was undone, and for each that is left.

    `found` says what was wrong with its journal, which is mended.
    """

    undone: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
