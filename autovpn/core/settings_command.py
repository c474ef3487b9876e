"""What a user says of a tunnel that is made by programs of the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from autovpn.core.endpoint import Endpoint, Listener
from autovpn.core.network import IPAddress, IPInterface


class ReadyBy(Enum):
    """What shows that a tunnel is there: the programs, their output, its link, a TCP port, or sd_notify(3)."""

    CHECK = "check"
    EXIT = "exit"
    LINK = "link"
    LINE = "line"
    PORT = "port"
    NOTIFY = "notify"


@dataclass(frozen=True, slots=True)
class CommandSettings:
    """A tunnel by argument lists; `start` stays in the foreground unless the tunnel `detaches`.

    `line` belongs to `ReadyBy.LINE` and `listener` to `ReadyBy.PORT`. `auth_words` and `trust_words` are what the
    programs print where another try is no use.
    """

    start: tuple[str, ...]
    ready: ReadyBy
    stop: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    line: str = ""
    listener: Listener | None = None
    detaches: bool = False
    endpoints: tuple[Endpoint, ...] = ()
    addresses: tuple[IPInterface, ...] = ()
    peer: IPAddress | None = None
    auth_words: tuple[str, ...] = ()
    trust_words: tuple[str, ...] = ()

    @property
    def may_push_dns(self) -> bool:
        """Report whether DNS servers can come from the tunnel itself."""
        return False
