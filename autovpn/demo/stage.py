"""The stage: process 1 of the demo's PID namespace, with a private file system and a network without any link.

It is run by `unshare` as a module. When it ends, the kernel kills all that runs on the stage and takes it away.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from autovpn.demo import BROKEN, interpreter
from autovpn.demo.needs import found

SCRATCH = Path("/run/stage")
"""For logs and keys; in the private /run, so in nobody else's."""


def main() -> int:
    """Cover what the laptop has for itself, and run the director; return its exit status."""
    if os.getpid() != 1:
        sys.exit("this is a part of: autovpn demo")  # what it covers would be everybody's
    threading.Thread(target=_end_with_starter, daemon=True).start()
    _cover()
    director = subprocess.Popen((*interpreter(), "autovpn.demo.director", *sys.argv[1:]), stdin=subprocess.DEVNULL)
    return _reap_until_end_of(director.pid)


def _end_with_starter() -> None:
    """End at once, and all of the stage with us, when whoever started us has closed our input or is dead."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(BROKEN)


def _cover() -> None:
    """Lay an empty /run and /var/lib and a copy of /etc over this machine's, for this mount namespace alone."""
    for folder in dict.fromkeys([os.path.realpath("/run"), os.path.realpath("/var/run"), "/var/lib"]):
        _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
    SCRATCH.mkdir(mode=0o700)
    etc = SCRATCH / "etc"
    etc.mkdir(mode=0o755)
    # Programs want much of /etc: users, the linker's cache, the names of protocols. What can't be copied isn't missed.
    subprocess.run((found("cp"), "-a", "/etc/.", str(etc)), check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(etc / "autovpn", ignore_errors=True)
    for own in etc.glob("*resolv.conf*"):
        own.unlink()
    _mount("--bind", str(etc), "/etc")
    Path("/run/sshd").mkdir(mode=0o755)


def _mount(*arguments: str) -> None:
    done = subprocess.run((found("mount"), *arguments), check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"autovpn demo: the stage can't be made: {done.stderr.strip()}")


def _reap_until_end_of(director: int) -> int:
    """Bury whoever ends, as process 1 must: also the orphans of a daemon that was killed."""
    while True:
        process, status = os.wait()
        if process == director:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
