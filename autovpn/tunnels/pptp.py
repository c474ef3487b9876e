"""The `pptp` tunnel: a supervised pppd(8), which speaks through pptp(8) with the server.

pptp opens a control connection (TCP port 1723); the tunnel itself is GRE (IP protocol 47), which many networks drop. So
when no packet of the server's PPP has come, what counts is whether the control connection stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from autovpn.core.actions import LookAgainAt, Ready, Run, Spawn, Write
from autovpn.core.dnsclean import clean_servers
from autovpn.core.driving import (
    DriverEvent,
    Exited,
    Launch,
    Line,
    LinkVanished,
    Ran,
    Recovered,
    Report,
    Step,
    Tick,
    Uplink,
    UplinkChanged,
)
from autovpn.core.secret import Secret
from autovpn.core.settings import Mppe, PptpSettings
from autovpn.core.tunnel import Facts, FailureClass
from autovpn.tunnels import pppd, pushed
from autovpn.tunnels.attempt import (
    ENVIRONMENT,
    NOT_STARTED,
    Attempt,
    EndsAlone,
    Stage,
    at_its_end,
    device_lost,
    ended,
    give_up,
    heard,
    in_words,
    meaning,
    timed_out,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

PORT = 1723

NOTIFIER_PATIENCE = 2.0
"""Seconds that the notifier has after pppd has printed its addresses: where /run is mounted noexec it never comes."""

_CONTROL_AFTER = 0.4
"""When to look for the control connection, as a part of the time to connect: before LCP gives up at 0.6 of it."""

_PRINTED = re.compile(r"(local|remote|primary|secondary) +(?:IP|DNS) address (\S+)")
_ENCRYPTED = re.compile(r"(MPPE .*) compression enabled")
_WHO = re.compile(r"\w+ (?:warn|fatal|log)\[[\w.:]+\]: ")  # how pptp's lines begin

GRE_DROPPED = "protocol 47 (GRE), which carries PPTP, is dropped on the way: by this network, a router or a firewall"


@dataclass(frozen=True, slots=True)
class PptpState(Attempt):
    """One run of pppd.

    `began_with` are the uplink's addresses, to one of which the control connection is bound; `control` says whether
    that stood when it was looked for; `printed` what pppd has printed of the addresses.
    """

    device: str | None = None
    began_with: frozenset[IPv4Address] = frozenset()
    control: bool = False
    answered: bool = False
    encryption: str = ""
    printed: tuple[tuple[str, str], ...] = ()


class PptpDriver(EndsAlone):
    """Drives pppd and pptp."""

    def start(self, launch: Launch, now: float) -> Step[PptpState]:
        """Start pppd with the password on its stdin."""
        state = _beginning(launch, now)
        settings = _settings(launch)
        server = _server(launch)
        if server is None:
            return give_up(state, FailureClass.NAME, f"no IPv4 address is known for {settings.host}")
        if launch.password is None:
            return give_up(state, FailureClass.LOCAL, "the profile has no password for this tunnel")
        if fault := _password_fault(launch.password):
            return give_up(state, FailureClass.LOCAL, fault)
        return state, (
            Write(pppd.SCRIPT, Secret(pppd.script(launch)), executable=True),
            Spawn(pppd.command(launch, settings, str(server)), ENVIRONMENT, Secret(_line(launch.password))),
            LookAgainAt(now + launch.spec.connect_timeout * _CONTROL_AFTER),
        )

    def adopt(self, launch: Launch, recovered: Recovered, now: float) -> Step[PptpState]:
        """Take over a pppd that was up: it answers no questions, but it ends by itself when its server is dead."""
        state = replace(_beginning(launch, now), device=recovered.device)
        if recovered.pid is None or recovered.device is None or recovered.facts is None:
            return give_up(state, FailureClass.LOST, "pppd was not up when its daemon ended")
        return replace(state, stage=Stage.UP), (Ready(recovered.facts),)

    def feed(self, state: PptpState, event: DriverEvent, now: float) -> Step[PptpState]:
        """Take what pppd, pptp and the notifier say."""
        if end := at_its_end(state, event, now):
            return end
        match event:
            case Line(text):
                return _heard(state, text, now)
            case Report(values):
                return _report(state, values)
            case Ran("control", status):
                return replace(state, control=status == 0), ()
            case Exited(status):
                return _exited(state, status)
            case LinkVanished() | UplinkChanged():
                return _shaken(state, event, now)
            case Tick():
                return _tick(state, now)
            case _:
                return state, ()


def facts_of(state: PptpState, local: str, remote: str, servers: list[str]) -> Facts | None:
    """Return what pppd was told about the tunnel, checked; None without a usable address."""
    address, peer = pushed.address(local), pushed.address(remote)
    if address is None:
        return None
    dns, refused = clean_servers(filter(None, servers)) if state.launch.spec.may_push_dns else ((), ())
    return Facts(
        device=state.device,
        addresses=(address,),
        peer=peer.ip if peer else None,
        dns=dns,
        mtu=pppd.mtu(state.launch),
        overhead=pppd.OVERHEAD,
        form=f"GRE, {_encryption(state)}",
        refused=refused,
    )


def _beginning(launch: Launch, now: float) -> PptpState:
    return PptpState(launch, now + launch.spec.connect_timeout, began_with=_of_ipv4(launch.uplink))


def _heard(state: PptpState, text: str, now: float) -> Step[PptpState]:
    text = _WHO.sub("", text)
    if encrypted := _ENCRYPTED.match(text):
        return replace(state, encryption=encrypted[1], answered=True), ()
    if printed := _PRINTED.match(text):
        state = replace(state, printed=(*state.printed, (printed[1], printed[2])), answered=True)
        is_enough = printed[1] == "remote" and state.stage is Stage.CONNECTING
        return state, ((LookAgainAt(min(now + NOTIFIER_PATIENCE, state.deadline)),) if is_enough else ())
    if pppd.NO_ANSWER in text and state.stage is Stage.CONNECTING:
        return _unanswered(state)  # pppd itself waits some seconds more for pptp to end
    if "authentication succeeded" in text:
        return replace(state, answered=True), ()
    return (state if pppd.is_noise(text) else heard(state, text)), ()


def _report(state: PptpState, values: Mapping[str, str]) -> Step[PptpState]:
    if state.stage is not Stage.CONNECTING or values.get("ARGV_6") != pppd.ipparam(state.launch):
        return state, ()
    named = replace(state, device=pushed.device(values.get("ARGV_1")) or state.launch.spec.device)
    servers = [values.get("DNS1", ""), values.get("DNS2", "")]
    return _ready(named, values.get("ARGV_4", ""), values.get("ARGV_5", ""), servers)


def _ready(state: PptpState, local: str, remote: str, servers: list[str]) -> Step[PptpState]:
    facts = facts_of(state, local, remote, servers)
    if facts is None:
        return give_up(state, FailureClass.UNREACHABLE, "the server gave this machine no usable address")
    return replace(state, stage=Stage.UP, answered=True, said=()), (Ready(facts),)


def _tick(state: PptpState, now: float) -> Step[PptpState]:
    if state.stage is not Stage.CONNECTING:
        return state, ()
    printed = dict(state.printed)
    if "remote" in printed:  # pppd is up; the notifier could not be run
        servers = [printed.get("primary", ""), printed.get("secondary", "")]
        named = replace(state, device=state.launch.spec.device)
        return _ready(named, printed.get("local", ""), printed["remote"], servers)
    if now < state.deadline:
        return state, (_look_for_control(state.launch), LookAgainAt(state.deadline))
    host = _settings(state.launch).host
    if state.control and not state.answered:
        return timed_out(state, f"tunnel to {host}", f"it answers on TCP port {PORT}, so most likely {GRE_DROPPED}")
    return timed_out(state, f"tunnel to {host}")


def _exited(state: PptpState, status: int) -> Step[PptpState]:
    """End the attempt for the reason that pppd gave, in a line or by its exit status."""
    if status not in pppd.STATUSES or (status == NOT_STARTED and state.said):
        return ended(state, "pppd", status)
    if status == pppd.HANGUP and not state.answered and not state.said:
        words = f"the server hung up before one packet came through the tunnel; maybe {GRE_DROPPED}"
        return give_up(state, FailureClass.UNREACHABLE, words)
    kind, sense = pppd.STATUSES[status]
    words = "; ".join(filter(None, (sense, in_words(state))))
    if state.stage is Stage.UP:
        return give_up(state, FailureClass.LOST, words)
    return give_up(state, meaning(state.said, pppd.TELLTALES) or kind, words)


def _unanswered(state: PptpState) -> Step[PptpState]:
    host = _settings(state.launch).host
    if state.control:
        words = f"{host} answers on TCP port {PORT}, but not one packet came back through the tunnel: {GRE_DROPPED}"
    else:
        words = f"no answer from {host} on TCP port {PORT}"
    return give_up(state, FailureClass.UNREACHABLE, words)


def _shaken(state: PptpState, event: LinkVanished | UplinkChanged, now: float) -> Step[PptpState]:
    """Give a tunnel up whose device is gone, or the address that its connection is bound to: PPTP takes no other."""
    match event:
        case LinkVanished(name) if name == state.device:
            return device_lost(state, name, now)
        case UplinkChanged(uplink) if state.began_with and not state.began_with & _of_ipv4(uplink):
            return give_up(state, FailureClass.LOST, "this machine's address has changed, which PPTP does not survive")
        case _:
            return state, ()


def _look_for_control(launch: Launch) -> Run:
    """Look for pptp's own connection in the kernel's list (proc(5)): an address is in hexadecimal, 01 is ESTABLISHED.

    It is the number that the bytes are in memory, so its order is the processor's.
    """
    number = _server(launch) or IPv4Address(0)
    either = f"({int.from_bytes(number.packed, 'little'):08X}|{int(number):08X})"
    return Run("control", ("grep", "-qE", f": [0-9A-F:]+ {either}:{PORT:04X} 01 ", "/proc/net/tcp"), ENVIRONMENT)


def _server(launch: Launch) -> IPv4Address | None:
    """Return the server's address: PPTP speaks IPv4 alone (pptp.c)."""
    found = (end.address for end in launch.endpoints)
    return next((address for address in found if isinstance(address, IPv4Address)), None)


def _of_ipv4(uplink: Uplink) -> frozenset[IPv4Address]:
    return frozenset(address for address in uplink.addresses if isinstance(address, IPv4Address))


def _encryption(state: PptpState) -> str:
    if state.encryption:
        return state.encryption
    return "not encrypted" if _settings(state.launch).mppe is Mppe.OFF else "MPPE"


def _settings(launch: Launch) -> PptpSettings:
    if not isinstance(launch.spec.settings, PptpSettings):
        raise TypeError(f"tunnel {launch.spec.name} is not of type pptp")
    return launch.spec.settings


def _line(password: Secret) -> bytes:
    return password.reveal().removesuffix(b"\n").removesuffix(b"\r")


def _password_fault(password: Secret) -> str:
    """Return why pppd could not be given this password."""
    text = _line(password)
    if not text:
        return "the password is empty"
    if len(text) > pppd.LONGEST_PASSWORD or b"\0" in text:
        return f"pppd takes no password that is longer than {pppd.LONGEST_PASSWORD} bytes or holds a NUL"
    return ""
