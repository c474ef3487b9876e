"""A PPTP of our own for kernels without PPP: what pppd, pptp and pptpd do as far as a driver and a network can tell.

    pppd_stand_in.py nodetach ... pty 'exec pptp ADDRESS ...'    the client, which is called and answers like pppd(8)
    pppd_stand_in.py serve ADDRESS USER PASSWORD MPPE            the server

The control connection is on TCP port 1723 and the packets are in GRE (IP protocol 47), as with the real ones, so both
can be dropped on the way. What is said in them is ours: JSON lines, and a byte before each packet.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any, NoReturn

PORT = 1723
GRE = struct.Struct("!HHHHB")  # RFC 2637: flags and version 1, protocol, length, call; then what the packet is
REQUEST, REPLY, PACKET = 0, 1, 2

VALUED = {
    "pty", "user", "plugin", "passwordfd", "maxfail", "lcp-restart", "lcp-max-configure", "lcp-max-terminate",
    "lcp-echo-interval", "lcp-echo-failure", "ifname", "ipparam", "mtu", "mru", "logfd", "ip-up-script",
    "ip-down-script", "set",
}  # fmt: skip
PLAIN = {
    "nodetach", "noauth", "nopersist", "nodefaultroute", "noproxyarp", "noipdefault", "noipv6", "lcp-echo-adaptive",
    "hide-password", "nobsdcomp", "nodeflate", "novj", "refuse-eap", "refuse-pap", "refuse-chap", "refuse-mschap",
    "require-mppe-128", "require-mppe", "nomppe", "usepeerdns",
}  # fmt: skip


def tun(name: str) -> int:
    """Return a TUN device that lasts as long as its descriptor, as a PPP device does."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001))  # TUNSETIFF: IFF_TUN, IFF_NO_PI
    return device


def ip(*arguments: str) -> None:
    """Change a link or an address."""
    subprocess.run(("/usr/sbin/ip", *arguments), check=True)


def gre() -> socket.socket:
    """Return a socket that receives all GRE packets, each with its IPv4 header."""
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, 47)


def send(wire: socket.socket, to: str, call: int, what: int, content: bytes = b"") -> None:
    """Send one GRE packet, which may get lost."""
    with suppress(OSError):
        wire.sendto(GRE.pack(0x2001, 0x880B, len(content), call, what) + content, (to, 0))


def received(wire: socket.socket) -> tuple[str, int, int, bytes]:
    """Return the sender, the call, what a GRE packet is, and its content."""
    data, (sender, _) = wire.recvfrom(65535)
    body = data[4 * (data[0] & 15) :]
    _, _, length, call, what = GRE.unpack_from(body)
    return sender, call, what, body[GRE.size : GRE.size + length]


# -- the server


class Service:
    """The server: one TUN device, one thread for each control connection."""

    def __init__(self, address: str, user: str, password: str, mppe: str) -> None:
        """Serve from now on."""
        self.secret = [user, password]
        self.mppe = mppe
        self.calls: dict[str, tuple[str, int]] = {}
        self.wire = gre()
        self.device = tun("ppps0")
        ip("address", "add", "10.99.0.1/24", "dev", "ppps0")
        ip("link", "set", "ppps0", "mtu", "1396", "up")
        self.door = socket.create_server((address, PORT), reuse_port=False)

    def run(self) -> NoReturn:
        """Take control connections and packets."""
        for work in (self.from_wire, self.from_device):
            threading.Thread(target=work, daemon=True).start()
        number = 0
        while True:
            control, (peer, _) = self.door.accept()
            number += 1
            threading.Thread(target=self.converse, args=(control, peer, number), daemon=True).start()

    def converse(self, control: socket.socket, peer: str, number: int) -> None:
        """Answer one client for as long as its connection stands."""
        given = f"10.99.0.{100 + number % 100}"
        with control, control.makefile("rw") as lines, suppress(OSError):
            for line in lines:
                asked = json.loads(line)
                if asked["secret"] != self.secret:
                    answer: dict[str, object] = {"refused": "Access denied"}
                else:
                    self.calls[given] = (peer, asked["call"])
                    dns = ["10.20.0.53", "10.20.0.54"] if asked["dns"] else []
                    answer = {"local": given, "remote": "10.99.0.1", "dns": dns, "mppe": self.mppe}
                lines.write(json.dumps(answer) + "\n")
                lines.flush()
        self.calls.pop(given, None)

    def from_wire(self) -> None:
        """Answer requests, and take packets to the office."""
        while True:
            sender, call, what, content = received(self.wire)
            if what == REQUEST:
                send(self.wire, sender, call, REPLY)
            elif what == PACKET and (sender, call) in self.calls.values():
                os.write(self.device, content)

    def from_device(self) -> None:
        """Take packets to the clients."""
        while True:
            packet = os.read(self.device, 65535)
            if packet[0] >> 4 == 4 and (found := self.calls.get(socket.inet_ntoa(packet[16:20]))):
                send(self.wire, *found, PACKET, packet)


# -- the client


def say(line: str) -> None:
    """Print a line as pppd does with logfd 2."""
    os.write(2, f"{line}\n".encode())


def end(status: int, *words: str) -> NoReturn:
    """Say the last words, and end."""
    for line in words:
        say(line)
    sys.exit(status)


