"""Endpoint names are resolved by the uplink's own resolver, through the uplink alone, whatever that resolver does."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from autovpn.core.network import IPAddress
from autovpn.core.tunnel import FailureClass
from autovpn.system import resolve as module
from autovpn.system.resolve import Unresolved, resolve
from tests.netns.world import GATEWAY, GATEWAY6, World

pytestmark = pytest.mark.netns

FOUR, SIX = ip_address("198.51.100.1"), ip_address("2001:db8:ff::1")


class NameServer:
    """A DNS server of the gateway's, whose faults are in the names that it is asked for."""

    def __init__(self, world: World, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._udp = world.gateway.call(socket.socket, family, socket.SOCK_DGRAM)
        self._tcp = world.gateway.call(socket.socket, family, socket.SOCK_STREAM)
        self._udp.bind((address, 53))
        self._tcp.bind((address, 53))
        self._tcp.listen()
        self.asked: Counter[tuple[str, str]] = Counter()
        self._threads = [threading.Thread(target=serve) for serve in (self._serve_udp, self._serve_tcp)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for listening in (self._udp, self._tcp):
            with suppress(OSError):  # of UDP: it wakes the thread all the same
                listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while True:
            data, caller = self._udp.recvfrom(4096)
            if not data:
                return
            query = dns.message.from_wire(data)
            for reply in self._replies(query):
                self._udp.sendto(reply, caller)

    def _serve_tcp(self) -> None:
        while True:
            try:
                line, _ = self._tcp.accept()
            except OSError:
                return
            with line:
                query = dns.message.from_wire(line.recv(4096)[2:])
                if _label(query) == "hangs-up":
                    line.sendall(b"\1")
                    continue
                wire = _answer(query).to_wire()
                line.sendall(len(wire).to_bytes(2, "big") + wire)

    def _replies(self, query: dns.message.Message) -> Iterator[bytes]:
        label, kind = _label(query), dns.rdatatype.to_text(query.question[0].rdtype)
        self.asked[label, kind] += 1
        if label == "silent" or (label == "mute6" and kind == "AAAA"):
            return
        if label == "lost" and self.asked[label, kind] == 1:
            return
        if label == "forged":
            yield b"nonsense"
            forged = _answer(query, four="203.0.113.66", six="2001:db8:66::66")
            forged.id ^= 1
            yield forged.to_wire()
        answer = _answer(query)
        if label in {"large", "hangs-up"}:
            answer.answer.clear()
            answer.flags |= dns.flags.TC
        yield answer.to_wire()


def _label(query: dns.message.Message) -> str:
    return query.question[0].name.labels[0].decode()


def _answer(query: dns.message.Message, four: str = str(FOUR), six: str = str(SIX)) -> dns.message.Message:
    answer = dns.message.make_response(query)
    question, label = query.question[0], _label(query)
    if label == "none":
        answer.set_rcode(dns.rcode.NXDOMAIN)
    elif label == "broken":
        answer.set_rcode(dns.rcode.SERVFAIL)
    elif label == "alias":
        answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", "CNAME", "vpn.example."))
        answer.answer.append(dns.rrset.from_text("vpn.example.", 60, "IN", question.rdtype, _of(question, four, six)))
    elif label != "nothing" and (label != "v4only" or question.rdtype == dns.rdatatype.A):
        answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", question.rdtype, _of(question, four, six)))
    return answer


def _of(question: dns.rrset.RRset, four: str, six: str) -> str:
    return four if question.rdtype == dns.rdatatype.A else six


@pytest.fixture
def server(world: World) -> Iterator[NameServer]:
    """Give the name server of the laptop's uplink."""
    with NameServer(world, GATEWAY) as serving:
        yield serving


def ask(
    world: World, host: str, servers: Sequence[str] = (GATEWAY,), device: str = "eth0", want: Sequence[int] = (4, 6)
) -> tuple[IPAddress, ...]:
    return world.laptop.call(lambda: asyncio.run(resolve(host, device, servers, 1000.0, want)))


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("vpn.example", (FOUR, SIX)),
        ("vpn.example.", (FOUR, SIX)),
        ("alias.example", (FOUR, SIX)),
        ("v4only.example", (FOUR,)),
        ("mute6.example", (FOUR,)),
        ("forged.example", (FOUR, SIX)),
        ("large.example", (FOUR, SIX)),
        ("lost.example", (FOUR, SIX)),
    ],
)
def test_a_name_has_the_addresses_that_the_resolver_gives(
    world: World, server: NameServer, host: str, addresses: tuple[IPAddress, ...]
) -> None:
    assert ask(world, host) == addresses


