"""Whole tables, or an error: never a part of one."""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque
from collections.abc import Iterator
from typing import cast

import pytest

from autovpn.errors import SystemFault
from autovpn.system import rtnl_abi as abi
from autovpn.system.rtnl_decode import MalformedMessage
from autovpn.system.rtnl_dump import DumpInterrupted, DumpSocket


class ScriptedKernel:
    """Answers a request with what the test has put in, under the number of the request."""

    def __init__(self) -> None:
        self.answers: deque[tuple[bytes, int] | OSError] = deque()
        self.number = 0

    def sendto(self, request: bytes, _: object) -> None:
        (self.number,) = struct.unpack_from("=I", request, 8)

    def recvfrom_into(self, buffer: bytearray, _size: int, _flags: int) -> tuple[int, tuple[int, int]]:
        item = self.answers.popleft()
        if isinstance(item, OSError):
            raise item
        datagram, sender = item
        buffer[: len(datagram)] = datagram[: len(buffer)]
        return len(datagram), (sender, 0)

    def put(self, *parts: tuple[int, int, bytes], number: int | None = None, sender: int = 0) -> None:
        expected = self.number + 1 if number is None else number
        packed = [struct.pack("=IHHII", 16 + len(body), kind, flags, expected, 0) + body for kind, flags, body in parts]
        self.answers.append((b"".join(packed), sender))

    def close(self) -> None:
        pass


LINK = (abi.RTM_NEWLINK, 0, b"link")
DONE = (abi.NLMSG_DONE, 0, struct.pack("=i", 0))


@pytest.fixture
def kernel() -> ScriptedKernel:
    return ScriptedKernel()


@pytest.fixture
def dumps(kernel: ScriptedKernel) -> Iterator[DumpSocket]:
    opened = DumpSocket()
    opened._socket.close()
    opened._socket = cast("socket.socket", kernel)
    yield opened
    opened.close()


def test_a_dump_in_parts_is_whole(kernel: ScriptedKernel, dumps: DumpSocket) -> None:
    kernel.put(LINK, LINK)
    kernel.put(LINK, DONE)
    assert [message[16:] for message in dumps.dump(abi.RTM_GETLINK)] == [b"link"] * 3


@pytest.mark.parametrize("part", [LINK, DONE])
def test_a_dump_that_was_interrupted_anywhere_is_read_to_its_end_and_refused(
    kernel: ScriptedKernel, dumps: DumpSocket, part: tuple[int, int, bytes]
) -> None:
    kind, _, body = part
    kernel.put(
        *([(kind, abi.NLM_F_DUMP_INTR, body), DONE] if part is LINK else [LINK, (kind, abi.NLM_F_DUMP_INTR, body)])
    )
    with pytest.raises(DumpInterrupted):
        dumps.dump(abi.RTM_GETLINK)
    assert not kernel.answers


def test_what_answers_another_request_or_comes_from_another_process_is_passed_over(
    kernel: ScriptedKernel, dumps: DumpSocket
) -> None:
    kernel.put((abi.RTM_NEWLINK, 0, b"late"), number=77)
    kernel.put((abi.RTM_NEWLINK, 0, b"forged"), sender=4711)
    kernel.put(LINK, DONE)
    assert [message[16:] for message in dumps.dump(abi.RTM_GETLINK)] == [b"link"]


@pytest.mark.parametrize("kind", [abi.NLMSG_ERROR, abi.NLMSG_DONE])
def test_a_refusal_is_told_in_words(kernel: ScriptedKernel, dumps: DumpSocket, kind: int) -> None:
    kernel.put((kind, 0, struct.pack("=i", -errno.EPERM)))
    with pytest.raises(SystemFault, match="Operation not permitted"):
        dumps.dump(abi.RTM_GETROUTE)


def test_a_kernel_that_does_not_answer_is_told_in_words(kernel: ScriptedKernel, dumps: DumpSocket) -> None:
    kernel.answers.append(BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"))
    with pytest.raises(SystemFault, match="could not be read: Resource temporarily unavailable"):
        dumps.dump(abi.RTM_GETROUTE)


@pytest.mark.parametrize(("datagram", "error"), [(b"\xff" * 16, MalformedMessage), (bytes(1 << 19), SystemFault)])
def test_a_datagram_that_can_not_be_is_refused(
    kernel: ScriptedKernel, dumps: DumpSocket, datagram: bytes, error: type[Exception]
) -> None:
    kernel.answers.append((datagram, 0))
    with pytest.raises(error):
        dumps.dump(abi.RTM_GETLINK)
