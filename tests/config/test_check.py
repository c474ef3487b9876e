"""What is said about a configuration: everything that is wrong, at once, with its file, its line and its key."""

from __future__ import annotations

import os

import pytest

from autovpn.config.files import Files
from autovpn.config.programs import Programs
from autovpn.config.tunnels import TYPES
from autovpn.core.escape import show_ssid
from tests.config.conftest import WG_QUICK, Etc, begin

CAFE = '[match]\nssid = ["cafe"]\n'
CISCO = 'tunnels = ["c"]\n[tunnel.c]\ntype = "vpnc"\nconfig = "c.conf"\n'
SSH = '[tunnel.home]\ntype = "openssh"\nhost = "vpn.example"\nsocks = "1080"\n'

BAD = """\
acton = "connct"
action = "conect"
tunnels = ["a",
  "with space"]
[match]
ssid = ["ok", "0123456789012345678901234567890123456789"]
gatewaymac = ["x"]
security = []
interface_type = [5]
[match.not]
address = ["10.0.0.1/8"]
[[hooks]]
on = "postup"
run = ["true"]
[[hooks]]
onn = "postupp"
run = "true"
timeout = "5"
[tunnel.a]
type = "vpnc"
confg = "/x"
mtu = 5
password = "hunter2"
preshared_key = "hunter2"
[tunnel.b]
type = "opnssh"
[tunnel.c]
foo = { bar = 1 }
[tunnel.d]
type = "openssh"
host = "x"
[tunnel.e]
type = "vpnc"
config = "x"
password = { file = "x", credential = "x" }
[tunnel]
f = 4
[tunnel."g h"]
type = "vpnc"
config = "x"
"""

SAID = """\
profiles/10-test.toml:1: acton: is an unknown key; did you mean 'action'?
profiles/10-test.toml:2: action: 'conect' is not known here; did you mean 'connect'?
profiles/10-test.toml:4: tunnels: 'with space' is no name; use letters, digits, '.', '_' and '-', at most 64
profiles/10-test.toml:6: match.ssid: '0123456789012345678901234567890123456789' is 40 bytes long; an SSID has at most 32
profiles/10-test.toml:7: match.gatewaymac: is an unknown key; did you mean 'gateway_mac'?
profiles/10-test.toml:8: match.security: is an empty list; leave the key out, or name something
profiles/10-test.toml:9: match.interface_type: must be text in quotes; known are wifi, ethernet, wwan, any
profiles/10-test.toml:11: match.not.address: '10.0.0.1/8' has bits set beyond its prefix length; did you mean '10
profiles/10-test.toml:15: hooks.on: is missing
profiles/10-test.toml:16: hooks.onn: is an unknown key; did you mean 'on'?
profiles/10-test.toml:17: hooks.run: must be a list, like ["one", "two"]
profiles/10-test.toml:18: hooks.timeout: '5' is no time; write a number and a unit, like "500ms", "5s", "2min", "1h"
profiles/10-test.toml:19: tunnel.a.config: is missing
profiles/10-test.toml:21: tunnel.a.confg: is an unknown key; did you mean 'config'?
profiles/10-test.toml:22: tunnel.a.mtu: must be greater than or equal to 576
profiles/10-test.toml:23: tunnel.a.password: is a literal secret; put it into a file that only root may read
profiles/10-test.toml:24: tunnel.a.preshared_key: is an unknown key, and no secret belongs into this file
profiles/10-test.toml:25: tunnel.b: the type 'opnssh' is not known; did you mean 'openssh'?
profiles/10-test.toml:27: tunnel.c: has no 'type'; known are TYPES
profiles/10-test.toml:29: tunnel.d: carries nothing; give it an 'address' (layer 3), 'socks' or 'forwards'
profiles/10-test.toml:35: tunnel.e.password: says where the secret is in more or less than one way
profiles/10-test.toml:37: tunnel.f: must be a table
profiles/10-test.toml:38: tunnel.g h: 'g h' is no name; use letters, digits, '.', '_' and '-', at most 64
"""


