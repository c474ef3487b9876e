"""What of OpenVPN's words tells why something failed, and what that means."""

from __future__ import annotations

import re

from autovpn.core.tunnel import FailureClass
from autovpn.tunnels.attempt import Telltales

TELLTALES: Telltales = (
    ("AUTH_FAILED", FailureClass.AUTH),
    ("private key password verification failed", FailureClass.AUTH),
    ("certificate verify failed", FailureClass.TRUST),
    ("VERIFY ERROR", FailureClass.TRUST),
    ("VERIFY X509NAME ERROR", FailureClass.TRUST),
    ("VERIFY KU ERROR", FailureClass.TRUST),
    ("VERIFY EKU ERROR", FailureClass.TRUST),
    ("alert certificate", FailureClass.AUTH),  # the server's word on ours
    ("alert unknown ca", FailureClass.AUTH),
    ("alert bad certificate", FailureClass.AUTH),
    ("Options error", FailureClass.LOCAL),
    ("Cannot ioctl TUNSETIFF", FailureClass.LOCAL),
    ("Cannot open TUN/TAP", FailureClass.LOCAL),
    ("Cannot load", FailureClass.LOCAL),
    ("Cannot pre-load", FailureClass.LOCAL),
    ("Error opening configuration file", FailureClass.LOCAL),
    ("No such file", FailureClass.LOCAL),
)
"""What else OpenVPN says (refused, timed out, reset, a TLS handshake that came to nothing) may be better later."""

_NOISE = re.compile(
    r"MANAGEMENT: |SIGUSR1|SIGTERM|TLS_ERROR: BIO|TLS Error: TLS (?:object|handshake)|Sent fatal SSL alert"
    r"|VERIFY \w* ?OK|AUTH: Received control message: .*CRV1:"
)
_TELLING = re.compile(
    r"error|fail|timeout|timed out|reset|refused|denied|cannot|expired|exit|unreachable", re.IGNORECASE
)


def is_telling(flags: str, message: str) -> bool:
    """Report whether a line of its log may tell why something failed; `flags` are those of a `>LOG:` message.

    Warnings (W) and debugging (D) don't, errors (N) and its last word (F) do, of the others some.
    """
    if "W" in flags or "D" in flags or _NOISE.match(message):
        return False
    return "N" in flags or "F" in flags or _TELLING.search(message) is not None
