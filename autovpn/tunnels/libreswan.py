"""The `ipsec` tunnel by libreswan, of the FreeS/WAN line: IKEv2 and IKEv1 by a pluto of its own and `ipsec auto`.

Whether a connection is up is read from the list of those that pass packets: `ipsec auto --up` ends with 0 though the
kernel has refused its keys, and pluto would begin a failed connection anew for ever.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autovpn.core.actions import CreateDevice, LookAgainAt, Ready, SetUp, Spawn, Write
from autovpn.core.driving import (
    DeviceCreated,
    DeviceRefused,
    Exited,
    Line,
    LinkVanished,
    Ran,
    Report,
    Tick,
    UplinkChanged,
)
from autovpn.core.escape import show_text
from autovpn.core.tunnel import FailureClass
from autovpn.tunnels import nss, pluto, pushed
from autovpn.tunnels.attempt import (
    ENVIRONMENT,
    Attempt,
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
from autovpn.tunnels.ipsec_facts import OVERHEAD, OVERHEAD_IPV6
from autovpn.tunnels.libreswan_words import HOPELESS, LISTENING, TELLTALES, telling
from autovpn.tunnels.offer import Offer, accepted
from autovpn.tunnels.pluto import connection_name, settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autovpn.core.actions import Run
    from autovpn.core.driving import DriverEvent, Launch, Recovered, Step
    from autovpn.core.tunnel import Facts

LOOK_EVERY = 10.0
"""Seconds between looks at a tunnel that is up; pluto's updown script, which tells of most ends, is no promise."""


@dataclass(frozen=True, slots=True)
class LibreswanState(Attempt):
    """One connection of pluto's; `told` is what its updown script was told, `is_added` that pluto was given it.

    `proof` are its lines about a certificate of ours.
    """

    device: str | None = None
    is_added: bool = False
    proof: tuple[str, ...] = ()
    told: tuple[tuple[str, str], ...] = ()
    recovered: Recovered | None = None


class LibreswanDriver:
    """Drives a pluto of its own."""

    def start(self, launch: Launch, now: float) -> Step[LibreswanState]:
        """Make the device that the policies are tied to, and what pluto needs to start."""
        settings = settings_of(launch)
        state = LibreswanState(launch, now + launch.spec.connect_timeout)
        if missing := [path for path in launch.spec.files if path not in launch.files]:
            return give_up(state, FailureClass.LOCAL, f"{missing[0]} could not be read")
        if not launch.endpoints:
            return give_up(state, FailureClass.NAME, f"no address is known for {settings.server}")
        if settings.mode == "transport":
            return _begin(state)
        create = CreateDevice("xfrm", launch.spec.device, pluto.interface_number(launch))
        return replace(state, device=launch.spec.device), (create, LookAgainAt(state.deadline))

    def adopt(self, launch: Launch, recovered: Recovered, now: float) -> Step[LibreswanState]:
        """Ask a running pluto whether the connection still stands."""
        state = LibreswanState(launch, now + launch.spec.connect_timeout, device=recovered.device, recovered=recovered)
        if recovered.facts is None or recovered.pid is None:
            return give_up(state, FailureClass.LOST, "the tunnel was not up when its daemon ended")
        return state, (pluto.traffic(launch), LookAgainAt(state.deadline))

    def feed(self, state: LibreswanState, event: DriverEvent, now: float) -> Step[LibreswanState]:
        """Take what pluto, its updown script, `ipsec` and the kernel say."""
        if end := at_its_end(state, event, now):
            return end
        match event:
            case Line(text):
                return _line(state, text)
            case Ran():
                return _ran(state, event, now)
            case Report(values):
                return _report(state, values)
            case Exited(status):
                return ended(state, settings_of(state.launch).ipsec, status, TELLTALES, FailureClass.LOCAL)
            case Tick():
                return _tick(state, now)
            case _:
                return _link(state, event, now)

    def farewell(self, launch: Launch) -> tuple[Run, ...]:
        """Have pluto take leave of the server, and not begin anew."""
        return pluto.leave(launch)


