"""One network namespace of a test: programs and Python in it, files of its own, and its state as text."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
T = TypeVar("T")

# The deadlines are for a machine at its full speed; an emulated one says by what they are multiplied.
SLOWNESS = float(os.environ.get("AUTOVPN_TEST_SLOWNESS", "1"))

CLONE_NEWNET = 0x40000000  # <linux/sched.h>
IFA_F_TENTATIVE = 0x40  # <linux/if_addr.h>
IPV6_ADDR_LINKLOCAL = "20"  # include/net/ipv6.h, as /proc/net/if_inet6 has it
_libc = ctypes.CDLL(None, use_errno=True)

# A private /etc that starts as a copy of the machine's, and empty /run and /var/lib. Hard links and renames behave in
# it as on a disk. `exec cat` keeps the mount namespace for as long as its standard input is open.
PRIVATE = """
mount -t tmpfs -o mode=755 tmpfs "$1" && cp -a /etc/. "$1" && mount --bind "$1" /etc &&
mount -t tmpfs -o mode=755 tmpfs /run && mount -t tmpfs -o mode=755 tmpfs /var/lib &&
rm -f /etc/resolv.conf && printf 'nameserver 192.0.2.1\\n' >/etc/resolv.conf && echo ready && exec cat
"""


def prefix_of(pid: int) -> str:
    """Return what the names of a test run's namespaces begin with."""
    return f"avt{pid}-"


def namespaces() -> list[str]:
    """Return the names of the machine's named network namespaces."""
    listing = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    return [line.split()[0] for line in listing.splitlines()]


