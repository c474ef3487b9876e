"""Recorded runs of the types whose programs are anybody's: WireGuard in user space, a command, and Zebedee.

Zebedee's are of its stand-in, WireGuard's of wireguard-go, and the command is an `ssh -w`.
"""

from __future__ import annotations

import pytest

from autovpn.core.actions import Failed, Ready
from autovpn.core.tunnel import FailureClass
from tests.tunnels.playing import DEVICES, Play, launch, transcript

WORDS = {"auth_words": ("Permission denied",), "trust_words": ("Host key verification failed",)}
NO_DEVICE = "there is an interface avtcmd already"


def played(name: str) -> Play:
    """Return the driver after all that its program did."""
    kind = name.partition("-")[0]
    play = Play(launch(kind, **(WORDS if kind == "command" else {}))).start()
    play.feed(*transcript(name))
    return play


@pytest.mark.parametrize("kind", ["command", "wireguard", "zebedee"])
def test_the_first_sign_of_a_tunnel_that_stands_is_taken_once(kind: str) -> None:
    (news,) = played(f"{kind}-ready").news
    assert isinstance(news, Ready)
    assert news.facts.device == (DEVICES[kind] or None)


@pytest.mark.parametrize(
    ("name", "failure", "words"),
    [
        ("command-killed", FailureClass.LOST, "vpn-up was killed by signal 9"),
        ("command-server-stopped", FailureClass.LOST, "debug1: Exit status -1"),
        ("wireguard-killed", FailureClass.LOST, "wireguard-go was killed by signal 9"),
        ("zebedee-killed", FailureClass.LOST, "zebedee was killed by signal 9"),
        ("zebedee-server-stopped", FailureClass.LOST, "can't connect to 192.0.2.1 port 11965"),
    ],
)
def test_a_tunnel_that_stood_is_lost(name: str, failure: FailureClass, words: str) -> None:
    ready, failed = played(name).news
    assert isinstance(ready, Ready)
    assert isinstance(failed, Failed)
    assert (failed.kind, words in failed.words) == (failure, True), failed


@pytest.mark.parametrize(
    ("name", "failure", "words"),
    [
        ("command-refused", FailureClass.UNREACHABLE, "Connection refused"),
        ("command-wrong-key", FailureClass.AUTH, "Permission denied (publickey)"),
        ("command-wrong-host-key", FailureClass.TRUST, "Host key verification failed"),
        ("command-device-busy", FailureClass.LOCAL, NO_DEVICE),
        ("wireguard-device-busy", FailureClass.LOCAL, "RTNETLINK answers: File exists"),
        ("zebedee-refused", FailureClass.UNREACHABLE, "(Connection refused)"),
        ("zebedee-wrong-key", FailureClass.AUTH, "failed to read challenge from server"),
        ("zebedee-wrong-identity", FailureClass.TRUST, "server's identity not found"),
    ],
)
def test_a_tunnel_that_never_stood_fails_in_the_words_of_its_program(
    name: str, failure: FailureClass, words: str
) -> None:
    (failed,) = played(name).news
    assert isinstance(failed, Failed)
    assert (failed.kind, words in failed.words) == (failure, True), failed
