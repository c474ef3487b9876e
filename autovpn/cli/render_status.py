"""`status` for people: one block for each uplink, then what concerns the machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autovpn.cli.document import Block, Row, Tone
from autovpn.cli.times import spoken

Dict = dict[str, Any]

MOST_PREFIXES = 8
"""How many of the networks that a tunnel leads to are named; --json has them all."""

STATE_TONES = {"up": Tone.GOOD, "failed": Tone.BAD, "blocked": Tone.BAD, "standby": Tone.FAINT}


def render_status(status: Dict) -> list[Block]:
    """Return what `autovpn status` prints."""
    activations = status["activations"]
    blocks = [_uplink(uplink, activations, status["dns"]) for uplink in status["uplinks"]]
    shown = {uplink["name"] for uplink in status["uplinks"]}
    for activation in activations:
        if activation["uplink"] not in shown:
            aside = _activation_words(activation)
            blocks.append(Block(activation["profile"], aside, _tone(activation), list(_activation(activation))))
    return [*blocks, _machine(status)]


def _uplink(uplink: Dict, activations: list[Dict], dns: Dict | None) -> Block:
    riding = [activation for activation in activations if activation["uplink"] == uplink["name"]]
    aside, tone = _headline(uplink, riding)
    body = [Row("why", uplink["reason"])]
    if uplink["leaving"] is not None:
        left = spoken(uplink["leaving"])
        body.append(Row("leaving", f"a network manager is about to take it down; forgotten in {left}", Tone.WARN))
    body += _network(uplink)
    for activation in riding:
        body += _activation(activation, named=activation["profile"] != uplink["profile"])
        if activation["dns"]:
            how = f" (by {dns['backend']}{'' if dns['in_force'] else ', not in force'})" if dns else ""
            body.append(Row("DNS", ", ".join(activation["dns"]) + how))
    return Block(uplink["name"], aside, tone, body)


def _headline(uplink: Dict, riding: list[Dict]) -> tuple[str, Tone]:
    """Return what is said beside an uplink's name: the one thing that most users want to know."""
    network = f"{uplink['network']}: " if uplink["network"] else ""
    mine = next((a for a in riding if a["profile"] == uplink["profile"]), riding[0] if riding else None)
    if mine and (uplink["outcome"] == "connect" or mine["profile"] != uplink["profile"]):
        return f"{network}{mine['profile']}, {_activation_words(mine)}", _tone(mine)
    words = {
        None: uplink["phase"],
        "connect": f"{uplink['profile']}, about to start",
        "disconnect": f"{uplink['profile']}, no tunnel wanted here",
        "ignore": f"left alone: {_why_ignored(uplink)}",
        "pending": "not decided yet",
    }
    tone = Tone.WARN if uplink["outcome"] == "pending" else Tone.FAINT
    return f"{network}{words.get(uplink['outcome'], uplink['outcome'])}", tone


def _why_ignored(uplink: Dict) -> str:
    if uplink["manual"]:
        return "taken down by hand"
    return f"{uplink['profile']} says so" if uplink["profile"] else "no profile matches"


def _activation_words(activation: Dict) -> str:
    state = activation["state"]
    if activation["lingering"]:
        return f"{state}, but its uplink is gone"
    if activation["lowering"]:
        return f"{state}, about to be taken down: the network is trusted"
    through = next((t for t in activation["tunnels"] if t["name"] == activation["tunnel"]), None)
    if through is None:
        return f"{state} for {spoken(activation['since'])}" if state == "up" else str(state)
    if state == "up":
        return f"up through {through['name']} for {spoken(through['since'])}"
    return f"{state}: {through['name']}"


def _tone(activation: Dict) -> Tone:
    if activation["lingering"] or activation["lowering"]:
        return Tone.WARN
    return STATE_TONES.get(activation["state"], Tone.WARN)


def _network(uplink: Dict) -> Iterator[Row]:
    wireless = [uplink["bssid"], uplink["security"], f"{uplink['signal']:g} dBm" if uplink["signal"] else None]
    if uplink["ssid"] is not None:
        known = ", ".join(filter(None, wireless))
        yield Row("radio", f"{known}; SSID in hex: {uplink['ssid_hex'] or 'empty'}")
    if uplink["evidence"]:
        usable = f", usable for {spoken(uplink['usable_for'])}" if uplink.get("usable_for") is not None else ""
        yield Row("network", f"{uplink['type']}, evidence: {uplink['evidence']}{usable}")
    if uplink["addresses"]:
        gateways = ", ".join(gateway["address"] for gateway in uplink["gateways"])
        metric = f" (metric {uplink['metric']})" if uplink["metric"] else ""
        via = f" by way of {gateways}{metric}" if gateways else ""
        governs = ", the best default route" if uplink["governing"] and gateways else ""
        yield Row("addresses", f"{', '.join(uplink['addresses'])}{via}{governs}")


def _activation(activation: Dict, *, named: bool = True) -> Iterator[Row]:
    name = f"{activation['profile']}, " if named else ""
    yield Row("activation", f"{name}{activation['role']}, begun {spoken(activation['since'])} ago", _tone(activation))
    if activation["state"] in ("standby", "blocked"):
        yield Row("", activation["reason"])
    if activation["open"]:
        yield Row("", "NOT PROTECTED: every tunnel has failed, so traffic leaves in clear", Tone.BAD)
    if activation["names_in_clear"]:
        why = "NAMES NOT PROTECTED: no DNS is in force for this tunnel, so the uplink's resolver is asked in clear"
        yield Row("", why, Tone.BAD)
    for tunnel in activation["tunnels"]:
        if tunnel["name"] == activation["tunnel"] or tunnel["phase"] != "rest":
            yield from _tunnel(tunnel)


