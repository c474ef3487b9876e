"""The laptop of the scenarios: its daemons are forked off a process that has imported all, once for each file."""

from __future__ import annotations

import os
import signal
from functools import cached_property

from tests.netns.laptop import AUTOVPN, Laptop
from tests.netns.nursery import Newborn, Nursery
from tests.netns.world import wait_until


class EmulatedLaptop(Laptop):
    """A laptop on a processor on which an interpreter with a daemon's imports takes 15 seconds to start."""

    _newborn: Newborn | None = None
    _log_start = 0

    @cached_property
    def nursery(self) -> Nursery:
        """Where this laptop's daemons come from."""
        return Nursery(self)

    def start(self, program: tuple[str, ...] = AUTOVPN, deadline: float = 10.0) -> None:
        """Have a daemon forked, and return when it answers."""
        assert program == AUTOVPN
        nursery = self.nursery
        self._log_start = len(super().said)
        self._newborn = nursery.bear()
        wait_until(self._answers, "the daemon to answer", deadline)

    @property
    def said(self) -> str:
        """Return what the present daemon has logged; those before it have logged to the same file."""
        return super().said[self._log_start :]

    def stop(self) -> int:
        """Stop the daemon as a service manager does, and return its exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the daemon without a word; what it started goes on."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Have the daemon end with everything in place, and start another."""
        self._end(signal.SIGUSR2)
        self.start()

    def _end(self, number: signal.Signals) -> int:
        assert self._newborn is not None
        os.kill(self._newborn.pid, number)
        status, self._newborn = self._newborn.wait(), None
        return status

    def clean(self) -> None:
        """Stop the daemon if a case has left it running, and forget its profiles and what its hooks have logged."""
        if self._newborn is not None:
            self.stop()
        self.log.unlink(missing_ok=True)
        for profile in self.namespace.file("/etc/autovpn/profiles").glob("*.toml"):
            profile.unlink()
