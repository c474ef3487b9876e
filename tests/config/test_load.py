"""What a configuration becomes."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from autovpn.config.load import load
from autovpn.core.network import Grade, Security
from autovpn.core.profile import Action, Condition, DnsSettings, Event, Hook, Key, OnFail, Policy
from autovpn.core.settings import Endpoint, OpensshSettings, SecretRef, SshForward, VpncSettings, WireguardSettings
from autovpn.core.snapshot import LinkType
from autovpn.core.tunnel import RouteMode, RouteWish
from tests.config.conftest import WG_QUICK, Etc

CAFE = '[match]\nssid = ["cafe"]\n'
DNS = '[dns]\nservers = ["10.97.0.1"]\n'
SSH = '[tunnel.home]\ntype = "openssh"\nhost = "vpn.example"\nsocks = "1080"\n'


def test_no_configuration_is_an_empty_policy(tmp_path: Path) -> None:
    loaded = load(tmp_path / "absent")
    assert loaded.policy == Policy()
    assert loaded.problems == ()
    assert "does not exist" in loaded.notes[0]


def test_an_empty_folder_is_an_empty_policy(etc: Etc) -> None:
    assert etc.policy() == Policy()
    assert "holds no profile" in etc.notes()[0]


def test_the_daemons_settings_become_the_policys(etc: Etc) -> None:
    etc.write(
        "autovpn.toml",
        """
        [daemon]
        settle_trusted = "1s"
        linger = "0s"
        decide_timeout = "2s"
        hook_timeout = "1min"
        uplinks = { include = ["veth0"], exclude = ["docker0"] }
        [dns]
        backend = "file"
        on_conflict = "yield"
        """,
    )
    assert etc.policy() == Policy((), 1.0, 0.0, 2.0, frozenset({"veth0"}), frozenset({"docker0"}), "file", "yield")


def test_every_condition_becomes_bytes_networks_and_text(etc: Etc) -> None:
    etc.profile(
        SSH
        + """
        [match]
        interface = ["wlan0"]
        interface_glob = ["wl*"]
        interface_type = ["wifi", "wwan"]
        ssid = ["Café", '\\x41']
        ssid_hex = ["00ff"]
        ssid_glob = ["C*"]
        bssid = ["02-00-5E-10-00-01"]
        security = ["psk", "sae"]
        gateway_mac = ["02:00:5E:10:00:02"]
        gateway = ["192.0.2.1"]
        address = ["10.0.0.0/8"]
        dns_suffix = ["Campus.Example."]
        dns_server = ["2001:DB8::1"]
        [match.not]
        ssid = ["bad"]
        interface_type = ["any"]
        """
    )
    (profile,) = etc.load().policy.profiles  # type: ignore[union-attr]
    assert profile.conditions == (
        Condition(Key.INTERFACE, ("wlan0",)),
        Condition(Key.INTERFACE_GLOB, ("wl*",)),
        Condition(Key.INTERFACE_TYPE, (LinkType.WIFI, LinkType.WWAN)),
        Condition(Key.SSID, ("Café".encode(), rb"\x41")),
        Condition(Key.SSID_HEX, (b"\x00\xff",)),
        Condition(Key.SSID_GLOB, (b"C*",)),
        Condition(Key.BSSID, ("02:00:5e:10:00:01",)),
        Condition(Key.SECURITY, (Security.PSK, Security.SAE)),
        Condition(Key.GATEWAY_MAC, ("02:00:5e:10:00:02",)),
        Condition(Key.GATEWAY, (ip_network("192.0.2.1"),)),
        Condition(Key.ADDRESS, (ip_network("10.0.0.0/8"),)),
        Condition(Key.DNS_SUFFIX, ("campus.example",)),
        Condition(Key.DNS_SERVER, ("2001:db8::1",)),
        Condition(Key.INTERFACE_TYPE, tuple(LinkType), negated=True),
        Condition(Key.SSID, (b"bad",), negated=True),
    )


def test_profiles_are_tried_in_byte_order_and_the_default_comes_last(etc: Etc) -> None:
    for name in ("9-nine", "10-ten", "B", "a", "x"):
        etc.profile(f'action = "ignore"\n[match]\ninterface = ["{name}"]\n', f"{name}.toml")
    etc.profile('action = "ignore"\ndefault = true\n', "00-default.toml")
    assert [profile.name for profile in etc.policy().profiles] == ["ten", "nine", "B", "a", "x", "default"]


def test_a_profile_keeps_its_action_evidence_dns_and_source(etc: Etc) -> None:
    path = etc.profile(
        'action = "disconnect"\n'
        + CAFE
        + '[trust]\nrequire = "shared-key"\n'
        + '[dns]\nservers = ["192.0.2.53"]\nsearch = ["a.example"]\ndomains = ["b.example"]\n'
    )
    (profile,) = etc.policy().profiles
    assert (profile.action, profile.require, profile.source) == (Action.DISCONNECT, Grade.SHARED_KEY, str(path))
    assert profile.dns == DnsSettings(("192.0.2.53",), ("a.example",), ("b.example",))


@pytest.mark.parametrize("place", ["profiles/resolv.conf-wlan", "resolv.conf-wlan"])
def test_a_whole_dns_file_is_read_from_beside_the_profile_or_above(etc: Etc, place: str) -> None:
    path = etc.write(place, "nameserver 192.0.2.53\n", 0o644)
    etc.profile('[dns]\nfile = "resolv.conf-wlan"\n' + CAFE + '[trust]\nrequire = "shared-key"\n')
    (profile,) = etc.policy().profiles
    assert (profile.dns.file, profile.dns.file_text) == (str(path), "nameserver 192.0.2.53\n")


def test_hooks_of_the_profile_run_before_those_that_lie_in_folders(etc: Etc) -> None:
    script = etc.write("hooks/postup.d/20-b", "#!/bin/sh\n", 0o755)
    first = etc.write("hooks/postup.d/10-a", "#!/bin/sh\n", 0o755)
    early = etc.write("hooks/preup.d/x", "#!/bin/sh\n", 0o755)
    etc.write("hooks/postup.d/30-c~", "#!/bin/sh\n", 0o755)
    etc.write("hooks/README", "text")
    etc.profile(
        SSH.replace("[tunnel", '[[hooks]]\non = "preup"\nrun = ["true", "", "$x"]\nuser = "nobody"\n[tunnel')
        + CAFE
        + '[[hooks]]\non = "postup"\nrun = ["/bin/true"]\ntimeout = "2s"\non_fail = "ignore"\n'
    )
    etc.write("autovpn.toml", '[daemon]\nhook_timeout = "9s"\n')
    loaded = etc.load()
    assert loaded.policy
    assert loaded.policy.profiles[0].hooks == (
        Hook(Event.PREUP, ("true", "", "$x"), 9.0, "nobody"),
        Hook(Event.POSTUP, ("/bin/true",), 2.0, None, OnFail.IGNORE),
        Hook(Event.PREUP, (str(early),), 9.0),
        Hook(Event.POSTUP, (str(first),), 9.0),
        Hook(Event.POSTUP, (str(script),), 9.0),
    )


def test_an_ignored_link_has_no_hooks(etc: Etc) -> None:
    etc.write("hooks/postup.d/a", "#!/bin/sh\n", 0o755)
    etc.profile('action = "ignore"\n[match]\ninterface = ["usb0"]\n')
    assert etc.policy().profiles[0].hooks == ()


def test_a_wireguard_tunnel_comes_from_its_file(etc: Etc) -> None:
    path = etc.write("wg0.conf", WG_QUICK)
    etc.profile('tunnels = ["wg"]\n[tunnel.wg]\ntype = "wireguard"\nconfig = "wg0.conf"\nmtu = 1400\n' + CAFE)
    (tunnel,) = etc.policy().profiles[0].tunnels
    assert isinstance(tunnel.settings, WireguardSettings)
    assert tunnel.settings.config == str(path)
    assert tunnel.settings.addresses == (ip_interface("10.97.0.2/24"),)
    assert tunnel.routes.mode is RouteMode.SPLIT
    assert (tunnel.device, tunnel.mtu, tunnel.files) == ("vpn-wg", 1400, (str(path),))
    assert tunnel.fingerprint.startswith(f"{path.stat().st_ino},")


@pytest.mark.parametrize("everything", ["0.0.0.0/0", "::/0"])
def test_a_peer_that_carries_everything_makes_a_full_tunnel(etc: Etc, everything: str) -> None:
    etc.write("wg0.conf", WG_QUICK.replace("10.20.0.0/24", everything))
    etc.profile('tunnels = ["wg"]\n[tunnel.wg]\ntype = "wireguard"\nconfig = "wg0.conf"\n' + CAFE + DNS)
    assert etc.policy().profiles[0].tunnels[0].routes.mode is RouteMode.FULL


@pytest.mark.parametrize(
    ("line", "port"),
    [("", 10000), ("Cisco UDP Encapsulation Port 4501\n", 4501), ("cisco udp encapsulation port 9\n", 9)],
)
def test_a_vpnc_tunnel_lets_out_every_form_of_its_packets(etc: Etc, line: str, port: int) -> None:
    etc.write("c.conf", f"IPSec gateway vpn.example\n{line}")
    etc.profile('tunnels = ["c"]\n[tunnel.c]\ntype = "vpnc"\nconfig = "c.conf"\n' + CAFE)
    (tunnel,) = etc.policy().profiles[0].tunnels
    ends = [(end.port, end.protocol) for end in tunnel.endpoints]
    assert ends == [(500, "udp"), (4500, "udp"), (port, "udp"), (None, "esp")]


@pytest.mark.parametrize("port", ["0", "port", "70000"])
def test_a_vpnc_port_that_is_none_is_refused(etc: Etc, port: str) -> None:
    etc.write("c.conf", f"IPSec gateway vpn.example\nCisco UDP Encapsulation Port {port}\n")
    etc.profile('tunnels = ["c"]\n[tunnel.c]\ntype = "vpnc"\nconfig = "c.conf"\n' + CAFE)
    assert etc.load().policy is None
    (problem,) = etc.problems()
    assert problem.startswith(f"c.conf: '{port}' is no port")


def test_a_vpnc_tunnel_names_its_gateway_and_what_is_replaced(etc: Etc) -> None:
    path = etc.write(
        "c.conf", "IPSec gateway vpn.example\nipsec secret s3cret\nScript /bin/x\n\tNo Detach\nScripture x\n"
    )
    secret = etc.write("profiles/c.pw", "s3cret")
    etc.profile(
        'tunnels = ["c"]\n[tunnel.c]\ntype = "vpnc"\nconfig = "c.conf"\npassword = { file = "c.pw" }\n'
        '[tunnel.c.routes]\nmode = "split"\ninclude = ["10.0.0.0/8"]\n' + CAFE
    )
    (tunnel,) = etc.policy().profiles[0].tunnels
    assert tunnel.settings == VpncSettings(str(path), "vpn.example")
    assert tunnel.password == SecretRef(file=str(secret))
    assert tunnel.routes == RouteWish(RouteMode.SPLIT, (ip_network("10.0.0.0/8"),))
    assert etc.notes() == [
        "c.conf:3: 'Script' is replaced by our own when the tunnel starts",
        "c.conf:4: 'No Detach' is replaced by our own when the tunnel starts",
    ]
    assert "s3cret" not in repr(etc.load())


def test_an_openssh_tunnel_keeps_all_its_keys(etc: Etc) -> None:
    key, known = etc.write("key", "x"), etc.write("known", "x", 0o644)
    config = etc.write("ssh_config", "Host jump\n  HostName real.example\n  Port 2222\n", 0o644)
    etc.profile(
        """
        tunnels = ["s"]
        [tunnel.s]
        type = "openssh"
        host = "jump"
        user = "me"
        identity = "key"
        known_hosts = "known"
        config = "ssh_config"
        remote_unit = 0
        address = "10.98.0.2/30"
        peer = "10.98.0.1"
        socks = "1080"
        forwards = [{ listen = "[::1]:8443", target = "wiki.example:443" }]
        device = "tun7"
        connect_timeout = "5s"
        """
        + CAFE
    )
    (tunnel,) = etc.policy().profiles[0].tunnels
    assert tunnel.settings == OpensshSettings(
        host="jump",
        port=2222,
        user="me",
        identity=str(key),
        known_hosts=str(known),
        config=str(config),
        remote_unit=0,
        address=ip_interface("10.98.0.2/30"),
        peer=ip_address("10.98.0.1"),
        socks="127.0.0.1:1080",
        forwards=(SshForward("[::1]:8443", "wiki.example:443"),),
        endpoint_host="real.example",
    )
    assert tunnel.endpoints == (Endpoint("real.example", 2222, "tcp"),)
    assert (tunnel.device, tunnel.files, tunnel.connect_timeout) == ("tun7", (), 5.0)
    assert tunnel.fingerprint.count(" ") == 2


def test_a_proxy_alone_has_no_device_and_no_routes(etc: Etc) -> None:
    etc.profile('tunnels = ["home"]\n' + SSH + CAFE)
    (tunnel,) = etc.policy().profiles[0].tunnels
    assert (tunnel.device, tunnel.routes.mode) == ("", RouteMode.NONE)


def test_a_changed_secret_changes_the_tunnel(etc: Etc) -> None:
    etc.profile('tunnels = ["c"]\n[tunnel.c]\ntype = "vpnc"\nconfig = "c.conf"\npassword = { file = "pw" }\n' + CAFE)
    etc.write("c.conf", "IPSec gateway vpn.example\n")
    etc.write("profiles/pw", "one")
    before = etc.policy()
    assert etc.policy() == before
    etc.write("profiles/pw.new", "two").replace(etc.root / "profiles/pw")
    assert etc.policy() != before


def test_tunnels_are_named_across_all_files(etc: Etc) -> None:
    etc.profile('tunnels = ["home"]\n' + CAFE, "10-cafe.toml")
    etc.profile('tunnels = ["home"]\n[match]\nssid = ["bar"]\n' + SSH, "20-bar.toml")
    cafe, bar = etc.policy().profiles
    assert cafe.tunnels == bar.tunnels != ()


@pytest.mark.parametrize(
    ("written", "secret"),
    [
        ('{ credential = "vpn" }', SecretRef(credential="vpn")),
        ('{ command = ["/bin/true", "vpn"] }', SecretRef(command=("/bin/true", "vpn"))),
    ],
)
def test_a_secret_may_come_from_a_program_or_from_systemd(etc: Etc, written: str, secret: SecretRef) -> None:
    etc.write("c.conf", "IPSec gateway vpn.example\nXauth password old\n")
    etc.profile(f'tunnels = ["c"]\n[tunnel.c]\ntype = "vpnc"\nconfig = "c.conf"\npassword = {written}\n' + CAFE)
    assert etc.policy().profiles[0].tunnels[0].password == secret
    assert etc.notes() == ["c.conf:2: 'Xauth password' is replaced by our own when the tunnel starts"]


@pytest.mark.parametrize("name", ["campus", "a-very-long-name-of-a-tunnel", "a-very-long-name-of-another"])
def test_a_device_is_derived_from_the_tunnels_name(etc: Etc, name: str) -> None:
    etc.write("c.conf", "IPSec gateway vpn.example\n")
    etc.profile(f'tunnels = ["{name}"]\n[tunnel.{name}]\ntype = "vpnc"\nconfig = "c.conf"\n' + CAFE)
    device = etc.policy().profiles[0].tunnels[0].device
    assert device.startswith(f"vpn-{name[:5]}")
    assert len(device) <= 15


def test_one_file_may_be_a_link_and_is_noted(etc: Etc) -> None:
    real = etc.write("shared.toml", 'action = "ignore"\ndefault = true\n')
    (etc.root / "profiles").mkdir()
    (etc.root / "profiles/99-default.toml").symlink_to(real)
    assert etc.policy().profiles[0].is_default
    assert etc.notes()[0] == f"profiles/99-default.toml: is a symbolic link to {real}, which was read".replace(
        f"{etc.root}/", ""
    )
