"""A full tunnel takes everything, whatever the network does; measured by what arrives at the gateway in clear."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from typing import TypeVar

import pytest

from tests.netns.laptop import Laptop
from tests.netns.meter import EVERYWHERE, INTERNET, INTERNET6, Chatter, Meter, send
from tests.netns.server_ipsec import Ipsec
from tests.netns.servers import OFFICE_NETWORK, Server, Sshd, Wireguard
from tests.netns.test_resolve import FOUR, SIX, NameServer
from tests.netns.world import GATEWAY, GATEWAY6, LAPTOP, OFFICE, OFFICE6, wait_until

AnyServer = TypeVar("AnyServer", bound=Server)

MATCH = '[match]\ninterface_type = ["ethernet"]\n'
NAME = "vpn.example"
SPLIT = f'[tunnel.office.routes]\nmode = "split"\ninclude = ["{OFFICE_NETWORK}"]\n'
FULL = '[tunnel.office.routes]\nmode = "full"\n'


@pytest.fixture
def meter(laptop: Laptop) -> Meter:
    return Meter(laptop.world)


@pytest.fixture(params=[Wireguard, Sshd])
def server(laptop: Laptop, request: pytest.FixtureRequest) -> Server:
    kind: type[Server] = request.param
    return made(laptop, kind)


@pytest.fixture
def wireguard(laptop: Laptop) -> Wireguard:
    return made(laptop, Wireguard)


@pytest.fixture
def named(laptop: Laptop) -> Wireguard:
    """Give a server that is known by its name alone, at addresses that only its name tells."""
    server = made(laptop, Wireguard)
    settings = server.config
    settings.write_text(settings.read_text().replace(f"Endpoint = {GATEWAY}:", f"Endpoint = {NAME}:"))
    laptop.world.gateway.batch(f"addr add {FOUR}/32 dev lo", f"addr add {SIX}/128 dev lo")
    return server


def made(laptop: Laptop, kind: type[AnyServer], options: str = "") -> AnyServer:
    """Start a server and write the profile that sends everything to it."""
    server = kind(laptop.world)
    if isinstance(server, Wireguard):
        text = server.config.read_text()
        server.config.write_text(text.replace(f"AllowedIPs = 10.97.0.0/24, {OFFICE_NETWORK}", "AllowedIPs = 0.0.0.0/0"))
    write_profile(laptop, server, options)
    return server


def write_profile(laptop: Laptop, server: Server, options: str = "") -> None:
    tunnel = server.tunnel_toml("office").replace(SPLIT, "") + FULL
    tunnel = tunnel.replace("[tunnel.office]\n", f"[tunnel.office]\n{options}", 1)
    laptop.profile("10-office", f'tunnels = ["office"]\n{MATCH}[dns]\nservers = ["10.20.0.53"]\n{tunnel}')


def up(laptop: Laptop, meter: Meter) -> None:
    """Bring the tunnel up and count from then on."""
    laptop.start()
    laptop.wait_for("office", "up")
    meter.reset()


def reached(laptop: Laptop, *addresses: str) -> None:
    for address in addresses:
        wait_until(partial(laptop.namespace.ping, address), f"{address} to answer")


def tunnel_process(laptop: Laptop) -> int:
    """Return the process of the tunnel's program."""
    (pid,) = laptop.processes("wireguard-go", "ssh")
    return pid


def kill_tunnel(laptop: Laptop) -> None:
    os.kill(tunnel_process(laptop), signal.SIGKILL)


def lose_tunnel(laptop: Laptop) -> None:
    """Kill the tunnel's program, and return when the daemon has seen it."""
    failures = len(laptop.failures("office"))
    kill_tunnel(laptop)
    wait_until(lambda: len(laptop.failures("office")) > failures, "the loss to be noticed")


def received(laptop: Laptop) -> int:
    """Return how many packets the tunnel's device has received since it was made."""
    listing = laptop.namespace.run("ip", "-json", "-statistics", "link", "show", device(laptop)).stdout
    return int(json.loads(listing)[0]["stats64"]["rx"]["packets"])


def device(laptop: Laptop) -> str:
    activation = laptop.activation("office")
    assert activation
    return str(activation["tunnels"][0]["device"])


def test_everything_goes_through_the_tunnel(laptop: Laptop, meter: Meter, server: Server) -> None:
    before = laptop.picture()
    up(laptop, meter)

    reached(laptop, INTERNET, OFFICE)
    laptop.namespace.call(send, "10.20.0.53", 53)
    with Chatter(laptop.namespace) as chatter:
        wait_until(lambda: chatter.rounds > 100, "some rounds of talk")
        wait_until(lambda: meter.tunnelled >= 200, "what was said to come out of the tunnel")

    assert meter.clear == 0
    assert (meter.tunnelled_dns, meter.clear_dns) == (1, 0)
    assert laptop.stop() == 0
    assert laptop.picture() == before