class Program:
    """A program that runs in a namespace, in a session of its own, with its output in a file."""

    def __init__(self, argv: tuple[str, ...], log: Path) -> None:
        """Start it."""
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """The process: the program's own, since what starts it execs it."""
        return self.process.pid

    @property
    def output(self) -> str:
        """What it has printed so far, both streams."""
        return self.log.read_text(errors="replace")

    def stop(self, number: signal.Signals = signal.SIGTERM, deadline: float = 40.0) -> int:
        """Send a signal, wait for the end, and return the exit status (negative: the signal it died of)."""
        self.process.send_signal(number)
        return self.process.wait(deadline * SLOWNESS)

    def end(self) -> None:
        """Kill it and its session, if there is anything left to kill."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


class Namespace:
    """A named network namespace, `ip netns exec NAME`, while its world lasts."""

    def __init__(self, name: str, scratch: Path) -> None:
        """Nothing is made yet: `create` does."""
        self.name = name
        self.path = Path("/run/netns") / name
        self._scratch = scratch
        self._programs: list[Program] = []
        self._holder: subprocess.Popen[str] | None = None

    def create(self) -> None:
        """Make it, with its loopback up and without duplicate address detection, so that addresses hold at once."""
        self._scratch.mkdir(parents=True)
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        for scope in ("all", "default"):
            self.write(f"/proc/sys/net/ipv6/conf/{scope}/accept_dad", "0")
        self.run("ip", "link", "set", "lo", "up")

    def remove(self) -> None:
        """Kill all that runs in it, and delete it; devices and connections go with it."""
        for program in self._programs:
            program.end()
        if self._holder is not None:
            self._holder.kill()
            self._holder.communicate()
        listing = subprocess.run(["ip", "netns", "pids", self.name], check=False, capture_output=True, text=True)
        for pid in map(int, listing.stdout.split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)

    # -- programs

    def run(
        self, *argv: str, check: bool = True, stdin: str | None = None, deadline: float = 60.0, private: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; without success fail with its own words, unless `check` is off."""
        done = subprocess.run(
            self.command(*argv, private=private),
            check=False,
            input=stdin or "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=deadline * SLOWNESS,
        )
        assert done.returncode == 0 or not check, f"{self.name}: {argv} gave {done.returncode}: {done.stderr}"
        return done

    def spawn(self, *argv: str, private: bool = False) -> Program:
        """Start a program; the world's end is its end at the latest."""
        log = self._scratch / f"{len(self._programs)}-{Path(argv[0]).name}.log"
        program = Program(self.command(*argv, private=private), log)
        self._programs.append(program)
        return program

    def run_private(self, *argv: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program that has the private file system: its own /etc, /run and /var/lib."""
        return self.run(*argv, check=check, stdin=stdin, private=True)

    def spawn_private(self, *argv: str) -> Program:
        """Start a program that has the private file system: its own /etc, /run and /var/lib."""
        return self.spawn(*argv, private=True)

    def command(self, *argv: str, private: bool = False) -> tuple[str, ...]:
        """Return the argument list that runs a program here."""
        mounts = ("--mount", f"--target={self.holder}", "--wdns=/") if private else ()
        return ("nsenter", f"--net={self.path}", *mounts, "--", *argv)

    def batch(self, *lines: str) -> None:
        """Carry out lines of `ip`, each of the family that its addresses have."""
        for family in ("-4", "-6"):
            chosen = [line.removeprefix("-6 ") for line in lines if (":" in line) == (family == "-6")]
            self.run("ip", family, "-batch", "-", stdin="\n".join(chosen))

    def is_settled(self, *devices: str) -> bool:
        """Report whether the kernel is done with the IPv6 addresses of these devices."""
        return self.call(is_settled, *devices)

    def listens_at(self, ending: str) -> bool:
        """Report whether a program listens at a Unix socket with such a path, without a connection to it.

        Not even `wg` may look before: it removes a socket that is bound and does not listen yet
        (userspace_interface_file in wireguard-tools' ipc-uapi-unix.h).
        """
        sockets = (line.split() for line in self.run("cat", "/proc/net/unix").stdout.splitlines())
        return any(words[-1].endswith(ending) and words[3] == "00010000" for words in sockets)  # __SO_ACCEPTCON

    def ping(self, address: str, *, count: int = 1, wait: float = 1.0) -> bool:
        """Report whether an address answers; `wait` is how long the last answer may take, in seconds."""
        ping = ("ping", "-n", "-q", "-i", "0.2", "-c", str(count), "-W", str(wait * SLOWNESS), address)
        return self.run(*ping, check=False).returncode == 0

    def forward(self) -> None:
        """Let it pass packets on, as a router does."""
        self.write("/proc/sys/net/ipv4/ip_forward", "1")
        self.write("/proc/sys/net/ipv6/conf/all/forwarding", "1")

    # -- Python

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Have the calling thread, and threads that it starts meanwhile, in this namespace: sockets belong to it."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            inside = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _setns(inside)
            finally:
                os.close(inside)
            try:
                yield
            finally:
                _setns(before)
        finally:
            os.close(before)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the function returns in a thread of its own, which is in this namespace."""
        future: Future[T] = Future()

        def work() -> None:
            try:
                with self.enter():
                    future.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 (handed on to the caller)
                future.set_exception(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return future.result()

    def write(self, path: str, text: str) -> None:
        """Write a file of /proc/sys/net, which shows each thread its own namespace."""
        self.call(Path(path).write_text, text)

    # -- files

    @property
    def holder(self) -> int:
        """The process that keeps the private file system, which is made when first asked for."""
        if self._holder is None:
            etc = self._scratch / "etc"
            etc.mkdir()
            unshare = ("unshare", "--mount", "--propagation=private", "sh", "-c", PRIVATE, "sh", str(etc))
            self._holder = subprocess.Popen(
                ("nsenter", f"--net={self.path}", "--", *unshare),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            assert self._holder.stdout is not None
            assert self._holder.stdout.readline() == "ready\n", f"{self.name}: no private file system"
        return self._holder.pid

    def file(self, path: str) -> Path:
        """Return where a path of the private file system is seen from here, such as /etc/resolv.conf."""
        return Path(f"/proc/{self.holder}/root{path}")

    # -- state

    def snapshot(self) -> str:
        """Return links, addresses, rules, the routes of all tables and the nft rules as text, to compare as equal."""
        commands = (
            ("ip", "-details", "-oneline", "link"),
            ("ip", "-oneline", "address"),
            ("ip", "-4", "rule"),
            ("ip", "-6", "rule"),
            ("ip", "-4", "-details", "route", "show", "table", "all"),
            ("ip", "-6", "-details", "route", "show", "table", "all"),
            ("nft", "--stateless", "list", "ruleset"),
        )
        return "".join(f"$ {' '.join(argv)}\n{self.run(*argv).stdout}" for argv in commands)


def is_settled(*devices: str) -> bool:
    """Report whether these devices have their own IPv6 address and all are in use, where the calling thread is.

    The kernel's work queue comes to that some time after a link is up (addrconf_dad_work in net/ipv6/addrconf.c).
    """
    rows = [line.split()[3:] for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines()]
    own = {device for scope, _, device in rows if scope == IPV6_ADDR_LINKLOCAL}
    return own.issuperset(devices) and not any(int(flags, 16) & IFA_F_TENTATIVE for _, flags, _ in rows)


def _setns(descriptor: int) -> None:
    """Move the calling thread (setns(2); `os.setns` is Python 3.12's)."""
    if _libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
