"""`local`: the networks behind this machine, for the tunnels that join networks."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from autovpn.config import context
from autovpn.config.context import forwards
from tests.config.conftest import WG_QUICK, Etc

PROFILE = 'tunnels = ["wg"]\n[match]\ninterface = ["eth0"]\n[tunnel.wg]\n'


def joined(etc: Etc, local: str) -> None:
    etc.write("wg0.conf", WG_QUICK)
    etc.profile(f'{PROFILE}type = "wireguard"\nconfig = "wg0.conf"\nlocal = {local}\n')


def test_networks_behind_us_belong_to_the_tunnel(etc: Etc) -> None:
    joined(etc, '["10.30.0.0/24", "2001:db8:30::/64"]')
    (tunnel,) = etc.policy().profiles[0].tunnels
    assert tunnel.local == (ip_network("10.30.0.0/24"), ip_network("2001:db8:30::/64"))


def test_a_type_that_joins_no_networks_refuses_them(etc: Etc) -> None:
    etc.write("c.conf", "IPSec gateway vpn.example\n")
    etc.profile(f'{PROFILE}type = "vpnc"\nconfig = "c.conf"\nlocal = ["10.30.0.0/24"]\n')
    assert etc.load().policy is None
    (problem,) = etc.problems()
    assert problem.startswith("profiles/10-test.toml:7: tunnel.wg.local: a tunnel of type vpnc leads from this machine")
    assert problem.endswith("join networks by a tunnel of type wireguard, ipsec or tinc")


def test_everything_cannot_be_behind_us(etc: Etc) -> None:
    joined(etc, '["0.0.0.0/0"]')
    assert etc.problems() == [
        "profiles/10-test.toml:7: tunnel.wg.local: everything can't be behind this machine; name its networks"
    ]


@pytest.mark.parametrize(
    ("local", "setting"),
    [('["10.30.0.0/24"]', "net.ipv4.ip_forward"), ('["2001:db8:30::/64"]', "net.ipv6.conf.all.forwarding")],
)
def test_forwarding_that_is_off_is_named_and_the_policy_stands(etc: Etc, local: str, setting: str) -> None:
    etc.without(forwards=lambda version: False)
    joined(etc, local)
    assert etc.load().policy is not None
    (problem,) = etc.problems()
    assert problem.startswith(f"profiles/10-test.toml:7: tunnel.wg.local: {setting} is 0, so nothing passes between ")
    assert problem.endswith(f"autovpn does not switch it: sysctl -w {setting}=1")


def test_forwarding_that_nobody_needs_is_not_asked_for(etc: Etc) -> None:
    etc.without(forwards=lambda version: False)
    joined(etc, "[]")
    assert etc.problems() == []


@pytest.mark.parametrize(("content", "answer"), [("1\n", True), ("0\n", False), (None, False)])
def test_the_kernel_is_asked_for_each_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, answer: bool
) -> None:
    setting = tmp_path / "proc/sys/net/ipv6/conf/all/forwarding"
    setting.parent.mkdir(parents=True)
    if content is not None:
        setting.write_text(content)
    monkeypatch.setattr(context, "Path", lambda *parts: tmp_path.joinpath(*(part.lstrip("/") for part in parts)))
    assert forwards(6) is answer
