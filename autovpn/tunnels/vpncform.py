"""The forms that vpnc's packets can have on their way, and which of them comes next when one passes nothing.

A firewall may drop ESP (IP protocol 50), and a server may take no other form than one: the keys are agreed all the
same, and then nothing comes through (vpnc(8), `NAT Traversal Mode`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from autovpn.core.vpncfile import NAT_MODE, value_in
from autovpn.tunnels.pushed import shown

FORMS: Final = {
    "natt": "ESP, or ESP in UDP where a NAT is on the way",
    "cisco-udp": "ESP in UDP as Cisco had it",
    "force-natt": "ESP in UDP, as if a NAT were on the way",
}
"""What is tried, in this order, after what the user's file says. The first is vpnc's own default."""

_NOT_TRIED: Final = {"none": "plain ESP"}


@dataclass(frozen=True, slots=True)
class Form:
    """One form: its `mode` as vpnc calls it, and words that say what it is and why it is this one.

    `is_last` says that there is none left that was not tried.
    """

    mode: str
    words: str
    is_last: bool


def form_for(content: bytes, fruitless: int) -> Form:
    """Return the form for a user's file when the tunnel has come up and passed nothing this many times."""
    asked = value_in(content.decode("latin-1"), NAT_MODE)
    first = asked or next(iter(FORMS))
    modes = (first, *(mode for mode in FORMS if mode != first))
    mode = modes[fruitless % len(modes)]
    meaning = (FORMS | _NOT_TRIED).get(mode)
    words = f"{shown(mode)} ({meaning})" if meaning else shown(mode)
    why = _why(modes[:fruitless], asked=asked is not None, all_tried=fruitless >= len(modes))
    return Form(mode, f"{words}: {why}", is_last=fruitless >= len(modes) - 1)


def _why(before: tuple[str, ...], *, asked: bool, all_tried: bool) -> str:
    if all_tried:
        return "no form has passed anything, so all are tried again"
    if before:
        return f"{' and '.join(map(shown, before))} came up and passed nothing"
    return "as the file says" if asked else "vpnc's default"
