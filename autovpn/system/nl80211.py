"""Reading Wi-Fi from the kernel over nl80211 (linux/nl80211.h), by pyroute2's generic netlink socket.

Only `wireless` imports this, and only where the kernel has nl80211: pyroute2 costs 25 MB. Its own nl80211 messages are
not used: they decode the elements of a beacon, which a stranger wrote, into text, and keep one of each kind. Ours take
the few attributes that are needed and leave the elements raw. Two more things to know of pyroute2 0.9.7: a dump that
failed looks like an empty one (`_End`), and after an error of its socket every request hangs, hence the deadline.

Nothing here needs a privilege.
"""

from __future__ import annotations

import asyncio
import errno
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from pyroute2.netlink import NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, genlmsg, nla, nlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import AsyncGenericNetlinkSocket

from autovpn.errors import SystemFault
from autovpn.system.rtnl_dump import DumpInterrupted
from autovpn.system.station import Bss, Event, Gone, Happening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# enum nl80211_commands
CMD_GET_INTERFACE: Final = 5
CMD_SET_INTERFACE: Final = 6
CMD_NEW_INTERFACE: Final = 7
CMD_DEL_INTERFACE: Final = 8
CMD_GET_STATION: Final = 17
CMD_GET_SCAN: Final = 32
CMD_CONNECT: Final = 46
CMD_ROAM: Final = 47
CMD_DISCONNECT: Final = 48
CMD_PORT_AUTHORIZED: Final = 125

IFTYPE_STATION: Final = 2  # enum nl80211_iftype
BSS_STATUS_ASSOCIATED: Final = 1  # enum nl80211_bss_status

# enum nl80211_sta_flags, as bits; struct nl80211_sta_flag_update: mask, set
STA_AUTHORIZED: Final = 1 << 1
STA_TDLS_PEER: Final = 1 << 6
STA_FLAGS: Final = struct.Struct("=II")

NLMSG_HEADER_BYTES: Final = 16  # struct nlmsghdr (netlink(7)); the errno follows it in NLMSG_DONE
ERRNO: Final = struct.Struct("=i")

GROUPS: Final = ("mlme", "config")
DEADLINE: Final = 5.0  # seconds for one dump; the kernel needs some milliseconds

_HAPPENINGS: Final = {
    CMD_CONNECT: Happening.CONNECTED,
    CMD_ROAM: Happening.CONNECTED,
    CMD_DISCONNECT: Happening.DISCONNECTED,
    CMD_PORT_AUTHORIZED: Happening.CHANGED,
    CMD_NEW_INTERFACE: Happening.APPEARED,
    CMD_SET_INTERFACE: Happening.APPEARED,
    CMD_DEL_INTERFACE: Happening.REMOVED,
}


class Nl80211Message(genlmsg):  # type: ignore[misc] # pyroute2 has no types
    """A message of the family, with the attributes that we read (enum nl80211_attrs)."""

    prefix = "NL80211_ATTR_"
    nla_map = (
        (3, "NL80211_ATTR_IFINDEX", "uint32"),
        (5, "NL80211_ATTR_IFTYPE", "uint32"),
        (6, "NL80211_ATTR_MAC", "l2addr"),
        (21, "NL80211_ATTR_STA_INFO", "sta_info"),
        (47, "NL80211_ATTR_BSS", "bss"),
        (72, "NL80211_ATTR_STATUS_CODE", "uint16"),
        (77, "NL80211_ATTR_REQ_IE", "cdata"),
    )

    class bss(nla):  # type: ignore[misc] # noqa: N801 (pyroute2 finds it by the name in the table above)
        """A BSS of the scan list (enum nl80211_bss)."""

        prefix = "NL80211_BSS_"
        nla_map = (
            (1, "NL80211_BSS_BSSID", "l2addr"),
            (2, "NL80211_BSS_FREQUENCY", "uint32"),
            (5, "NL80211_BSS_CAPABILITY", "uint16"),
            (6, "NL80211_BSS_INFORMATION_ELEMENTS", "cdata"),
            (7, "NL80211_BSS_SIGNAL_MBM", "int32"),
            (9, "NL80211_BSS_STATUS", "uint32"),
        )

    class sta_info(nla):  # type: ignore[misc] # noqa: N801 (the same)
        """What is known about a peer (enum nl80211_sta_info)."""

        prefix = "NL80211_STA_INFO_"
        nla_map = ((17, "NL80211_STA_INFO_STA_FLAGS", "cdata"),)


