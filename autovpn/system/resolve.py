"""Resolves the names of tunnel endpoints through the uplink's own resolvers, whatever the machine's DNS says now."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
import struct
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from autovpn.core.network import IPAddress
from autovpn.core.routing import DNS_PORT, QUERY_PORTS
from autovpn.core.tunnel import Failure, FailureClass
from autovpn.core.upstream import is_local
from autovpn.errors import SystemFault

HOSTS = Path("/etc/hosts")
LOOPBACK = "lo"

FIRST_WAIT = 1.0
"""Seconds that a server has before the next is asked; doubled with each round."""

SECOND_WAIT = 0.5
"""Seconds that the other IP version still has once one has addresses."""

_LARGEST = 65535
_RECORDS = {4: dns.rdatatype.A, 6: dns.rdatatype.AAAA}


class Unresolved(SystemFault):
    """A name could not be resolved; `failure` is what the tunnel's attempt failed with."""

    def __init__(self, words: str) -> None:
        """Take the words for the user."""
        super().__init__(words)
        self.failure = Failure(FailureClass.NAME, words)


async def resolve(
    host: str, device: str, servers: Sequence[str], deadline: float, want: Sequence[int] = (4, 6)
) -> tuple[IPAddress, ...]:
    """Return the addresses of a host, of the IP versions in `want` and in their order.

    An address stands for itself and /etc/hosts is believed first. Every packet leaves through `device`
    (SO_BINDTODEVICE of socket(7)): a tunnel's resolver must never be asked where the tunnel begins. Only a resolver on
    this machine is asked over loopback. `servers` are addresses, asked in turn; `deadline` is in seconds for all of it.
    Raises Unresolved.
    """
    if literal := _literal(host):
        return (literal,)
    if listed := _listed(host, await asyncio.to_thread(_hosts), want):
        return listed
    if not servers:
        msg = f"{host}: nobody to ask, since {device} has no DNS server"
        raise Unresolved(msg)
    name = _name(host)
    results = await _within(deadline, [_Question(name, version, device, tuple(servers)).ask() for version in want])
    found = tuple(address for result in results if isinstance(result, tuple) for address in result)
    if found:
        return found
    for fault in results:
        if isinstance(fault, Unresolved):
            raise fault
    if all(isinstance(result, tuple) for result in results):
        msg = f"{host}: the name exists, but has no address of IP version {' or '.join(map(str, want))}"
    else:
        msg = f"{host}: no answer from {_asked_through(servers, device)} within {deadline:g} s{_advice(servers)}"
    raise Unresolved(msg)


Answer = tuple[IPAddress, ...]


