"""The `openssh` tunnel: a supervised ssh(1), layer 3 (`-w`) or port forwards only (`-D`, `-L`).

ssh names its device itself (`tunN`), so the name comes from its LocalCommand, which runs once the user is authenticated
and every local device and port is open. Whether the server agreed to the layer 3 tunnel is known a little later and
only from what `ssh -v` prints ("tunnel forward established"); with ports alone, the LocalCommand is the last word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from shlex import join

from autovpn.core.actions import Action, LookAgainAt, Ready, Run, Spawn
from autovpn.core.driving import DriverEvent, Exited, Launch, Line, LinkVanished, Ran, Recovered, Report, Step, Tick
from autovpn.core.settings import OpensshSettings
from autovpn.core.tunnel import Facts, FailureClass
from autovpn.tunnels import pushed
from autovpn.tunnels.attempt import (
    ENVIRONMENT,
    Attempt,
    EndsAlone,
    Stage,
    Telltales,
    at_its_end,
    detection_in,
    device_lost,
    ended,
    give_up,
    heard,
    timed_out,
)

ESTABLISHED = "tunnel forward established"
DEFAULT_PORT = 22
KNOWN_HOSTS = "/root/.ssh/known_hosts"
LONGEST_CONTROL_SOCKET = 107 - 17
"""Bytes of a socket's path (unix(7)), less the random ending under which ssh makes it before it renames it."""

ALIVE_INTERVAL, ALIVE_COUNT = 5, 3
"""ssh's own detection of a dead peer, unless the profile says otherwise: a question after so many seconds of silence,
and the end after so many that got no answer."""

ANSWER_PATIENCE = 3.0
"""How long to wait for the server's word on the tunnel before asking the control socket instead, in seconds: an ssh
whose wording has changed must not look like a dead one."""

TELLTALES: Telltales = (
    ("Host key verification failed", FailureClass.TRUST),
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", FailureClass.TRUST),
    ("not accessible", FailureClass.LOCAL),
    ("UNPROTECTED PRIVATE KEY FILE", FailureClass.LOCAL),
    ("Bad owner or permissions", FailureClass.LOCAL),
    ("Bad configuration option", FailureClass.LOCAL),
    ("Tunnel device open failed", FailureClass.LOCAL),
    ("Address already in use", FailureClass.LOCAL),
    ("Permission denied (", FailureClass.AUTH),
    ("Too many authentication failures", FailureClass.AUTH),
    ("Could not resolve hostname", FailureClass.NAME),
)
"""What else ssh says (refused, timed out, no route, closed, reset, tunnel forwarding failed) may be better later."""

# What `-v` adds, and what says nothing about a failure.
_NOISE = re.compile(r"debug[1-3]: |OpenSSH_|Authenticated to |Transferred: |Bytes per second: |@@@|Pseudo-terminal ")


@dataclass(frozen=True, slots=True)
class OpensshState(Attempt):
    """One run of ssh. `device` is what its LocalCommand named; `authenticated` says that it ran."""

    device: str | None = None
    authenticated: bool = False
    recovered: Recovered | None = None


class OpensshDriver(EndsAlone):
    """Drives ssh."""

    def start(self, launch: Launch, now: float) -> Step[OpensshState]:
        """Start ssh."""
        state = OpensshState(launch, now + launch.spec.connect_timeout)
        if launch.password is not None:
            words = "a password or passphrase can't be given to ssh; use a key file without one, for this tunnel alone"
            return give_up(state, FailureClass.LOCAL, words)
        if not launch.endpoints:
            return give_up(state, FailureClass.NAME, f"no address is known for {_settings(launch).host}")
        if (excess := len(_control_socket(launch).encode()) - LONGEST_CONTROL_SOCKET) > 0:
            words = (
                f"{_control_socket(launch)} is too long for ssh's control socket; shorten the tunnel's name by {excess}"
            )
            return give_up(state, FailureClass.LOCAL, words)
        return state, (Spawn(_argv(launch), ENVIRONMENT), LookAgainAt(state.deadline))

    def adopt(self, launch: Launch, recovered: Recovered, now: float) -> Step[OpensshState]:
        """Ask the control socket of a running ssh whether its connection still stands."""
        state = OpensshState(launch, now + launch.spec.connect_timeout, device=recovered.device, recovered=recovered)
        if recovered.pid is None or recovered.facts is None:
            return give_up(state, FailureClass.LOST, "ssh was not up when its daemon ended")
        return state, (_check(launch), LookAgainAt(state.deadline))

    def feed(self, state: OpensshState, event: DriverEvent, now: float) -> Step[OpensshState]:
        """Take what ssh, its LocalCommand and its control socket say."""
        if end := at_its_end(state, event, now):
            return end
        match event:
            case Line(text):
                return _line(state, text)
            case Report(values):
                return _report(state, values.get("TUNDEV"), now)
            case Ran(status=status):
                return _checked(state, status)
            case Exited(status):
                return ended(state, "ssh", status, TELLTALES)
            case LinkVanished(name) if name == state.device:
                return device_lost(state, name, now)
            case Tick():
                return _tick(state, now)
            case _:
                return state, ()


def _line(state: OpensshState, text: str) -> Step[OpensshState]:
    if ESTABLISHED in text and state.authenticated:
        return _ready(state)
    return (state if _NOISE.match(text) or not text.strip() else heard(state, text)), ()


