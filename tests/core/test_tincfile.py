"""tinc's files are read as tinc reads them."""

from __future__ import annotations

import pytest

from autovpn.core.tincfile import TincLine, is_node, settings_in, values_of, without

FILE = """# a comment
Name = laptop
connectto gateway
ConnectTo=\tbackup \t
Subnet = 10.0.0.0/8#5
Interface =
-----BEGIN RSA PUBLIC KEY-----
Name = inside a key
-----END RSA PUBLIC KEY-----
Port 443
"""


def test_a_setting_needs_no_equals_sign_and_comments_and_keys_are_none() -> None:
    assert list(settings_in(FILE)) == [
        TincLine(2, "Name", "laptop"),
        TincLine(3, "connectto", "gateway"),
        TincLine(4, "ConnectTo", "backup"),
        TincLine(5, "Subnet", "10.0.0.0/8#5"),
        TincLine(10, "Port", "443"),
    ]


def test_variables_have_no_case() -> None:
    assert values_of(FILE, "CONNECTTO") == ("gateway", "backup")
    assert values_of(FILE, "Mode") == ()


def test_lines_that_give_way_leave_all_others_byte_for_byte() -> None:
    left = without(FILE, ("Name", "ConnectTo"))
    assert left == FILE.replace("Name = laptop\n", "").replace("connectto gateway\n", "").replace(
        "ConnectTo=\tbackup \t\n", ""
    )


@pytest.mark.parametrize(("name", "answer"), [("gate_way2", True), ("", False), ("../x", False), ("a-b", False)])
def test_the_name_of_a_node_is_no_path(name: str, *, answer: bool) -> None:
    assert is_node(name) is answer
