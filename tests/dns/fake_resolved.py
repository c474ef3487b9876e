"""systemd-resolved in memory, on a bus of the test's own: the calls it gets, and the settings of its links."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbus_next.signature import Variant

from autovpn.core.resolvedlink import link_path
from autovpn.system.bus import UNKNOWN_METHOD
from tests.system.private_bus import Error, FakeService

if TYPE_CHECKING:
    from dbus_next.message import Message

MANAGER, LINK = "org.freedesktop.resolve1.Manager", "org.freedesktop.resolve1.Link"
SETTERS = {"SetLinkDNS": "DNS", "SetLinkDomains": "Domains", "SetLinkDefaultRoute": "DefaultRoute"}
SIGNATURES = {"DNS": "a(iay)", "Domains": "a(sb)", "DefaultRoute": "b"}
EMPTY: dict[str, object] = {"DNS": [], "Domains": [], "DefaultRoute": False}


class FakeResolved(FakeService):
    """`links` holds the settings by index; `errors` the error for a call, by its name; `hangs` those without answer."""

    def __init__(self, *indexes: int) -> None:
        super().__init__("org.freedesktop.resolve1", self._answer)
        self.links = {index: dict(EMPTY) for index in indexes}
        self.errors: dict[str, list[str] | str] = {}
        self.hangs: set[str] = set()
        self.is_mute = False

    @property
    def changes(self) -> list[tuple[str, list[object]]]:
        """Return the calls that change something."""
        return [call for call in self.calls if call[0].startswith(("SetLink", "Revert", "Flush"))]

    def wipe(self, index: int) -> None:
        """Have another program reset a link, and say so."""
        self.links[index] = dict(EMPTY)
        self.news()

    def news(self) -> None:
        """Tell everybody that something changed, unless it is a version that doesn't."""
        if self.is_mute:
            return
        self.tell(
            "/org/freedesktop/resolve1", "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as",
            MANAGER, {}, ["DNS"],
        )  # fmt: skip

    def _answer(self, message: Message) -> tuple[str, list[object]] | None:
        member, body = message.member or "", message.body
        errors = self.errors.get(member)
        if isinstance(errors, str):
            raise Error(errors)
        if errors:
            raise Error(errors.pop(0))
        if member in self.hangs:
            return None
        if member in SETTERS:
            self._link(body[0])[SETTERS[member]] = body[1]
            self.news()
        elif member == "RevertLink":
            self._link(body[0])
            self.links[body[0]] = dict(EMPTY)
        elif member == "GetAll":
            return self._properties(message.path or "")
        elif member == "Get" and body[1] == "Domains":
            domains = [[index, *domain] for index, link in self.links.items() for domain in link["Domains"]]  # type: ignore[attr-defined]
            return "v", [Variant("a(isb)", domains)]
        elif member == "Get":
            servers = [[index, *server] for index, link in self.links.items() for server in link["DNS"]]  # type: ignore[attr-defined]
            return "v", [Variant("a(iiay)", servers)]
        elif member not in {"FlushCaches", "Ping"}:
            raise Error(UNKNOWN_METHOD)
        return "", []

    def _link(self, index: int) -> dict[str, object]:
        if index not in self.links:
            raise Error("org.freedesktop.resolve1.NoSuchLink", f"Link {index} not known")
        return self.links[index]

    def _properties(self, path: str) -> tuple[str, list[object]]:
        for index, link in self.links.items():
            if path == link_path(index):
                return "a{sv}", [{name: Variant(SIGNATURES[name], value) for name, value in link.items()}]
        raise Error("org.freedesktop.DBus.Error.UnknownObject")
