"""The kernel's generic netlink families are listed without asking for one, and a malformed list is a fault in words."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Self

import pytest

from autovpn.errors import SystemFault
from autovpn.system import genl
from autovpn.system.genl import FamilyWatch
from tests.system.rtnl_messages import attribute, message, text

if TYPE_CHECKING:
    from collections.abc import Iterator

DONE = message(3, bytes(4))


def family(number: int, name: str) -> bytes:
    body = genl.GENL_HEADER.pack(1, 2, 0)
    body += attribute(genl.CTRL_ATTR_FAMILY_ID, struct.pack("=H", number)) + text(genl.CTRL_ATTR_FAMILY_NAME, name)
    return message(genl.GENL_ID_CTRL, body)


class Kernel:
    """A controller socket that answers as it is told; an int is the errno of a failing call."""

    def __init__(self, *answers: bytes | int) -> None:
        self.answers = list(answers)
        self.closed = False

    def __call__(self, *_: int) -> Kernel:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def bind(self, address: tuple[int, int]) -> None: ...

    def send(self, request: bytes) -> None:
        assert struct.unpack_from("=IHHI", request) == (20, genl.GENL_ID_CTRL, 0x301, 1)

    def recv(self, size: int) -> bytes:
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            raise OSError(answer, os.strerror(answer))
        return answer

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def watch() -> Iterator[FamilyWatch]:
    family_watch = FamilyWatch("nl80211")
    yield family_watch
    family_watch.close()


def answering(monkeypatch: pytest.MonkeyPatch, *answers: bytes | int) -> Kernel:
    kernel = Kernel(*answers)
    monkeypatch.setattr(socket, "socket", kernel)
    return kernel


def test_the_kernel_of_this_machine_has_the_controller_and_not_what_nobody_wrote() -> None:
    present, absent = FamilyWatch("nlctrl"), FamilyWatch("no-such-family")
    assert present.number() == genl.GENL_ID_CTRL
    assert absent.number() is None
    present.consume()
    present.close()
    absent.close()


def test_a_family_is_found_by_its_whole_name_in_any_part_of_the_list(
    monkeypatch: pytest.MonkeyPatch, watch: FamilyWatch
) -> None:
    first, second = family(16, "nlctrl") + family(20, "nl80211x"), family(28, "nl80211") + DONE
    kernel = answering(monkeypatch, first, second)
    assert watch.number() == 28
    assert kernel.closed
    answering(monkeypatch, first, DONE)
    assert watch.number() is None


@pytest.mark.parametrize(
    "answer", [errno.EPERM, message(2, struct.pack("=i", -errno.EPERM) + bytes(16))], ids=["call", "answer"]
)
def test_a_kernel_that_refuses_is_a_fault_in_words(
    monkeypatch: pytest.MonkeyPatch, watch: FamilyWatch, answer: bytes | int
) -> None:
    kernel = answering(monkeypatch, answer)
    with pytest.raises(SystemFault, match="did not list its generic netlink families: Operation not permitted"):
        watch.number()
    assert kernel.closed


def test_a_list_that_makes_no_sense_is_a_fault(monkeypatch: pytest.MonkeyPatch, watch: FamilyWatch) -> None:
    for answer in (message(genl.GENL_ID_CTRL, bytes(4)), family(28, "nl80211")[:-8], bytes(16)):
        answering(monkeypatch, answer)
        with pytest.raises(SystemFault):
            watch.number()


def test_news_are_taken_in_until_there_are_none_and_lost_ones_are_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = answering(monkeypatch, family(28, "nl80211"), errno.ENOBUFS, family(29, "x"), errno.EAGAIN)
    FamilyWatch("nl80211").consume()
    assert not kernel.answers


def test_news_that_break_off_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, errno.EBADF)
    watch = FamilyWatch("nl80211")
    with pytest.raises(SystemFault, match="news of its families broke off"):
        watch.consume()


def test_a_machine_without_generic_netlink_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(SystemFault, match="generic netlink could not be opened"):
        FamilyWatch("nl80211")
