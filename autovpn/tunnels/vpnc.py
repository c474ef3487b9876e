"""The `vpnc` tunnel: Cisco-style IKEv1 with XAUTH by a supervised vpnc(8), which reads all of its settings from stdin.

vpnc runs its Script with system(3) and all that it learned in the environment: at `connect` the keys are agreed and the
device is there, and packets pass as soon as the script has returned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from shlex import join
from typing import TYPE_CHECKING

from autovpn.core.actions import LookAgainAt, Ready, Spawn
from autovpn.core.driving import DriverEvent, Exited, Launch, Line, LinkVanished, Recovered, Report, Step, Tick
from autovpn.core.secret import Secret
from autovpn.core.settings import VpncSettings
from autovpn.core.tunnel import Facts, FailureClass, Health
from autovpn.core.vpncfile import GATEWAY, NAT_MODE, OWNED, PASSWORDS, key_in
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
from autovpn.tunnels.offer import Offer, accepted
from autovpn.tunnels.vpncform import Form, form_for

if TYPE_CHECKING:
    from collections.abc import Mapping

OVERHEAD = 88
"""Bytes of IPv4, UDP, ESP, padding and check value around a packet; vpnc-script's MTU of 1412 comes from the same."""

DEAD_PEER = "DPD idle timeout (our side)"
DEAD_PEER_AFTER = 20
"""Seconds of silence before vpnc asks whether the gateway still lives, unless the user's file says otherwise: its own
300 let a dead tunnel stand for many minutes."""

TELLTALES: Telltales = (
    ("hash comparison failed", FailureClass.AUTH),
    ("check group password", FailureClass.AUTH),
    ("authentication unsuccessful", FailureClass.AUTH),
    ("ISAKMP_N_INVALID_EXCHANGE_TYPE", FailureClass.AUTH),  # strongSwan's answer to a group that it doesn't know
    ("missing Xauth password", FailureClass.AUTH),
    ("unable to get password", FailureClass.AUTH),
    ("too weak", FailureClass.TRUST),
    ("certificate", FailureClass.TRUST),
    ("unknown host", FailureClass.NAME),
    ("can't initialise tunnel interface", FailureClass.LOCAL),
    ("Error binding to source port", FailureClass.LOCAL),
)
"""What else vpnc says (no response, connection refused, network is unreachable) may be better later."""


@dataclass(frozen=True, slots=True)
class VpncState(Attempt):
    """One run of vpnc. `device` is the one that it reported."""

    device: str | None = None


class VpncDriver(EndsAlone):
    """Drives vpnc."""

    def start(self, launch: Launch, now: float) -> Step[VpncState]:
        """Start vpnc with the user's settings and ours on its stdin."""
        state = VpncState(launch, now + launch.spec.connect_timeout)
        settings = _settings(launch)
        if settings.config not in launch.files:
            return give_up(state, FailureClass.LOCAL, f"{settings.config} could not be read")
        if not launch.endpoints:
            return give_up(state, FailureClass.NAME, f"no address is known for {settings.gateway or 'the gateway'}")
        if fault := _password_fault(launch.password):
            return give_up(state, FailureClass.LOCAL, fault)
        return state, (Spawn(("vpnc", "-"), ENVIRONMENT, configuration(launch)), LookAgainAt(state.deadline))

    def adopt(self, launch: Launch, recovered: Recovered, now: float) -> Step[VpncState]:
        """Take over a vpnc that was up: it answers no questions, but it ends by itself when its gateway is dead."""
        state = VpncState(launch, now + launch.spec.connect_timeout, device=recovered.device)
        if recovered.pid is None or recovered.device is None or recovered.facts is None:
            return give_up(state, FailureClass.LOST, "vpnc was not up when its daemon ended")
        return replace(state, stage=Stage.UP), (Ready(recovered.facts),)

    def feed(self, state: VpncState, event: DriverEvent, now: float) -> Step[VpncState]:
        """Take what vpnc and its script say."""
        if end := at_its_end(state, event, now):
            return end
        match event:
            case Line(text) if not _is_noise(text):
                return heard(state, text.removeprefix("vpnc: ")), ()
            case Report(values):
                return _report(state, values)
            case Exited(status):
                return ended(state, "vpnc", status, TELLTALES)
            case LinkVanished(name) if name == state.device:
                return device_lost(state, name, now)
            case Tick():
                return _tick(state, now)
            case _:
                return state, ()


