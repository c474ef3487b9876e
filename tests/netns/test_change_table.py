"""What may change under a running activation, row by row of the design: what it does, and what it leaves alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.netns.clients import tunnel_clients
from tests.netns.laptop import Laptop
from tests.netns.meter import INTERNET, Chatter, Meter
from tests.netns.server_command import Command
from tests.netns.servers import OFFICE_NETWORK, Charon, Server, Sshd, Wireguard
from tests.netns.world import GATEWAY, LAPTOP, OFFICE, wait_until

Change = Callable[["Office"], None]

EVENTS = ("preup", "postup", "predown", "postdown", "failup", "faildown", "roam")
PATIENT = '[daemon]\nlinger = "60s"\n'
FULL = "0.0.0.0/0"
SPLIT = f"10.97.0.0/24, {OFFICE_NETWORK}"


@dataclass(frozen=True)
class Picture:
    """What most changes must not touch."""

    process: int
    attempt: int
    hooks: list[str]
    resolv_conf: tuple[int, str]
    step_kinds: list[str]


class Office:
    """A laptop with one profile, whose parts a test changes."""

    def __init__(self, laptop: Laptop, kind: type[Server] = Wireguard, mode: str = "full") -> None:
        self.laptop = laptop
        self.server = kind(laptop.world)
        self.routes = f'[tunnel.office.routes]\nmode = "{mode}"\n'
        if isinstance(self.server, Wireguard) and mode == "full":
            text = self.server.config.read_text()
            self.server.config.write_text(text.replace(f"AllowedIPs = {SPLIT}", f"AllowedIPs = {FULL}"))
        if mode == "split":
            self.routes += f'include = ["{OFFICE_NETWORK}"]\n'
        self.match = 'interface_type = ["ethernet"]\n'
        self.dns = 'servers = ["10.20.0.53"]\n'
        self.options = ""
        self.hooks = laptop.hooks(*EVENTS)
        laptop.configure(PATIENT)
        self.write()

    def write(self) -> None:
        tunnel = self.server.tunnel_toml("office").partition("[tunnel.office.routes]")[0]
        self.laptop.profile(
            "10-office",
            f'tunnels = ["office"]\n[match]\n{self.match}[dns]\n{self.dns}{tunnel}{self.options}'
            f"{self.routes}{self.hooks}",
        )

    def up(self) -> Picture:
        self.laptop.start()
        self.laptop.wait_for("office", "up")
        self.answers()
        return self.picture()

    def answers(self, address: str = OFFICE) -> None:
        wait_until(lambda: self.laptop.namespace.ping(address), f"{address} to answer")

    def reload(self) -> None:
        self.write()
        code, said = self.laptop.ask("reload")
        assert code == 0, said

    def settled(self) -> None:
        """Return when nothing is being done, and nothing is left to do."""

        def rests() -> bool:
            return self.laptop.state("office") == "up" and not self.laptop.request("plan")["changes"]

        wait_until(rests, "the daemon to rest")

    def picture(self) -> Picture:
        self.settled()
        (process,) = tunnel_clients(self.laptop.namespace)
        path = self.laptop.namespace.file("/etc/resolv.conf")
        return Picture(
            process=process,
            attempt=self.activation["tunnels"][0]["attempt"],
            hooks=moments(self.laptop),
            resolv_conf=(path.stat().st_ino, path.read_text()),
            step_kinds=[step.split()[0] for step in self.activation["steps"]],
        )

    @property
    def activation(self) -> dict[str, Any]:
        found = self.laptop.activation("office")
        assert found
        return found

    @property
    def device(self) -> dict[str, Any]:
        name = self.activation["tunnels"][0]["device"]
        listing = json.loads(self.laptop.namespace.run("ip", "-json", "-statistics", "address", "show", name).stdout)
        found: dict[str, Any] = listing[0]
        return found


def moments(laptop: Laptop) -> list[str]:
    return [line.split()[0] for line in laptop.hook_log()]


def rules(laptop: Laptop) -> str:
    return laptop.namespace.run("ip", "rule").stdout


# -- the uplink


def another_gateway(office: Office) -> None:
    office.laptop.world.gateway.batch("addr add 192.0.2.254/24 dev eth0")
    office.laptop.namespace.batch("route replace default via 192.0.2.254")


def another_address(office: Office) -> None:
    office.laptop.namespace.batch(
        f"addr del {LAPTOP}/24 dev eth0", "addr add 192.0.2.77/24 dev eth0", f"route replace default via {GATEWAY}"
    )


def another_prefix(office: Office) -> None:
    """Move to a private network, which a full tunnel leaves reachable."""
    office.laptop.world.gateway.batch("addr add 192.168.7.1/24 dev eth0")
    office.laptop.namespace.batch(
        "addr add 192.168.7.2/24 dev eth0", "route replace default via 192.168.7.1", f"addr del {LAPTOP}/24 dev eth0"
    )
    wait_until(lambda: "to 192.168.7.0/24 lookup main" in rules(office.laptop), "the rule for the LAN")


def another_name(office: Office) -> None:
    office.laptop.namespace.run("ip", "link", "set", "eth0", "name", "lan0")
    wait_until(lambda: "oif lan0 lookup main" in rules(office.laptop), "the rule for the new name")
    office.settled()
    assert "oif eth0" not in rules(office.laptop)


def another_metric(office: Office) -> None:
    office.laptop.namespace.batch(
        f"route add default via {GATEWAY} metric 700", f"route del default via {GATEWAY} metric 0"
    )
    wait_until(lambda: office.laptop.status()["uplinks"][0]["metric"] == 700, "the new metric")


def another_mtu(office: Office) -> None:
    office.laptop.namespace.run("ip", "link", "set", "eth0", "mtu", "1400")
    wait_until(lambda: office.device["mtu"] == 1320, "the tunnel's smaller MTU")


def another_index(office: Office) -> None:
    """Unplug an adapter and plug it in again: the same network by a link that is a new one."""
    laptop, gateway = office.laptop.namespace, office.laptop.world.gateway
    mac = json.loads(gateway.run("ip", "-json", "link", "show", "eth0").stdout)[0]["address"]
    laptop.run("ip", "link", "del", "eth0")
    wait_until(lambda: office.activation["lingering"], "the activation to linger")
    office.laptop.world.connect(laptop, "eth0", gateway, "eth0")
    gateway.run("ip", "link", "set", "eth0", "address", mac)
    gateway.batch(f"addr add {GATEWAY}/24 dev eth0")
    laptop.batch(f"addr add {LAPTOP}/24 dev eth0", f"route add default via {GATEWAY}")
    wait_until(lambda: not office.activation["lingering"], "the activation to carry on")


UPLINK_CHANGES = [
    another_gateway,
    another_address,
    another_prefix,
    another_name,
    another_metric,
    another_mtu,
    another_index,
]


@pytest.mark.parametrize("change", UPLINK_CHANGES)
def test_a_changed_uplink_is_amended(laptop: Laptop, change: Change) -> None:
    office = Office(laptop)
    before = office.up()
    received = office.device["stats64"]["rx"]["packets"]

    change(office)
    office.answers()

    assert office.picture() == before
    assert office.device["stats64"]["rx"]["packets"] > received
    assert laptop.stop() == 0
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]


def test_an_activation_moves_to_another_uplink_of_the_same_profile(laptop: Laptop) -> None:
    office = Office(laptop)
    world = laptop.world
    before = office.up()

    world.connect(world.laptop, "eth9", world.gateway, "eth9")
    world.gateway.batch("addr add 198.51.100.1/24 dev eth9")
    world.laptop.batch("addr add 198.51.100.2/24 dev eth9", "route add default via 198.51.100.1 metric 900")
    wait_until(lambda: len(laptop.status()["uplinks"]) == 2, "the second uplink")
    assert office.activation["uplink"] == "eth0"
    laptop.uplink_down()
    world.laptop.batch(f"addr del {LAPTOP}/24 dev eth0")
    wait_until(lambda: office.activation["uplink"] == "eth9", "the activation to move")
    office.answers()

    assert office.picture() == before
    assert "oif eth9 lookup main" in rules(laptop)
    assert "oif eth0" not in rules(laptop)

    laptop.uplink_up()
    world.laptop.batch(f"addr add {LAPTOP}/24 dev eth0", f"route replace default via {GATEWAY}")
    wait_until(lambda: office.activation["uplink"] == "eth0", "the activation to move back")
    office.answers()
    assert office.picture() == before

    laptop.stop()
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]
    assert "proto 87" not in rules(laptop)


@pytest.mark.parametrize("kind", [Sshd, Charon])
def test_another_gateway_touches_no_connection_from_an_address_that_stays(laptop: Laptop, kind: type[Server]) -> None:
    office = Office(laptop, kind, mode="split")
    before = office.up()

    another_gateway(office)
    office.answers()

    assert office.picture() == before


@pytest.mark.parametrize("kind", [Sshd, Command, Charon])
def test_a_connection_from_an_address_that_went_moves_without_hooks_and_is_then_made_anew(
    laptop: Laptop, kind: type[Server]
) -> None:
    """A connection of ssh's, whoever started it, or of vpnc's belongs to the address that it began with.

    Either program asks its far end whether it lives, and ends when it has no answer: the driver waits for that, since
    the address may as well come back.
    """
    office = Office(laptop, kind, mode="split")
    world = laptop.world
    before = office.up()

    world.connect(world.laptop, "eth9", world.gateway, "eth9")
    world.gateway.batch("addr add 198.51.100.1/24 dev eth9")
    world.laptop.batch("addr add 198.51.100.2/24 dev eth9", "route add default via 198.51.100.1 metric 900")
    wait_until(lambda: len(laptop.status()["uplinks"]) == 2, "the second uplink")
    laptop.uplink_down()
    world.laptop.batch(f"addr del {LAPTOP}/24 dev eth0")
    world.gateway.batch(f"addr add {GATEWAY}/32 dev lo")  # still there when its cable is not
    wait_until(lambda: office.activation["uplink"] == "eth9", "the activation to move")
    assert moments(laptop) == ["preup", "postup"]
    if kind is Command:  # whose ssh gives up before sshd does, and its dead session would hold the device
        office.server.stop()
        office.server.start()

    assert laptop.first_failure("office", 40.0)[0] == "lost"
    laptop.wait_for("office", "up")
    office.answers()
    assert office.picture().process != before.process
    assert moments(laptop) == ["preup", "postup", "predown", "postup"]


# -- what the tunnel pushes

# No client of ours pushes twice, so the driver does: a second time when it is told that the uplink has changed.
REPUSHING = """
from dataclasses import replace
from ipaddress import ip_interface
from autovpn.core.actions import Ready
from autovpn.core.driving import UplinkChanged
from autovpn.tunnels import drivers, wireguard

