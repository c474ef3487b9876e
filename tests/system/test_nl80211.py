"""The kernel's own nl80211 messages are read for what they say, and trouble with the socket is a fault in words."""

from __future__ import annotations

import asyncio
import errno
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import NLMSG_DONE
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.marshal import Marshal

from autovpn.core.akm import Protection, negotiated, offered, ssid_of
from autovpn.core.network import Security
from autovpn.errors import SystemFault
from autovpn.system import nl80211
from autovpn.system.nl80211 import Nl80211, Nl80211Message, associated, authorized, event_of
from autovpn.system.rtnl_dump import DumpInterrupted
from autovpn.system.station import Bss, Event, Gone, Happening
from tests.system.air import PRIVACY, RSN_PSK, elements
from tests.system.rtnl_messages import attribute, u32

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

FAMILY = 28
WLAN0 = 3
MAC = bytes.fromhex("020000000100")


def raw(command: int, *attributes: bytes, flags: int = 0, sequence: int = 0) -> bytes:
    body = struct.pack("=BBH", command, 1, 0) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), FAMILY, flags, sequence, 0) + body


def decoded(data: bytes) -> Nl80211Message:
    message = Nl80211Message(data)
    message.decode()
    return message


def interface(index: int | None, kind: int, flags: int = 0) -> bytes:
    attributes = [] if index is None else [u32(3, index), attribute(4, b"wlan0\0")]
    return raw(nl80211.CMD_NEW_INTERFACE, *attributes, u32(5, kind), flags=flags, sequence=255)


def scan_entry(status: int | None = 1, *, body: bytes = elements(b"Home", RSN_PSK), mac: bytes = MAC) -> bytes:
    inside = attribute(1, mac) + u32(2, 2412) + attribute(5, struct.pack("=H", PRIVACY)) + attribute(6, body)
    inside += attribute(7, struct.pack("=i", -3050)) + attribute(11, b"\x00\x04Liar")
    inside += b"" if status is None else u32(9, status)
    return raw(34, u32(46, 7), u32(3, WLAN0), attribute(47, inside), flags=2, sequence=255)


def station(mask: int, flags: int) -> bytes:
    info = u32(1, 10) + attribute(17, struct.pack("=II", mask, flags))
    return raw(19, u32(3, WLAN0), attribute(6, MAC), attribute(21, info), flags=2, sequence=255)


def sequence(data: bytes) -> int:
    number: int = struct.unpack_from("=I", data, 8)[0]
    return number


RECORDED_FAMILY = 35
RECORDED = {
    name: bytes.fromhex(data)
    for name, data in (
        line.split()
        for line in (Path(__file__).parent / "nl80211_recorded.txt").read_text().splitlines()
        if line[0] != "#"
    )
}


class Genl:
    """pyroute2's socket as far as it is used: answers in order, then a silence."""

    prid = FAMILY

    def __init__(self, *answers: list[bytes] | Exception) -> None:
        self.marshal = Marshal()
        self.marshal.msg_map = {FAMILY: Nl80211Message, RECORDED_FAMILY: Nl80211Message}
        self.answers = list(answers)
        self.asked: list[tuple[int, int | None]] = []
        self.closed = False

    async def nlm_request(
        self, request: Nl80211Message, family: int, flags: int, callback: Callable[[Any], bool]
    ) -> AsyncIterator[Any]:
        assert (family, flags) == (FAMILY, 0x301)
        self.asked.append((request["cmd"], request.get_attr("NL80211_ATTR_IFINDEX")))
        return self.get(callback)

    async def get(self, callback: Callable[[Any], bool] | None = None) -> AsyncIterator[Any]:
        if not self.answers:
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        for data in answer:
            for message in self.marshal.parse(data, callback=callback, seq=sequence(data)):
                if message["header"]["type"] != NLMSG_DONE:
                    yield message

    def close(self) -> None:
        self.closed = True


# -------------------------------------------------------------------------------------------------------- reading


