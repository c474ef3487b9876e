"""Which DNS back ends this daemon has, and who gathers the facts that choose among them."""

from __future__ import annotations

from collections.abc import Callable

from autovpn.daemon.places import Directories
from autovpn.daemon.resolver import MachineResolver
from autovpn.dns.backend import DnsBackend
from autovpn.dns.facts import Gatherer
from autovpn.dns.file import FileBackend


def machine_resolver(
    directories: Directories, on_conflict: str = "reapply", forced: Callable[[], str] = lambda: "auto"
) -> MachineResolver:
    """Return the machine's resolver, with every back end that there is.

    `on_conflict` and `forced` are the settings `dns.on_conflict` and, as it is when a choice is made, `dns.backend`.
    """
    file = FileBackend(directories.resolv_conf, directories.state, directories.run, on_conflict=on_conflict)
    backends: dict[str, DnsBackend] = {file.name: file}
    return MachineResolver(backends, Gatherer(file.facts).gather, forced)