def _report(state: OpensshState, named: str | None, now: float) -> Step[OpensshState]:
    if state.stage is not Stage.CONNECTING or state.recovered:
        return state, ()
    if _settings(state.launch).address is None:
        return _ready(replace(state, authenticated=True))
    device = pushed.device(named)
    if device is None:
        return state, ()
    return replace(state, authenticated=True, device=device), (LookAgainAt(min(now + ANSWER_PATIENCE, state.deadline)),)


def _tick(state: OpensshState, now: float) -> Step[OpensshState]:
    if state.stage is not Stage.CONNECTING:
        return state, ()
    if now >= state.deadline:
        settings = _settings(state.launch)
        return timed_out(state, f"tunnel to {settings.host} port {settings.port}")
    asking: tuple[Action, ...] = (_check(state.launch),) if state.authenticated else ()
    return state, (*asking, LookAgainAt(state.deadline))


def _checked(state: OpensshState, status: int | None) -> Step[OpensshState]:
    if state.stage is not Stage.CONNECTING:
        return state, ()
    if status == 0:
        return _ready(state)
    if state.recovered:
        return give_up(state, FailureClass.LOST, "ssh does not answer on its control socket")
    return state, ()


def _ready(state: OpensshState) -> Step[OpensshState]:
    if state.stage is not Stage.CONNECTING or state.lost:
        return state, ()
    settings = _settings(state.launch)
    if state.recovered and state.recovered.facts:
        facts = state.recovered.facts
    elif settings.address is None:
        facts = Facts()
    else:
        facts = Facts(state.device, (settings.address,), settings.peer, mtu=state.launch.spec.mtu)
    return replace(state, stage=Stage.UP, said=()), (Ready(facts),)


def _settings(launch: Launch) -> OpensshSettings:
    if not isinstance(launch.spec.settings, OpensshSettings):
        raise TypeError(f"tunnel {launch.spec.name} is not of type openssh")
    return launch.spec.settings


def _control_socket(launch: Launch) -> str:
    # The folder is this run's alone: a socket that a killed ssh left behind would silently turn multiplexing off.
    return f"{launch.directory}/ctl"


def _check(launch: Launch) -> Run:
    argv = ("ssh", "-F", "none", "-S", _literal(_control_socket(launch)), "-O", "check", "--", _settings(launch).host)
    return Run("check", argv, ENVIRONMENT)


def _literal(text: str) -> str:
    """Return text in which ssh finds nothing to expand (TOKENS in ssh_config(5))."""
    return text.replace("%", "%%")


def _argv(launch: Launch) -> tuple[str, ...]:
    """Return the command line. ssh takes the first of repeated options, so ours win over a configuration file."""
    settings = _settings(launch)
    # The key is looked up under the name that ssh would have used, with the port as known_hosts spells it (sshd(8)).
    name = settings.endpoint_host or settings.host
    alias = name if settings.port == DEFAULT_PORT else f"[{name}]:{settings.port}"
    health = detection_in(launch)
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": str(max(1, int(launch.spec.connect_timeout) - 1)),  # its words are better than ours
        "ConnectionAttempts": "1",
        "ControlMaster": "yes",
        "ControlPath": _literal(_control_socket(launch)),
        "ControlPersist": "no",
        "ExitOnForwardFailure": "yes",
        "ForkAfterAuthentication": "no",
        "GlobalKnownHostsFile": "/dev/null" if settings.known_hosts else "/etc/ssh/ssh_known_hosts",
        "HostKeyAlias": alias,
        "HostName": str(launch.endpoints[0].address),
        "LocalCommand": _local_command(launch),
        "PermitLocalCommand": "yes",
        "ServerAliveCountMax": str(health.fail_after if health else ALIVE_COUNT),
        "ServerAliveInterval": str(round(health.interval) if health else ALIVE_INTERVAL),
        "StrictHostKeyChecking": "yes",
        "TCPKeepAlive": "no",
        "UpdateHostKeys": "no",
        "UserKnownHostsFile": f'"{_literal(settings.known_hosts or KNOWN_HOSTS)}"',
    }
    if settings.identity:
        options |= {"IdentitiesOnly": "yes"}
    return (
        *("ssh", "-F", settings.config or "none", "-N", "-T", "-v", "-p", str(settings.port)),
        *(part for name, value in options.items() for part in ("-o", f"{name}={value}")),
        *(("-i", _literal(settings.identity)) if settings.identity else ()),
        *_forwarding(launch, settings),
        *(("-l", settings.user) if settings.user else ()),
        *("--", settings.host),
    )


def _local_command(launch: Launch) -> str:
    """Return the shell line that reports the name of the device, which ssh puts in for %T."""
    return f"reason=connect TUNDEV=%T exec {_literal(join(launch.notifier))}"


def _forwarding(launch: Launch, settings: OpensshSettings) -> tuple[str, ...]:
    remote = "any" if settings.remote_unit is None else str(settings.remote_unit)
    local = launch.spec.device.removeprefix("tun")
    unit = local if local.isdecimal() and local != launch.spec.device else "any"
    return (
        *(("-o", "Tunnel=point-to-point", "-w", f"{unit}:{remote}") if settings.address else ()),
        *(("-D", settings.socks) if settings.socks else ()),
        *(part for forward in settings.forwards for part in ("-L", f"{forward.listen}:{forward.target}")),
    )