def test_injected_routes_win_nothing_however_specific(laptop: Laptop, meter: Meter, server: Server) -> None:
    """TunnelVision (CVE-2024-3661): a DHCP server hands out routes that are narrower than the tunnel's."""
    up(laptop, meter)

    laptop.namespace.batch(
        *(
            f"route add {prefix} via {GATEWAY}"
            for prefix in ("0.0.0.0/1", "128.0.0.0/1", f"{INTERNET}/32", f"{OFFICE}/32")
        ),
        *(f"route add {prefix} via {GATEWAY6}" for prefix in ("::/1", "8000::/1", f"{INTERNET6}/128")),
    )
    reached(laptop, INTERNET, OFFICE)
    for address in EVERYWHERE:
        laptop.namespace.ping(address, wait=0.2)

    assert meter.clear == 0
    assert meter.tunnelled


def test_a_lan_that_claims_the_tunnels_prefixes_gets_no_packet(laptop: Laptop, meter: Meter, server: Server) -> None:
    """TunnelCrack (vanhoefm/vpnleaks#2): the local network calls itself by the addresses that it wants to see."""
    up(laptop, meter)

    laptop.namespace.batch("addr add 10.20.0.77/24 dev eth0", "addr add 203.0.113.77/24 dev eth0")
    laptop.world.gateway.batch("addr add 203.0.113.8/24 dev eth0")
    reached(laptop, INTERNET, OFFICE)
    laptop.namespace.call(send, "10.20.0.53", 53)
    laptop.namespace.ping("203.0.113.8", wait=0.2)

    assert (meter.clear, meter.clear_dns) == (0, 0)
    assert meter.tunnelled
    assert laptop.state("office") == "up"


def test_a_roam_to_another_gateway_and_prefix_leaves_the_tunnel_as_it_is(
    laptop: Laptop, meter: Meter, wireguard: Wireguard
) -> None:
    laptop.world.gateway.batch("addr add 198.51.100.1/24 dev eth0")
    up(laptop, meter)
    reached(laptop, INTERNET)
    process, packets = tunnel_process(laptop), received(laptop)

    with Chatter(laptop.namespace) as chatter:
        laptop.namespace.batch("addr add 198.51.100.10/24 dev eth0", "route replace default via 198.51.100.1")
        laptop.namespace.batch(f"addr del {LAPTOP}/24 dev eth0")
        reached(laptop, INTERNET, OFFICE)
        rounds = chatter.rounds
        wait_until(lambda: chatter.rounds > rounds + 50, "talk on the new network")

    assert meter.clear == 0
    assert tunnel_process(laptop) == process
    assert received(laptop) > packets
    assert (laptop.activation("office") or {})["tunnels"][0]["attempt"] == 1


def test_nothing_leaves_in_clear_while_ike_follows_the_uplink_to_another_address(laptop: Laptop, meter: Meter) -> None:
    """MOBIKE (RFC 4555) moves the tunnel; the guard and the pin stay, which name the server and no address of ours."""
    server = Ipsec(laptop.world)
    settings = server.folder / "swanctl/swanctl.conf"
    settings.write_text(settings.read_text().replace(str(OFFICE_NETWORK), "0.0.0.0/0"))
    server.swanctl("--load-all")
    tunnel = server.tunnel_toml("office").replace('mode = "split"', 'mode = "full"')
    laptop.profile("10-office", f'tunnels = ["office"]\n{MATCH}[dns]\nservers = ["10.20.0.53"]\n{tunnel}')
    laptop.world.gateway.batch("addr add 198.51.100.1/24 dev eth0")
    up(laptop, meter)
    reached(laptop, INTERNET)

    with Chatter(laptop.namespace) as chatter:
        laptop.namespace.batch("addr add 198.51.100.10/24 dev eth0", "route replace default via 198.51.100.1")
        laptop.namespace.batch(f"addr del {LAPTOP}/24 dev eth0")
        wait_until(lambda: laptop.namespace.ping(INTERNET), "the tunnel to carry packets from the new address", 40.0)
        rounds = chatter.rounds
        wait_until(lambda: chatter.rounds > rounds + 50, "talk from the new address")

    assert meter.clear == 0
    assert meter.tunnelled


def test_nothing_leaves_in_clear_while_a_killed_tunnel_is_made_again(
    laptop: Laptop, meter: Meter, server: Server
) -> None:
    up(laptop, meter)
    first = tunnel_process(laptop)

    with Chatter(laptop.namespace) as chatter:
        lose_tunnel(laptop)
        assert (laptop.activation("office") or {})["open"] is False
        rounds = chatter.rounds
        wait_until(lambda: chatter.rounds > rounds + 50, "talk between the attempts")
        laptop.wait_for("office", "up")
        reached(laptop, INTERNET, OFFICE)

    assert meter.clear == 0
    assert tunnel_process(laptop) != first


def test_after_the_last_attempt_the_machine_is_open_and_status_says_so(laptop: Laptop, meter: Meter) -> None:
    server = made(laptop, Wireguard, options='connect_timeout = "3s"\n')
    up(laptop, meter)
    server.silence()

    with Chatter(laptop.namespace):
        kill_tunnel(laptop)
        wait_until(lambda: laptop.state("office") != "up", "the tunnel to be lost")
        while True:
            leaked = meter.clear  # read first: what has leaked while there are attempts left is a leak
            if laptop.state("office") == "failed":
                break  # the guard may have been opened just before that reading
            assert not leaked
        wait_until(lambda: meter.clear, "packets in clear")
    assert (laptop.activation("office") or {})["open"] is True
    assert "NOT PROTECTED" in laptop.ask("status")[1]


