"""The words between a tunnel driver and the machine: what it starts with, a closed set of events, its own shape.

A driver is a machine without I/O, as in h11: `start`, `adopt` and `feed` take values and return the next state and
the actions to carry out. Whoever carries them out feeds back what happened. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeVar

from autovpn.core.actions import Action, LastWord
from autovpn.core.network import IPAddress
from autovpn.core.secret import Secret
from autovpn.core.snapshot import LinkId
from autovpn.core.tunnel import Facts, Failure, PinnedEndpoint, TunnelSpec


@dataclass(frozen=True, slots=True)
class Uplink:
    """The uplink that a tunnel rides on: a parameter of the tunnel, never part of its identity."""

    id: LinkId
    name: str
    addresses: tuple[IPAddress, ...] = ()
    gateways: tuple[IPAddress, ...] = ()
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class Launch:
    """All that a driver needs to start: what the user asked for and what the machine has ready.

    `files` holds the content of `spec.files` and `spec.public_files` by path; `password` what `spec.password` refers
    to; `directory` is the tunnel's own folder (0700, /run) for sockets; `notifier` the argument list that a program may
    run to report its environment to us; `endpoints` the resolved far ends; `secrets` what `spec.secrets` refer to, by
    name, without those that a person is asked for. `attempt` counts from 1, and `last_failure` is that of the attempt
    before. `fruitless` counts how often the tunnel came up on this network and passed nothing: a driver whose packets
    can have several forms takes the next one for each.
    """

    spec: TunnelSpec
    uplink: Uplink
    endpoints: tuple[PinnedEndpoint, ...]
    directory: str
    nonce: str
    notifier: tuple[str, ...]
    files: Mapping[str, Secret] = field(default_factory=dict)
    password: Secret | None = None
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    attempt: int = 1
    last_failure: Failure | None = None
    fruitless: int = 0


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the journal knows of a tunnel that outlived its daemon. `pid` is None for a tunnel without a process.

    `epoch` is the wall-clock time at which the monotonic clock was zero, for programs that tell times of day; 0 when
    the wall clock can't be trusted.
    """

    pid: int | None
    device: str | None
    facts: Facts | None
    epoch: float = 0.0


# --- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Exited:
    """The tunnel's program ended: by `status`, or by a signal (`status` is then -number, as in waitpid).

    A program that could not be started counts as ended with 127, its `Line` before that says why.
    """

    status: int


@dataclass(frozen=True, slots=True)
class Line:
    """One line that the program printed, cut at 1,000 characters, control characters escaped."""

    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the notifier was told through its environment, limited to names that a driver knows."""

    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Opened:
    """A channel is connected."""

    channel: str


@dataclass(frozen=True, slots=True)
class Received:
    """Bytes came in on a channel. They are not shown, since WireGuard's answers repeat its keys."""

    channel: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Closed:
    """A channel was closed by the other side."""

    channel: str


@dataclass(frozen=True, slots=True)
class Ran:
    """A program started by `Run` ended; `status` is None when its deadline passed.

    What it printed is in `output`; where the driver said that this is confidential, only its errors are, and the rest
    is in `secret`.
    """

    name: str
    status: int | None
    output: str = ""
    secret: Secret | None = None


class DialOutcome(Enum):
    """What became of a connection."""

    REFUSED = "refused"
    CLOSED = "closed"
    STOOD = "stood"
    SPOKE = "spoke"


@dataclass(frozen=True, slots=True)
class Dialled:
    """A connection was refused, was closed by the far end, stood for as long as it had to, or brought us bytes.

    `words` say why it was refused.
    """

    name: str
    outcome: DialOutcome
    words: str = ""


@dataclass(frozen=True, slots=True)
class Notified:
    """What the tunnel's program told by sd_notify(3), limited to READY and STATUS, escaped and cut."""

    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a person answered; None where nobody can be asked, or nobody answered in time."""

    name: str
    answer: Secret | None


ViciReply = Mapping[str, "str | tuple[str, ...] | ViciReply"]
"""What strongSwan says: values, lists and sections by name, control characters escaped."""


@dataclass(frozen=True, slots=True)
class ViciAnswer:
    """What strongSwan answered to a command; `words` says why it was not carried out, and is empty where it was."""

    name: str
    words: str = ""


@dataclass(frozen=True, slots=True)
class ViciEvent:
    """What strongSwan tells: one of the events that were asked for, or a part of an answer."""

    event: str
    message: ViciReply


@dataclass(frozen=True, slots=True)
class DeviceCreated:
    """The kernel made the device."""

    name: str


@dataclass(frozen=True, slots=True)
class DeviceRefused:
    """The kernel did not make or set the device; `unsupported` when it lacks the kind."""

    name: str
    unsupported: bool
    words: str


@dataclass(frozen=True, slots=True)
class WireguardStatus:
    """How long ago any peer shook hands last, in seconds (None for never), and the bytes of all peers."""

    age: float | None
    received: int
    sent: int


@dataclass(frozen=True, slots=True)
class LinkAppeared:
    """The tunnel's device appeared: a link of its name that was not there before."""

    name: str
    index: int


@dataclass(frozen=True, slots=True)
class LinkVanished:
    """The tunnel's device is gone."""

    name: str


@dataclass(frozen=True, slots=True)
class UplinkChanged:
    """The uplink has another address, gateway, index, name or MTU, or is another one."""

    uplink: Uplink
    endpoints: tuple[PinnedEndpoint, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """The time asked for has come."""


DriverEvent = (
    Exited | Line | Report | Opened | Received | Closed | Ran | Dialled | Notified | Answered | ViciAnswer | ViciEvent
    | DeviceCreated | DeviceRefused | WireguardStatus | LinkAppeared | LinkVanished | UplinkChanged | Tick
)  # fmt: skip

State = TypeVar("State")
Step = tuple[State, tuple[Action, ...]]


class Driver(Protocol[State]):
    """One type of tunnel.

    An exit that nobody asked for is a failure whatever its status; after `Failed` a driver says no more.
    """

    def start(self, launch: Launch, now: float) -> Step[State]:
        """Begin an attempt."""
        ...

    def adopt(self, launch: Launch, recovered: Recovered, now: float) -> Step[State]:
        """Take over a running tunnel of a dead daemon: answer `Ready` at the first good test, else `Failed`."""
        ...

    def feed(self, state: State, event: DriverEvent, now: float) -> Step[State]:
        """Take one event."""
        ...

    def farewell(self, launch: Launch) -> tuple[LastWord, ...]:
        """Return what must be done, each to its end, before the tunnel's program is ended, also after a crash.

        It has to do no harm where it was done before or nothing is there to be undone. `launch` has no secrets.
        """
        ...
