"""Looking at the laptop while something happens to it, and telling what has changed since the last look."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from autovpn.demo.laptop import RESOLV_CONF, Laptop
from autovpn.demo.namespaces import TICK
from autovpn.demo.timeline import Timeline
from autovpn.errors import ControlError, SystemFault

DEADLINE = 20.0
"""Seconds in which whatever a scene waits for must have happened."""

STATES = {
    "connecting": ("the tunnel connects",),
    "verifying": ("the tunnel is taken over, and tested",),
    "retrying": ("the tunnel has failed, and is tried again",),
    "failed": ("the tunnel has failed",),
    "lingering": ("the uplink is gone; nothing is undone yet", "it may come back within linger = 1s"),
    "up": ("everything is in place",),
}
"""What is told of an activation's states; those that are left out pass within a millisecond or two."""


class Watcher:
    """Prints the laptop's changes as they happen."""

    def __init__(self, laptop: Laptop, timeline: Timeline) -> None:
        """Take what is there now as known."""
        self._laptop = laptop
        self._timeline = timeline
        self._hooks = len(laptop.hooks())
        self._dns = RESOLV_CONF.read_bytes()
        self._states: dict[str, str] = {}
        self.status: Mapping[str, Any] = {"activations": [], "uplinks": [], "undoing": []}

    def until(self, reached: Callable[[], bool], what: str) -> None:
        """Tell what changes until `reached`, which may look at `status`.

        Raises:
            SystemFault: that took longer than DEADLINE.
        """
        end = time.monotonic() + DEADLINE
        while True:
            self._look()
            if reached():
                return
            if time.monotonic() > end:
                raise SystemFault(f"waited {DEADLINE:g} s in vain for {what}")
            time.sleep(TICK)

    def is_up(self, profile: str) -> bool:
        """Report whether this profile, and no other, is in place whole."""
        standing = [(found["profile"], found["state"]) for found in self.status["activations"]]
        return standing == [(profile, "up")] and not self.status["undoing"]

    def is_quiet(self) -> bool:
        """Report whether nothing is in place, and nothing is being undone."""
        return not self.status["activations"] and not self.status["undoing"]

    def tunnel(self) -> Mapping[str, Any]:
        """Return what is known of the tunnel that is up.

        Raises:
            SystemFault: there is none.
        """
        for activation in self.status["activations"]:
            for tunnel in activation["tunnels"]:
                if tunnel["name"] == activation["tunnel"]:
                    return dict(tunnel)
        raise SystemFault("no tunnel is up")

    def _look(self) -> None:
        try:
            self.status = self._laptop.status()
        except ControlError as error:
            raise SystemFault(f"the daemon does not answer: {error}") from error
        self._tell_arrivals()
        self._tell_files()
        self._tell_states()

    def _tell_arrivals(self) -> None:
        for activation in self.status["activations"]:
            if activation["profile"] not in self._states:
                self._timeline.event(f"profile {activation['profile']} applies", activation["reason"])

    def _tell_states(self) -> None:
        now = {found["profile"]: self._state(found) for found in self.status["activations"]}
        for name, state in now.items():
            if state in STATES and state != self._states.get(name):
                self._timeline.event(*STATES[state])
        self._states = now

    def _state(self, activation: Mapping[str, Any]) -> str:
        return "lingering" if activation["lingering"] else str(activation["state"])

    def _tell_files(self) -> None:
        """Tell of hooks and DNS in their order: DNS is in place before postup, and is given back after predown."""
        hooks = self._laptop.hooks()
        new, self._hooks = hooks[self._hooks :], len(hooks)
        if any(event == "postup" for _, event, *_ in new):
            self._tell_dns()
        for profile, event, uplink, device, reason in new:
            why = f"AUTOVPN_REASON={reason}" if event.endswith("down") else f"IFACE={uplink} AUTOVPN_DEVICE={device}"
            self._timeline.event(f"hook {event} has run for {profile}", why)
        self._tell_dns()

    def _tell_dns(self) -> None:
        dns = RESOLV_CONF.read_bytes()
        if dns != self._dns:
            servers = [line for line in dns.decode().splitlines() if line.startswith("nameserver")]
            self._timeline.event("resolv.conf has been swapped", ", ".join(servers))
        self._dns = dns
