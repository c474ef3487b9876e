"""Boot a virtual machine on the host's own file system, run one command in it, and hear from it as it goes.

    guest = Guest(kernel, ("python", "-m", "pytest", ...))
    for message in guest:        # each a line of JSON that the command wrote to $LAB_REPORTS
        ...
    guest.status                 # the command's exit status; None: the machine ended before the command did
    guest.end()

The processor is emulated, since the hosts that build this project have no hardware virtualisation to offer: Python
starts 20 times slower in there. The guest has a memory of its own over the host's files and no network device, so it
changes nothing and reaches nothing.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.lab.kernel import Kernel

QEMU: Final = "qemu-system-x86_64"
VIRTIOFSD: Final = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")  # Debian 12's, and the one after it
INIT: Final = Path(__file__).with_name("init")
MORTAL: Final = ("setpriv", "--pdeathsig", "KILL", "--")  # what is started so doesn't outlive the test run

MEMORY: Final = 768  # MiB; half of it may be files
BOOT_DEADLINE: Final = 90.0  # seconds to the command's begin, which takes 7 on a free core
SILENCE: Final = 480.0  # seconds without a message after which the guest counts as dead; one case takes less

# norandmaps is the greatest gain: the emulator translates code anew at each address. The rest spares work or timers.
KERNEL_ARGUMENTS: Final = (
    "root=labroot rootfstype=virtiofs ro console=ttyS0 quiet panic=-1 nokaslr norandmaps mitigations=off "
    "tsc=reliable nowatchdog audit=0 net.ifnames=0"
)


def virtiofsd() -> str | None:
    """Return the program that shares the host's files."""
    return next((path for path in VIRTIOFSD if os.access(path, os.X_OK)), None)


def why_no_guest() -> str | None:
    """Return why this machine can't boot a guest, or None when it can."""
    if os.geteuid() != 0:
        return "the lab needs root"
    if missing := [program for program in (QEMU, "setpriv", "modprobe") if not shutil.which(program)]:
        return f"the lab needs {', '.join(missing)}: make packages"
    return None if virtiofsd() else "the lab needs virtiofsd: make packages"


class Guest:
    """One virtual machine and what it says. A boot that fails is repeated once, what runs in it never is."""

    def __init__(self, kernel: Kernel, command: Sequence[str]) -> None:
        """Start it; it boots by itself."""
        self._kernel = kernel
        self._folder = Path(tempfile.mkdtemp(prefix="autovpn-lab-"))
        (self._folder / "command").write_bytes(b"".join(os.fsencode(word) + b"\0" for word in command))
        self.failed_boots = 0
        self.boot_seconds: float | None = None
        self.status: int | None = None
        self._started = self._heard = time.monotonic()
        self.seconds: float | None = None
        self.last_words = ""
        self._start()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield what the command reports, until it or its machine has ended."""
        while True:
            match self._next():
                case None if self._boots_again():
                    continue
                case None:
                    break
                case {"begun": _}:
                    self.boot_seconds = self._heard - self._started
                case {"ended": status}:
                    self.status = status
                case message:
                    yield message
        self.end()

    def end(self) -> None:
        """End the machine, if it has not ended, and leave nothing of it but `seconds` and `last_words`."""
        if self.seconds is not None:
            return
        self._stop()
        self.seconds = self._heard - self._started
        logs = [self._folder / name for name in ("output", "console", "qemu", "virtiofsd")]
        texts = [(log.name, log.read_text(errors="replace")[-8000:].strip()) for log in logs if log.exists()]
        self.last_words = "\n".join(f"--- {name}\n{text}" for name, text in texts if text)
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- the machine

    def _start(self) -> None:
        self._lines: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        self._files = self._share_files()
        with (self._folder / "qemu").open("wb") as log:
            # Its input is never written to, but while it is open the guest has somebody to report to.
            self._machine = subprocess.Popen(
                (*MORTAL, *self._qemu()), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        self._listener = threading.Thread(target=self._listen, args=(self._machine, self._lines), daemon=True)
        self._listener.start()

    def _share_files(self) -> subprocess.Popen[bytes]:
        program = virtiofsd()
        assert program is not None
        options = ("-o", "source=/", "-o", "sandbox=chroot", "-o", "cache=always")
        listener = socket.socket(socket.AF_UNIX)
        with listener, (self._folder / "virtiofsd").open("wb") as log:
            place = self._folder / "files.sock"
            place.unlink(missing_ok=True)
            listener.bind(str(place))
            listener.listen()
            return subprocess.Popen(
                (*MORTAL, program, f"--fd={listener.fileno()}", "-f", *options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(listener.fileno(),),
            )

    def _qemu(self) -> tuple[str, ...]:
        lab = f"init={INIT} LAB_KERNEL={self._kernel.root} LAB_COMMAND={self._folder}/command"
        options = {
            # One processor: with two, the kernel's patching of its own code killed one boot in twenty.
            "machine": "q35,memory-backend=memory",
            "accel": "tcg,tb-size=512",
            "cpu": "qemu64",
            "smp": "1",
            "m": str(MEMORY),
            "display": "none",
            "serial": f"file:{self._folder}/console",
            "kernel": str(self._kernel.image),
            "append": f"{KERNEL_ARGUMENTS} {lab}",
        }
        several = (
            ("object", f"memory-backend-memfd,id=memory,size={MEMORY}M,share=on"),
            ("chardev", f"socket,id=files,path={self._folder}/files.sock"),
            ("device", "vhost-user-fs-pci,chardev=files,tag=labroot,queue-size=1024"),
            ("device", "virtio-serial-pci"),
            ("chardev", f"file,id=output,path={self._folder}/output"),
            ("device", "virtconsole,chardev=output"),
            ("chardev", "stdio,id=reports,signal=off"),
            ("device", "virtserialport,chardev=reports,nr=1"),
            ("device", "virtio-rng-pci"),
        )
        words = [word for name, value in (*options.items(), *several) for word in (f"-{name}", value)]
        return (QEMU, "-nodefaults", "-no-user-config", "-no-reboot", *words)

    @staticmethod
    def _listen(machine: subprocess.Popen[bytes], lines: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        assert machine.stdout is not None
        with machine.stdout as reports:
            for line in reports:
                lines.put((time.monotonic(), line))
        lines.put((time.monotonic(), b""))

    def _next(self) -> dict[str, Any] | None:
        """Return the next message; None: the machine has ended, or says nothing any more."""
        patience = BOOT_DEADLINE if self.boot_seconds is None else SILENCE
        with suppress(queue.Empty):
            self._heard, line = self._lines.get(timeout=patience)
            if line.endswith(b"\n"):
                message: dict[str, Any] = json.loads(line)
                return message
        return None

    def _boots_again(self) -> bool:
        """Start anew if it is the emulator that failed, which no scenario has a part in."""
        if self.boot_seconds is not None or self.failed_boots == 2:
            return False
        self._stop()
        self.failed_boots += 1
        if self.failed_boots == 2:
            return False
        self._started = time.monotonic()
        self._start()
        return True

    def _stop(self) -> None:
        for process in (self._machine, self._files):
            process.kill()
            process.wait()
        assert self._machine.stdin is not None
        self._machine.stdin.close()
        self._listener.join()
