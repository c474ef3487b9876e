"""What libreswan says when a connection fails, what that means, and what of its words means nothing."""

from __future__ import annotations

import re

from autovpn.core.tunnel import FailureClass
from autovpn.tunnels.attempt import Telltales

TELLTALES: Telltales = (
    ("Function not implemented", FailureClass.LOCAL),
    ("AUTHENTICATION_FAILED", FailureClass.AUTH),
    ("NSS: ERROR: IPsec certificate", FailureClass.TRUST),
    ("certificate payload rejected", FailureClass.TRUST),
    ("no certificate matched", FailureClass.TRUST),
    ("peer authentication requires policy", FailureClass.LOCAL),
    ("authentication failed", FailureClass.AUTH),
    ("Possible authentication failure", FailureClass.AUTH),
    ("XAUTH status: FAIL", FailureClass.AUTH),
    ("INVALID_HASH_INFORMATION", FailureClass.AUTH),
    ("malformed payload in packet", FailureClass.AUTH),
    ("no preshared key found", FailureClass.AUTH),
    ("NO_PROPOSAL_CHOSEN", FailureClass.LOCAL),
    ("TS_UNACCEPTABLE", FailureClass.LOCAL),
    ("FAILED_CP_REQUIRED", FailureClass.LOCAL),
    ("INVALID_ID_INFORMATION", FailureClass.LOCAL),
    ("failed to add connection", FailureClass.LOCAL),
    ("no connection named", FailureClass.LOCAL),
    ("netlink response", FailureClass.LOCAL),
    ("FATAL ERROR", FailureClass.LOCAL),
    ("unknown IPsec command", FailureClass.LOCAL),
)
"""What pluto says when it fails. What else it says (retransmissions without an answer) may be better later."""

HOPELESS: Telltales = (
    ("containing NO_PROPOSAL_CHOSEN", FailureClass.LOCAL),
    ("malformed payload in packet", FailureClass.AUTH),
    ("no preshared key found", FailureClass.AUTH),
)
"""What is final, though pluto goes on with sending the same again, since nobody has signed the server's answer."""

LISTENING = "loading secrets from"
"""What pluto says when it has bound its ports, made its socket and reads the secrets."""

NOISE = re.compile(
    r"(?:initiating|sent |sending notification|received INTERNAL|WARNING: .* PSK length|Received unauthenticated"
    r"|IKE SA proposals|Child SA proposals|\d+:(?:IKE|ESP|AH)=|added IKEv|instantiated|deleting "
    r"|terminating|schedule |forgetting|STATE_\w+: retransmission|pending |loading secrets"
    r"|loaded private key|helper\("
    r"|IMPAIR: skipping revival|netlink_expire |\w+ traffic information|adding UDP|listening for|setup_half_ipsec_sa"
    r"|netlink response for Del SA|IKE SA established|XAUTH: A|Peer ID is|xauth: |encountered fatal error in state"
    r"|\d+-byte length of|XAUTH client|passing raw|testing |Camellia|initiator established|modecfg: "
    r"|CHILD SA encountered fatal error: INVALID_SYNTAX|packet from|[0-9A-F]{8,}:error:|Enter pass phrase)"
)
"""What pluto says of every attempt, or beside the reason: it would push the telling lines out."""

_FRAME = re.compile(r'^(?:\d{3} )?(?:\| )?(?:ERROR: )?(?:"[^"]*"(?:\[\d+\])?(?: [0-9a-fA-F.:]+)?(?: #\d+)?: )?')


def telling(text: str) -> str:
    """Return what a line of pluto's or whack's says without its code and connection; nothing of what is noise."""
    words = _FRAME.sub("", text, count=1).strip()
    return "" if NOISE.match(words) else words
