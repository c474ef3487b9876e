"""What `explain` says: for each uplink every profile in order, every condition, and what would let another one win."""

from __future__ import annotations

from autovpn.core.conditions import ConditionVerdict, Truth
from autovpn.core.decide import Decision
from autovpn.core.dnschoice import Choice
from autovpn.core.judgement import Judgement, Outcome, ProfileVerdict
from autovpn.core.network import Grade
from autovpn.core.profile import Policy
from autovpn.core.snapshot import Link, Snapshot
from autovpn.daemon.report import Report, describe_link
from autovpn.errors import ControlError

EVIDENCE = {
    Grade.NONE: "nothing is known of this network",
    Grade.HINT: "only what anybody could copy: a name, an address, a MAC",
    Grade.SHARED_KEY: "the access point knows the same key, since the handshake is finished",
    Grade.PROOF: "a challenge was answered with a pinned key",
}


def explain(decision: Decision, snapshot: Snapshot, policy: Policy, dns: Choice, uplink: str | None = None) -> Report:
    """Return why every uplink, or the one that is named, has the outcome that it has; and whose DNS would be told, why.

    Raises:
        ControlError: there is no link of this name.
    """
    judged = {judgement.link: judgement for judgement in decision.judgements}
    links = [link for identity in judged if (link := snapshot.link(identity))]
    links += [link for link in snapshot.links if link.id not in judged and (link.is_uplink or link.name == uplink)]
    if uplink is not None:
        known = [link.name for link in links]
        links = [link for link in links if link.name == uplink]
        if not links:
            raise ControlError(f"there is no uplink {uplink}; there is {', '.join(known) or 'none at all'}")
    return {
        "uplinks": [_explain(link, judged.get(link.id), decision, snapshot, policy) for link in links],
        "dns": {"backend": dns.backend, "setting": policy.dns_backend, "why": list(dns.why)},
    }


def _explain(link: Link, judgement: Judgement | None, decision: Decision, snapshot: Snapshot, policy: Policy) -> Report:
    if judgement is None:
        return {**describe_link(link), "outcome": None, "reason": _why_not_judged(link, decision), "profiles": []}
    activation = decision.activation(judgement.profile) if judgement.profile else None
    return {
        **describe_link(link),
        "outcome": judgement.outcome.value,
        "profile": judgement.profile,
        "reason": judgement.reason,
        "manual": judgement.manual,
        "evidence": {"grade": judgement.evidence.word, "why": EVIDENCE[judgement.evidence]},
        "role": {"word": activation.role.value, "reason": activation.reason} if activation else None,
        "forms": _forms(activation.profile, snapshot) if activation else [],
        "profiles": [
            _profile(verdict, judgement, position, policy) for position, verdict in enumerate(judgement.verdicts)
        ],
    }


def _forms(profile: str, snapshot: Snapshot) -> list[Report]:
    """Return which form the packets of a profile's tunnels have, and why, where there is a choice."""
    return [
        {"tunnel": name, "form": state.facts.form}
        for (owner, name), state in snapshot.tunnels.items()
        if owner == profile and state.facts and state.facts.form
    ]


def _why_not_judged(link: Link, decision: Decision) -> str:
    if not link.is_uplink:
        return "it does not count as an uplink; name it in [daemon] uplinks.include if it should"
    if link.id in decision.memory.leaving:
        return "a network manager is about to take it down"
    return f"it is {link.phase.name.lower()}; rules are judged once it is usable"


def _profile(verdict: ProfileVerdict, judgement: Judgement, position: int, policy: Policy) -> Report:
    profile = policy.profile(verdict.profile)
    return {
        "name": verdict.profile,
        "source": profile.source if profile else "",
        "action": profile.action.value if profile else "",
        "matches": verdict.truth.value,
        "chosen": verdict.profile == judgement.profile,
        "reason": verdict.reason,
        "needs_evidence": verdict.needed.word,
        "to_win": _to_win(verdict, judgement, position),
        "conditions": [_condition(condition) for condition in verdict.conditions],
    }


def _to_win(verdict: ProfileVerdict, judgement: Judgement, position: int) -> list[str]:
    """Return what would have to change for this profile to be the one that is chosen."""
    if verdict.profile == judgement.profile:
        return []
    if judgement.manual:
        return ["what was given by hand would have to end: 'autovpn status' says when it does"]
    ahead = [other.profile for other in judgement.verdicts[:position] if other.truth in (Truth.YES, Truth.UNKNOWN)]
    change = verdict.change or ("" if verdict.truth is Truth.YES else verdict.reason)
    blocked = f"{' and '.join(ahead)}, tried before it, would have to not match" if ahead else ""
    if judgement.outcome is Outcome.PENDING and verdict.truth is Truth.UNKNOWN and not ahead:
        return [f"it is still open: {change}"]
    return [wish for wish in (change, blocked) if wish]


def _condition(condition: ConditionVerdict) -> Report:
    return {
        "key": condition.key,
        "negated": condition.negated,
        "wanted": condition.wanted,
        "observed": condition.observed,
        "verdict": condition.truth.value,
    }