def _begin(state: LibreswanState) -> Step[LibreswanState]:
    launch = state.launch
    secrets = Write(pluto.SECRETS, pluto.secrets(launch))
    return state, (secrets, nss.database(launch), LookAgainAt(state.deadline))


def _link(state: LibreswanState, event: DriverEvent, now: float) -> Step[LibreswanState]:
    match event:
        case DeviceCreated(name) if name == state.device:
            begun, actions = _begin(state)
            return begun, (SetUp(name), *actions)
        case DeviceRefused(name, unsupported, words) if name == state.device:
            needed = "; libreswan needs a device of kind xfrm" if unsupported else ""
            return give_up(state, FailureClass.LOCAL, f"{words}{needed}")
        case LinkVanished(name) if name == state.device:
            return device_lost(state, name, now)
        case UplinkChanged(uplink):
            before, after = (pluto.own_addresses(state.launch, one) for one in (state.launch.uplink, uplink))
            if before and after and before[0] not in after:
                return give_up(state, FailureClass.LOST, "the uplink has other addresses, and libreswan keeps its own")
            return state, ()
        case _:
            return state, ()


def _line(state: LibreswanState, text: str) -> Step[LibreswanState]:
    """Take a line of pluto's log: that it listens, or why a connection will not come up."""
    if LISTENING in text and state.stage is Stage.CONNECTING and not state.is_added and not state.recovered:
        return replace(state, is_added=True, said=()), (pluto.add(state.launch),)
    state = _said(state, text)
    mine = f'"{connection_name(state.launch)}"' in text  # what strangers send to its port is none of ours
    kind = meaning((text,), HOPELESS) if mine else None
    if kind and state.stage is Stage.CONNECTING:
        advice = "; is the shared key right?" if kind is FailureClass.AUTH else ""
        return give_up(state, kind, f"{in_words(state)}{advice}")
    return state, ()


def _ran(state: LibreswanState, ran: Ran, now: float) -> Step[LibreswanState]:
    match ran.name:
        case "traffic":
            return _listed(state, ran, now)
        case "ports":
            return _set_off(state, ran.output)
        case _:
            return _went_on(state, ran)


def _stored(state: LibreswanState, ran: Ran) -> Step[LibreswanState]:
    """Go on to the next thing that the database needs, and from the last to whether the ports are free."""
    if ran.status != 0:
        return give_up(state, FailureClass.LOCAL, in_words(state) or _unsaid(ran))
    if (lines := nss.learned(ran)) is None:
        return give_up(state, FailureClass.LOCAL, nss.UNUSABLE[ran.name])
    following = nss.after(state.launch, ran.name) or (pluto.ports(),)
    return replace(state, proof=(*state.proof, *lines)), following


def _set_off(state: LibreswanState, others: str) -> Step[LibreswanState]:
    """Start pluto where it gets the packets: it shares its ports without a word, and whoever binds last has them."""
    if others.strip():
        names = ", ".join(sorted(set(pluto.USERS.findall(show_text(others))))) or "another program"
        words = f"UDP port 500 or 4500, which libreswan needs for itself, is taken by {names}"
        return give_up(state, FailureClass.LOCAL, words)
    launch = state.launch
    proof = (*state.proof, *nss.identity()) if state.proof else pluto.SHARED_KEY
    return state, (
        Write(pluto.CONNECTION, pluto.connection(launch, encap=_encap(launch), proof=proof)),
        Write(pluto.LEFT_BEHIND, pluto.clearing()),
        Spawn(pluto.command(launch), ENVIRONMENT),
    )


def _went_on(state: LibreswanState, ran: Ran) -> Step[LibreswanState]:
    went_well = ran.name in nss.STEPS and ran.status == 0  # what these print then is no reason of a later failure
    for line in () if went_well else ran.output.splitlines():
        state = _said(state, show_text(line.encode()))
    match ran:
        case Ran(name) if name in nss.STEPS:
            return _stored(state, ran)
        case Ran("add", status) if status != 0:
            return give_up(state, FailureClass.LOCAL, in_words(state) or f"{ran.name}: ended with {status}")
        case Ran("add"):
            return state, (pluto.up(state.launch),)
        case Ran("up"):  # its exit status is no answer
            return state, (pluto.traffic(state.launch),)
        case _:
            return state, ()


