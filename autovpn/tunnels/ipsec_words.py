"""What strongSwan says when a connection fails, what that means, and what of its words means nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from autovpn.core.tunnel import FailureClass
from autovpn.tunnels.attempt import AnyAttempt, Stage, Telltales, give_up, heard, in_words, meaning

if TYPE_CHECKING:
    from autovpn.core.driving import Step

TELLTALES: Telltales = (
    ("no trusted", FailureClass.TRUST),
    ("constraint check failed", FailureClass.TRUST),
    ("no issuer certificate found", FailureClass.TRUST),
    ("signature validation failed", FailureClass.TRUST),
    ("certificate was revoked", FailureClass.TRUST),
    ("EAP-MS-CHAPv2 failed", FailureClass.AUTH),
    ("AUTHENTICATION_FAILED", FailureClass.AUTH),
    ("EAP_FAILURE", FailureClass.AUTH),
    ("MAC mismatched", FailureClass.AUTH),
    ("(myself) failed", FailureClass.AUTH),
    ("no shared key found", FailureClass.AUTH),
    ("no private key found", FailureClass.AUTH),
    ("no EAP key found", FailureClass.AUTH),
    ("no XAuth", FailureClass.AUTH),
    ("could not decrypt payloads", FailureClass.AUTH),
    ("hash does not match", FailureClass.AUTH),
    ("NO_PROPOSAL_CHOSEN", FailureClass.LOCAL),
    ("no acceptable", FailureClass.LOCAL),
    ("TS_UNACCEPTABLE", FailureClass.LOCAL),
    ("INVALID_ID_INFORMATION", FailureClass.LOCAL),
    ("unable to add SAD entry", FailureClass.LOCAL),
    ("unable to install", FailureClass.LOCAL),
    ("plugin dependencies", FailureClass.LOCAL),
)
"""What charon says when it fails. What else it says (retransmissions without an answer) may be better later."""

UNREADABLE = "ignore malformed INFORMATIONAL request"
"""What is left of an error that the server has encrypted with another shared key, in IKEv1: it sends nothing more."""

NOISE = re.compile(
    r"(?:generating|parsed|sending (?:packet|cert|end|DELETE)|received (?:packet|cert request|DELETE|end entity)"
    r"|initiating|establishing CHILD_SA|  (?:using|reached)|selected proposal|scheduling|maximum|peer supports"
    r"|remote host is|local host is|retransmit|deleting IKE_SA|IKE_SA deleted"
    r"|received .*(?:vendor ID$|cert requests for)|server requested|checking certificate|certificate status"
    r"|failed to establish CHILD_SA, keeping|IKE_SA .* established|authentication of .* successful)"
)
"""What charon says of every attempt, or beside the reason: it would push the telling lines out."""

DELETED = "the server ended the tunnel (there is no child SA any more)"
SILENT = "the server answers no more (dead peer detection)"


def listened(attempt: AnyAttempt, text: str) -> AnyAttempt:
    """Keep a line of strongSwan's that may tell why it fails."""
    return attempt if NOISE.match(text) or not text.strip() else heard(attempt, text)


def refused(attempt: AnyAttempt) -> Step[AnyAttempt] | None:
    """End an attempt that the server has refused, whatever else it was that ended it just then; None for any other.

    To try a wrong password again could lock its account.
    """
    kind = meaning(attempt.said, TELLTALES)
    if attempt.stage is not Stage.CONNECTING or kind is None or not kind.is_final:
        return None
    return give_up(attempt, kind, in_words(attempt))