async def _within(deadline: float, asking: list[Coroutine[Any, Any, Answer]]) -> list[Answer | BaseException]:
    """Return what came of each question; one without an answer is cancelled.

    Once one version has addresses the other has little time left: many resolvers never answer for AAAA.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline
    tasks = [loop.create_task(question) for question in asking]
    try:
        first, later = await asyncio.wait(tasks, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
        if later:
            remaining = max(end - loop.time(), 0)
            has_addresses = any(not task.exception() and task.result() for task in first)
            await asyncio.wait(later, timeout=min(SECOND_WAIT, remaining) if has_addresses else remaining)
    finally:
        for task in tasks:
            task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


class _Question:
    """One name and one record type, asked of all servers until one answers."""

    def __init__(self, name: dns.name.Name, version: int, device: str, servers: tuple[str, ...]) -> None:
        self._query = dns.message.make_query(name, _RECORDS[version], use_edns=True)
        self._host = name.to_text(omit_final_dot=True)
        self._device = device
        self._servers = servers

    async def ask(self) -> Answer:
        """Ask round after round, since a packet may be lost; whoever asks has a deadline."""
        wait = FIRST_WAIT
        while True:
            faults = []
            for server in self._servers:
                try:
                    async with asyncio.timeout(wait):
                        return self._judged(await self._asked(server))
                except TimeoutError:
                    continue
                except (OSError, dns.exception.DNSException) as error:
                    faults.append(f"{server}: {error}")
            if len(faults) == len(self._servers):
                said = "; ".join(faults)
                msg = f"{self._host}: no DNS server of {self._device} helps ({said}){_advice(self._servers)}"
                raise Unresolved(msg)
            wait *= 2

    def _judged(self, answer: dns.message.Message) -> Answer:
        """Return the addresses at the end of the chain of names; a server that fails is another's turn."""
        if answer.rcode() == dns.rcode.NXDOMAIN:
            msg = f"{self._host}: there is no such name"
            raise Unresolved(msg)
        if answer.rcode() != dns.rcode.NOERROR or not isinstance(answer, dns.message.QueryMessage):
            msg = f"it answers {dns.rcode.to_text(answer.rcode())}"
            raise OSError(msg)
        records = answer.resolve_chaining().answer
        return tuple(ipaddress.ip_address(record.address) for record in records) if records else ()

    async def _asked(self, server: str) -> dns.message.Message:
        wire = await self._by_udp(server)
        return await self._by_tcp(server) if wire.flags & dns.flags.TC else wire

    async def _by_udp(self, server: str) -> dns.message.Message:
        loop = asyncio.get_running_loop()
        async with _connected(server, self._device, socket.SOCK_DGRAM) as link:
            await loop.sock_sendall(link, self._query.to_wire())
            while True:
                data = await loop.sock_recv(link, _LARGEST)
                with suppress(dns.exception.DNSException):  # anybody can send nonsense; the answer may still come
                    answer = dns.message.from_wire(data, ignore_trailing=True)
                    if self._query.is_response(answer):
                        return answer

    async def _by_tcp(self, server: str) -> dns.message.Message:
        loop = asyncio.get_running_loop()
        wire = self._query.to_wire()
        async with _connected(server, self._device, socket.SOCK_STREAM) as link:
            await loop.sock_sendall(link, struct.pack("!H", len(wire)) + wire)
            (length,) = struct.unpack("!H", await _exactly(link, 2))
            answer = dns.message.from_wire(await _exactly(link, length))
        if not self._query.is_response(answer):
            msg = "it answers another question"
            raise OSError(msg)
        return answer


@asynccontextmanager
async def _connected(server: str, device: str, kind: socket.SocketKind) -> AsyncIterator[socket.socket]:
    """Give a socket that can use this device (for a server on this machine: loopback) and hears this server alone."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, kind | socket.SOCK_NONBLOCK) as link:
        through = LOOPBACK if is_local(server) else device
        link.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, through.encode())
        _take_query_port(link)
        await asyncio.get_running_loop().sock_connect(link, (server, DNS_PORT))
        yield link


def _asked_through(servers: Sequence[str], device: str) -> str:
    """Return the servers in words, with the device that those elsewhere were asked through."""
    asked = ", ".join(servers)
    return asked if all(map(is_local, servers)) else f"{asked} through {device}"


def _advice(servers: Sequence[str]) -> str:
    """Return what there is to know of resolvers on this machine when nobody could help, or nothing."""
    local = ", ".join(server for server in servers if is_local(server))
    if not local:
        return ""
    return (
        f"; {local} is a resolver on this machine, whose own questions may be held back while a full tunnel is being "
        "made: name the tunnel's endpoint by its address, or list it in /etc/hosts"
    )


def _take_query_port(link: socket.socket) -> None:
    """Ask from a port whose answers get in beside a guard (`core.routing.guard`), or from any where none is free."""
    for port in random.SystemRandom().sample(QUERY_PORTS, len(QUERY_PORTS)):
        with suppress(OSError):
            link.bind(("", port))
            return


async def _exactly(link: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        chunk = await asyncio.get_running_loop().sock_recv(link, length - len(data))
        if not chunk:
            msg = "it hung up in the middle of its answer"
            raise OSError(msg)
        data += chunk
    return data


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _name(host: str) -> dns.name.Name:
    """Return the name as an absolute one: search domains are the old network's guess, and no part of an endpoint."""
    try:
        return dns.name.from_text(host)
    except (dns.exception.DNSException, UnicodeError) as error:
        msg = f"{host}: is no host name ({error})"
        raise Unresolved(msg) from error


def _hosts() -> str:
    try:
        return HOSTS.read_text(errors="replace")
    except OSError:
        return ""


def _listed(host: str, hosts: str, want: Sequence[int]) -> Answer:
    """Return the addresses that hosts(5) has for a name, in the order of `want`."""
    name = host.rstrip(".").lower()
    found: list[IPAddress] = []
    for line in hosts.splitlines():
        address, *names = line.partition("#")[0].lower().split() or [""]
        if name in names and (literal := _literal(address)):
            found.append(literal)
    return tuple(address for version in want for address in found if address.version == version)
