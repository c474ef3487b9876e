"""What a tunnel's driver wants done: a closed set of actions, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autovpn.core.network import IPAddress
from autovpn.core.secret import Secret
from autovpn.core.settings import WireguardPeer
from autovpn.core.tunnel import Facts, FailureClass, PinnedEndpoint


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the tunnel's program in a session of its own, with exactly this environment and the secret on its stdin.

    It is not started where a link has the name of the tunnel's device already, which is somebody else's then. One that
    the user named (`by_user`) has to be trusted as a hook is. One that `detaches` leaves the tunnel behind when it ends
    with 0, and is no part of it any more. One that `notifies` finds a socket of ours in NOTIFY_SOCKET (sd_notify(3)).
    One that `names_device` gives its tun device a name of its own: the one that it holds is the tunnel's.
    """

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    stdin: Secret | None = None
    watch_output: bool = True
    by_user: bool = False
    detaches: bool = False
    notifies: bool = False
    names_device: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """Run a short program beside the tunnel's, for its exit status and what it prints; `deadline` is in seconds.

    What a program prints that is `confidential` comes back as a secret; what it prints as errors is not. A last word
    has nothing to undo where the file `needs` is not there.
    """

    name: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    deadline: float = 5.0
    stdin: Secret | None = None
    confidential: bool = False
    by_user: bool = False
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Dial:
    """Make a TCP connection to learn whether somebody is there, and hang up; nothing is sent.

    It has to be made within `deadline` seconds, and has then to stand for `hold` more, unless the far end speaks first.
    """

    name: str
    address: IPAddress
    port: int
    deadline: float = 5.0
    hold: float = 0.0


@dataclass(frozen=True, slots=True)
class Write:
    """Put a file into the tunnel's own folder, 0600, or 0700 when it is `executable`; `name` may have folders in it."""

    name: str
    content: Secret
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Signal:
    """Send the tunnel's program a signal, by its number."""

    number: int


@dataclass(frozen=True, slots=True)
class AskPerson:
    """Ask whoever waits for the tunnel at a terminal; `Answered` comes in any case. A `hidden` answer isn't echoed."""

    name: str
    prompt: str
    hidden: bool = True


@dataclass(frozen=True, slots=True)
class Open:
    """Connect to a stream socket of the tunnel's program; tried again until it is there or the tunnel ends.

    A server that is no process of the tunnel's gets nothing to read.
    """

    channel: str
    path: str


@dataclass(frozen=True, slots=True)
class Send:
    """Write to an open channel."""

    channel: str
    data: Secret


ViciMessage = Mapping[str, "str | Secret | tuple[str, ...] | ViciMessage"]
"""What is told to strongSwan: values, lists and sections by name."""


@dataclass(frozen=True, slots=True)
class ViciOpen:
    """Connect to strongSwan's vici socket as `Open` does, and ask for these events; the channel is called "vici".

    A `foreign` strongSwan is no process of the tunnel's, but root's, and it may run the notifier.
    """

    path: str
    events: tuple[str, ...] = ()
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class ViciCall:
    """Have strongSwan carry out a command, after those before it; `ViciAnswer` comes under this name."""

    name: str
    command: str
    message: ViciMessage = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CreateDevice:
    """Make a kernel device of this kind and name; `if_id` ties one of kind xfrm to its policies."""

    kind: str
    name: str
    if_id: int | None = None


@dataclass(frozen=True, slots=True)
class SetUp:
    """Set a device up before it has an address, since WireGuard shakes hands only then; `DeviceRefused` if it fails."""

    device: str


@dataclass(frozen=True, slots=True)
class ConfigureWireguard:
    """Set a kernel WireGuard device: keys in `private_key` and `preshared_keys` (by peer), the rest in the open.

    A key that is not given stays as it is.
    `endpoints` are those of the peers that have one, in their order. Peers are added or updated, none is removed; a
    keepalive of None leaves it as it is, 0 turns it off, and turning it on sends one at once.
    """

    device: str
    private_key: Secret | None
    peers: tuple[WireguardPeer, ...]
    endpoints: tuple[PinnedEndpoint, ...] = ()
    preshared_keys: Mapping[str, Secret] = field(default_factory=dict)
    listen_port: int | None = None


@dataclass(frozen=True, slots=True)
class QueryWireguard:
    """Ask a kernel WireGuard device for its last handshakes and byte counters."""

    device: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The tunnel passes packets; sent again when its facts change."""

    facts: Facts


@dataclass(frozen=True, slots=True)
class Failed:
    """The tunnel failed, for good as far as this attempt goes."""

    kind: FailureClass
    words: str


@dataclass(frozen=True, slots=True)
class LookAgainAt:
    """Feed a `Tick` at this time; the newest one replaces any earlier."""

    when: float


@dataclass(frozen=True, slots=True)
class ViciErrand:
    """Have a strongSwan of root's, if one listens there, carry out commands one after the other, whatever it says.

    `deadline` is for all of them, in seconds.
    """

    path: str
    calls: tuple[ViciCall, ...]
    deadline: float = 5.0


@dataclass(frozen=True, slots=True)
class DropRules:
    """Take away the policy rules, of both families, that a program made for a routing table of its own."""

    priority: int
    table: int


LastWord = Run | ViciErrand | DropRules
"""What is done, to its end, before a tunnel's program is ended."""

Action = (
    Spawn | Run | Dial | Write | Signal | AskPerson | Open | Send | ViciOpen | ViciCall | CreateDevice | SetUp
    | ConfigureWireguard | QueryWireguard | Ready | Failed | LookAgainAt
)  # fmt: skip
