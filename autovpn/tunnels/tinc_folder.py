"""The folder that a tincd gets: the user's settings without those that are ours, resolved addresses, our scripts."""

from __future__ import annotations

from shlex import join
from typing import TYPE_CHECKING

from autovpn.core.actions import Write
from autovpn.core.secret import Secret
from autovpn.core.settings import Endpoint, TincSettings
from autovpn.core.tincfile import OWNED, settings_in, values_of, without
from autovpn.tunnels.attempt import detection_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autovpn.core.driving import Launch
    from autovpn.core.settings import TincPeer
    from autovpn.core.tunnel import PinnedEndpoint

EVENTS = ("host-up", "host-down", "subnet-up", "subnet-down")

SHELL = "/bin/sh"
"""What tincd is told to run the scripts by: where /run is mounted noexec (Debian's initramfs does) none runs alone."""

FLOODED = Write("subnet-up", Secret(b"#!/bin/true\n"), executable=True)
"""The script that takes the place of ours once more subnets were announced than are used."""

PING_INTERVAL = 20
"""Seconds of silence after which tincd asks whether a node still lives, unless the user's settings say otherwise: its
own 60 leave a dead tunnel standing."""


def settings_of(launch: Launch) -> TincSettings:
    """Return the tunnel's settings."""
    if not isinstance(launch.spec.settings, TincSettings):
        raise TypeError(f"tunnel {launch.spec.name} is not of type tinc")
    return launch.spec.settings


def files_of(launch: Launch) -> Iterator[Write]:
    """Return the whole folder."""
    settings = settings_of(launch)
    yield Write("tinc.conf", Secret(_configuration(launch, settings)))
    for name, path in settings.keys:
        yield Write(name, launch.files[path])
    own = _text(launch, f"{settings.config}/hosts/{settings.name}")
    yield Write(f"hosts/{settings.name}", Secret((_own_subnets(launch, settings, own) + own).encode("latin-1")))
    connected = {peer.name for peer in settings.peers}
    for host in settings.hosts:
        if host != settings.name and host not in connected:
            yield Write(f"hosts/{host}", launch.files[f"{settings.config}/hosts/{host}"])
    yield from host_files(launch)
    for event in EVENTS:
        yield Write(event, Secret(_script(launch, event)), executable=True)


def host_files(launch: Launch) -> Iterator[Write]:
    """Return the files of the nodes that are connected to, with the addresses that their names have now."""
    settings = settings_of(launch)
    for peer in settings.peers:
        addresses = "".join(f"Address = {end.address} {end.port}\n" for end in _found(launch, peer))
        written = without(_text(launch, f"{settings.config}/hosts/{peer.name}"), ("Address",))
        yield Write(f"hosts/{peer.name}", Secret((addresses + written).encode("latin-1")))


def called(launch: Launch) -> frozenset[str]:
    """Return the nodes that can be connected to: of the others no address was found."""
    return frozenset(peer.name for peer in settings_of(launch).peers if _found(launch, peer))


def _found(launch: Launch, peer: TincPeer) -> list[PinnedEndpoint]:
    wanted = [Endpoint(end.host, end.port, "tcp") for end in peer.addresses]
    return [found for end in wanted for found in launch.endpoints if found.stands_for(end)]


def _configuration(launch: Launch, settings: TincSettings) -> bytes:
    health = detection_in(launch)
    owned = (*OWNED, "PingInterval") if health else OWNED
    theirs = "\n".join(without(_text(launch, path), owned) for path in settings.settings)
    ours = {"Interface": launch.spec.device, "Hostnames": "no", "ScriptsInterpreter": SHELL}
    if not values_of(theirs, "PingInterval"):
        ours["PingInterval"] = str(round(health.interval) if health else PING_INTERVAL)
    return ("".join(f"{name} = {value}\n" for name, value in ours.items()) + theirs + "\n").encode("latin-1")


def _own_subnets(launch: Launch, settings: TincSettings, written: str) -> str:
    """Return what we announce beside what the user's file does: our addresses, and the networks behind us."""
    announced = {line.value.partition("#")[0] for line in settings_in(written) if line.is_one_of(("Subnet",))}
    wanted = [str(own.ip) for own in settings.addresses] + [str(network) for network in launch.spec.local]
    single = {subnet.removesuffix("/32").removesuffix("/128") for subnet in announced}
    return "".join(f"Subnet = {subnet}\n" for subnet in wanted if subnet not in announced | single)


def _script(launch: Launch, event: str) -> bytes:
    """Return a script that has the notifier tell the event, its node and its subnet."""
    return f'#!{SHELL}\nexec {join((*launch.notifier, event))} "${{NODE-}}" "${{SUBNET-}}"\n'.encode()


def _text(launch: Launch, path: str) -> str:
    """Return a file's text, byte for byte."""
    content = launch.files.get(path)
    return content.reveal().decode("latin-1") if content else ""