class Repushing(wireguard.WireguardDriver):
    def feed(self, state, event, now):
        state, actions = super().feed(state, event, now)
        if isinstance(event, UplinkChanged):
            facts = wireguard._facts(state.launch, wireguard.settings_of(state.launch))
            addresses = (*facts.addresses, ip_interface("10.97.0.99/32"))
            return state, (*actions, Ready(replace(facts, addresses=addresses, dns=("10.20.0.54",))))
        return state, tuple(map(fewer, actions))

def fewer(action):
    if not isinstance(action, Ready):
        return action
    return Ready(replace(action.facts, prefixes=action.facts.prefixes[:2]))

drivers.DRIVERS = {**drivers.DRIVERS, "wireguard": Repushing()}
from autovpn.cli.main import main
main()
"""


def test_what_a_tunnel_pushes_later_is_amended(laptop: Laptop) -> None:
    office = Office(laptop, mode="split")
    assert isinstance(office.server, Wireguard)
    office.dns = 'search = ["office.example"]\n'
    text = office.server.config.read_text()
    text = text.replace("[Peer]", "DNS = 10.20.0.53\n\n[Peer]").replace(SPLIT, f"{SPLIT}, {INTERNET}/32")
    office.server.config.write_text(text)
    office.write()
    meter = Meter(laptop.world)
    laptop.write("/etc/repushing.py", REPUSHING)
    laptop.start((sys.executable, "/etc/repushing.py"))
    laptop.wait_for("office", "up")
    before = office.picture()
    assert "nameserver 10.20.0.53" in laptop.resolv_conf

    another_gateway(office)
    wait_until(lambda: "nameserver 10.20.0.54" in laptop.resolv_conf, "the newer DNS")
    after = office.picture()

    assert (after.process, after.attempt, after.hooks) == (before.process, before.attempt, before.hooks)
    assert "10.97.0.99" in {address["local"] for address in office.device["addr_info"]}
    meter.reset()
    office.answers(INTERNET)
    assert meter.tunnelled
    assert meter.clear == 0


# -- reload


def match(office: Office) -> None:
    office.match = 'interface = ["eth*", "eth0"]\n'


def connect_timeout(office: Office) -> None:
    office.options = 'connect_timeout = "77s"\n'


def hook_timeout(office: Office) -> None:
    office.hooks = office.hooks.replace("run =", 'timeout = "7s"\nrun =')


def linger(office: Office) -> None:
    office.laptop.configure('[daemon]\nlinger = "50s"\nsettle_trusted = "7s"\n')


@pytest.mark.parametrize("change", [match, connect_timeout, hook_timeout, linger])
def test_a_reload_of_conditions_and_times_does_nothing_now(laptop: Laptop, change: Change) -> None:
    office = Office(laptop)
    before = office.up()

    change(office)
    office.reload()

    assert office.picture() == before


def test_the_reloaded_linger_holds_from_then_on(laptop: Laptop) -> None:
    office = Office(laptop)
    office.up()

    laptop.configure('[daemon]\nlinger = "0s"\n')
    office.reload()
    laptop.uplink_down()

    laptop.wait_for("office", None)


def test_the_reloaded_conditions_hold_from_then_on(laptop: Laptop) -> None:
    office = Office(laptop)
    laptop.configure('[daemon]\nlinger = "0s"\n')
    office.up()

    office.match = 'interface = ["somewhere-else"]\n'
    office.reload()

    laptop.wait_for("office", None)
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]


def test_reloaded_hooks_run_from_the_next_moment_on_and_what_is_owed_is_owed_by_the_list_that_ran(
    laptop: Laptop,
) -> None:
    office = Office(laptop)
    before = office.up()
    laptop.write("/etc/autovpn/new-event", '#!/bin/sh\necho "new-$AUTOVPN_EVENT" >> /run/hooks.log\n', 0o755)

    office.hooks = office.hooks.replace("log-event", "new-event")
    office.reload()
    assert office.picture() == before
    laptop.ask("down")
    assert laptop.ask("up", "office")[0] == 0
    laptop.wait_for("office", "up")
    laptop.stop()

    assert moments(laptop) == [
        *("preup", "postup", "predown", "postdown"),
        *("new-preup", "new-postup", "new-predown", "new-postdown"),
    ]


def other_dns(office: Office) -> None:
    office.dns = 'servers = ["10.20.0.54"]\nsearch = ["new.example"]\n'


def other_routes(office: Office) -> None:
    office.routes = office.routes.replace("include = [", 'include = ["203.0.113.7/32", ')


def full_routes(office: Office) -> None:
    office.routes = '[tunnel.office.routes]\nmode = "full"\n'


@pytest.mark.parametrize(
    ("change", "sign"),
    [(other_dns, "nameserver 10.20.0.54"), (other_routes, "203.0.113.7"), (full_routes, "oif eth0 lookup main")],
)
def test_reloaded_dns_and_routes_are_amended(laptop: Laptop, change: Change, sign: str) -> None:
    office = Office(laptop, Sshd, mode="split")
    before = office.up()
    assert sign not in laptop.resolv_conf + rules(laptop)

    change(office)
    office.reload()
    wait_until(lambda: sign in laptop.resolv_conf + rules(laptop), "the amended step")

    after = office.picture()
    assert (after.process, after.attempt, after.hooks) == (before.process, before.attempt, before.hooks)
    office.answers()
    laptop.stop()
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]


def another_key_of_the_tunnel(office: Office) -> None:
    office.options = "mtu = 1290\n"


def another_secret(office: Office) -> None:
    """Write the file with the keys anew."""
    assert isinstance(office.server, Wireguard)
    office.server.config.write_text(office.server.config.read_text() + "# written anew\n")


@pytest.mark.parametrize("change", [another_key_of_the_tunnel, another_secret])
def test_a_reload_of_anything_else_of_a_tunnel_replaces_it(laptop: Laptop, change: Change) -> None:
    office = Office(laptop)
    meter = Meter(laptop.world)
    before = office.up()
    meter.reset()

    with Chatter(laptop.namespace):
        change(office)
        office.reload()
        wait_until(lambda: before.process not in laptop.processes("wireguard-go"), "the old program's end")
        laptop.wait_for("office", "up")
        office.answers()

    assert meter.clear == 0
    after = office.picture()
    assert after.process != before.process
    assert after.hooks == ["preup", "postup", "predown", "postup"]
    assert (after.attempt, after.resolv_conf[1]) == (before.attempt, before.resolv_conf[1])


def test_a_reload_replaces_no_other_tunnel(laptop: Laptop) -> None:
    world = laptop.world
    office = Office(laptop, mode="split")
    office.match = 'interface = ["eth0"]\n'
    office.dns = 'domains = ["office.example"]\n'
    world.connect(world.laptop, "eth9", world.gateway, "eth9")
    world.gateway.batch("addr add 198.51.100.1/24 dev eth9")
    world.laptop.batch("addr add 198.51.100.2/24 dev eth9", "route add default via 198.51.100.1 metric 900")
    other = Sshd(world).tunnel_toml("other").replace(str(OFFICE_NETWORK), "10.98.0.0/30")
    laptop.profile("20-other", f'tunnels = ["other"]\n[match]\ninterface = ["eth9"]\n{other}{laptop.hooks("postup")}')
    office.write()
    laptop.start()
    laptop.wait_for("office", "up")
    laptop.wait_for("other", "up")
    ssh, wireguard = laptop.processes("ssh"), laptop.processes("wireguard-go")

    another_key_of_the_tunnel(office)
    office.reload()
    wait_until(lambda: laptop.processes("wireguard-go") not in (wireguard, []), "the new program")
    laptop.wait_for("office", "up")

    assert laptop.processes("ssh") == ssh
    assert [line.split()[1] for line in laptop.hook_log() if line.startswith("postup")].count("other") == 1


def test_a_reload_with_an_error_keeps_the_running_configuration_and_says_so(laptop: Laptop) -> None:
    office = Office(laptop)
    before = office.up()

    office.match = 'interfase = ["eth0"]\n'
    office.write()
    code, said = laptop.ask("reload")

    assert code == 1
    assert "interfase" in said
    assert office.picture() == before
    assert laptop.status()["reload_failed"]
    assert "interfase" in laptop.ask("status")[1]
    office.match = 'interface = ["eth0"]\n'
    office.reload()
    assert not laptop.status()["reload_failed"]
    assert office.picture() == before


# -- another network


def test_on_a_conflicting_network_the_same_profile_begins_anew_behind_the_guard(laptop: Laptop) -> None:
    office = Office(laptop)
    meter = Meter(laptop.world)
    before = office.up()
    epoch_guard = [line for line in rules(laptop).splitlines() if "oif eth0" in line]
    watching = laptop.namespace.spawn("ip", "monitor", "rule")
    meter.reset()

    with Chatter(laptop.namespace, (INTERNET, OFFICE)):
        gateway = laptop.world.gateway
        laptop.uplink_down()
        wait_until(lambda: office.activation["lingering"], "the activation to linger")
        gateway.run("ip", "link", "set", "eth0", "address", "02:00:00:00:77:01")
        laptop.namespace.batch(f"addr del {LAPTOP}/24 dev eth0")
        gateway.batch("addr add 198.51.100.1/24 dev eth0")
        laptop.uplink_up()
        laptop.namespace.batch("addr add 198.51.100.10/24 dev eth0", "route replace default via 198.51.100.1")
        wait_until(lambda: "postdown" in moments(laptop), "the end of the first activation")
        laptop.wait_for("office", "up")
        office.answers()

    assert meter.clear == 0
    after = office.picture()
    assert after.process != before.process
    assert after.hooks == ["preup", "postup", "predown", "postdown", "preup", "postup"]
    assert [line for line in rules(laptop).splitlines() if "oif eth0" in line] == epoch_guard
    wait_until(lambda: "Deleted" in watching.output, "the monitor to tell of the rules that went")
    assert not [line for line in watching.output.splitlines() if line.startswith("Deleted") and "oif eth0" in line]