def test_a_tunnel_without_ipv6_blocks_it(laptop: Laptop, meter: Meter, server: Server) -> None:
    reached(laptop, INTERNET6)
    up(laptop, meter)

    with Chatter(laptop.namespace, (INTERNET6, OFFICE6, GATEWAY6)) as chatter:
        wait_until(lambda: chatter.rounds > 50, "some rounds of talk")
        assert not laptop.namespace.ping(INTERNET6, wait=0.2)

    assert (meter.clear, meter.tunnelled) == (0, 0)
    laptop.stop()
    reached(laptop, INTERNET6)


def test_a_tunnel_with_ipv6_routes_it(laptop: Laptop, meter: Meter) -> None:
    server = made(laptop, Wireguard)
    settings = server.config
    text = settings.read_text().replace("/24\n", "/24, fd97::2/64\n", 1)
    settings.write_text(text.replace("AllowedIPs = 0.0.0.0/0", "AllowedIPs = 0.0.0.0/0, ::/0"))
    server.gateway.run_private(
        "wg", "set", "wgs0", "peer", server.client_public, "allowed-ips", "10.97.0.2/32,fd97::2/128"
    )
    server.gateway.batch("addr add fd97::1/64 dev wgs0")
    up(laptop, meter)

    reached(laptop, INTERNET6, OFFICE6, INTERNET)

    assert meter.clear == 0


def test_a_killed_daemon_leaks_nothing_and_its_tunnel_is_adopted(laptop: Laptop, meter: Meter, server: Server) -> None:
    up(laptop, meter)
    process = tunnel_process(laptop)

    with Chatter(laptop.namespace) as chatter:
        laptop.kill()
        reached(laptop, INTERNET)
        laptop.start()
        laptop.wait_for("office", "up")
        rounds = chatter.rounds
        wait_until(lambda: chatter.rounds > rounds + 50, "talk with the new daemon")

    assert meter.clear == 0
    assert tunnel_process(laptop) == process


def test_a_tunnel_that_dies_beside_its_dead_daemon_leaks_nothing(laptop: Laptop, meter: Meter, server: Server) -> None:
    up(laptop, meter)
    process = tunnel_process(laptop)

    with Chatter(laptop.namespace) as chatter:
        laptop.kill()
        kill_tunnel(laptop)
        rounds = chatter.rounds
        wait_until(lambda: chatter.rounds > rounds + 50, "talk while nobody watches")
        laptop.start()
        laptop.wait_for("office", "up")
        reached(laptop, INTERNET)

    assert meter.clear == 0
    assert tunnel_process(laptop) != process


# -- far ends that have names


@pytest.mark.parametrize("reverse_path_filter", ["0", "1", "2"])
def test_a_name_is_resolved_beside_the_guard_whatever_the_reverse_path_filter(
    laptop: Laptop, meter: Meter, named: Wireguard, reverse_path_filter: str
) -> None:
    for scope in ("all", "default", "eth0"):
        laptop.namespace.write(f"/proc/sys/net/ipv4/conf/{scope}/rp_filter", reverse_path_filter)
    laptop.start()
    assert laptop.first_failure("office")[0] == "name"

    with NameServer(laptop.world, GATEWAY) as names:
        meter.reset()
        laptop.wait_for("office", "up")
        reached(laptop, INTERNET)
        lose_tunnel(laptop)
        laptop.wait_for("office", "up")
        reached(laptop, INTERNET)

        assert meter.clear == 0
        assert names.asked["vpn", "A"] >= 2
        assert meter.clear_dns
    assert laptop.daemon
    assert "lookup.stale" not in laptop.daemon.output


def test_the_last_good_address_is_kept_when_nobody_answers(laptop: Laptop, meter: Meter, named: Wireguard) -> None:
    write_profile(laptop, named, 'connect_timeout = "4s"\n')
    with NameServer(laptop.world, GATEWAY):
        up(laptop, meter)
    lose_tunnel(laptop)

    laptop.wait_for("office", "up")

    reached(laptop, INTERNET)
    assert laptop.daemon
    assert "lookup.stale" in laptop.daemon.output


def test_another_attempt_takes_the_next_address_of_a_name(laptop: Laptop, meter: Meter, named: Wireguard) -> None:
    write_profile(laptop, named, 'connect_timeout = "4s"\n')
    laptop.world.gateway.batch(f"addr del {FOUR}/32 dev lo")
    with NameServer(laptop.world, GATEWAY):
        laptop.start()
        laptop.wait_for("office", "up")

    tunnel = (laptop.activation("office") or {})["tunnels"][0]
    assert (tunnel["attempt"], tunnel["endpoints"]) == (2, [str(SIX)])
    reached(laptop, INTERNET)