def _tunnel(tunnel: Dict) -> Iterator[Row]:
    since = f" for {spoken(tunnel['since'])}" if tunnel["since"] is not None else ""
    words = [f"{tunnel['name']} ({tunnel['type']}): {tunnel['phase']}{since}"]
    if tunnel["phase"] in ("resolving", "connecting", "backoff", "failed"):
        words.append(f"attempt {tunnel['attempt']} of {tunnel['attempts']}")
    if tunnel["retry_in"] is not None:
        words.append(f"next try in {spoken(tunnel['retry_in'])}")
    where = filter(None, [tunnel["device"], *tunnel["addresses"]])
    tones = {"up": Tone.GOOD, "failed": Tone.BAD}
    yield Row("tunnel", ", ".join([*words, *where]), tones.get(tunnel["phase"], Tone.WARN))
    if tunnel["banner"]:
        yield Row("banner", tunnel["banner"], Tone.FAINT)
    if tunnel["form"]:
        yield Row("form", tunnel["form"])
    if reaches := tunnel["reaches"]:
        more = f" and {len(reaches) - MOST_PREFIXES} more" if len(reaches) > MOST_PREFIXES else ""
        yield Row("reaches", ", ".join(reaches[:MOST_PREFIXES]) + more)
    yield from _lacking(tunnel)
    if tunnel["health"]:
        yield health_row(tunnel["health"], is_up=tunnel["phase"] == "up")
    if failure := tunnel["last_failure"]:
        yield Row("failure", f"{failure['class']}: {failure['words']}", Tone.BAD)
        yield Row("advice", failure["advice"])


def _lacking(tunnel: Dict) -> Iterator[Row]:
    """Give what a tunnel goes on without."""
    for host in tunnel["unresolved"]:
        yield Row("endpoint", f"no address was found for {host}; the log says why", Tone.WARN)
    for words in tunnel["refused"]:
        yield Row("refused", words, Tone.WARN)
    for words in tunnel["not_forwarded"]:
        yield Row("forwarding", words, Tone.BAD)


def health_row(health: Dict, *, is_up: bool) -> Row:
    """Return how a tunnel is checked, and what was found."""
    words = [health["check"]]
    if health["last_good"] is not None:
        words.append(f"last well {spoken(health['last_good'])} ago")
    elif health["watched"]:
        words.append("no sign of life so far")
    if health["failed"]:
        words.append(f"{health['failed']} of {health['fail_after']} checks failed: {health['fault']}")
    elif health["fault"]:
        words.append(f"{'' if health['watched'] else 'not watched any more, '}{health['fault']}")
    if health["next_in"] is not None:
        words.append(f"next look in {spoken(health['next_in'])}")
    tone = Tone.FAINT if not is_up else Tone.WARN if health["fault"] else Tone.PLAIN
    return Row("health", ", ".join(words), tone)


def _machine(status: Dict) -> Block:
    body = [*_dns(status["dns"]), *_by_hand(status["overrides"])]
    body += [Row("undoing", step, Tone.WARN) for step in status["undoing"]]
    if status["reload_failed"]:
        old = "the files have problems, so the configuration from before runs on; mend them, then: autovpn reload"
        body.append(Row("reload", old, Tone.BAD))
    for kind, tone in (("configuration", Tone.BAD), ("hooks", Tone.WARN), ("journal", Tone.BAD)):
        body += [Row(kind, problem, tone) for problem in status["problems"][kind]]
    if counts := [f"{name.replace('_', ' ')}: {count}" for name, count in status["resyncs"].items() if count]:
        body.append(Row("looks", f"at everything anew, {', '.join(counts)}", Tone.FAINT))
    if not status["uplinks"]:
        body.insert(0, Row("uplinks", "none: no link that could be one is there", Tone.FAINT))
    running = f"{status['version']}, running for {spoken(status['running_for'])} (process {status['pid']})"
    return Block("autovpn", running, Tone.FAINT, body)


def _dns(dns: Dict | None) -> Iterator[Row]:
    if dns is None:
        return
    words = [f"back end {dns['backend']}", "in force" if dns["in_force"] else "not in force"]
    if dns["standing"]:
        words.append(dns["standing"])
    yield Row("DNS", ", ".join(words), Tone.WARN if dns["degraded"] else Tone.PLAIN)
    if dns["degraded"]:
        yield Row("", dns["degraded"], Tone.WARN)
    for note in dns["notes"]:
        yield Row("", note, Tone.FAINT)


def _by_hand(overrides: list[Dict]) -> Iterator[Row]:
    for override in overrides:
        what = override["profile"] or "everything"
        where = f" on {override['uplink']}" if override["uplink"] else ""
        tunnel = f" through {override['tunnel']}" if override["tunnel"] else ""
        left = override["seconds_left"]
        until = "until the network changes" if left is None else f"for another {spoken(left)}"
        yield Row("by hand", f"{override['command']} {what}{where}{tunnel}, {until}")
