"""The lines of wg-quick files."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.wgini import sections

FILE = """
# home
[Interface]
PrivateKey = abc=   # the laptop's
ADDRESS=10.0.0.2/24
Address = 10.0.0.3/24

[ Peer ]
PublicKey=x=
[peer]
"""


def test_sections_come_in_order_with_their_lines() -> None:
    assert [(section.name, section.line) for section in sections(FILE)] == [("interface", 3), ("peer", 8), ("peer", 10)]


def test_keys_have_no_case_and_values_keep_their_equals_signs() -> None:
    interface, peer, _ = sections(FILE)
    assert interface.value("privatekey") == "abc="
    assert peer.value("PublicKey") == "x="
    assert interface.value("DNS") is None


def test_of_a_repeated_key_all_are_there_and_the_last_holds() -> None:
    interface = sections(FILE)[0]
    assert [(entry.value, entry.line) for entry in interface.all("Address")] == [("10.0.0.2/24", 5), ("10.0.0.3/24", 6)]
    assert interface.value("Address") == "10.0.0.3/24"


def test_what_stands_before_the_first_section_is_in_one_without_a_name() -> None:
    (found,) = sections("PrivateKey = x\n")
    assert (found.name, found.line) == ("", 1)


def test_a_line_that_is_no_setting_has_no_value() -> None:
    (found,) = sections("[Interface]\nnonsense\n")
    assert [(entry.key, entry.value) for entry in found.entries] == [("nonsense", None)]
    assert found.value("nonsense") is None


def test_a_key_without_its_name_is_not_shown() -> None:
    (found,) = sections("[Interface]\nYAnV3d7Aaz0P2CVrmPZXg5mkgPTsVvSRJTJTJTJTJVE=\nPrivateKey = hunter2\n")
    assert "yanv3" not in repr(found).lower()
    assert "hunter2" not in repr(found)


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    for section in sections(text):
        assert all(1 <= entry.line <= text.count("\n") + 1 for entry in section.entries)