class Nl80211:
    """One connection to nl80211: questions and events.

    One socket for both, so that an answer stands behind the events that the kernel wrote before it: what they say is
    known when the answer is read, and no answer is taken together with the request of an association that has ended.
    After any SystemFault but Gone and DumpInterrupted, open anew.
    """

    def __init__(self, socket: AsyncGenericNetlinkSocket) -> None:
        """Take over a bound socket; use `Nl80211.open`."""
        self._socket = socket

    @classmethod
    async def open(cls) -> Self:
        """Connect in the network namespace of the calling thread and subscribe to events.

        Raises:
            SystemFault: there is no nl80211, or no socket to be had.
        """
        socket = AsyncGenericNetlinkSocket()
        try:
            with _as_faults("could not be opened"):
                await socket.bind("nl80211", Nl80211Message)
                for group in GROUPS:
                    socket.add_membership(group)
        except BaseException:
            socket.close()
            raise
        return cls(socket)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    async def stations(self) -> frozenset[int]:
        """Return the index of every station interface. A P2P device is none and has no index at all."""
        return frozenset(
            index
            for message in await self._dump(CMD_GET_INTERFACE)
            if message.get_attr("NL80211_ATTR_IFTYPE") == IFTYPE_STATION
            and (index := message.get_attr("NL80211_ATTR_IFINDEX"))
        )

    async def associated_bss(self, index: int) -> Bss | None:
        """Return the BSS with which a station is associated; of the links of a multi-link one (Wi-Fi 7) the lowest.

        Raises:
            Gone: there is no such interface any more.
            DumpInterrupted: a scan changed the list meanwhile; ask again.
        """
        found = [bss for message in await self._dump(CMD_GET_SCAN, index) if (bss := associated(message))]
        return min(found, key=lambda bss: bss.bssid, default=None)

    async def is_authorized(self, index: int) -> bool:
        """Report whether the handshake with the access point is finished.

        Raises:
            Gone: there is no such interface any more.
            DumpInterrupted: the list of peers changed meanwhile; ask again.
        """
        return any(authorized(message) for message in await self._dump(CMD_GET_STATION, index))

    async def events(self) -> AsyncIterator[Event]:
        """Yield the events that matter, for ever."""
        while True:
            with _as_faults("lost events"):
                batch = [message async for message in self._socket.get()]
            for message in batch:
                if event := event_of(message):
                    yield event

    async def _dump(self, command: int, index: int | None = None) -> list[Any]:
        request = Nl80211Message()
        request["cmd"] = command
        if index is not None:
            request["attrs"] = [("NL80211_ATTR_IFINDEX", index)]
        end = _End()
        with _as_faults("did not answer"):
            async with asyncio.timeout(DEADLINE):
                flags = NLM_F_REQUEST | NLM_F_DUMP
                answers = await self._socket.nlm_request(request, self._socket.prid, flags, callback=end.note)
                messages = [message async for message in answers]
            end.check()
        return messages


class _End:
    """How a dump ended: pyroute2 passes over the error that a dump's last message carries, and over NLM_F_DUMP_INTR."""

    def __init__(self) -> None:
        self._error = 0
        self._interrupted = False

    def note(self, message: nlmsg) -> bool:
        """Look at a message that pyroute2 received; False lets it go on with it."""
        header = message["header"]
        self._interrupted |= bool(header["flags"] & NLM_F_DUMP_INTR)
        if header["type"] == NLMSG_DONE and header["length"] >= NLMSG_HEADER_BYTES + ERRNO.size:
            (self._error,) = ERRNO.unpack_from(message.data, message.offset + NLMSG_HEADER_BYTES)
        return False

    def check(self) -> None:
        """Raise what went wrong."""
        if self._error < 0:
            raise NetlinkError(-self._error)
        if self._interrupted:
            raise DumpInterrupted("the kernel's list of wireless networks changed while it was read")


def associated(message: Nl80211Message) -> Bss | None:
    """Return the BSS of a scan list's entry if it is the associated one."""
    bss = message.get_attr("NL80211_ATTR_BSS")
    if bss is None or bss.get_attr("NL80211_BSS_STATUS") != BSS_STATUS_ASSOCIATED:
        return None
    signal = bss.get_attr("NL80211_BSS_SIGNAL_MBM")
    return Bss(
        bssid=bss.get_attr("NL80211_BSS_BSSID"),
        elements=bss.get_attr("NL80211_BSS_INFORMATION_ELEMENTS") or b"",
        capability=bss.get_attr("NL80211_BSS_CAPABILITY") or 0,
        frequency=bss.get_attr("NL80211_BSS_FREQUENCY"),
        signal=None if signal is None else signal / 100,  # from hundredths of a dBm
    )


def authorized(message: Nl80211Message) -> bool:
    """Report whether a peer is the access point with its port open. TDLS peers are other stations."""
    info = message.get_attr("NL80211_ATTR_STA_INFO")
    raw = info and info.get_attr("NL80211_STA_INFO_STA_FLAGS")
    if not raw or len(raw) != STA_FLAGS.size:
        return False
    mask, flags = STA_FLAGS.unpack(raw)
    return bool(mask & flags & STA_AUTHORIZED) and not flags & STA_TDLS_PEER


def event_of(message: Nl80211Message) -> Event | None:
    """Return what a multicast message tells us; None for most. P2P devices have no index, so they are none of ours."""
    happening = _HAPPENINGS.get(message["cmd"])
    index = message.get_attr("NL80211_ATTR_IFINDEX")
    if happening is None or not index or message["header"]["sequence_number"]:
        return None  # with a sequence number: the rest of an answer that nobody waits for any more
    if message.get_attr("NL80211_ATTR_STATUS_CODE"):
        happening = Happening.DISCONNECTED  # a CONNECT that says why there is no connection
    return Event(happening, index, message.get_attr("NL80211_ATTR_REQ_IE"))


@contextmanager
def _as_faults(what: str) -> Iterator[None]:
    """Turn what pyroute2 raises into our exceptions."""
    try:
        yield
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            raise Gone("the wireless interface is gone") from error
        raise SystemFault(f"the kernel's nl80211 {what}: {error}") from error
    except TimeoutError as error:
        raise SystemFault(f"the kernel's nl80211 {what} within {DEADLINE:.0f} s") from error
    except (OSError, KeyError) as error:  # KeyError: no free port number (pyroute2's AsyncNetlinkSocket)
        raise SystemFault(f"the kernel's nl80211 {what}: {error}") from error
