"""`explain`, `plan` and `check` for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from autovpn.cli.document import Block, Row, Table, Tone

Dict = dict[str, Any]

VERDICT_TONES = {"yes": Tone.GOOD, "no": Tone.BAD, "not known yet": Tone.WARN, "not observed": Tone.WARN}
MATCHES = {"yes": "would match too", "no": "does not match", "not known yet": "is not decided yet"}
SIGNS = {"do": ("+", Tone.GOOD), "undo": ("-", Tone.BAD), "amend": ("~", Tone.WARN)}


def render_explain(report: Dict) -> list[Block]:
    """Return what `autovpn explain` prints: each uplink, then its profiles in the order in which they are tried."""
    blocks = []
    for uplink in report["uplinks"]:
        blocks.append(_judgement(uplink))
        blocks += [_profile(number, profile) for number, profile in enumerate(uplink["profiles"], 1)]
    blocks = blocks or [Block("no uplinks", "no link that could be one is there", Tone.FAINT)]
    return [*blocks, *([_dns(report["dns"])] if "dns" in report else [])]


def _dns(dns: Dict) -> Block:
    """Return which back end would set the machine's DNS, and what spoke for and against each."""
    verdict = f"is set by the back end {dns['backend']}" if dns["backend"] else "can't be set"
    return Block("DNS", verdict, Tone.PLAIN if dns["backend"] else Tone.WARN, [Row("why", why) for why in dns["why"]])


def _judgement(uplink: Dict) -> Block:
    network = f"{uplink['network']}: " if uplink["network"] else ""
    outcome = str(uplink["outcome"] or uplink["phase"])
    body = [Row("why", uplink["reason"])]
    if evidence := uplink.get("evidence"):
        body.append(Row("evidence", f"{evidence['grade']}: {evidence['why']}"))
    if (role := uplink.get("role")) and role["reason"] != uplink["reason"]:
        body.append(Row("role", f"{role['word']}: {role['reason']}"))
    body += [Row("form", f"{form['tunnel']}: {form['form']}") for form in uplink.get("forms", ())]
    if uplink["ssid_hex"]:
        body.append(Row("SSID", f"in hex {uplink['ssid_hex']}"))
    tone = Tone.GOOD if uplink["outcome"] == "connect" else Tone.PLAIN
    return Block(uplink["name"], f"{network}{outcome}", tone, body)


def _profile(number: int, profile: Dict) -> Block:
    chosen = profile["chosen"]
    verdict = "is chosen" if chosen else MATCHES.get(profile["matches"], "")
    tone = Tone.GOOD if chosen else Tone.FAINT
    body: list[Row | Table] = [Row("action", profile["action"]), Row("why", profile["reason"])]
    if profile["needs_evidence"] != "none":
        body.append(Row("needs", f"{profile['needs_evidence']} evidence, since it wants no tunnel"))
    body += [Row("to win", wish) for wish in profile["to_win"]]
    if profile["conditions"]:
        body.append(_conditions(profile["conditions"]))
    return Block(f"{number}. {profile['name']}", verdict, tone, body, depth=1)


def _conditions(conditions: list[Dict]) -> Table:
    rows = [[c["key"], ("not " if c["negated"] else "") + c["wanted"], c["observed"], c["verdict"]] for c in conditions]
    tones = [VERDICT_TONES.get(condition["verdict"], Tone.PLAIN) for condition in conditions]
    return Table(["condition", "wanted", "observed", "verdict"], rows, tones)


def render_plan(report: Dict) -> list[Block]:
    """Return what `autovpn plan` prints: the changes in the order in which they would be made."""
    return [*_left_behind(report.get("left_behind", [])), *_changes(report["changes"], report.get("left_behind", []))]


def _left_behind(steps: list[str]) -> list[Block]:
    """Return what is told of the steps of a daemon that is gone; a daemon that runs has none."""
    if not steps:
        return []
    count = f"{len(steps)} step{'s' if len(steps) > 1 else ''} of a daemon that is gone"
    body = [Row("step", step) for step in steps]
    body.append(Row("to undo", "'autovpn recover' undoes them; a daemon that starts takes over what is still wanted"))
    return [Block("left behind", count, Tone.WARN, body)]


def _changes(changes: list[Dict], left: list[str]) -> list[Block]:
    if not changes:
        verdict = "nothing is wanted here but to undo that" if left else "the machine is as it is wanted"
        return [Block("nothing to do", verdict, Tone.GOOD)]
    rows, tones = [], []
    for change in changes:
        sign, tone = SIGNS[change["change"]]
        was = f" (was: {change['was']})" if change["was"] else ""
        rows.append([sign, change["kind"], change["activation"], change["what"] + was])
        tones.append(tone)
    count = f"{len(changes)} change{'s' if len(changes) > 1 else ''}"
    return [Block("plan", f"{count}, in this order", body=[Table(["", "step", "profile", "what"], rows, tones)])]


def render_check(report: Dict) -> list[Block]:
    """Return what `autovpn check` prints: every problem, every note, and a verdict."""
    count = len(report["problems"])
    body = [Row("problem", problem, Tone.BAD) for problem in report["problems"]]
    body += [Row("note", note, Tone.WARN) for note in report["notes"]]
    if not count:
        verdict, tone = f"fine: {_count(report['profiles'], 'profile')}", Tone.GOOD
    elif report["usable"]:
        verdict, tone = f"{_count(report['problems'], 'problem')}; the rest would be used", Tone.WARN
    else:
        verdict, tone = f"{_count(report['problems'], 'problem')}; nothing of it would be used", Tone.BAD
    return [Block(report["directory"], verdict, tone, body)]


def _count(things: Iterable[object], noun: str) -> str:
    number = len(list(things))
    return f"{number} {noun}{'' if number == 1 else 's'}"
