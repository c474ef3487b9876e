"""The sockets of one tunnel: conversations with its own program, or with a strongSwan that runs already."""

from __future__ import annotations

from collections.abc import Callable
from socket import socket

from autovpn.core.actions import Open, Send, ViciCall, ViciOpen
from autovpn.core.driving import DriverEvent
from autovpn.system import process as processes
from autovpn.system.dialogue import Dialogue
from autovpn.system.peer import roots_session
from autovpn.system.process import Process
from autovpn.system.vici import Vici


class Sockets:
    """Opens, feeds and closes them; a second opening of a channel replaces the first.

    `is_ours` is asked about each server; `found` is told of the session of a foreign one, whose scripts may call.
    """

    def __init__(
        self,
        report: Callable[[DriverEvent], None],
        is_ours: Callable[[socket], bool],
        found: Callable[[Process], None],
    ) -> None:
        """Begin with none."""
        self._report = report
        self._is_ours = is_ours
        self._found = found
        self._dialogues: dict[str, Dialogue] = {}
        self._vici: Vici | None = None
        self._foreign: Process | None = None

    def execute(self, action: Open | Send | ViciOpen | ViciCall) -> None:
        """Carry out one action; what comes of it is reported."""
        match action:
            case Open(channel, path):
                if channel in self._dialogues:
                    self._dialogues[channel].close()
                self._dialogues[channel] = Dialogue(channel, path, self._report, self._is_ours)
            case Send(channel, data):
                if channel in self._dialogues:
                    self._dialogues[channel].send(data)
            case ViciOpen(foreign=foreign):
                self._vici = Vici(action, self._report, self._is_roots if foreign else self._is_ours)
            case ViciCall():
                if self._vici is not None:
                    self._vici.call(action)

    def close(self) -> None:
        """Hang up everywhere."""
        for dialogue in self._dialogues.values():
            dialogue.close()
        if self._vici is not None:
            self._vici.close()
        if self._foreign is not None:
            self._foreign.release()
            self._foreign = None

    def _is_roots(self, server: socket) -> bool:
        """Report whether the server is root's, whose word counts as much as ours; its scripts may then call."""
        leader = roots_session(server)
        if leader is None:
            return False
        self._foreign = processes.identify(*leader)
        if self._foreign is not None:
            self._found(self._foreign)
        return True