def test_everything_that_is_wrong_with_a_file_is_said_at_once(etc: Etc) -> None:
    etc.profile(BAD)
    assert begin(etc.problems(), *SAID.replace("TYPES", ", ".join(sorted(TYPES))).splitlines())
    assert etc.load().policy is None
    assert "hunter2" not in repr(etc.load())


REFUSED = [
    (
        'action = "disconnect"\ntunnels = ["home"]\n' + SSH + CAFE,
        ":2: tunnels: the action 'disconnect' starts no tunnel",
    ),
    ('tunnels = ["home", "home"]\n' + SSH + CAFE, ":1: tunnels: names a tunnel twice"),
    ('tunnels = ["hmoe"]\n' + SSH + CAFE, ":1: tunnels: there is no tunnel 'hmoe'; did you mean 'home'?"),
    ('tunnels = ["home"]\n' + CAFE, ":1: tunnels: there is no tunnel 'home'; write a table [tunnel.home]"),
    ("", ": has no condition, so it would match every network; add a [match], or default = true"),
    ("[match]\n[match.not]\n", ": has no condition"),
    ("default = true\n" + CAFE, ":2: match: the default profile takes every network that is left"),
    (CAFE + '[dns]\nfile = "x"\nsearch = ["a.example"]\n', ":4: dns.file: is a whole file"),
    (CAFE + '[dns]\nfile = "x"\n', ":4: dns.file: {root}/profiles/x can't be read: no such file or directory"),
    (CAFE + SSH + 'device = "tun0"\n', ":3: tunnel.home: has 'peer', 'remote_unit' or 'device', but no 'address'"),
    (CAFE + SSH + 'address = "10.98.0.2/30"\ndevice = "vpn0"\n', ":3: tunnel.home: has the device 'vpn0', but ssh"),
    (CAFE + SSH + 'routes = { mode = "full" }\n', ":3: tunnel.home: has no 'address', so nothing can be routed"),
    (
        CAFE + SSH + 'routes = { include = ["10.0.0.0/8"] }\n',
        "routes.include: routes are listed, but the mode is 'none'",
    ),
    (CAFE + SSH + 'config = "absent"\n', ":7: tunnel.home.config: {root}/profiles/absent can't be read"),
    (CAFE + '[tunnel.w]\ntype = "wireguard"\nconfig = "w"\n', ":5: tunnel.w.config: {root}/profiles/w can't be read"),
    (CAFE + SSH + 'password = { credential = "x" }\n', ":7: tunnel.home.password: ssh can't be given a password"),
    (CAFE + '[tunnel.v]\ntype = "vpnc"\nconfig = "w"\n', ":5: tunnel.v.config: {root}/profiles/w can't be read"),
    ("[match\n", ":1: is not TOML: "),
    ("x = 1\nx = 2\n", ":2: is not TOML: "),
    ("x = " + "[" * 100_000, "is not TOML"),
    ("x = " + "9" * 10_000, "is not TOML"),
    (b"x = 1\n# \xff\n", ": line 2 is not UTF-8; save the file as UTF-8"),
    ("x = 1\0", "is not TOML"),
]


@pytest.mark.parametrize(("text", "problem"), REFUSED)
def test_a_wrong_profile_leaves_no_policy(etc: Etc, text: str | bytes, problem: str) -> None:
    etc.write("profiles/10-test.toml", text)
    loaded = etc.load()
    assert loaded.policy is None
    assert any(problem.format(root=etc.root) in line for line in loaded.problems), loaded.problems


