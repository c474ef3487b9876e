"""Judging one uplink: profiles in order, the first that matches wins, every verdict with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import partial

from autovpn.core.conditions import ConditionVerdict, Truth, judge
from autovpn.core.network import Grade
from autovpn.core.profile import Action, Policy, Profile
from autovpn.core.snapshot import Link, LinkId


class Outcome(Enum):
    """What is wanted on one uplink; `PENDING` while a rule hangs on something that is not known yet."""

    CONNECT = "connect"
    DISCONNECT = "disconnect"
    IGNORE = "ignore"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class ProfileVerdict:
    """Why one profile was or was not chosen on one uplink.

    `change` says in words what would have to change for this profile to match; it is empty for the one that does.
    """

    profile: str
    truth: Truth
    conditions: tuple[ConditionVerdict, ...]
    reason: str
    needed: Grade = Grade.NONE
    change: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The outcome for one uplink. `profile` is None where none matches or the search is pending."""

    link: LinkId
    name: str
    outcome: Outcome
    profile: str | None
    reason: str
    evidence: Grade = Grade.NONE
    verdicts: tuple[ProfileVerdict, ...] = ()
    manual: bool = False


def evidence_for(link: Link) -> Grade:
    """Return what is known for sure about the link's network. It belongs to one association and dies with it."""
    if link.wireless:
        return link.wireless.evidence
    return Grade.HINT if link.addresses else Grade.NONE


def judge_profile(profile: Profile, link: Link, *, timed_out: bool) -> ProfileVerdict:
    """Evaluate one profile on one link, condition by condition."""
    verdicts = tuple(
        judge(condition, link, wants_tunnel=profile.wants_tunnel, timed_out=timed_out)
        for condition in profile.conditions
    )
    needed = profile.needed_evidence
    have = evidence_for(link)
    failed = tuple(verdict for verdict in verdicts if verdict.truth in (Truth.NO, Truth.ABSENT))
    unknown = tuple(verdict for verdict in verdicts if verdict.truth is Truth.UNKNOWN)
    if not profile.conditions and not profile.is_default:
        return ProfileVerdict(profile.name, Truth.NO, (), "it has no conditions and is not the default", needed)
    if failed:
        words = "; ".join(_describe(verdict) for verdict in failed)
        return ProfileVerdict(profile.name, Truth.NO, verdicts, words, needed, "; ".join(map(_wish, failed)))
    if unknown:
        words = "; ".join(_describe(verdict) for verdict in unknown)
        return ProfileVerdict(profile.name, Truth.UNKNOWN, verdicts, words, needed, "; ".join(map(_wish, unknown)))
    if have < needed:
        words = f"the evidence is {have.word}, and it requires {needed.word}"
        change = f"the network would have to prove itself by {needed.word}"
        return ProfileVerdict(profile.name, Truth.NO, verdicts, words, needed, change)
    weak = f" on {needed.word} evidence" if Grade.NONE < needed < Grade.PROOF else ""
    reason = "it is the default" if not verdicts else f"every condition holds{weak}"
    return ProfileVerdict(profile.name, Truth.YES, verdicts, reason, needed)


def _describe(verdict: ConditionVerdict) -> str:
    negation = "not " if verdict.negated else ""
    return f"{verdict.key} is {verdict.observed}, wanted {negation}{verdict.wanted}"


def _wish(verdict: ConditionVerdict) -> str:
    negation = "anything but " if verdict.negated else ""
    return f"{verdict.key} would have to be {negation}{verdict.wanted}"


def judge_link(policy: Policy, link: Link, *, timed_out: bool, barred: frozenset[str] = frozenset()) -> Judgement:
    """Try the profiles in order; the first match wins, a pending one stops the search.

    `barred` profiles were taken down by hand. The verdicts behind the winner are kept too, for `explain`.
    """
    verdicts: list[ProfileVerdict] = []
    chosen: Profile | None = None
    pending: ProfileVerdict | None = None
    for profile in policy.profiles:
        verdict = judge_profile(profile, link, timed_out=timed_out)
        verdicts.append(verdict)
        if chosen or pending:
            continue
        if verdict.truth is Truth.YES:
            chosen = profile
        elif verdict.truth is Truth.UNKNOWN:
            pending = verdict
    conclude = partial(Judgement, link.id, link.name, evidence=evidence_for(link), verdicts=tuple(verdicts))
    if pending:
        reason = f"{pending.profile} is not decided yet: {pending.reason}"
        return conclude(outcome=Outcome.PENDING, profile=None, reason=reason)
    if chosen is None:
        return conclude(outcome=Outcome.IGNORE, profile=None, reason="no profile matches")
    if chosen.name in barred:
        reason = f"{chosen.name} was taken down by hand"
        return conclude(outcome=Outcome.IGNORE, profile=None, reason=reason, manual=True)
    why = next(verdict.reason for verdict in verdicts if verdict.profile == chosen.name)
    outcome = _OUTCOMES[chosen.action]
    return conclude(outcome=outcome, profile=chosen.name, reason=f"{chosen.name} matches: {why}")


_OUTCOMES = {
    Action.CONNECT: Outcome.CONNECT,
    Action.DISCONNECT: Outcome.DISCONNECT,
    Action.IGNORE: Outcome.IGNORE,
}
