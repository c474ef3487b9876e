"""The `tinc` tunnel: a node of a mesh by a supervised tincd(8), which never ends by itself, whatever it meets.

tincd runs scripts from its configuration's folder, so it gets a folder of its own, made of the user's: his settings
without those that are ours, his nodes with their addresses resolved, and scripts that only tell us of events. Ready is
when a node that we connect to has come up and its subnets have stopped coming; each later change is told again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from autovpn.core.actions import Action, LookAgainAt, Ready, Signal, Spawn
from autovpn.core.driving import (
    DriverEvent,
    Exited,
    Launch,
    Line,
    LinkVanished,
    Recovered,
    Report,
    Step,
    Tick,
    UplinkChanged,
)
from autovpn.core.tunnel import Facts, FailureClass
from autovpn.tunnels import pushed
from autovpn.tunnels.attempt import (
    ENVIRONMENT,
    Attempt,
    EndsAlone,
    Stage,
    Telltales,
    at_its_end,
    device_lost,
    ended,
    give_up,
    heard,
    meaning,
    timed_out,
)
from autovpn.tunnels.tinc_folder import FLOODED, called, files_of, host_files, settings_of

if TYPE_CHECKING:
    from autovpn.core.network import IPNetwork

OVERHEAD = 86
"""Bytes around a packet: IPv6 40, UDP 8, a number 4, Ethernet 14, padding 16, a check value 4 (net_packet.c)."""

PAUSE = 1.0
"""Seconds before tincd is started. tinc 1.0 tells its messages apart by random numbers, seeded with the second of its
start: of two runs within one, the far end takes what the later says for what it has heard already, and sends it nothing
for as long as it lasts (seen with 1.0.36; seen_request in protocol.c)."""

SETTLE = 0.2
"""Seconds without a word of a subnet after which those that are known are told: a node announces them one by one."""

LONGEST_SETTLE = 2.0
"""Seconds after which they are told in any case."""

RECONNECT = 6.0
"""Seconds that the mesh may be out of reach before the tunnel is lost: tincd tries again at once, and after 5."""

SIGHUP: Final = 1
SIGALRM: Final = 14
"""Signals of tincd(8): read the settings anew, dropping connections to nodes whose file changed; try again at once."""

TELLTALES: Telltales = (
    ("Can't bind to", FailureClass.LOCAL),
    ("already running", FailureClass.LOCAL),
    ("private key file", FailureClass.LOCAL),
    ("Error while reading from", FailureClass.LOCAL),
)
"""What tincd says of a connection may be better later, even what looks like a wrong key: that the far end is mute, or
sends what can't be understood, is also what a captive portal does."""

_CONNECTED = "Connected to "
_GAVE_UP = "Could not set up a meta connection to "
_NOISE = (
    "tincd ",
    "/dev/net/tun is a ",
    "Listening on ",
    "Ready",
    "Got ALRM signal",
    "Got HUP signal",
    "Got TERM signal",
    "Flushing event queue",
    "Trying to ",
    "Connection with ",
    "Closing connection with ",
    "Statistics for ",
    "Terminating",
    " total bytes ",
)

_UNPROVEN = (
    "it took the connection, but is not {0} or does not know us: do the keys in hosts/{0} here and hosts/{1} there fit?"
)


@dataclass(frozen=True, slots=True)
class TincState(Attempt):
    """One run of tincd.

    `up` are the nodes of ours that can be reached, `failed` those that could not be connected to; `subnets` are (node,
    subnet) as they were announced. `settles` is when the facts are to be told: each word puts it off, up to `latest`.
    `starts` is when tincd is to be started; None once it is. `answered` says that a connection was taken. While nobody
    is reached, a tunnel that was up is lost at `deadline`.
    """

    up: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    subnets: tuple[tuple[str, str], ...] = ()
    starts: float | None = None
    settles: float | None = None
    latest: float = 0.0
    answered: bool = False
    told: Facts | None = None


