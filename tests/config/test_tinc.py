"""`type = "tinc"`: what is read of tinc's folder, and what is wrong with it."""

from __future__ import annotations

from ipaddress import ip_interface
from typing import TYPE_CHECKING

import pytest

from autovpn.config.tunnel_tinc import MOST_HOSTS
from autovpn.core.settings import Endpoint, TincPeer, TincSettings
from autovpn.core.tunnel import RouteMode

if TYPE_CHECKING:
    from autovpn.core.tunnel import TunnelSpec
    from tests.config.conftest import Etc

PROFILE = 'tunnels = ["mesh"]\n[match]\ninterface = ["eth0"]\n[tunnel.mesh]\ntype = "tinc"\nconfig = "mesh"\n'
ADDRESS = 'address = "10.94.0.2/24"\n'
CONF = "Name = laptop\nConnectTo = gateway\n"
GATEWAY = "Address = vpn.example\nPort = 443\nAddress = 192.0.2.9 655\nSubnet = 10.20.0.0/24\n"


def mesh(
    etc: Etc, conf: str = CONF, gateway: str | None = GATEWAY, *, keys: tuple[str, ...] = ("rsa_key.priv",)
) -> None:
    etc.write("mesh/tinc.conf", conf, 0o644)
    etc.write("mesh/hosts/laptop", "Subnet = 10.94.0.2/32\n", 0o644)
    if gateway is not None:
        etc.write("mesh/hosts/gateway", gateway, 0o644)
    for key in keys:
        etc.write(f"mesh/{key}", "key")
    etc.profile(PROFILE + ADDRESS)


def tunnel(etc: Etc) -> TunnelSpec:
    return etc.policy().profiles[0].tunnels[0]


def test_a_folder_as_tinc_has_it_needs_no_change(etc: Etc) -> None:
    mesh(etc)
    folder = f"{etc.root}/mesh"
    spec = tunnel(etc)
    assert spec.settings == TincSettings(
        config=folder,
        name="laptop",
        peers=(TincPeer("gateway", (Endpoint("vpn.example", 443, "tcp"), Endpoint("192.0.2.9", 655, "tcp"))),),
        addresses=(ip_interface("10.94.0.2/24"),),
        keys=(("rsa_key.priv", f"{folder}/rsa_key.priv"),),
        settings=(f"{folder}/tinc.conf",),
        hosts=("gateway", "laptop"),
    )
    assert spec.files == (f"{folder}/rsa_key.priv",)
    assert spec.public_files == tuple(f"{folder}/{name}" for name in ("tinc.conf", "hosts/gateway", "hosts/laptop"))
    assert spec.routes.mode is RouteMode.SPLIT
    assert [(end.host, end.protocol) for end in spec.endpoints] == [
        ("vpn.example", "tcp"),
        ("192.0.2.9", "tcp"),
        ("vpn.example", "udp"),
        ("192.0.2.9", "udp"),
    ]


def test_a_changed_file_of_a_node_is_another_tunnel(etc: Etc) -> None:
    mesh(etc)
    before = tunnel(etc).fingerprint
    etc.write("mesh/hosts/gateway", GATEWAY + "# moved\n", 0o644)
    assert tunnel(etc).fingerprint != before


def test_several_addresses_are_a_list(etc: Etc) -> None:
    mesh(etc)
    etc.profile(PROFILE + 'address = ["10.94.0.2/24", "2001:db8:94::2/64"]\n')
    settings = tunnel(etc).settings
    assert isinstance(settings, TincSettings)
    assert settings.addresses == (ip_interface("10.94.0.2/24"), ip_interface("2001:db8:94::2/64"))


def test_more_settings_and_the_key_may_be_elsewhere(etc: Etc) -> None:
    mesh(etc, keys=("ed25519_key.priv",))
    etc.write("mesh/conf.d/20-more.conf", "ConnectTo = backup\nPrivateKeyFile = other.priv\n", 0o644)
    etc.write("mesh/other.priv", "key")
    etc.write("mesh/hosts/backup", "Address = 192.0.2.7\n", 0o644)
    settings = tunnel(etc).settings
    assert isinstance(settings, TincSettings)
    assert [peer.name for peer in settings.peers] == ["gateway", "backup"]
    assert settings.keys == (
        ("rsa_key.priv", f"{etc.root}/mesh/other.priv"),
        ("ed25519_key.priv", f"{etc.root}/mesh/ed25519_key.priv"),
    )
    assert settings.settings[1:] == (f"{etc.root}/mesh/conf.d/20-more.conf",)


def test_what_is_replaced_is_noted(etc: Etc) -> None:
    mesh(etc, CONF + "interface = tun7\nBindToAddress = 192.0.2.10\n")
    assert etc.notes() == [
        "mesh/tinc.conf:3: 'interface' is replaced by our own when the tunnel starts",
        "mesh/tinc.conf:4: 'BindToAddress' is replaced by our own when the tunnel starts",
    ]


