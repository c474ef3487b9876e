"""The `wireguard` tunnel: a kernel device, or wireguard-go by its socket where the kernel has no WireGuard.

A wrong key and a dead server look the same: nothing comes back. So a tunnel is ready when a peer has shaken hands, and
a handshake is provoked by a persistent keepalive: turning one on, or setting a device up that has one, sends a packet
at once, on a device without an address too (drivers/net/wireguard/device.c wg_open(), netlink.c set_peer();
wireguard-go device.go upLocked(), uapi.go handlePostConfig()). Once ready the user's own keepalive is put back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from autovpn.core.actions import (
    Action,
    ConfigureWireguard,
    CreateDevice,
    LookAgainAt,
    Open,
    QueryWireguard,
    Ready,
    Send,
    SetUp,
    Spawn,
)
from autovpn.core.driving import (
    Closed,
    DeviceCreated,
    DeviceRefused,
    DriverEvent,
    Exited,
    Launch,
    Line,
    LinkAppeared,
    LinkVanished,
    Opened,
    Received,
    Recovered,
    Step,
    Tick,
    UplinkChanged,
    WireguardStatus,
)
from autovpn.core.secret import Secret
from autovpn.core.settings import WireguardPeer, WireguardSettings
from autovpn.core.tunnel import Facts, FailureClass
from autovpn.tunnels import uapi
from autovpn.tunnels.attempt import (
    ENVIRONMENT,
    Attempt,
    EndsAlone,
    Stage,
    at_its_end,
    device_lost,
    ended,
    give_up,
    heard,
    lost,
    timed_out,
)
from autovpn.tunnels.wgkeys import Keys, KeysFault, keys_in
from autovpn.tunnels.wireguard_peers import calls_somebody, far_ends, placed, settings_of

CHANNEL = "uapi"
SOCKETS = "/var/run/wireguard"
PROVOKING_KEEPALIVE = 25
"""Seconds, for a peer that has no keepalive of its own; wg(8) advises it."""
FRESH = 180.0
"""Seconds after which a session's keys are void (Reject-After-Time in the WireGuard paper, section 6.1)."""

FIRST_LOOK, LAST_LOOK = 0.02, 1.0
"""The shortest and the longest pause between two looks at the handshakes, in seconds."""


class Carrier(Enum):
    """What moves the packets."""

    KERNEL = "kernel"
    PROGRAM = "wireguard-go"


@dataclass(frozen=True, slots=True)
class WireguardState(Attempt):
    """One WireGuard device.

    `configured` says that it has its keys and peers, and `keys` holds them until then; `pause` is the next one between
    two looks; `met` is the time of the last handshake that was found at adoption; `unread` the beginning of an answer.
    `asked` says that wireguard-go owes an answer, and `waiting` holds the requests that come after it.
    """

    keys: Keys | None = None
    carrier: Carrier = Carrier.KERNEL
    configured: bool = False
    pause: float = FIRST_LOOK
    recovered: Recovered | None = None
    met: float | None = None
    unread: Secret = Secret(b"")  # noqa: RUF009 - it is immutable
    asked: bool = False
    waiting: tuple[Send, ...] = ()


class WireguardDriver(EndsAlone):
    """Drives a kernel device, or wireguard-go."""

    def start(self, launch: Launch, now: float) -> Step[WireguardState]:
        """Ask the kernel for a device."""
        state = WireguardState(launch, now + launch.spec.connect_timeout)
        settings = settings_of(launch)
        if settings.config not in launch.files:
            return give_up(state, FailureClass.LOCAL, f"{settings.config} could not be read")
        keys = keys_in(settings.config, launch.files[settings.config])
        if isinstance(keys, KeysFault):
            return give_up(state, FailureClass.LOCAL, keys.words)
        if calls_somebody(launch) and not launch.endpoints:
            return give_up(state, FailureClass.NAME, f"no address is known for {far_ends(launch)}")
        create = CreateDevice("wireguard", launch.spec.device)
        return replace(state, keys=keys), (create, LookAgainAt(state.deadline))

    def adopt(self, launch: Launch, recovered: Recovered, now: float) -> Step[WireguardState]:
        """Look when the running device shook hands last; when that is too long ago, have it shake hands again."""
        carrier = Carrier.KERNEL if recovered.pid is None else Carrier.PROGRAM
        deadline = now + launch.spec.connect_timeout
        state = WireguardState(launch, deadline, carrier=carrier, configured=True, recovered=recovered)
        if recovered.device is None or recovered.facts is None:
            return give_up(state, FailureClass.LOST, "the tunnel was not up when its daemon ended")
        first = QueryWireguard(launch.spec.device) if carrier is Carrier.KERNEL else _open(launch)
        return state, (first, LookAgainAt(deadline))

    def feed(self, state: WireguardState, event: DriverEvent, now: float) -> Step[WireguardState]:
        """Take what the kernel or wireguard-go says."""
        return at_its_end(state, event, now) or _in_turn(*_take(state, event, now))


