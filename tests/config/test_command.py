"""The tables of tunnels by other programs: what they become, and what of them is refused."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from typing import TYPE_CHECKING

import pytest

from autovpn.core.endpoint import Endpoint, Listener
from autovpn.core.settings_command import CommandSettings, ReadyBy
from autovpn.core.tunnel import RouteMode
from tests.config.conftest import Etc

if TYPE_CHECKING:
    from autovpn.core.tunnel import TunnelSpec

CAFE = '[match]\nssid = ["Cafe"]\n'
LINK = 'device = "vpn0"\nready = { link = true }\n'


def write(etc: Etc, table: str, more: str = "") -> None:
    etc.profile(f'tunnels = ["t"]\n{CAFE}[tunnel.t]\ntype = "command"\n{table}{more}')


def spec(etc: Etc, table: str, more: str = "") -> TunnelSpec:
    write(etc, table, more)
    (found,) = etc.policy().profiles[0].tunnels
    return found


def settings(etc: Etc, table: str) -> CommandSettings:
    found = spec(etc, table).settings
    assert isinstance(found, CommandSettings)
    return found


def test_every_key_arrives(etc: Etc) -> None:
    found = settings(
        etc,
        'start = ["up", "a b"]\nstop = ["down"]\ncheck = ["look"]\nready = { check = true }\ndevice = "vpn0"\n'
        'endpoints = ["vpn.example:1723/tcp", "vpn.example/gre", "[2001:db8::1]:53/udp", "[2001:db8::1]/esp"]\n'
        'addresses = ["10.9.0.2/30"]\npeer = "10.9.0.1"\nfailures = { auth = ["denied"], trust = ["certificate"] }\n',
    )
    assert found == CommandSettings(
        start=("up", "a b"),
        ready=ReadyBy.CHECK,
        stop=("down",),
        check=("look",),
        endpoints=(
            Endpoint("vpn.example", 1723, "tcp"),
            Endpoint("vpn.example", None, "gre"),
            Endpoint("2001:db8::1", 53, "udp"),
            Endpoint("2001:db8::1", None, "esp"),
        ),
        addresses=(IPv4Interface("10.9.0.2/30"),),
        peer=IPv4Address("10.9.0.1"),
        auth_words=("denied",),
        trust_words=("certificate",),
    )


@pytest.mark.parametrize(
    ("ready", "expected"),
    [
        ('{ line = "is up" }', CommandSettings(("up",), ReadyBy.LINE, line="is up")),
        (
            '{ port = "8080" }',
            CommandSettings(("up",), ReadyBy.PORT, listener=Listener(IPv4Address("127.0.0.1"), 8080)),
        ),
        (
            '{ port = "[::1]:8080" }',
            CommandSettings(("up",), ReadyBy.PORT, listener=Listener(IPv6Address("::1"), 8080)),
        ),
        ("{ notify = true }", CommandSettings(("up",), ReadyBy.NOTIFY)),
    ],
)
def test_each_way_to_be_ready_is_read(etc: Etc, ready: str, expected: CommandSettings) -> None:
    assert settings(etc, f'start = ["up"]\nready = {ready}\n') == expected


def test_a_tunnel_that_detaches_has_no_device_of_ours_and_says_that_nobody_notices_its_end(etc: Etc) -> None:
    found = spec(etc, 'start = ["up"]\nstop = ["down"]\ndetaches = true\nready = { exit = true }\n')
    assert (found.device, found.routes.mode) == ("", RouteMode.NONE)
    assert any("nothing notices when this tunnel dies; give it a table 'health'" in note for note in etc.notes())
    health = '[tunnel.t.health]\ncheck = "command"\ncommand = ["look"]\n'
    spec(etc, 'start = ["up"]\nstop = ["down"]\ndetaches = true\nready = { exit = true }\n', health)
    assert not any("notices" in note for note in etc.notes())


def test_what_goes_into_the_tunnel_needs_addresses(etc: Etc) -> None:
    plain = spec(etc, f'start = ["up"]\n{LINK}')
    assert plain.routes.mode is RouteMode.NONE
    assert not plain.may_push_dns
    assert spec(etc, f'start = ["up"]\naddresses = ["10.9.0.2/30"]\n{LINK}').routes.mode is RouteMode.SPLIT


REFUSED = [
    ("ready = { link = true }\n", "tunnel.t.start: is missing"),
    ('start = []\nready = { exit = true }\ndetaches = true\nstop = ["x"]\n', "tunnel.t.start: is an empty list"),
    ('start = ["up"]\n', "tunnel.t.ready: is missing"),
    ('start = ["up"]\nready = {}\n', "ready: says in more or less than one way when the tunnel is there; use one of"),
    ('start = ["up"]\nready = { link = true, notify = true }\n', "ready: says in more or less than one way"),
    ('start = ["up"]\nready = { notify = false }\n', "ready.notify: can only be true; leave out what"),
    ('start = ["up"]\nready = { port = "localhost:1" }\n', "ready.port: 'localhost:1' names no address; write"),
    ('start = ["up"]\nready = { check = true }\n', "is ready by a 'check' that it doesn't have; give it one"),
    ('start = ["up"]\nready = { link = true }\n', "is ready by a link that has no name; give it a 'device'"),
    ('start = ["up"]\nready = { exit = true }\n', "but doesn't say that it ends; set 'detaches'"),
    ('start = ["up"]\ndetaches = true\nready = { exit = true }\n', "so nothing but a 'stop' can end it; give it one"),
    ('start = ["up"]\nstop = ["x"]\ndetaches = true\nready = { notify = true }\n', "nobody is left to say the notify"),
    ('start = ["up"]\nready = { notify = true }\nmtu = 1400\n', "but no 'device' for them"),
    (f'start = ["up"]\npeer = "10.9.0.1"\n{LINK}', "has a 'peer', but no 'addresses' of its own"),
    (f'start = ["up"]\n{LINK}[tunnel.t.routes]\nmode = "split"\n', "has no 'addresses', so autovpn can route nothing"),
    (
        f'start = ["up"]\naddresses = ["10.9.0.2/30"]\n{LINK}[tunnel.t.routes]\nmode = "full"\n',
        "takes everything, its own packets too; name its far end in 'endpoints'",
    ),
    ('start = ["up"]\nendpoints = ["vpn.example"]\nready = { notify = true }\n', "'vpn.example' is no endpoint; write"),
    ('start = ["up"]\nendpoints = ["vpn.example/udp"]\nready = { notify = true }\n', "'vpn.example' is no port"),
    ('start = ["up"]\nendpoints = ["-x/gre"]\nready = { notify = true }\n', "'-x/gre' is no endpoint"),
]


@pytest.mark.parametrize(("table", "problem"), REFUSED)
def test_what_can_not_be_meant_is_refused(etc: Etc, table: str, problem: str) -> None:
    write(etc, table)
    loaded = etc.load()
    assert loaded.policy is None
    assert any(problem in line for line in loaded.problems), loaded.problems


@pytest.mark.parametrize("key", ["start", "stop", "check"])
def test_a_program_that_cannot_be_run_is_named_at_its_key(etc: Etc, key: str) -> None:
    etc.without(which=lambda name: None if name == "missing" else "/bin/true")
    lists = {name: f'{name} = ["{"missing" if name == key else "fine"}"]\n' for name in ("start", "stop", "check")}
    write(etc, "".join(lists.values()) + "ready = { check = true }\n")
    assert etc.load().policy is not None
    (problem,) = etc.problems()
    assert f"tunnel.t.{key}: the program 'missing' is not installed" in problem