async def test_only_station_interfaces_with_an_index_are_listed() -> None:
    access_point, p2p_device = interface(4, 3), interface(None, 10)
    genl = Genl([interface(WLAN0, 2), access_point, p2p_device, interface(None, 2), interface(9, 2)])
    assert await Nl80211(genl).stations() == {WLAN0, 9}
    assert genl.asked == [(nl80211.CMD_GET_INTERFACE, None)]


async def test_the_associated_bss_is_found_among_its_neighbours_with_its_elements_raw() -> None:
    neighbours = [scan_entry(None, mac=bytes(6)), scan_entry(0, mac=bytes(6)), scan_entry(2, mac=bytes(6))]
    genl = Genl([*neighbours, scan_entry()])
    bss = Bss("02:00:00:00:01:00", elements(b"Home", RSN_PSK), PRIVACY, 2412, -30.5)
    assert await Nl80211(genl).associated_bss(WLAN0) == bss
    assert genl.asked == [(nl80211.CMD_GET_SCAN, WLAN0)]


async def test_no_associated_bss_is_none() -> None:
    assert await Nl80211(Genl([scan_entry(0)])).associated_bss(WLAN0) is None
    assert await Nl80211(Genl([])).associated_bss(WLAN0) is None


async def test_the_links_of_a_multi_link_association_are_one_whatever_their_order() -> None:
    links = [scan_entry(), scan_entry(mac=bytes.fromhex("020000000101"))]
    found = [await Nl80211(Genl(order)).associated_bss(WLAN0) for order in (links, links[::-1])]
    assert [bss and bss.bssid for bss in found] == ["02:00:00:00:01:00"] * 2


def test_a_bss_without_strength_or_elements_is_still_one() -> None:
    bss = associated(decoded(raw(34, attribute(47, attribute(1, MAC) + u32(9, 1)))))
    assert bss == Bss("02:00:00:00:01:00", b"", 0, None, None)


@pytest.mark.parametrize(
    ("mask", "flags", "is_authorized"),
    [
        (0xFE, nl80211.STA_AUTHORIZED, True),
        (0xFE, 0x20, False),
        (0, nl80211.STA_AUTHORIZED, False),
        (0xFE, nl80211.STA_AUTHORIZED | nl80211.STA_TDLS_PEER, False),
    ],
)
async def test_only_the_access_point_with_an_open_port_authorizes(mask: int, flags: int, is_authorized: bool) -> None:
    assert await Nl80211(Genl([station(mask, flags)])).is_authorized(WLAN0) is is_authorized


def test_a_driver_that_tells_no_flags_authorizes_nobody() -> None:
    assert not authorized(decoded(raw(19, attribute(21, u32(1, 10)))))
    assert not authorized(decoded(raw(19, attribute(21, attribute(17, b"\2\0\0\0")))))
    assert not authorized(decoded(raw(19)))


# -------------------------------------------------------------------------------------------------------- events


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (raw(46, u32(3, 3), attribute(77, b"\0\1a")), Event(Happening.CONNECTED, 3, b"\0\1a")),
        (raw(46, u32(3, 3), attribute(72, b"\0\0")), Event(Happening.CONNECTED, 3)),
        (raw(46, u32(3, 3), attribute(72, b"\1\0")), Event(Happening.DISCONNECTED, 3)),
        (raw(47, u32(3, 3), attribute(77, b"\0\1a")), Event(Happening.CONNECTED, 3, b"\0\1a")),
        (raw(48, u32(3, 3)), Event(Happening.DISCONNECTED, 3)),
        (raw(125, u32(3, 3)), Event(Happening.CHANGED, 3)),
        (raw(7, u32(3, 3)), Event(Happening.APPEARED, 3)),
        (raw(6, u32(3, 3)), Event(Happening.APPEARED, 3)),
        (raw(8, u32(3, 3)), Event(Happening.REMOVED, 3)),
        (raw(7), None),
        (raw(8), None),
        (raw(139, u32(3, 3)), None),
        (raw(34, u32(3, 3)), None),
        (interface(3, 2), None),
    ],
)
def test_an_event_is_what_the_message_says(message: bytes, event: Event | None) -> None:
    assert event_of(decoded(message)) == event


