"""Asking something behind a tunnel for a sign of life: each probe returns what is wrong in words, or nothing.

The sockets are bound to the tunnel's device (SO_BINDTODEVICE), so that no answer that came another way counts.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from autovpn.core.network import IPAddress
from autovpn.errors import Refused, SystemFault
from autovpn.system.hooks import trusted_program
from autovpn.system.output import shown
from autovpn.system.programs import run_program

PATIENCE: Final = 5.0
"""Seconds that a far end has to answer, a satellite and a lossy radio on the way."""

_AGAIN: Final = 1.0
_ECHO: Final = struct.Struct(">BBHHH")  # type, code, checksum, identifier, sequence number (RFC 792, RFC 4443)
_LARGEST: Final = 4096
_DNS_PORT: Final = 53
_ROOT: Final = bytes.fromhex("a17e 0100 0001 0000 0000 0000 00 0002 0001")  # RFC 1035: a query for NS of the root
_WORDS: Final = 200
_ICMP_FILTER: Final = 1  # linux/icmp.h; level SOL_RAW
_SOL_RAW: Final = 255


async def ping(address: IPAddress, device: str, patience: float = PATIENCE) -> str:
    """Ask for an echo, again each second, until one comes back."""
    fault = f"no answer from {address} through {device}"
    identifier = int.from_bytes(os.urandom(2), "big")
    try:
        with _icmp_socket(address, device) as icmp:
            async with asyncio.timeout(patience):
                await _echo(icmp, address, identifier)
    except TimeoutError:
        return fault
    except OSError as error:
        return f"{fault}: {error.strerror}"
    return ""


async def connect(address: IPAddress, port: int, device: str, patience: float = PATIENCE) -> str:
    """Open a TCP connection; one that is refused was refused by the far end, so packets pass both ways."""
    fault = f"no connection to {address} port {port} through {device}"
    loop = asyncio.get_running_loop()
    try:
        with _bound(address, socket.SOCK_STREAM, 0, device) as tcp:
            async with asyncio.timeout(patience):
                await loop.sock_connect(tcp, (str(address), port))
    except TimeoutError:
        return fault
    except OSError as error:
        return "" if error.errno == errno.ECONNREFUSED else f"{fault}: {error.strerror}"
    return ""


async def ask(address: IPAddress, device: str, patience: float = PATIENCE) -> str:
    """Ask a DNS server for the root's servers; whatever it says is an answer, and so is a refusal on the way."""
    fault = f"no answer from the DNS server {address} through {device}"
    loop = asyncio.get_running_loop()
    try:
        with _bound(address, socket.SOCK_DGRAM, 0, device) as udp:
            udp.connect((str(address), _DNS_PORT))
            async with asyncio.timeout(patience):
                await loop.sock_sendall(udp, _ROOT)
                with suppress(OSError):
                    await loop.sock_recv(udp, _LARGEST)
    except TimeoutError:
        return fault
    except OSError as error:
        return f"{fault}: {error.strerror}"
    return ""


async def succeed(argv: tuple[str, ...], environment: Mapping[str, str], nonce: str, deadline: float) -> str:
    """Run a program that only root can have put there; it succeeds with the exit status 0."""
    try:
        program = await asyncio.to_thread(trusted_program, argv[0])
        done = await run_program((str(program), *argv[1:]), environment, nonce=nonce, deadline=deadline, keep=_WORDS)
    except (Refused, SystemFault, OSError) as error:
        return f"the check could not be run ({error})"
    if done.status == 0:
        return ""
    said = shown(done.output.strip(), _WORDS)
    how = f"did not end within {deadline:g} s" if done.status is None else f"ended with status {done.status}"
    return f"{argv[0]} {how}{f' ({said})' if said else ''}"


async def _echo(icmp: socket.socket, address: IPAddress, identifier: int) -> None:
    loop = asyncio.get_running_loop()
    request = _request(address, identifier)
    while True:
        # A send that fails (no route yet, a full queue) is one lost packet; the time that is left decides.
        with suppress(OSError):
            await loop.sock_sendto(icmp, request, (str(address), 0))
        with suppress(TimeoutError):
            async with asyncio.timeout(_AGAIN):
                # Receiving does not yield while packets wait: a flood from the far end would hold up everything.
                while not _answers(await loop.sock_recvfrom(icmp, _LARGEST), address, identifier):  # noqa: ASYNC110
                    await asyncio.sleep(0)
                return


def _answers(received: tuple[bytes, tuple[str, int]], address: IPAddress, identifier: int) -> bool:
    packet, (sender, *_) = received
    skipped = (packet[0] & 0x0F) * 4 if address.version == 4 and packet else 0  # noqa: PLR2004 - IPv4 comes with its header
    if len(packet) < skipped + _ECHO.size or sender.partition("%")[0] != str(address).partition("%")[0]:
        return False
    kind, _, _, theirs, _ = _ECHO.unpack_from(packet, skipped)
    return bool(kind == _reply_of(address) and theirs == identifier)


def _request(address: IPAddress, identifier: int) -> bytes:
    """Return an echo request; the kernel puts in ICMPv6's checksum, which covers addresses (raw(7), RFC 3542)."""
    if address.version == 6:  # noqa: PLR2004 - IPv6
        return _ECHO.pack(128, 0, 0, identifier, 1)
    total = 0x0800 + identifier + 1  # the sum of all the words but the checksum (RFC 1071)
    return _ECHO.pack(8, 0, ~(total + (total >> 16)) & 0xFFFF, identifier, 1)


def _reply_of(address: IPAddress) -> int:
    return 0 if address.version == 4 else 129  # noqa: PLR2004 - IPv4


def _icmp_socket(address: IPAddress, device: str) -> socket.socket:
    protocol = socket.IPPROTO_ICMP if address.version == 4 else socket.IPPROTO_ICMPV6  # noqa: PLR2004 - IPv4
    icmp = _bound(address, socket.SOCK_RAW, protocol, device)
    if address.version == 4:  # noqa: PLR2004 - IPv4
        icmp.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", 0xFFFF_FFFF & ~(1 << _reply_of(address))))
    return icmp


def _bound(address: IPAddress, kind: int, protocol: int, device: str) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
    except OSError:
        made.close()
        raise
    return made