def test_names_are_compared_across_files(etc: Etc) -> None:
    tunnel = SSH.replace('socks = "1080"', 'address = "10.98.0.2/30"\ndevice = "tun1"')
    etc.profile(CAFE + tunnel, "10-cafe.toml")
    etc.profile('action = "ignore"\ndefault = true\n' + tunnel, "20-cafe.toml")
    etc.profile('action = "ignore"\ndefault = true\n' + tunnel.replace("home", "work"), "30-bar.toml")
    etc.profile('action = "ignore"\n[match]\ninterface = ["x"]\n', "40-b ar.toml")
    assert begin(
        [line for line in etc.problems() if "trust" not in line],
        "profiles/40-b ar.toml: 'b ar' is no name; use letters, digits, '.', '_' and '-', at most 64",
        "profiles/20-cafe.toml: the profile's name 'cafe' is that of 10-cafe.toml too; rename one of the files",
        "profiles/30-bar.toml:2: default: 20-cafe.toml is the default already; only one profile can be",
        "profiles/20-cafe.toml:3: tunnel.home: a tunnel of this name is in 10-cafe.toml too",
        "profiles/30-bar.toml:3: tunnel.work: uses the device 'tun1', which the tunnel 'home' uses too",
    )


def test_a_tunnel_in_a_broken_file_is_not_missed_in_others(etc: Etc) -> None:
    etc.profile('tunnels = ["home"]\n' + CAFE, "10-cafe.toml")
    etc.profile("wrong = 1\n" + SSH, "20-home.toml")
    assert [line.partition(":")[0] for line in etc.problems()] == ["profiles/20-home.toml"]
    etc.profile("[\n", "20-home.toml")
    assert [line.partition(":")[0] for line in etc.problems()] == ["profiles/20-home.toml"]


WARNED = [
    (CAFE, "trust.require: this profile cannot match: it wants no tunnel, so it needs proof"),
    (
        '[match]\ninterface_type = ["ethernet"]\ngateway = ["192.0.2.1"]\n[trust]\nrequire = "shared-key"\n',
        ":5: trust.require: this profile cannot match: only Wi-Fi has a shared key",
    ),
    (
        'tunnels = ["home"]\n[match]\nssid = ["x"]\nnot.interface_type = ["wifi"]\n' + SSH,
        ":2: match: cannot match: 'ssid' is known of Wi-Fi only",
    ),
    (
        'action = "ignore"\n[match]\ninterface = ["usb0"]\n[[hooks]]\non = "preup"\nrun = ["true"]\n',
        ":4: hooks: the action 'ignore' runs no hooks",
    ),
    (
        'tunnels = ["home"]\n' + SSH + 'identity = "key"\n' + CAFE,
        "tunnel.home.identity: {root}/profiles/key can't be read",
    ),
    (
        CISCO + 'password = { file = "open" }\n' + CAFE,
        "password.file: {root}/profiles/open holds a",
    ),
    (CISCO + 'password = { command = ["x/y"] }\n' + CAFE, "'x/y' is relative to no folder"),
    ('tunnels = ["home"]\n' + SSH + CAFE + '[[hooks]]\non = "roam"\nrun = [""]\n', "the program '' is not installed"),
    (
        'tunnels = ["home"]\n' + SSH + CAFE + '[[hooks]]\non = "roam"\nrun = ["true"]\non_fail = "abort"\n',
        ":11: hooks.on_fail: nothing can be aborted at roam; only preup can stop a start",
    ),
]


@pytest.mark.parametrize(("text", "problem"), WARNED)
def test_a_problem_of_one_profile_leaves_the_policy(etc: Etc, text: str, problem: str) -> None:
    etc.write("profiles/open", "secret", 0o644)
    etc.write("c.conf", "IPSec gateway vpn.example\n")
    etc.profile(text)
    loaded = etc.load()
    assert loaded.policy is not None
    assert any(problem.format(root=etc.root) in line for line in loaded.problems), loaded.problems


