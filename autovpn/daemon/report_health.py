"""What `status` says of a tunnel's health: how it is checked, when it was well last, and when the next look is."""

from __future__ import annotations

from autovpn.core.health import HealthState
from autovpn.core.tunnel import Health, HealthCheck


def health_report(health: Health | None, state: HealthState | None, now: float) -> dict[str, object] | None:
    """Return how a tunnel is; without a `state` it is not watched now: it is not up, lingers, or watches itself."""
    if health is None:
        return None
    return {
        "check": describe_check(health),
        "interval": health.interval,
        "fail_after": health.fail_after,
        "watched": state is not None and not state.is_given_up,
        "last_good": None if state is None or state.last_good is None else now - state.last_good,
        "failed": state.failed if state else 0,
        "fault": state.fault if state else "",
        "next_in": max(0.0, state.next_look - now) if state and not state.is_given_up else None,
    }


def describe_check(health: Health) -> str:
    """Return how a tunnel is checked, for people."""
    match health.check:
        case HealthCheck.HANDSHAKE:
            return "handshake"
        case HealthCheck.DPD:
            return "the program's own dead peer detection"
        case HealthCheck.PING:
            return f"ping {health.address}"
        case HealthCheck.TCP:
            return f"connection to {health.address} port {health.port}"
        case HealthCheck.COMMAND:
            return f"command {health.command[0]}"
        case HealthCheck.DNS:
            return f"question to the DNS server {health.address}"
