"""The `ipsec` tunnel: IKEv2 and IKEv1 by strongSwan, over its vici socket.

The packets are the kernel's, through a device of kind xfrm that is tied to the policies, or where the kernel lacks one
strongSwan's own: its libipsec makes a tun device under a name of its own choice, and always puts ESP into UDP.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from autovpn.core.actions import (
    CreateDevice,
    DropRules,
    LookAgainAt,
    Ready,
    SetUp,
    Spawn,
    ViciCall,
    ViciErrand,
    ViciOpen,
    Write,
)
from autovpn.core.driving import (
    Closed,
    DeviceCreated,
    DeviceRefused,
    Exited,
    Line,
    LinkAppeared,
    LinkVanished,
    Opened,
    Report,
    Tick,
    UplinkChanged,
    ViciAnswer,
    ViciEvent,
)
from autovpn.core.tunnel import FailureClass
from autovpn.tunnels import charon, ipsec_facts
from autovpn.tunnels.attempt import (
    ENVIRONMENT,
    Attempt,
    Stage,
    at_its_end,
    device_lost,
    ended,
    give_up,
    in_words,
    lost,
    meaning,
    timed_out,
)
from autovpn.tunnels.charon import connection_name, interface_id, settings_of, socket_path
from autovpn.tunnels.ipsec_words import DELETED, SILENT, TELLTALES, UNREADABLE, listened, refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autovpn.core.actions import LastWord
    from autovpn.core.driving import DriverEvent, Launch, Recovered, Step, Uplink
    from autovpn.core.settings import IpsecSettings
    from autovpn.tunnels.ipsec_facts import Child

CHANNEL = "vici"

SCRIPT_PATIENCE = 1.0
"""Seconds for the updown script, which alone is told of name servers, to report once the keys are agreed."""

MOVE_PATIENCE = 10.0
"""Seconds for IKEv2 to take the tunnel to another address of ours (MOBIKE, RFC 4555), of which charon learns itself."""


class Carrier(Enum):
    """Who moves the packets."""

    KERNEL = "kernel"
    USER = "user"


@dataclass(frozen=True, slots=True)
class IpsecState(Attempt):
    """One connection of strongSwan's.

    `waiting` are the commands still to be given; `child` is what the last list of SAs told, and `reported` what the
    updown script was told of name servers. `moves_by` is when it has to have followed a change of our address, and
    `is_silent` says that the server has left strongSwan without an answer until it gave up.
    """

    carrier: Carrier = Carrier.KERNEL
    device: str | None = None
    is_open: bool = False
    waiting: tuple[ViciCall, ...] = ()
    child: Child | None = None
    is_listed: bool = False
    reported: tuple[str, ...] | None = None
    recovered: Recovered | None = None
    moves_by: float | None = None
    is_silent: bool = False


class IpsecDriver:
    """Drives a charon of its own, or one that runs already."""

    def start(self, launch: Launch, now: float) -> Step[IpsecState]:
        """Make the device where the kernel has one of this kind, and start charon."""
        settings = settings_of(launch)
        state = IpsecState(launch, now + launch.spec.connect_timeout)
        if missing := [path for path in launch.spec.files if path not in launch.files]:
            return give_up(state, FailureClass.LOCAL, f"{missing[0]} could not be read")
        if not launch.endpoints:
            return give_up(state, FailureClass.NAME, f"no address is known for {settings.server}")
        if settings.esp == Carrier.USER.value:
            return _begin(replace(state, carrier=Carrier.USER))
        if settings.mode == "transport":
            return _begin(state)
        create = CreateDevice("xfrm", launch.spec.device, interface_id(launch))
        return replace(state, device=launch.spec.device), (create, LookAgainAt(state.deadline))

    def adopt(self, launch: Launch, recovered: Recovered, now: float) -> Step[IpsecState]:
        """Ask a running charon whether the child still stands."""
        state = IpsecState(launch, now + launch.spec.connect_timeout, device=recovered.device, recovered=recovered)
        if recovered.facts is None or (recovered.pid is None and not settings_of(launch).vici):
            return give_up(state, FailureClass.LOST, "the tunnel was not up when its daemon ended")
        return state, (_open(launch), LookAgainAt(state.deadline))

    def feed(self, state: IpsecState, event: DriverEvent, now: float) -> Step[IpsecState]:
        """Take what charon, its updown script and the kernel say."""
        if end := at_its_end(state, event, now):
            return end
        match event:
            case Opened() | Closed() | ViciAnswer() | ViciEvent():
                return _vici(state, event, now)
            case Report(values):
                return _report(state, values)
            case DeviceCreated() | DeviceRefused() | LinkAppeared() | LinkVanished():
                return _device(state, event, now)
            case Line() | Exited():
                return _program(state, event)
            case UplinkChanged(uplink):
                return _moving(state, uplink, now)
            case Tick():
                return _tick(state, now)
            case _:
                return state, ()

    def farewell(self, launch: Launch) -> tuple[LastWord, ...]:
        """Leave nothing of ours in a charon that goes on, nor the rules of our own, which stay when it is killed."""
        settings = settings_of(launch)
        if settings.vici:
            return (ViciErrand(settings.vici, charon.parting_calls(launch)),)
        may_be_user = settings.esp != Carrier.KERNEL.value and settings.mode == "tunnel" and settings.protocol == "esp"
        return (DropRules(charon.ROUTING_PRIORITY, charon.ROUTING_TABLE),) if may_be_user else ()


def _device(
    state: IpsecState, event: DeviceCreated | DeviceRefused | LinkAppeared | LinkVanished, now: float
) -> Step[IpsecState]:
    settings = settings_of(state.launch)
    match event:
        case DeviceCreated(name) if name == state.device:
            begun, actions = _begin(state)
            return begun, (SetUp(name), *actions)
        case DeviceRefused(name, unsupported, words) if name == state.device and not state.waiting:
            if unsupported and settings.esp == "auto" and settings.protocol == "esp" and not settings.vici:
                return _begin(replace(state, carrier=Carrier.USER, device=None))
            needed = "; a device of kind xfrm is needed" if unsupported else ""
            return give_up(state, FailureClass.LOCAL, f"{words}{needed}")
        case LinkAppeared(name) if state.carrier is Carrier.USER and state.device is None:
            return _ready_if_whole(replace(state, device=name))
        case LinkVanished(name) if name == state.device:
            return device_lost(state, name, now)
        case _:
            return state, ()


def _program(state: IpsecState, event: Line | Exited) -> Step[IpsecState]:
    match event:
        case Exited(status):
            program = settings_of(state.launch).charon
            told = () if state.is_open else state.said  # with the socket open it was of the connection, not of its end
            return refused(state) or ended(replace(state, said=told), program, status, TELLTALES, FailureClass.LOCAL)
        case Line(text):  # once the socket is open, it says the same with less around it
            return (state if state.is_open else listened(state, text.partition("] ")[2] or text)), ()


def _begin(state: IpsecState) -> Step[IpsecState]:
    """Have charon listen, or turn to the one that does, and keep what it is to be told until then."""
    launch, settings = state.launch, settings_of(state.launch)
    is_tied = state.carrier is Carrier.KERNEL and settings.mode == "tunnel"
    waiting = charon.calls(launch, encap=charon.forces_udp(launch), if_id=interface_id(launch) if is_tied else None)
    state = replace(state, waiting=waiting)
    later = LookAgainAt(state.deadline)
    if settings.vici:
        return state, (_open(launch), later)
    in_user_space = state.carrier is Carrier.USER
    configuration = charon.configuration(launch, in_user_space=in_user_space)
    environment = (*ENVIRONMENT, ("STRONGSWAN_CONF", f"{launch.directory}/{charon.CONFIGURATION}"))
    spawn = Spawn((settings.charon,), environment, names_device=in_user_space)
    return state, (Write(charon.CONFIGURATION, configuration), spawn, _open(launch), later)


def _open(launch: Launch) -> ViciOpen:
    return ViciOpen(socket_path(launch), charon.EVENTS, foreign=settings_of(launch).vici is not None)


def _opened(state: IpsecState) -> Step[IpsecState]:
    state = replace(state, is_open=True, said=())
    return _list(state) if state.recovered else _next(state)


def _next(state: IpsecState) -> Step[IpsecState]:
    call, *rest = state.waiting
    return replace(state, waiting=tuple(rest)), (call,)


def _list(state: IpsecState) -> Step[IpsecState]:
    name = connection_name(state.launch)
    return replace(state, child=None, is_listed=False), (ViciCall("list", "list-sas", {"ike": name}),)


def _vici(state: IpsecState, event: Opened | Closed | ViciAnswer | ViciEvent, now: float) -> Step[IpsecState]:
    match event:
        case Opened(channel):
            is_awaited = channel == CHANNEL and not state.is_open and (state.waiting or state.recovered)
            return _opened(state) if is_awaited else (state, ())
        case Closed(channel):
            if channel != CHANNEL:
                return state, ()
            return refused(state) or lost(state, "strongSwan closed its socket", now)
        case ViciAnswer():
            return _answered(state, event, now)
        case ViciEvent():
            return _told(state, event)


def _answered(state: IpsecState, answer: ViciAnswer, now: float) -> Step[IpsecState]:
    match answer:
        case ViciAnswer("initiate", words) if words:
            kind = meaning(state.said, TELLTALES) or FailureClass.UNREACHABLE
            return give_up(state, kind, in_words(state) or words)
        case ViciAnswer(name, words) if words:
            return give_up(state, FailureClass.LOCAL, f"{name}: {words}")
        case ViciAnswer("list"):
            return _listed(state, now)
        case _:
            return _next(state) if state.waiting else _list(state)


def _told(state: IpsecState, event: ViciEvent) -> Step[IpsecState]:
    match event:
        case ViciEvent("control-log", {"msg": str(text)}):
            state = listened(state, text)
            if UNREADABLE in text and state.stage is Stage.CONNECTING:
                return give_up(state, FailureClass.AUTH, f"{in_words(state)}; is the shared key right?")
            return state, ()
        case ViciEvent("list-sa", message):
            return replace(state, child=state.child or ipsec_facts.child_in(message, connection_name(state.launch))), ()
        case ViciEvent("child-updown" | "ike-updown", message) if connection_name(state.launch) in message:
            return _up_or_down(state, event)
        case _:
            return state, ()


def _up_or_down(state: IpsecState, event: ViciEvent) -> Step[IpsecState]:
    if event.event == "ike-updown":
        state = replace(state, is_silent=ipsec_facts.is_given_up(event.message, connection_name(state.launch)))
    return _list(state) if state.stage is Stage.UP and event.message.get("up") != "yes" else (state, ())


def _listed(state: IpsecState, now: float) -> Step[IpsecState]:
    """Take a whole list of SAs."""
    if state.child is None:
        return give_up(state, FailureClass.LOST, SILENT if state.is_silent else DELETED)
    if state.stage is Stage.UP:
        return _moved(state, now)
    if state.recovered and state.recovered.facts:
        return replace(state, stage=Stage.UP), (Ready(state.recovered.facts),)
    patience = min(now + SCRIPT_PATIENCE, state.deadline)
    ready, actions = _ready_if_whole(replace(state, is_listed=True))
    return ready, actions or (LookAgainAt(patience),)


def _moving(state: IpsecState, uplink: Uplink, now: float) -> Step[IpsecState]:
    """Have IKEv2 follow the uplink to another address by itself, and look whether it has; IKEv1 can't.

    An address that never was the uplink's is that of another link, by which the server is reached: it has not changed.
    """
    if not uplink.addresses:
        return replace(state, moves_by=None), ()
    was_uplinks = state.moves_by is not None or _is_in_place(state)
    state = replace(state, launch=replace(state.launch, uplink=uplink))
    if state.stage is not Stage.UP or not was_uplinks or _is_in_place(state):
        return replace(state, moves_by=None), ()
    if settings_of(state.launch).version == 1:
        return _list(replace(state, moves_by=now))
    moves_by = now + MOVE_PATIENCE
    return replace(state, moves_by=moves_by), (LookAgainAt(moves_by),)


def _moved(state: IpsecState, now: float) -> Step[IpsecState]:
    if state.moves_by is None or now < state.moves_by:
        return state, ()
    if _is_in_place(state):
        return replace(state, moves_by=None), ()
    why = "IKEv1 does not follow" if settings_of(state.launch).version == 1 else "strongSwan has not followed (MOBIKE)"
    return give_up(state, FailureClass.LOST, f"this machine's address changed, which {why}")


def _is_in_place(state: IpsecState) -> bool:
    return state.child is not None and state.child.host in map(str, state.launch.uplink.addresses)


def _report(state: IpsecState, values: Mapping[str, str]) -> Step[IpsecState]:
    if not values.get("PLUTO_VERB", "").startswith("up-"):
        return state, ()
    found = ipsec_facts.resolvers(values)
    return _ready_if_whole(replace(state, reported=found or state.reported or ()))


def _ready_if_whole(state: IpsecState, *, is_late: bool = False) -> Step[IpsecState]:
    """Be ready once the child, the device and the script's report are there, the last of which may never come."""
    if state.stage is not Stage.CONNECTING or not state.is_listed or state.child is None:
        return state, ()
    if state.carrier is Carrier.USER and state.device is None:
        return state, ()
    if state.reported is None and not is_late:
        return state, ()
    facts = ipsec_facts.facts(state.child, state.launch, state.device, state.reported or (), _why(state))
    return replace(state, stage=Stage.UP, said=()), (Ready(facts),)


def _tick(state: IpsecState, now: float) -> Step[IpsecState]:
    if state.stage is Stage.UP:
        return _list(state) if state.moves_by is not None and now >= state.moves_by else (state, ())
    if now >= state.deadline:
        return refused(state) or timed_out(state, f"tunnel to {settings_of(state.launch).server}")
    ready, actions = _ready_if_whole(state, is_late=True)
    return ready, actions or (LookAgainAt(state.deadline),)


def _why(state: IpsecState) -> str:
    settings: IpsecSettings = settings_of(state.launch)
    if state.carrier is Carrier.USER:
        reason = "" if settings.esp == Carrier.USER.value else ", since this kernel has no device of kind xfrm"
        return f"strongSwan moves the packets itself{reason}"
    if settings.encap:
        return "as configured"
    return "the plain form came up and passed nothing" if charon.forces_udp(state.launch) else ""