class TincDriver(EndsAlone):
    """Drives tincd."""

    def start(self, launch: Launch, now: float) -> Step[TincState]:
        """Put the folder together; tincd is started on it a little later."""
        state = TincState(launch, now + PAUSE + launch.spec.connect_timeout, starts=now + PAUSE)
        settings = settings_of(launch)
        if missing := [path for path in launch.spec.files + launch.spec.public_files if path not in launch.files]:
            return give_up(state, FailureClass.LOCAL, f"{missing[0]} could not be read")
        if not launch.endpoints:
            return give_up(state, FailureClass.NAME, f"no address is known for {settings.peers[0].name}")
        return state, (*files_of(launch), LookAgainAt(now + PAUSE))

    def adopt(self, launch: Launch, recovered: Recovered, now: float) -> Step[TincState]:
        """Take over a tincd that was up: told to try again, it says of a connection that is gone."""
        state = TincState(launch, now + launch.spec.connect_timeout)
        facts = recovered.facts
        if recovered.pid is None or recovered.device is None or facts is None:
            return give_up(state, FailureClass.LOST, "tincd was not up when its daemon ended")
        up = frozenset(peer.name for peer in settings_of(launch).peers)
        subnets = tuple(("", str(prefix)) for prefix in facts.prefixes)
        return replace(state, stage=Stage.UP, up=up, subnets=subnets, told=facts), (Signal(SIGALRM), Ready(facts))

    def feed(self, state: TincState, event: DriverEvent, now: float) -> Step[TincState]:
        """Take what tincd and its scripts say."""
        if end := at_its_end(state, event, now):
            return end
        match event:
            case Line(text):
                return _line(state, text, now)
            case Report(values):
                words = tuple(values.get(f"ARGV_{number}", "") for number in (1, 2, 3))
                return _report(state, *words, now=now)
            case UplinkChanged():
                return _uplink_changed(state, event)
            case Exited(status):
                return ended(state, "tincd", status, TELLTALES, FailureClass.LOCAL)
            case LinkVanished(name) if name == state.launch.spec.device:
                return device_lost(state, name, now)
            case Tick():
                return _tick(state, now)
            case _:
                return state, ()


def _line(state: TincState, text: str, now: float) -> Step[TincState]:
    if text.startswith(_CONNECTED):
        return replace(state, answered=True), ()
    if text.startswith(_GAVE_UP):
        return _gave_up(state, text.removeprefix(_GAVE_UP).strip(), now)
    return (state if not text.strip() or text.startswith(_NOISE) else heard(state, text)), ()


def _gave_up(state: TincState, node: str, now: float) -> Step[TincState]:
    """Take note that tincd pauses before it tries a node again; ours to decide is what that means for the tunnel."""
    if state.stage is Stage.UP:
        return _unreachable(state, node, now)
    state = replace(state, failed=state.failed | {node})
    if not state.failed.issuperset(called(state.launch)):
        return state, ()
    words = state.said[-1] if state.said else f"no connection to {node}"
    if state.answered:
        words = f"{words}; {_UNPROVEN.format(node, settings_of(state.launch).name)}"
    return give_up(state, meaning(state.said, TELLTALES) or FailureClass.UNREACHABLE, words)


def _report(state: TincState, event: str, node: str, subnet: str, *, now: float) -> Step[TincState]:
    match event:
        case "host-up" if node in {peer.name for peer in settings_of(state.launch).peers}:
            return _unsettled(replace(state, up=state.up | {node}), now)
        case "host-down" if node in state.up:
            return _unreachable(state, node, now)
        case "subnet-up" if node != settings_of(state.launch).name:
            return _learned(state, (node, subnet), now)
        case "subnet-down":
            kept = tuple(known for known in state.subnets if known not in ((node, subnet), ("", subnet)))
            return _unsettled(replace(state, subnets=kept), now)
        case _:
            return state, ()


def _learned(state: TincState, announced: tuple[str, str], now: float) -> Step[TincState]:
    """Keep a subnet. Whoever floods us with them gets a script that ends at once: tincd waits for each."""
    known = [pair for pair in state.subnets if pair not in (announced, ("", announced[1]))]
    if len(known) > pushed.MAX_PREFIXES:
        return state, ()
    settled, actions = _unsettled(replace(state, subnets=(*known, announced)), now)
    return settled, (*actions, FLOODED) if len(known) == pushed.MAX_PREFIXES else actions


