"""What gives way in a vpnc.conf is one list, for the check that names it and for the driver that replaces it."""

from __future__ import annotations

import pytest

from autovpn.core.secret import Secret
from autovpn.core.vpncfile import GATEWAY, OWNED, PASSWORDS, key_in
from autovpn.tunnels.vpnc import configuration
from tests.tunnels.playing import launch


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("Script /bin/true", "Script"),
        ("  sCRIPT\t/bin/true\r", "Script"),
        ("No Detach", "No Detach"),
        ("Scripted /bin/true", None),
        ("# Script /bin/true", None),
        ("", None),
    ],
)
def test_a_key_is_known_by_the_beginning_of_its_line(line: str, key: str | None) -> None:
    assert key_in(line, OWNED) == key


@pytest.mark.parametrize("key", [GATEWAY, *OWNED, *PASSWORDS])
def test_whatever_the_user_s_file_says_of_a_key_that_gives_way_is_not_what_vpnc_is_given(key: str) -> None:
    file = f"{key} theirs\n  {key.upper()} theirs\nIPSec ID kept\n".encode()
    given = configuration(launch("vpnc", files={"/etc/vpnc/office.conf": Secret(file)})).reveal()
    assert b"theirs" not in given
    assert b"IPSec ID kept\n" in given
