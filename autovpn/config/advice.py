"""What is worth saying about profiles that are valid: weak trust, profiles that can't win, names that look alike."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator

from autovpn.config.context import Context
from autovpn.core.escape import show_ssid
from autovpn.core.network import Grade
from autovpn.core.profile import Action, Condition, Key, Profile
from autovpn.core.shadow import shadows
from autovpn.core.snapshot import LinkType
from autovpn.core.tunnel import RouteMode

_WIRELESS = frozenset({Key.SSID, Key.SSID_HEX, Key.SSID_GLOB, Key.BSSID, Key.SECURITY})


def advise_on_trust(profile: Profile, context: Context) -> None:
    """Say when a profile lowers protection on weak evidence, and when the evidence it asks for can't be had."""
    key = ("trust", "require")
    if profile.is_default and profile.action is Action.DISCONNECT:
        context.note(("action",), "every network that no other profile knows is trusted, cafés too")
    match profile.needed_evidence:
        case Grade.PROOF:
            context.warn(
                key,
                "this profile cannot match: it wants no tunnel, so it needs proof of the network, and beacons are not"
                " available yet",
                'with require = "shared-key" a Wi-Fi that knows the same passphrase is believed',
            )
        case Grade.SHARED_KEY if _is_never_wifi(profile):
            context.warn(
                key,
                "this profile cannot match: only Wi-Fi has a shared key, and the conditions exclude Wi-Fi",
                "match on the interface alone, or let the profile want a tunnel",
            )
        case Grade.SHARED_KEY:
            context.note(key, "this network is trusted on a shared key: whoever knows the passphrase can imitate it")
        case Grade.HINT:
            context.note(
                key,
                "this network is trusted on hints, which anyone can copy (names, addresses)",
                'require = "shared-key" is the least to rely on',
            )
        case _:
            pass


def _is_never_wifi(profile: Profile) -> bool:
    types = [condition for condition in profile.conditions if condition.key is Key.INTERFACE_TYPE]
    return any((LinkType.WIFI in condition.wanted) is condition.negated for condition in types)


def advise_on_dns(profile: Profile, context: Context) -> None:
    """Say when all traffic goes through a tunnel but names do not: routers are asked on the link, in clear."""
    if not profile.wants_tunnel or profile.dns.file is not None:
        return
    full = [number for number, tunnel in enumerate(profile.tunnels) if tunnel.routes.mode is RouteMode.FULL]
    silent = [number for number in full if not profile.tunnels[number].may_push_dns]
    what = "all traffic goes through {}, but names are asked in clear of the uplink's resolver"
    if profile.dns.servers is None and silent:
        name = profile.tunnels[silent[0]].name
        context.warn(("tunnels", silent[0]), what.format(f"'{name}'"), "set servers in [dns]")
    elif profile.dns.servers == () and full:
        context.note(("dns", "servers"), what.format("the tunnel"))


def advise_on_conditions(profile: Profile, context: Context) -> None:
    """Say when conditions contradict each other: a wired link has no SSID."""
    wireless = [one for one in profile.conditions if one.key in _WIRELESS and not one.negated]
    if wireless and _is_never_wifi(profile):
        context.warn(("match",), f"cannot match: '{wireless[0].key.value}' is known of Wi-Fi only, which is excluded")


def advise_on_shadows(profiles: tuple[Profile, ...], contexts: dict[str, Context]) -> None:
    """Name each profile that an earlier one leaves nothing to match."""
    for shadow in shadows(tuple(profile for profile in profiles if profile.conditions)):
        contexts[shadow.later.name].warn(
            ("match",),
            f"this profile never wins: '{shadow.earlier.name}' comes first and matches wherever this one does",
            "give its file a lower number, or narrow the other",
        )


def advise_on_look_alikes(profiles: tuple[Profile, ...], contexts: dict[str, Context]) -> None:
    """Name SSIDs that differ only in what a person overlooks: case, blanks at an end, other forms of a letter."""
    seen: defaultdict[str, dict[bytes, str]] = defaultdict(dict)
    for profile in profiles:
        for ssid, key in _ssids(profile.conditions):
            others = seen[_skeleton(ssid)]
            for other, where in others.items():
                if other != ssid:
                    contexts[profile.name].note(
                        ("match", key),
                        f"{show_ssid(ssid)} looks like {show_ssid(other)} in '{where}', but is another network",
                        "SSIDs are compared byte by byte",
                    )
            others.setdefault(ssid, profile.name)


def _ssids(conditions: tuple[Condition, ...]) -> Iterator[tuple[bytes, str]]:
    for condition in conditions:
        if condition.key in (Key.SSID, Key.SSID_HEX):
            for wanted in condition.wanted:
                if isinstance(wanted, bytes):
                    yield wanted, condition.key.value


def _skeleton(ssid: bytes) -> str:
    return unicodedata.normalize("NFKC", ssid.decode("utf-8", "backslashreplace")).casefold().strip("\0 \t\r\n")