def parsed(arguments: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the options, and the environment of scripts; end as pppd does over one that it doesn't know."""
    options: dict[str, str] = {}
    environment: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        if word == "set":
            name, _, value = next(words).partition("=")
            environment[name] = value
        elif word in VALUED:
            options[word] = next(words)
        elif word in PLAIN:
            options[word] = ""
        else:
            end(2, f"pppd: unrecognized option '{word}'")
    return options, environment


class Client:
    """One connection to a server."""

    def __init__(self, options: dict[str, str], environment: dict[str, str]) -> None:
        """Read the password from where pppd would."""
        program, self.server, *flags = shlex.split(options["pty"].removeprefix("exec "))
        assert program == "pptp"
        assert {"--nolaunchpppd", "--nohostroute"} <= set(flags)
        self.options = options
        self.environment = environment
        with open(int(options["passwordfd"]), "rb", closefd=False) as pipe:
            self.password = pipe.read().decode()
        self.call = os.getpid() & 0xFFFF
        self.wire = gre()
        self.device = tun(options["ifname"])
        say(f"Renamed interface ppp0 to {options['ifname']}")
        say(f"Connect: {options['ifname']} <--> /dev/pts/0")

    def dial(self) -> socket.socket:
        """Open the control connection; a server that doesn't answer is waited for as long as LCP is tried."""
        patience = int(self.options["lcp-restart"]) * int(self.options["lcp-max-configure"])
        try:
            return socket.create_connection((self.server, PORT), timeout=patience)
        except TimeoutError:
            end(10, "LCP: timeout sending Config-Requests", "Connection terminated.")
        except OSError as error:
            end(
                16,
                f"anon warn[open_inetsock:pptp_callmgr.c:352]: connect: {os.strerror(error.errno or errno.EIO)}",
                f"anon fatal[callmgr_main:pptp_callmgr.c:134]: Could not open control connection to {self.server}",
                "anon fatal[open_callmgr:pptp.c:525]: Call manager exited with error 256",
                "Modem hangup",
                "Connection terminated.",
            )

    def negotiate(self) -> None:
        """Do what LCP does: ask until anything comes back."""
        for _ in range(int(self.options["lcp-max-configure"])):
            send(self.wire, self.server, self.call, REQUEST)
            until = time.monotonic() + int(self.options["lcp-restart"])
            while (left := until - time.monotonic()) > 0 and select.select([self.wire], [], [], left)[0]:
                if received(self.wire)[:3] == (self.server, self.call, REPLY):
                    return
        end(10, "LCP: timeout sending Config-Requests", "Connection terminated.")

    def identify(self, control: socket.socket) -> dict[str, object]:
        """Do what CHAP, CCP and IPCP do."""
        lines = control.makefile("rw")
        asked = {
            "secret": [self.options["user"], self.password],
            "call": self.call,
            "dns": "usepeerdns" in self.options,
        }
        lines.write(json.dumps(asked) + "\n")
        lines.flush()
        answer: dict[str, object] = json.loads(lines.readline() or '{"refused": "no answer"}')
        if words := answer.get("refused"):
            end(19, f"MS-CHAP authentication failed: {words}", "CHAP authentication failed", "Connection terminated.")
        say("CHAP authentication succeeded")
        if "nomppe" not in self.options:
            if answer["mppe"] == "none":
                end(10, "MPPE required but peer negotiation failed", "Connection terminated.")
            say("MPPE 128-bit stateless compression enabled")
        return answer

    def come_up(self, answer: dict[str, object]) -> None:
        """Give the device its address, say so, and run the script."""
        name, local, remote = self.options["ifname"], str(answer["local"]), str(answer["remote"])
        servers = answer["dns"]
        assert isinstance(servers, list)
        ip("address", "add", local, "peer", remote, "dev", name)
        ip("link", "set", name, "mtu", str(int(self.options["mtu"]) - 4), "up")
        for kind, address in zip(
            ("local ", "remote", "primary  ", "secondary"), (local, remote, *servers), strict=False
        ):
            say(f"{kind} {'DNS' if kind.endswith(('y', 'y  ')) else 'IP'} address {address}")
        told = {f"DNS{place}": server for place, server in enumerate(servers, 1)}
        with suppress(OSError):  # one that can't be run is no matter to pppd
            subprocess.Popen(
                (self.options["ip-up-script"], name, "", "38400", local, remote, self.options["ipparam"]),
                env={**told, **({"USEPEERDNS": "1"} if told else {}), **self.environment},
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def carry(self, control: socket.socket) -> NoReturn:
        """Carry packets until the server is gone."""
        interval, failures = int(self.options["lcp-echo-interval"]), int(self.options["lcp-echo-failure"])
        last = time.monotonic()
        while True:
            sources: list[Any] = [control, self.wire, self.device]
            ready, _, _ = select.select(sources, [], [], interval)
            if time.monotonic() - last > interval * failures:
                words = f"No response to {failures} echo-requests", "Serial link appears to be disconnected."
                end(15, *words, "Connection terminated.")
            if time.monotonic() - last >= interval:
                send(self.wire, self.server, self.call, REQUEST)
            if control in ready and not control.recv(1):
                end(16, "Modem hangup", "Connection terminated.")
            if self.wire in ready:
                sender, call, what, content = received(self.wire)
                if (sender, call) == (self.server, self.call):
                    last = time.monotonic()
                    if what == PACKET:
                        os.write(self.device, content)
            if self.device in ready:
                send(self.wire, self.server, self.call, PACKET, os.read(self.device, 65535))


def connect(arguments: list[str]) -> NoReturn:
    """Do what pppd does."""
    signal.signal(signal.SIGTERM, lambda *_: end(5, "Terminating on signal 15", "Connection terminated."))
    signal.signal(signal.SIGUSR1, lambda *_: say("sent [LCP EchoReq id=0x1 magic=0x1]"))  # as with pppd's debug
    client = Client(*parsed(arguments))
    control = client.dial()
    client.negotiate()
    client.come_up(client.identify(control))
    client.carry(control)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        Service(*sys.argv[2:]).run()
    connect(sys.argv[1:])