def _unreachable(state: TincState, node: str, now: float) -> Step[TincState]:
    """Have tincd try again at once where nobody of ours is left, and give it some time."""
    was_up, state = bool(state.up), replace(state, up=state.up - {node})
    if state.up or not was_up or state.stage is not Stage.UP:
        return state, ()
    state = replace(state, deadline=now + RECONNECT, settles=None)
    return state, (Signal(SIGALRM), LookAgainAt(state.deadline))


def _unsettled(state: TincState, now: float) -> Step[TincState]:
    """Put off telling the facts, but not for ever; what comes and goes while nobody is reached is not told."""
    if not state.up:
        return state, ()
    latest = state.latest if state.settles is not None else now + LONGEST_SETTLE
    settles = min(now + SETTLE, latest)
    return replace(state, settles=settles, latest=latest), (LookAgainAt(settles),)


def _tick(state: TincState, now: float) -> Step[TincState]:
    if state.starts is not None:
        return _spawned(state) if now >= state.starts else (state, (LookAgainAt(state.starts),))
    if state.settles is not None:
        return _settled(state) if now >= state.settles else (state, (LookAgainAt(state.settles),))
    if state.stage is Stage.UP:
        if not state.up and now >= state.deadline:
            return give_up(
                state, FailureClass.LOST, state.said[-1] if state.said else "no node can be reached any more"
            )
        return state, () if state.up else (LookAgainAt(state.deadline),)
    if now >= state.deadline:
        return timed_out(state, f"connection to {' or '.join(peer.name for peer in settings_of(state.launch).peers)}")
    return state, (LookAgainAt(state.deadline),)


def _spawned(state: TincState) -> Step[TincState]:
    directory = state.launch.directory
    argv = ("tincd", "-D", "-d1", "-c", directory, f"--pidfile={directory}/tinc.pid")
    return replace(state, starts=None), (Spawn(argv, ENVIRONMENT), LookAgainAt(state.deadline))


def _settled(state: TincState) -> Step[TincState]:
    facts = _facts(state)
    settled = replace(state, stage=Stage.UP, settles=None, told=facts, said=(), failed=frozenset())
    return settled, () if facts == state.told else (Ready(facts),)


def _facts(state: TincState) -> Facts:
    spec = state.launch.spec
    pairs: list[pushed.Pair] = []
    reasons = []
    for node, subnet in state.subnets:
        base, _, length = subnet.partition("/")
        # tinc 1.1 leaves the length of a single address out.
        length = length or ("128" if ":" in base else "32")
        if inside := _home_of(f"{base}/{length}", spec.local):
            where = f"of {pushed.shown(node)} " if node else ""
            reasons.append(f"route {pushed.shown(subnet)} {where}is left out: {inside} is behind this machine")
        else:
            pairs.append((base, length))
    prefixes, refused = pushed.routes(pairs, spec.routes.mode)
    return Facts(
        device=spec.device,
        addresses=settings_of(state.launch).addresses,
        prefixes=prefixes,
        mtu=spec.mtu,
        overhead=OVERHEAD,
        refused=pushed.capped((*reasons, *refused)),
    )


def _home_of(subnet: str, local: tuple[IPNetwork, ...]) -> IPNetwork | None:
    """Return the network behind us of which a node announces a part, to have what is meant for us."""
    try:
        claimed = ip_network(subnet, strict=False)
    except ValueError:
        return None
    return next(
        (
            home
            for home in local
            if home.version == claimed.version and home.overlaps(claimed) and home.prefixlen <= claimed.prefixlen
        ),
        None,
    )


def _uplink_changed(state: TincState, event: UplinkChanged) -> Step[TincState]:
    """Have connections that were made from another address dropped and made anew, and what pauses tried at once."""
    before, launch = state.launch, replace(state.launch, uplink=event.uplink, endpoints=event.endpoints)
    actions: list[Action] = []
    moved = before.uplink.addresses != event.uplink.addresses or before.endpoints != event.endpoints
    # A daemon that adopted the tunnel has no files: the connection is then made anew when the old one gets no answer.
    if moved and launch.files and event.endpoints:
        actions = [*host_files(launch), Signal(SIGHUP)]
    return replace(state, launch=launch), (*actions, Signal(SIGALRM))