def _take(state: WireguardState, event: DriverEvent, now: float) -> Step[WireguardState]:
    match event:
        case DeviceCreated() | DeviceRefused() | LinkAppeared() | LinkVanished() if (
            event.name == state.launch.spec.device
        ):
            return _device(state, event, now)
        case Opened() | Received() | Closed() if event.channel == CHANNEL:
            return _channel(state, event, now)
        case WireguardStatus(age=age):
            return _looked(state, age, changed=False, now=now)
        case Tick():
            return _tick(state, now)
        case UplinkChanged():
            return _uplink_changed(state, event)
        case Line() | Exited():
            return _program(state, event)
        case _:
            return state, ()


def _in_turn(state: WireguardState, actions: tuple[Action, ...]) -> Step[WireguardState]:
    """Hold back each request until the one before it is answered.

    While wireguard-go takes settings it reads ahead, and loses the requests that have arrived behind them (the
    bufio.Scanner of IpcSetOperation, device/uapi.go).
    """
    passed: list[Action] = []
    for action in actions:
        if isinstance(action, Send) and state.asked:
            state = replace(state, waiting=(*state.waiting, action))
        else:
            state = replace(state, asked=state.asked or isinstance(action, Send))
            passed.append(action)
    return state, tuple(passed)


def _device(
    state: WireguardState, event: DeviceCreated | DeviceRefused | LinkAppeared | LinkVanished, now: float
) -> Step[WireguardState]:
    match event:
        case DeviceCreated():
            awaited = state.carrier is Carrier.KERNEL and not state.configured
            return _configure(state, now) if awaited else (state, ())
        case DeviceRefused(unsupported=unsupported, words=words):
            return _refused(state, words, unsupported=unsupported)
        case LinkAppeared():
            awaited = state.carrier is Carrier.PROGRAM and not state.configured
            return state, (_open(state.launch),) if awaited else ()
        case LinkVanished(name) if state.carrier is Carrier.PROGRAM:
            return device_lost(state, name, now)
        case LinkVanished(name):
            return give_up(state, FailureClass.LOST, f"the device {name} is gone")


def _channel(state: WireguardState, event: Opened | Received | Closed, now: float) -> Step[WireguardState]:
    match event:
        case Received(data=data):
            return _received(state, data, now)
        case Opened():
            state = replace(state, asked=False, waiting=())
            return (state, _query(state)) if state.configured else _configure(state, now)
        case Closed():
            # A tunnel that can't be told of another uplink is no good, though it may still pass packets.
            return lost(state, "wireguard-go closed its control socket", now)


def _program(state: WireguardState, event: Line | Exited) -> Step[WireguardState]:
    match event:
        case Exited(status):
            # It never ends for anything that the other side does.
            return ended(state, "wireguard-go", status, otherwise=FailureClass.LOCAL)
        case Line(text):
            return (state if text.startswith(uapi.NOISE) or not text.strip() else heard(state, text)), ()


def _refused(state: WireguardState, words: str, *, unsupported: bool) -> Step[WireguardState]:
    if unsupported and state.carrier is Carrier.KERNEL and not state.configured:
        environment = (*ENVIRONMENT, ("LOG_LEVEL", "error"))
        spawn = Spawn(("wireguard-go", "-f", state.launch.spec.device), environment)
        return replace(state, carrier=Carrier.PROGRAM), (spawn,)  # its socket is opened once the device is there
    return give_up(state, FailureClass.LOCAL, words)


def _configure(state: WireguardState, now: float) -> Step[WireguardState]:
    """Give the device its keys and peers, and set it up; a tunnel that calls nobody is then as ready as it can be."""
    actions: tuple[Action, ...] = (*_set(state, provoke=True), SetUp(state.launch.spec.device))
    started = replace(state, configured=True, keys=None)
    if not calls_somebody(state.launch):
        ready, announced = _ready(started)
        return ready, (*actions, *announced)
    return started, (*actions, LookAgainAt(min(now + FIRST_LOOK, state.deadline)))


def _tick(state: WireguardState, now: float) -> Step[WireguardState]:
    if state.stage is not Stage.CONNECTING:
        return state, ()
    if now < state.deadline:
        return state, (*(_query(state) if state.configured else ()), LookAgainAt(state.deadline))
    if not state.configured:
        return timed_out(state, "answer from wireguard-go")
    return timed_out(state, f"handshake from {far_ends(state.launch)}", "check the keys and the address")


