"""The story: what is done to the laptop, and the claims that are checked on the way."""

from __future__ import annotations

import difflib
import os
import signal
import subprocess
import sys

from autovpn.demo import BROKEN, HELD
from autovpn.demo.laptop import DAEMON_LOG, RESOLV_CONF, Laptop
from autovpn.demo.namespaces import CAFE, CAMPUS, OFFICE, SITE, Answers, Networks, await_that
from autovpn.demo.servers import start_server
from autovpn.demo.stage import SCRATCH
from autovpn.demo.timeline import JsonTimeline, Timeline
from autovpn.demo.watching import Watcher
from autovpn.errors import AutovpnError

PINGS = SCRATCH / "ping.log"


class Story:
    """The scenes, in their order."""

    def __init__(self, timeline: Timeline) -> None:
        """Set the stage."""
        self.timeline = timeline
        self.networks = Networks()
        server = start_server(self.networks)
        self.laptop = Laptop(self.networks, server)
        self.watcher = Watcher(self.laptop, timeline)
        self._tunnel_words = server.words
        self._before: list[str] = []

    def tell(self) -> None:
        """Tell all of it."""
        self._introduce()
        self.without()
        self._before = self.laptop.picture()
        self.laptop.start()
        self.joins_campus()
        self.moves_to_cafe()
        self.is_killed()
        self.leaves()

    def _introduce(self) -> None:
        self.timeline.text(
            ("autovpn demo", "bold"),
            ("the real daemon, real tunnels, and network namespaces; this machine is not touched", ""),
            ("", ""),
            ("   laptop ━━━━━━━━━━━━━━━━━━━━━ gateway ━━━━━━━━━━━━ office   10.20.0.2", "cyan"),
            ("          campus 192.0.2.0/24   VPN server           Internet 198.51.100.80", "dim"),
            ("          café 203.0.113.0/24   198.51.100.1", "dim"),
            ("", ""),
            (f"   the tunnel is {self._tunnel_words}", ""),
        )

    # -- scenes

    def without(self) -> None:
        """Show what the campus gives a laptop that has no tunnel."""
        self.timeline.scene("Without autovpn", "on the campus network the office can't be reached")
        self.networks.plug_in(CAMPUS)
        self.timeline.event("the cable is plugged in", f"{CAMPUS.laptop}, gateway {CAMPUS.router}")
        answers = self.networks.ping(OFFICE, count=1)
        self.claim("the office does not answer", answers.words, held=answers.refused and not answers.received)
        self.networks.unplug()
        self._show_resolv_conf("before")

    def joins_campus(self) -> None:
        """The network comes up, and the profile that matches it is carried out."""
        self.timeline.scene("The laptop joins the campus network", "the daemon runs; nobody types anything")
        self.timeline.block(*self.laptop.profile())
        self.networks.plug_in(CAMPUS)
        self.timeline.restart_clock()
        self.timeline.event("the cable is plugged in", f"{CAMPUS.laptop}, gateway {CAMPUS.router}")
        self.watcher.until(lambda: self.watcher.is_up("campus"), "the campus profile to be up")
        self._through_the_tunnel("the office answers, through the tunnel", OFFICE)
        self._hooks_ran("campus preup", "campus postup")
        self._asks("10.20.0.53")
        self._show_resolv_conf("now")

    def moves_to_cafe(self) -> None:
        """Another network, another profile: everything must go through the tunnel."""
        self.timeline.scene(
            "It moves to a café", "another network; there the default profile sends everything by tunnel"
        )
        self.networks.unplug()
        self.networks.plug_in(CAFE)
        self.timeline.restart_clock()
        self.timeline.event("the cable is in another network", f"{CAFE.laptop}, gateway {CAFE.router}")
        self.watcher.until(lambda: self.watcher.is_up("elsewhere"), "the profile for every other network to be up")
        self._hooks_ran("campus predown", "campus postdown")
        self._hooks_ran("elsewhere preup", "elsewhere postup")
        self._asks("10.20.0.54")
        in_clear = self.networks.in_clear()  # of the first scene, which shows that the gateway does count
        self._through_the_tunnel("the Internet answers, through the tunnel", SITE)
        leaked = self.networks.in_clear() - in_clear
        self.claim("not a packet left in clear", f"the gateway counted {leaked}", held=in_clear > 0 and not leaked)

    def is_killed(self) -> None:
        """The daemon dies without a word, and its successor takes over what it left."""
        self.timeline.scene("The daemon is killed", "SIGKILL, while a ping runs at 50 packets a second")
        device, dead, hooks = self._device(), self.laptop.pid, len(self.laptop.hooks())
        processes = self.laptop.processes()
        ping = self.networks.laptop.spawn("ping", "-n", "-i", "0.02", SITE, log=PINGS)
        self._answers_come()
        self.timeline.restart_clock()
        self.laptop.end(signal.SIGKILL)
        self.timeline.event(f"daemon {dead} is dead; its tunnel is not", f"device {device}")
        self._answers_come()
        self.laptop.start()
        self.timeline.event(f"daemon {self.laptop.pid} answers")
        self.watcher.until(lambda: self.watcher.is_up("elsewhere"), "the new daemon to take over")
        self._answers_come()
        answers = _finish(ping)
        lost = answers.sent - answers.received
        self.claim("not a packet was lost", answers.words, held=answers.received > 0 and not lost)
        same = self._device() == device and self.laptop.processes() == processes
        self.claim("it is the same tunnel", f"device {device}, {_listing(processes)}", held=same)
        again = len(self.laptop.hooks()) - hooks
        self.claim("no hook ran a second time", f"{again} ran", held=not again)

    def leaves(self) -> None:
        """The uplink goes for good, and everything is as before."""
        self.timeline.scene("The laptop leaves", "the cable is pulled out, and doesn't come back")
        self.networks.unplug()
        self.timeline.restart_clock()
        self.timeline.event("the cable is pulled out")
        self.watcher.until(self.watcher.is_quiet, "everything to be undone")
        self._hooks_ran("elsewhere predown", "elsewhere postdown")
        self._as_before("everything is as before, byte for byte", "links, addresses, routes, rules, processes")
        self._show_resolv_conf("after")
        status = self.laptop.end(signal.SIGTERM)
        self.claim("the daemon ends when it is told to", f"exit status {status}", held=status == 0)
        self._as_before("and leaves nothing of itself", "the same comparison once more")

    # -- claims

    def claim(self, words: str, aside: str, *, held: bool) -> None:
        """Print and remember whether a claim holds."""
        self.timeline.claim(words, aside, held=held)

    def _through_the_tunnel(self, words: str, address: str) -> None:
        device = self._device()
        before = self.networks.laptop.packets(device)
        answers = self.networks.ping(address)
        arrived = self.networks.laptop.packets(device) - before
        held = 0 < answers.sent == answers.received <= arrived
        self.claim(words, f"{answers.words}, {arrived} came by {device}", held=held)

    def _hooks_ran(self, *wanted: str) -> None:
        """Check the last hooks of one profile; those of two profiles may run at the same time."""
        profile = wanted[0].split()[0]
        ran = tuple(f"{whose} {event}" for whose, event, *_ in self.laptop.hooks() if whose == profile)[-len(wanted) :]
        self.claim("the hooks ran, in this order", ", ".join(ran), held=ran == wanted)

    def _asks(self, server: str) -> None:
        lines = RESOLV_CONF.read_text().splitlines()
        servers = [line.split()[1] for line in lines if line.startswith("nameserver")]
        self.claim("names are asked through the tunnel", f"nameserver {', '.join(servers)}", held=servers == [server])

    def _as_before(self, words: str, aside: str) -> None:
        now = self.laptop.picture()
        self.claim(words, aside, held=now == self._before)
        if now != self._before:
            changes = difflib.unified_diff(self._before, now, "before", "after", lineterm="", n=0)
            self.timeline.block("the difference", changes)

    # -- the laptop

    def _device(self) -> str:
        return str(self.watcher.tunnel()["device"])

    def _answers_come(self) -> None:
        """Return once ten more packets of the running ping have been answered."""
        goal = _answered() + 10
        await_that(lambda: _answered() >= goal, "answers to the ping")

    def _show_resolv_conf(self, when: str) -> None:
        facts = RESOLV_CONF.lstat()
        title = f"/etc/resolv.conf {when} (inode {facts.st_ino}, mode {facts.st_mode & 0o7777:o})"
        self.timeline.block(title, RESOLV_CONF.read_text().splitlines())


def _answered() -> int:
    return PINGS.read_text().count("bytes from") if PINGS.exists() else 0


def _finish(ping: subprocess.Popen[bytes]) -> Answers:
    ping.send_signal(signal.SIGINT)
    ping.wait(5.0)
    return Answers.of(PINGS.read_text())


def _listing(processes: dict[int, str]) -> str:
    return ", ".join(f"{name} {pid}" for pid, name in processes.items()) or "no process"


def main() -> int:
    """Tell the story and return the exit status."""
    if os.getppid() != 1 or not SCRATCH.exists():
        sys.exit("this is a part of: autovpn demo")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `autovpn demo | head` ends when head does
    timeline = JsonTimeline() if "--json" in sys.argv else Timeline()
    try:
        Story(timeline).tell()
    except AutovpnError as error:
        timeline.claim(str(error), held=False)
        log = DAEMON_LOG.read_text(errors="replace").splitlines() if DAEMON_LOG.exists() else []
        timeline.block("the daemon's last words", log[-20:])
    return _conclude(timeline)


def _conclude(timeline: Timeline) -> int:
    timeline.conclude()
    return BROKEN if timeline.broken else HELD


if __name__ == "__main__":
    sys.exit(main())
