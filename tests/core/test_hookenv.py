"""The environment of hooks, for every name that a stranger can give a network."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.hookenv import HookContext, hook_environment, variable_name

CONTROLS = {*range(0x20), *range(0x7F, 0xA0)}
SSIDS = st.binary(max_size=32)
TEXTS = st.text(st.characters(), max_size=40)  # lone surrogates too


def environment(ssid: bytes | None, uplink: str = "wlan0") -> dict[str, str]:
    return hook_environment(HookContext("postup", "campus", uplink, ssid))


def is_safe_text(ssid: bytes) -> bool:
    try:
        return bool(ssid) and not {*map(ord, ssid.decode())} & CONTROLS
    except UnicodeDecodeError:
        return False


@given(SSIDS)
def test_ssid_hex_always_holds_every_byte(ssid: bytes) -> None:
    assert bytes.fromhex(environment(ssid)["SSID_HEX"]) == ssid


@given(SSIDS | st.text(max_size=16).map(str.encode))
def test_ssid_is_set_to_the_very_bytes_and_only_where_they_are_harmless_text(ssid: bytes) -> None:
    variables = environment(ssid)
    assert ("SSID" in variables) == ("SSIDVAR" in variables) == is_safe_text(ssid)
    if "SSID" in variables:
        assert os.fsencode(variables["SSID"]) == ssid


@pytest.mark.parametrize("value", range(256))
def test_every_byte_value_alone_is_judged_by_what_it_is(value: int) -> None:
    variables = environment(bytes([value]))
    assert ("SSID" in variables) == (0x20 <= value < 0x7F)
    assert variables["SSID_HEX"] == f"{value:02x}"


@pytest.mark.parametrize("length", range(33))
def test_every_length_of_a_name_is_told_whole(length: int) -> None:
    assert environment(b"x" * length).get("SSID", "") == "x" * length


@given(SSIDS, TEXTS, TEXTS, st.booleans())
def test_every_value_can_be_handed_to_a_program(ssid: bytes, reason: str, network: str, alive: bool) -> None:
    context = HookContext("roam", "p", "wlan0", ssid, network=network, reason=reason, alive=alive)
    for name, value in hook_environment(context).items():
        assert re.fullmatch("[A-Z_]+", name)
        assert not {*map(ord, value)} & CONTROLS
        assert b"\0" not in os.fsencode(value)


@given(st.binary(max_size=15).filter(lambda raw: b"\0" not in raw))
def test_variable_names_fold_each_other_byte_to_one_underscore(raw: bytes) -> None:
    folded = variable_name(raw)
    assert len(folded) == len(raw)
    assert re.fullmatch("[A-Za-z0-9_]*", folded)


@pytest.mark.parametrize(
    ("ssid", "folded"),
    [("Café x", "Caf___x"), ("br-l.10", "br_l_10"), ("2nd floor", "2nd_floor"), ("$(reboot)", "__reboot_")],
)
def test_ssidvar_folds_as_netifrc_does(ssid: str, folded: str) -> None:
    assert environment(ssid.encode())["SSIDVAR"] == folded


def test_a_wire_has_no_ssid_but_an_empty_ssid_hex() -> None:
    variables = environment(None)
    assert variables["SSID_HEX"] == ""
    assert not {"SSID", "SSIDVAR"} & variables.keys()


def test_the_moment_is_told_in_full() -> None:
    context = HookContext(
        event="predown",
        profile="campus",
        uplink="wlp3s0.7",
        bssid="02:00:00:00:00:01",
        network='Wi-Fi "Campus"',
        tunnel="office",
        device="avoffice",
        addresses=("10.8.0.2/24", "fd00::2/64"),
        dns=("10.8.0.1", "10.8.0.3"),
        reason="uplink-lost",
        alive=True,
    )
    assert hook_environment(context) == {
        "IFACE": "wlp3s0.7",
        "IFVAR": "wlp3s0_7",
        "SSID_HEX": "",
        "AUTOVPN_EVENT": "predown",
        "AUTOVPN_PROFILE": "campus",
        "AUTOVPN_UPLINK": "wlp3s0.7",
        "AUTOVPN_NETWORK": 'Wi-Fi "Campus"',
        "AUTOVPN_BSSID": "02:00:00:00:00:01",
        "AUTOVPN_TUNNEL": "office",
        "AUTOVPN_DEVICE": "avoffice",
        "AUTOVPN_ADDRESS": "10.8.0.2/24 fd00::2/64",
        "AUTOVPN_DNS": "10.8.0.1 10.8.0.3",
        "AUTOVPN_REASON": "uplink-lost",
        "AUTOVPN_ALIVE": "1",
    }
