"""Which DNS back ends this daemon has, and who gathers the facts that choose among them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from autovpn.core.dnsfacts import Flavour
from autovpn.daemon.dnsprograms import run_briefly
from autovpn.daemon.places import Directories
from autovpn.daemon.resolver import MachineResolver
from autovpn.dns.backend import DnsBackend
from autovpn.dns.facts import Gatherer
from autovpn.dns.file import FileBackend
from autovpn.dns.networkmanager import NetworkManagerBackend
from autovpn.dns.networkmanager_service import NetworkManagerService
from autovpn.dns.resolvconf import ResolvconfBackend
from autovpn.dns.resolvconf_program import ResolvconfProgram
from autovpn.dns.resolved import ResolvedBackend
from autovpn.dns.resolved_facts import resolved_facts
from autovpn.system.bus import Bus
from autovpn.system.spawn import SEARCH_PATH

OF_THE_MACHINE = Path("/etc/resolv.conf")


def machine_resolver(
    directories: Directories, on_conflict: str = "reapply", forced: Callable[[], str] = lambda: "auto"
) -> MachineResolver:
    """Return the machine's resolver, with every back end that there is.

    `on_conflict` and `forced` are the settings `dns.on_conflict` and, as it is when a choice is made, `dns.backend`.
    """
    file = FileBackend(directories.resolv_conf, directories.state, directories.run, on_conflict=on_conflict)
    if directories.resolv_conf != OF_THE_MACHINE:  # nobody else on the machine knows of another one
        return MachineResolver({file.name: file}, Gatherer(file.facts).gather, forced)
    bus = Bus()
    program = ResolvconfProgram(run_briefly, SEARCH_PATH)
    networkmanager = NetworkManagerBackend(NetworkManagerService(bus), on_conflict=on_conflict)
    backends: tuple[DnsBackend, ...] = (
        ResolvedBackend(bus, directories.run, on_conflict=on_conflict),
        networkmanager,
        ResolvconfBackend(Flavour.OPENRESOLV, program, on_conflict=on_conflict),
        ResolvconfBackend(Flavour.DEBIAN, program, on_conflict=on_conflict),
        file,
    )
    gatherer = Gatherer(
        file.facts,
        resolved=lambda: resolved_facts(bus),
        networkmanager=networkmanager.facts,
        resolvconf=program.facts,
    )
    return MachineResolver({backend.name: backend for backend in backends}, gatherer.gather, forced)