def test_missing_programs_and_users_are_named(etc: Etc) -> None:
    etc.without(which=lambda name: None, has_user=lambda name: False, kernel_has_wireguard=lambda: False)
    etc.write("wg0.conf", WG_QUICK)
    etc.write("c.conf", "IPSec gateway vpn.example\n")
    etc.profile(
        'tunnels = ["home", "w", "c"]\n'
        + SSH
        + '[tunnel.w]\ntype = "wireguard"\nconfig = "wg0.conf"\n[tunnel.c]\ntype = "vpnc"\nconfig = "c.conf"\n'
        + CAFE
        + '[[hooks]]\non = "preup"\nrun = ["mount"]\nuser = "tux"\n'
    )
    assert etc.load().policy is not None
    assert begin(
        etc.problems(),
        "profiles/10-test.toml:3: tunnel.home.type: the program 'ssh' is not installed; install it: apt",
        "profiles/10-test.toml:7: tunnel.w.type: this kernel has no WireGuard, and 'wireguard-go' is not installed;",
        "profiles/10-test.toml:10: tunnel.c.type: the program 'vpnc' is not installed; install it: apt install vpnc",
        "profiles/10-test.toml:16: hooks.run: the program 'mount' is not installed",
        "profiles/10-test.toml:17: hooks.user: there is no user 'tux'; name an existing one",
    )


def test_a_client_that_is_too_old_is_named_with_its_version(etc: Etc) -> None:
    etc.without(
        printed_version=lambda program, path: "OpenVPN 2.3.10 x86_64-pc-linux-gnu", which=lambda name: "/bin/true"
    )
    programs = Programs(
        Files(os.geteuid()), etc.environment.which, lambda: ("fedora",), etc.environment.printed_version
    )
    assert programs.client_problem("openvpn") == (
        "openvpn 2.3.10 is too old: 2.4 or later is needed, for the ciphers that servers ask for today",
        "install it: dnf install openvpn",
    )
    assert programs.client_problem("vpnc") is None, "any version will do"


def test_hooks_in_folders_that_cannot_run_are_named_and_left_out(etc: Etc) -> None:
    etc.write("hooks/postup.d/a", "#!/bin/sh\n", 0o644)
    etc.write("hooks/postup.d/b", "#!/no/such/interpreter -x\n", 0o755)
    etc.write("hooks/postup.d/c", "#!/bin/sh\n", 0o777)
    etc.write("hooks/postupp.d/d", "#!/bin/sh\n", 0o755)
    etc.profile('tunnels = ["home"]\n' + SSH + CAFE)
    policy = etc.load().policy
    assert policy is not None
    assert policy.profiles[0].hooks == ()
    assert begin(
        etc.problems(),
        "hooks/postupp.d: is named for no event; did you mean 'postup.d'?",
        "hooks/postup.d/a: is not run: hooks/postup.d/a is not executable; chmod +x it",
        "hooks/postup.d/b: is not run: hooks/postup.d/b needs the interpreter /no/such/interpreter, which is not",
        "hooks/postup.d/c: is not run: hooks/postup.d/c may be written by others (mode 0777)",
    )