async def test_the_events_of_one_datagram_keep_their_order() -> None:
    genl = Genl([raw(48, u32(3, 3)), raw(139, u32(3, 3)), raw(46, u32(3, 3))], [raw(8, u32(3, 3))], OSError(105, "x"))
    events = Nl80211(genl).events()
    seen = [(await anext(events)).happening for _ in range(3)]
    with pytest.raises(SystemFault, match=r"lost events: .*x"):
        await anext(events)
    assert seen == [Happening.DISCONNECTED, Happening.CONNECTED, Happening.REMOVED]


@given(st.binary(max_size=300))
def test_elements_of_a_stranger_are_passed_on_as_they_are(body: bytes) -> None:
    bss = associated(decoded(scan_entry(body=body)))
    assert bss is not None
    assert bss.elements == body


# -------------------------------------------------------------------------------------------------------- a real kernel


async def test_what_a_kernel_really_sent_is_understood() -> None:
    done = RECORDED["done"]
    genl = Genl([RECORDED["interfaces"], done], [RECORDED["scan"], done], [RECORDED["station"], done])
    source = Nl80211(genl)
    assert await source.stations() == {2}
    bss = await source.associated_bss(2)
    assert bss is not None
    assert (bss.bssid, ssid_of(bss.elements), bss.frequency, bss.signal) == ("02:00:00:00:02:03", b"Mix", 2437, -30.0)
    assert offered(bss.elements, bss.capability) == Protection(frozenset({Security.PSK, Security.SAE}))
    assert await source.is_authorized(2)


async def test_the_events_that_a_kernel_really_sent_tell_what_was_negotiated() -> None:
    events = Nl80211(Genl([RECORDED["handshake-frame"]], [RECORDED["connect"], RECORDED["disconnect"]])).events()
    connected, disconnected = await anext(events), await anext(events)
    assert (connected.happening, disconnected.happening) == (Happening.CONNECTED, Happening.DISCONNECTED)
    assert connected.index == disconnected.index == 2
    assert negotiated(connected.request or b"", PRIVACY).weakest is Security.PSK
    assert ssid_of(connected.request or b"") == b"Mix"


async def test_a_dump_that_failed_is_no_empty_one() -> None:
    with pytest.raises(Gone):
        await Nl80211(Genl([RECORDED["done-enodev"]])).associated_bss(9999)
    with pytest.raises(SystemFault, match=r"did not answer.*No such device or address"):
        await Nl80211(Genl([scan_entry(), RECORDED["done"][:16] + struct.pack("=i", -errno.ENXIO)])).stations()


# -------------------------------------------------------------------------------------------------------- trouble


async def test_an_interface_that_is_gone_is_told_apart_from_other_trouble() -> None:
    genl = Genl(
        NetlinkError(errno.ENODEV), NetlinkError(errno.EPERM), OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
    )
    source = Nl80211(genl)
    with pytest.raises(Gone):
        await source.associated_bss(WLAN0)
    for words in ("did not answer.*not permitted", "did not answer.*No buffer space"):
        with pytest.raises(SystemFault, match=words) as caught:
            await source.associated_bss(WLAN0)
        assert not isinstance(caught.value, Gone)


async def test_an_interrupted_dump_is_no_answer() -> None:
    with pytest.raises(DumpInterrupted):
        await Nl80211(Genl([interface(WLAN0, 2), interface(9, 2, flags=0x10)])).stations()


async def test_a_socket_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nl80211, "DEADLINE", 0.0)
    with pytest.raises(SystemFault, match="did not answer within"):
        await Nl80211(Genl()).stations()


async def test_a_kernel_without_the_family_is_a_fault_and_leaves_no_socket(caplog: pytest.LogCaptureFixture) -> None:
    sockets = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(SystemFault, match="nl80211 could not be opened"):
        await Nl80211.open()
    await asyncio.sleep(0)
    assert sorted(os.listdir("/proc/self/fd")) == sockets  # noqa: PTH208


def test_closing_gives_the_socket_back() -> None:
    genl = Genl()
    Nl80211(genl).close()
    assert genl.closed