def test_only_the_wanted_versions_are_asked_for_and_come_in_their_order(world: World, server: NameServer) -> None:
    assert ask(world, "vpn.example", want=(6, 4)) == (SIX, FOUR)
    assert ask(world, "vpn.example", want=(6,)) == (SIX,)
    assert server.asked["vpn", "A"] == 1


def test_a_resolver_may_be_reached_by_ipv6(world: World) -> None:
    with NameServer(world, GATEWAY6):
        assert ask(world, "vpn.example", (GATEWAY6,)) == (FOUR, SIX)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("none.example", r"none\.example: there is no such name"),
        ("nothing.example", r"nothing\.example: the name exists, but has no address of IP version 4 or 6"),
        ("broken.example", r"no DNS server of eth0 helps \(192\.0\.2\.1: it answers SERVFAIL\)"),
        ("hangs-up.example", r"192\.0\.2\.1: it hung up in the middle of its answer"),
        ("a..b", r"a\.\.b: is no host name"),
        ("x" * 64, "is no host name"),
    ],
)
def test_a_failure_says_what_is_wrong_with_the_name(world: World, server: NameServer, host: str, words: str) -> None:
    with pytest.raises(Unresolved, match=words) as failed:
        ask(world, host)
    assert failed.value.failure.kind is FailureClass.NAME


def test_a_resolver_that_does_not_answer_ends_at_the_deadline(world: World, server: NameServer) -> None:
    with pytest.raises(Unresolved, match=r"no answer from 192\.0\.2\.1 through eth0 within 0\.3 s"):
        world.laptop.call(lambda: asyncio.run(resolve("silent.example", "eth0", (GATEWAY,), 0.3)))


def test_the_next_resolver_is_asked_when_one_is_dead(world: World, server: NameServer) -> None:
    assert ask(world, "vpn.example", ("192.0.2.99", GATEWAY)) == (FOUR, SIX)


def test_without_a_resolver_nobody_is_asked(world: World) -> None:
    with pytest.raises(Unresolved, match="nobody to ask, since eth0 has no DNS server"):
        ask(world, "vpn.example", ())


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7", "[2001:db8::7]"])
def test_an_address_stands_for_itself(world: World, host: str) -> None:
    assert ask(world, host, ()) == (ip_address(host.strip("[]")),)


def test_questions_leave_through_the_uplink_though_a_route_leads_elsewhere(world: World, server: NameServer) -> None:
    world.laptop.run("ip", "link", "add", "decoy", "type", "veth", "peer", "name", "decoy-peer")
    world.laptop.batch("link set decoy up", "link set decoy-peer up", f"route add {GATEWAY}/32 dev decoy")
    assert ask(world, "vpn.example") == (FOUR, SIX)
    with pytest.raises(Unresolved):
        world.laptop.call(lambda: asyncio.run(resolve("vpn.example", "decoy", (GATEWAY,), 0.3)))


def test_a_vanished_uplink_is_a_failure_in_words(world: World) -> None:
    with pytest.raises(Unresolved, match=r"vpn\.example: no DNS server of gone0 helps"):
        ask(world, "vpn.example", device="gone0")


def test_etc_hosts_is_believed_first(
    world: World, server: NameServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# vpn\n192.0.2.50 other VPN.example # mine\n2001:db8::50\tvpn.example\nbroken vpn.example\n\n")
    monkeypatch.setattr(module, "HOSTS", hosts)
    assert ask(world, "Vpn.Example.") == (ip_address("192.0.2.50"), ip_address("2001:db8::50"))
    assert ask(world, "vpn.example", want=(6,)) == (ip_address("2001:db8::50"),)
    monkeypatch.setattr(module, "HOSTS", tmp_path / "none")
    assert ask(world, "vpn.example") == (FOUR, SIX)