def _received(state: WireguardState, data: bytes, now: float) -> Step[WireguardState]:
    answers, rest = uapi.answers(state.unread.reveal() + data)
    state = replace(state, unread=Secret(rest))
    actions: tuple[Action, ...] = ()
    if answers:
        actions, state = state.waiting, replace(state, asked=False, waiting=())
    for answer in answers:
        if answer.error:
            return give_up(state, FailureClass.LOCAL, f"wireguard-go refused its settings (errno {answer.error})")
        if answer.lists_device and state.stage is Stage.CONNECTING:
            state, further = _dated(state, answer.handshake, now)
            actions += further
    return state, actions


def _dated(state: WireguardState, handshake: float, now: float) -> Step[WireguardState]:
    """Take the time of day of the last handshake, 0 for never."""
    if not state.recovered:
        return _looked(state, 0.0 if handshake else None, changed=False, now=now)
    age = state.recovered.epoch + now - handshake if state.recovered.epoch and handshake else None
    changed = state.met is not None and handshake > state.met
    return _looked(replace(state, met=handshake) if state.met is None else state, age, changed=changed, now=now)


def _looked(state: WireguardState, age: float | None, *, changed: bool, now: float) -> Step[WireguardState]:
    """Take how long ago the last handshake was."""
    if state.stage is not Stage.CONNECTING or not state.configured:
        return state, ()
    if changed or (age is not None and 0 <= age < FRESH):
        return _ready(state)
    first_of_adopted = state.recovered is not None and state.pause == FIRST_LOOK
    provoking = (*_set(state, keepalive=0), *_set(state, provoke=True)) if first_of_adopted else ()
    later = LookAgainAt(min(now + state.pause, state.deadline))
    return replace(state, pause=min(state.pause * 1.5, LAST_LOOK)), (*provoking, later)


def _ready(state: WireguardState) -> Step[WireguardState]:
    settings = settings_of(state.launch)
    facts = state.recovered.facts if state.recovered and state.recovered.facts else _facts(state.launch, settings)
    return replace(state, stage=Stage.UP, said=()), (*_set(state), Ready(facts))


def _uplink_changed(state: WireguardState, event: UplinkChanged) -> Step[WireguardState]:
    """Point at the endpoints as they resolve now, and send a packet at once so that the far end learns where we are."""
    endpoints = event.endpoints or state.launch.endpoints
    state = replace(state, launch=replace(state.launch, uplink=event.uplink, endpoints=endpoints))
    if not state.configured:
        return state, ()
    restored = _set(state) if state.stage is Stage.UP else ()
    return state, (*_set(state, keepalive=0), *_set(state, provoke=True), *restored)


def _set(state: WireguardState, *, keepalive: int | None = None, provoke: bool = False) -> tuple[Action, ...]:
    """Return the action that sets peers and endpoints, with this keepalive, a provoking one, or the user's.

    The keys go with the first one only.
    """
    settings, launch, keys = settings_of(state.launch), state.launch, state.keys

    def kept(peer: WireguardPeer) -> int:
        if keepalive is not None:
            return keepalive
        return peer.keepalive or (PROVOKING_KEEPALIVE if provoke and peer.endpoint else 0)

    peers, endpoints = placed(launch)
    peers = tuple(replace(peer, keepalive=kept(peer)) for peer in peers)
    if state.carrier is Carrier.PROGRAM:
        return (Send(CHANNEL, uapi.settings(keys, peers, endpoints, settings.listen_port)),)
    return (
        ConfigureWireguard(
            launch.spec.device,
            keys.private if keys else None,
            peers,
            endpoints,
            keys.preshared if keys else {},
            settings.listen_port if keys else None,
        ),
    )


def _query(state: WireguardState) -> tuple[Action, ...]:
    if state.carrier is Carrier.KERNEL:
        return (QueryWireguard(state.launch.spec.device),)
    return (Send(CHANNEL, uapi.QUESTION),)


def _open(launch: Launch) -> Open:
    return Open(CHANNEL, f"{SOCKETS}/{launch.spec.device}.sock")


def _facts(launch: Launch, settings: WireguardSettings) -> Facts:
    return Facts(
        device=launch.spec.device,
        addresses=settings.addresses,
        prefixes=tuple(dict.fromkeys(prefix for peer in settings.peers for prefix in peer.allowed_ips)),
        dns=settings.dns,
        search=settings.search,
        mtu=launch.spec.mtu or settings.mtu,
    )