def _unsaid(ran: Ran) -> str:
    """Return what there is to say of a step that failed without a word."""
    return f"{ran.name}: " + ("did not end in time" if ran.status is None else f"ended with {ran.status}")


def _listed(state: LibreswanState, ran: Ran, now: float) -> Step[LibreswanState]:
    """Take the list of connections that pass packets, which is the only true word about ours."""
    mine = re.compile(rf'#\d+: "{re.escape(connection_name(state.launch))}"')
    if ran.status == 0 and mine.search(ran.output):
        return _standing(state, now)
    if state.stage is Stage.UP or state.recovered:
        words = "libreswan has ended the tunnel" if ran.status == 0 else "pluto does not answer"
        return give_up(state, FailureClass.LOST, "; ".join(filter(None, (words, in_words(state)))))
    kind = meaning(state.said, TELLTALES) or FailureClass.UNREACHABLE
    return give_up(state, kind, in_words(state) or "libreswan did not bring the tunnel up")


def _standing(state: LibreswanState, now: float) -> Step[LibreswanState]:
    later = LookAgainAt(now + LOOK_EVERY)
    if state.stage is Stage.UP:
        return state, (later,)
    recovered = state.recovered.facts if state.recovered else None
    ready = Ready(recovered or facts_of(dict(state.told), state.launch, state.device))
    return replace(state, stage=Stage.UP, said=()), (ready, later)


def _report(state: LibreswanState, values: Mapping[str, str]) -> Step[LibreswanState]:
    """Keep what the updown script was told, and look when it is told of an end."""
    verb = values.get("PLUTO_VERB", "")
    if verb.startswith("up-") and state.stage is Stage.CONNECTING:
        return replace(state, told=tuple(sorted(values.items()))), ()
    if verb.startswith("down-") and state.stage is Stage.UP:
        return state, (pluto.traffic(state.launch),)
    return state, ()


def _tick(state: LibreswanState, now: float) -> Step[LibreswanState]:
    if state.stage is Stage.UP:
        return state, (pluto.traffic(state.launch),)
    if now < state.deadline:
        return state, (LookAgainAt(state.deadline),)
    return timed_out(state, f"tunnel to {settings_of(state.launch).server}")


def _said(state: LibreswanState, text: str) -> LibreswanState:
    words = telling(text)
    return heard(state, words) if words and words not in state.said else state


def facts_of(values: Mapping[str, str], launch: Launch, device: str | None) -> Facts:
    """Return what the updown script was told, checked."""
    settings = settings_of(launch)
    base, _, length = values.get("PLUTO_PEER_CLIENT", "").partition("/")
    offer = Offer(
        routes=((base, length),) if device and base else (),
        dns=values.get("PLUTO_PEER_DNS_INFO", "").split(),
        search=values.get("PLUTO_PEER_DOMAIN_INFO", "").split(),
        banner=values.get("PLUTO_PEER_BANNER") or None,
    )
    own = values.get("PLUTO_MY_SOURCEIP", "")
    address = pushed.address(own, 6 if ":" in own else 4) if settings.virtual_address else None
    by_ipv6 = launch.endpoints[0].address.version == 6  # noqa: PLR2004
    return replace(
        accepted(offer, launch),
        device=device,
        addresses=(address,) if address else (),
        mtu=launch.spec.mtu,
        overhead=OVERHEAD_IPV6 if by_ipv6 else OVERHEAD,
        form=_form(launch),
        on_trial=device is not None and settings.protocol == "esp" and not _encap(launch),
    )


def _form(launch: Launch) -> str:
    settings = settings_of(launch)
    plain = settings.protocol.upper() + (" in transport mode" if settings.mode == "transport" else "")
    if not _encap(launch) or settings.protocol != "esp":
        return plain
    return f"{plain} in UDP: {'as configured' if settings.encap else 'the plain form came up and passed nothing'}"


def _encap(launch: Launch) -> bool:
    """Force UDP where the user says so, and where the tunnel came up without it and passed nothing."""
    return settings_of(launch).encap or launch.fruitless % 2 == 1