def configuration(launch: Launch) -> Secret:
    """Return the whole configuration: our keys, the user's file without them, our defaults. vpnc takes the first."""
    ours = {
        "IPSec gateway ": str(launch.endpoints[0].address),
        "Script ": join(launch.notifier),
        "Pidfile ": f"{launch.directory}/vpnc.pid",
        "Interface name ": launch.spec.device,
        "Interface mode ": "tun",
        "Local Port ": "0",  # 500 is taken where another IKE daemon runs
        "No Detach": "",
        "Noninteractive": "",
        "Debug ": "0",
        f"{NAT_MODE} ": form_of(launch).mode,
    }
    content = _content(launch)
    lines = [f"{key}{value}".encode() for key, value in ours.items()]
    replaced: tuple[str, ...] = (GATEWAY, NAT_MODE, *OWNED)
    if health := detection_in(launch):
        lines.append(f"{DEAD_PEER} {_dead_peer_after(health)}".encode())
    if launch.password is not None:
        lines.append(b"Xauth password " + _first_line(launch.password))
        replaced += PASSWORDS
    lines += [line for line in content.split(b"\n") if not key_in(line.decode("latin-1"), replaced)]
    lines.append(f"{DEAD_PEER} {DEAD_PEER_AFTER}".encode())
    return Secret(b"\n".join(lines) + b"\n")


def form_of(launch: Launch) -> Form:
    """Return the form that vpnc's packets have in this attempt."""
    return form_for(_content(launch), launch.fruitless)


def facts_of(values: Mapping[str, str], launch: Launch) -> Facts | None:
    """Return what the script's environment says about the tunnel, checked; None without a usable address."""
    address = pushed.address(values.get("INTERNAL_IP4_ADDRESS"))
    if address is None:
        return None
    offer = Offer(
        routes=_routes(values),
        dns=(values.get("INTERNAL_IP4_DNS") or "").split(),
        search=(values.get("CISCO_DEF_DOMAIN") or "").replace(",", " ").split(),
        mtu=values.get("INTERNAL_IP4_MTU"),
        banner=values.get("CISCO_BANNER"),
    )
    form = form_of(launch)
    return replace(
        accepted(offer, launch),
        device=pushed.device(values.get("TUNDEV")) or launch.spec.device,
        addresses=(address,),
        overhead=OVERHEAD,
        form=form.words,
        on_trial=not form.is_last,
    )


def _routes(values: Mapping[str, str]) -> list[pushed.Pair]:
    """Return the pairs of address and length that were pushed, as many as there are of those that were promised."""
    names = (f"CISCO_SPLIT_INC_{index}" for index in range(pushed.number(values.get("CISCO_SPLIT_INC")) or 0))
    pairs: list[pushed.Pair] = [
        (values.get(f"{name}_ADDR"), values.get(f"{name}_MASKLEN")) for name in names if f"{name}_ADDR" in values
    ]
    if "INTERNAL_IP4_NETADDR" in values:
        pairs.append((values["INTERNAL_IP4_NETADDR"], values.get("INTERNAL_IP4_NETMASKLEN")))
    return pairs


def _report(state: VpncState, values: Mapping[str, str]) -> Step[VpncState]:
    if state.stage is not Stage.CONNECTING or values.get("reason") != "connect":
        return state, ()
    facts = facts_of(values, state.launch)
    if facts is None:
        return give_up(state, FailureClass.UNREACHABLE, "the gateway gave this machine no usable address")
    return replace(state, stage=Stage.UP, device=facts.device, said=()), (Ready(facts),)


def _tick(state: VpncState, now: float) -> Step[VpncState]:
    if state.stage is Stage.CONNECTING and now >= state.deadline:
        return timed_out(state, f"tunnel to {_settings(state.launch).gateway or 'the gateway'}")
    return state, ()


def _is_noise(text: str) -> bool:
    return not text.strip() or "warning: unknown configuration directive" in text or text.startswith("VPNC started")


def _settings(launch: Launch) -> VpncSettings:
    if not isinstance(launch.spec.settings, VpncSettings):
        raise TypeError(f"tunnel {launch.spec.name} is not of type vpnc")
    return launch.spec.settings


def _dead_peer_after(health: Health) -> int:
    """Return the silence, in whole seconds, that vpnc can be told to wait for (config.c: 10 to 86400)."""
    return min(max(round(health.interval), 10), 86_400)


def _content(launch: Launch) -> bytes:
    return launch.files[_settings(launch).config].reveal()


def _first_line(password: Secret) -> bytes:
    return password.reveal().removesuffix(b"\n").removesuffix(b"\r")


def _password_fault(password: Secret | None) -> str:
    """Return why vpnc could not be given this password: a value of its file is the rest of a line, trimmed."""
    if password is None:
        return ""
    text = _first_line(password)
    if not text:
        return "the password is empty"
    if text != text.strip() or any(character in text for character in (b"\n", b"\r", b"\0")):
        return "the password holds a line break, or begins or ends with a space, which vpnc can't be given"
    return ""