def test_a_profile_that_others_may_write_is_refused(etc: Etc) -> None:
    etc.profile(CAFE).chmod(0o666)
    assert begin(
        etc.problems(),
        "profiles/10-test.toml: may be written by others (mode 0666); take the permission away: chmod go-w FILE",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_profile_of_another_user_is_refused(etc: Etc) -> None:
    os.chown(etc.profile(CAFE), 65534, -1)
    assert "belongs to user 65534" in etc.problems()[0]


def test_a_folder_in_place_of_a_file_is_refused(etc: Etc) -> None:
    (etc.root / "autovpn.toml").mkdir()
    (etc.root / "profiles").write_text("")
    assert etc.problems() == ["autovpn.toml: is not a regular file", "profiles: can't be listed: Not a directory"]


def test_a_wrong_main_file_is_told_beside_the_profiles(etc: Etc) -> None:
    etc.write("autovpn.toml", '[daemon]\nlinger = 15\n[dns]\nbackend = "resolvd"\n')
    etc.profile("nonsense = 1\n")
    assert begin(
        etc.problems(),
        'autovpn.toml:2: daemon.linger: \'15\' is no time; write a number and a unit, like "500ms", "5s", "2min", "1h"',
        "autovpn.toml:4: dns.backend: 'resolvd' is not known here; did you mean 'resolved'?",
        "profiles/10-test.toml:1: nonsense: is an unknown key; known are action, default, dns, hooks, match, trust",
    )


@pytest.mark.parametrize("backend", ["resolved", "networkmanager", "resolvconf"])
def test_a_dns_back_end_may_be_named(etc: Etc, backend: str) -> None:
    etc.write("autovpn.toml", f'[dns]\nbackend = "{backend}"\n')
    policy = etc.load().policy
    assert policy
    assert policy.dns_backend == backend


FULL = 'host = "vpn.example"\naddress = "10.98.0.2/30"\nroutes = { mode = "full" }\n'
FULL_SSH = f'tunnels = ["home"]\n{CAFE}[tunnel.home]\ntype = "openssh"\n{FULL}'
IN_CLEAR = "names are asked in clear of the uplink's resolver"


def test_a_full_tunnel_that_brings_no_dns_is_a_problem_until_the_profile_names_servers(etc: Etc) -> None:
    etc.profile(FULL_SSH)
    (problem,) = etc.problems()
    assert problem.startswith("profiles/10-test.toml:1: tunnels: all traffic goes through 'home'")
    assert IN_CLEAR in problem
    assert etc.load().policy is not None
    for dns in ('servers = ["10.0.0.1"]', 'file = "resolv.conf"'):
        etc.write("profiles/resolv.conf", "nameserver 10.0.0.1\n", 0o644)
        etc.profile(FULL_SSH + f"[dns]\n{dns}\n")
        assert etc.problems() == []
    etc.profile(FULL_SSH + "[dns]\nservers = []\n")
    assert etc.problems() == []
    assert [note for note in etc.notes() if IN_CLEAR in note]


@pytest.mark.parametrize(("dns", "wrong"), [("DNS = 10.0.0.1\n", False), ("", True)])
def test_a_full_wg_quick_file_brings_its_dns_or_is_a_problem(etc: Etc, dns: str, wrong: bool) -> None:
    text = WG_QUICK.replace("10.20.0.0/24", "0.0.0.0/0").replace("[Peer]", f"{dns}[Peer]")
    etc.write("wg.conf", text)
    etc.profile(f'tunnels = ["w"]\n{CAFE}[tunnel.w]\ntype = "wireguard"\nconfig = "wg.conf"\n')
    assert [IN_CLEAR in problem for problem in etc.problems()] == [True] * wrong


def test_a_split_tunnel_may_leave_names_alone(etc: Etc) -> None:
    etc.profile(FULL_SSH.replace('"full"', '"split", include = ["10.0.0.0/8"]'))
    assert etc.problems() == []


def test_hooks_of_captive_portals_are_said_not_to_run(etc: Etc) -> None:
    etc.profile('tunnels = ["home"]\n' + CAFE + '[[hooks]]\non = "portal"\nrun = ["true"]\n' + SSH)
    etc.write("hooks/portal.d/login", "#!/bin/sh\n", 0o755)
    etc.policy()
    listed, lying = sorted(note for note in etc.notes() if "captive portals" in note)
    assert "hooks/portal.d/login" in listed
    assert "profiles/10-test.toml:5: hooks.on: nothing finds captive portals in this version" in lying


def test_a_shadowed_profile_is_named_with_what_shadows_it(etc: Etc) -> None:
    etc.profile('tunnels = ["home"]\n[match]\ninterface_type = ["any"]\n' + SSH, "10-all.toml")
    etc.profile('tunnels = ["home"]\n[match]\ninterface_type = ["wifi"]\nssid = ["cafe"]\n', "20-cafe.toml")
    assert etc.load().policy is not None
    assert begin(
        etc.problems(),
        "profiles/20-cafe.toml:2: match: this profile never wins: 'all' comes first",
    )


def test_weak_trust_is_named_as_long_as_it_lasts(etc: Etc) -> None:
    etc.profile('action = "disconnect"\n[trust]\nrequire = "hint"\n' + CAFE, "10-hint.toml")
    etc.profile('action = "disconnect"\n[trust]\nrequire = "shared-key"\n[match]\nssid = ["a"]\n', "20-key.toml")
    etc.profile('action = "disconnect"\ndefault = true\n', "30-all.toml")
    etc.policy()
    hint, key, default = etc.notes()
    assert "hint.toml:3: trust.require: this network is trusted on hints" in hint
    assert "key.toml:3: trust.require: this network is trusted on a shared key" in key
    assert "all.toml:1: action: every network that no other profile knows is trusted" in default


@pytest.mark.parametrize("other", ["Cafe", "cafe ", "\uff43afe"])
def test_ssids_that_a_person_would_confuse_are_noted(etc: Etc, other: str) -> None:
    tail = 'tunnels = ["home"]\n'
    etc.profile(tail + CAFE + SSH, "10-cafe.toml")
    etc.profile(tail + f'[match]\nssid = ["{other}"]\n', "20-other.toml")
    etc.policy()
    assert begin(
        etc.notes(),
        f"profiles/20-other.toml:3: match.ssid: {show_ssid(other.encode())} looks like \"cafe\" in 'cafe'",
    )


def test_a_tunnel_that_nobody_names_is_noted(etc: Etc) -> None:
    etc.profile('action = "ignore"\ndefault = true\n' + SSH)
    etc.policy()
    assert etc.notes() == ['profiles/10-test.toml:3: tunnel.home: no profile names this tunnel; add tunnels = ["home"]']


def test_problems_inside_a_tunnels_own_file_are_told_there(etc: Etc) -> None:
    etc.write("wg0.conf", WG_QUICK + "PostUp = reboot\nTable = off\n[Interface]\nPostUp = reboot\nTable = off\n")
    etc.write("c.conf", "IPSec gateway two words\nPidfile x\n")
    etc.write("d.conf", "IPSec ID x\n")
    etc.profile(
        'tunnels = ["w", "c", "d"]\n'
        '[tunnel.w]\ntype = "wireguard"\nconfig = "wg0.conf"\npassword = { credential = "x" }\n'
        '[tunnel.c]\ntype = "vpnc"\nconfig = "c.conf"\n[tunnel.d]\ntype = "vpnc"\nconfig = "d.conf"\n' + CAFE
    )
    assert begin(
        etc.problems(),
        "wg0.conf:8: PostUp would run a command; move it to [[hooks]] of the profile",
        "wg0.conf:11: PostUp would run a command; move it to [[hooks]] of the profile",
        "profiles/10-test.toml:5: tunnel.w.password: a WireGuard tunnel has no password; its keys are in its file",
        "c.conf:1: 'two words' is neither a host's name nor an address",
        "d.conf: names no gateway; add a line 'IPSec gateway HOST'",
    )
    assert [line.partition(" ")[0] for line in etc.notes()] == ["wg0.conf:9:", "wg0.conf:12:", "c.conf:2:"]


def test_an_ssh_config_that_leads_elsewhere_is_noted(etc: Etc) -> None:
    etc.write("ssh_config", "Host *\n  ProxyJump other\n", 0o644)
    etc.profile('tunnels = ["home"]\n' + SSH + 'config = "ssh_config"\n' + CAFE)
    etc.policy()
    assert "uses 'proxyjump', which is not followed" in etc.notes()[0]


def test_control_characters_never_reach_the_terminal(etc: Etc) -> None:
    etc.write("profiles/10-\x1b[31m\n.toml", '"\\u001b[0m" = 1\n[tunnel."\\u0007"]\ntype = "\\u001b"\n')
    problems = etc.load().problems
    assert problems
    assert all(line.isprintable() for line in problems), problems