@pytest.mark.parametrize(
    ("conf", "gateway", "problem"),
    [
        ("ConnectTo = gateway\n", GATEWAY, "mesh/tinc.conf: says no Name; write out 'Name = NODE'"),
        ("Name = $HOST\nConnectTo = gateway\n", GATEWAY, "mesh/tinc.conf: '$HOST' is no name of a node"),
        ("Name = laptop\n", GATEWAY, "mesh/tinc.conf: names nobody to connect to; add a line 'ConnectTo = NODE'"),
        ("Name = laptop\nConnectTo = ../x\n", GATEWAY, "mesh/tinc.conf:2: '../x' is no name of a node"),
        (CONF, "Subnet = 10.0.0.0/8\n", "mesh/hosts/gateway: says no Address to connect to"),
        (CONF, "Address = -x\n", "mesh/hosts/gateway: 'Address = -x' is no host and port"),
        (CONF, "Address = a 99999\n", "mesh/hosts/gateway: 'Address = a 99999' is no host and port"),
        (CONF, None, "profiles/10-test.toml:6: tunnel.mesh.config: mesh/hosts/gateway can't be read"),
        (CONF + "PrivateKey = 0123\n", GATEWAY, "mesh/tinc.conf:3: 'PrivateKey' can't be used; keep the key in a file"),
        (CONF + "Proxy = exec sh\n", GATEWAY, "mesh/tinc.conf:3: 'Proxy' can't be used; only packets to the nodes"),
        (CONF + "Mode = switch\n", GATEWAY, "mesh/tinc.conf:3: the mode 'switch' carries Ethernet, and autovpn routes"),
    ],
)
def test_a_folder_of_which_no_tunnel_can_be_made_is_refused(
    etc: Etc, conf: str, gateway: str | None, problem: str
) -> None:
    mesh(etc, conf, gateway)
    loaded = etc.load()
    assert loaded.policy is None
    assert any(line.startswith(problem.format(root=etc.root)) for line in etc.problems()), etc.problems()


def test_a_folder_without_a_key_is_refused(etc: Etc) -> None:
    mesh(etc, keys=())
    assert etc.load().policy is None
    (problem,) = etc.problems()
    assert problem.endswith("holds no private key; tincd -c mesh -K makes one")


def test_a_folder_that_is_not_there_is_named(etc: Etc) -> None:
    etc.profile(PROFILE + ADDRESS)
    assert etc.load().policy is None
    assert any("mesh/tinc.conf can't be read: no such file" in problem for problem in etc.problems())


def test_a_key_that_others_can_read_takes_the_tunnel_out_of_action(etc: Etc) -> None:
    mesh(etc, keys=())
    etc.write("mesh/rsa_key.priv", "key", 0o644)
    assert any("rsa_key.priv" in problem and "chmod go=" in problem for problem in etc.problems())


def test_a_missing_file_of_our_own_is_said(etc: Etc) -> None:
    mesh(etc)
    (etc.root / "mesh/hosts/laptop").unlink()
    assert etc.load().policy is not None
    (problem,) = etc.problems()
    assert problem.startswith("mesh/hosts/laptop: is not there; it holds this machine's public key")


def test_a_mesh_of_many_nodes_is_cut_and_said(etc: Etc) -> None:
    mesh(etc)
    for number in range(MOST_HOSTS):
        etc.write(f"mesh/hosts/node{number:05}", "", 0o644)
    settings = etc.load().policy
    assert settings
    assert len(settings.profiles[0].tunnels[0].public_files) == MOST_HOSTS + 1
    assert etc.problems() == [f"mesh/hosts: holds {MOST_HOSTS + 2} nodes, of which the first {MOST_HOSTS} are used"]


def test_a_tunnel_has_an_address_and_no_password(etc: Etc) -> None:
    mesh(etc)
    etc.write("profiles/x.pw", "secret")
    etc.profile(PROFILE + 'address = []\npassword = { file = "x.pw" }\n')
    assert any("tunnel.mesh.address" in problem for problem in etc.problems())
    etc.profile(PROFILE + ADDRESS + 'password = { file = "x.pw" }\n')
    assert any("a tinc tunnel has no password; its keys are in its folder" in problem for problem in etc.problems())


def test_lines_that_tinc_passes_over_and_variables_that_it_does_not_know_are_named(etc: Etc) -> None:
    mesh(etc, f"{CONF}Nonsense = yes\n# a comment\n\nalone\nPingTimeout = 3\nudpdiscovery = no\nCipher none\n")
    tunnel(etc)
    assert [note for note in etc.notes() if "mesh/tinc.conf" in note] == [
        "mesh/tinc.conf:6: is no setting, so tinc passes it over; NAME = VALUE",
        "mesh/tinc.conf:3: 'Nonsense' is no variable of tinc's; see tinc.conf(5)",
    ]


def test_an_empty_list_of_addresses_is_not_to_be_left_out(etc: Etc) -> None:
    mesh(etc)
    etc.profile(f"{PROFILE}address = []\n")
    assert "10-test.toml:7: tunnel.mesh.address: is an empty list; name something" in "\n".join(etc.problems())
