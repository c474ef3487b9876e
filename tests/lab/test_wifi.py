"""Real Wi-Fi: the laptop's radio, hostapd's access points, and a supplicant that goes from one to the other."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.wifi import NETWORKS, STATION, Air
from tests.lab.wireguard import KernelWireguard
from tests.netns.test_main_job import DNS, EVENTS, moments
from tests.netns.world import OFFICE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.lab.laptop import EmulatedLaptop
    from tests.netns.namespace import Program
    from tests.netns.world import World

CONFIGURATION = '[daemon]\nsettle_trusted = "200ms"\nlinger = "{linger}"\ndecide_timeout = "20s"\n'


@pytest.fixture(scope="module")
def air(world: World) -> Air:
    return Air(world)


@pytest.fixture(scope="module")
def server(air: Air, world: World) -> KernelWireguard:
    return KernelWireguard(world)


@pytest.fixture(autouse=True)
def profiles(laptop: EmulatedLaptop, air: Air, server: KernelWireguard) -> Iterator[None]:
    """Give the laptop a profile for the campus, one for its home, which is trusted, and one for all the rest."""
    laptop.configure(CONFIGURATION.format(linger="5s"))
    hooks = laptop.hooks(*EVENTS)
    laptop.profile(
        "10-home", f'action = "disconnect"\n[match]\nssid = ["Home"]\n[trust]\nrequire = "shared-key"\n{hooks}'
    )
    laptop.profile(
        "20-campus", f'tunnels = ["office"]\n[match]\nssid = ["Campus"]\n{DNS}{server.tunnel_toml("office")}{hooks}'
    )
    laptop.profile("99-default", f'default = true\ntunnels = ["office"]\n{hooks}')
    yield
    laptop.clean()
    air.leave()


def uplink(laptop: EmulatedLaptop) -> dict[str, Any]:
    """Return what `explain` says about the radio."""
    return next(iter(laptop.request("explain", uplink=STATION)["uplinks"]))


def wait_for_hooks(laptop: EmulatedLaptop, line: str, count: int) -> None:
    wait_until(lambda: history(laptop).count(line) == count, f"'{line}', {count} times")


def wait_for_more(pinging: Program) -> None:
    """Wait for some further answers."""
    seen = pinging.output.count("bytes from")
    wait_until(lambda: pinging.output.count("bytes from") > seen + 2, "answers from the office")


def history(laptop: EmulatedLaptop) -> list[str]:
    """Return which hooks of which profile have run."""
    return [" ".join(line.split()[:2]) for line in laptop.hook_log()]


def test_joining_a_network_carries_out_its_profile_and_leaving_it_undoes_all(laptop: EmulatedLaptop, air: Air) -> None:
    laptop.configure(CONFIGURATION.format(linger="1s"))
    before = laptop.picture()
    laptop.start()

    air.join("campus")
    laptop.wait_for("campus", "up")

    seen = uplink(laptop)
    assert (seen["ssid"], seen["security"], seen["profile"]) == ("Campus", "psk", "campus")
    assert seen["bssid"] in {air.bssid("wlan1"), air.bssid("wlan2")}
    assert laptop.namespace.ping(OFFICE)
    assert "nameserver 10.20.0.53" in laptop.resolv_conf
    wait_for_hooks(laptop, "postup campus", 1)
    assert history(laptop) == ["preup campus", "postup campus"]

    air.leave()
    laptop.wait_for("campus", None)

    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]
    assert "reason=uplink-lost" in laptop.hook_log()[2]
    laptop.stop()
    assert laptop.picture() == before


@pytest.mark.parametrize("other", ["cafe", "cafe-by-scan"])  # 20 ms apart, and 8 s
def test_another_network_is_one_teardown_and_one_setup_in_this_order(
    laptop: EmulatedLaptop, air: Air, other: str
) -> None:
    laptop.start()
    air.join("campus")
    laptop.wait_for("campus", "up")

    if other == "cafe-by-scan":
        air.ask("bss_flush", "0")
    air.join(other)
    laptop.wait_for("default", "up")
    wait_for_hooks(laptop, "postup default", 1)

    assert history(laptop) == [
        "preup campus",
        "postup campus",
        "predown campus",
        "postdown campus",
        "preup default",
        "postup default",
    ]
    assert uplink(laptop)["security"] == "open"
    assert laptop.namespace.ping(OFFICE)


def test_a_roam_touches_nothing_but_runs_its_hook(laptop: EmulatedLaptop, air: Air) -> None:
    laptop.start()
    air.join("campus")
    laptop.wait_for("campus", "up")
    there, other = ("wlan1", "wlan2") if uplink(laptop)["bssid"] == air.bssid("wlan1") else ("wlan2", "wlan1")
    up = laptop.namespace.snapshot()
    pinging = laptop.namespace.spawn("ping", "-n", "-i", "0.2", OFFICE)
    wait_for_more(pinging)

    for number, radio in enumerate((other, there), 1):
        air.roam(radio)
        wait_for_hooks(laptop, "roam campus", number)
        assert uplink(laptop)["bssid"] == air.bssid(radio)
        wait_for_more(pinging)
    pinging.stop(signal.SIGINT)

    assert history(laptop) == ["preup campus", "postup campus", "roam campus", "roam campus"]
    assert laptop.namespace.snapshot() == up
    lost = re.search(r"(\d+) packets transmitted, (\d+) received", pinging.output)
    assert lost
    assert int(lost[1]) - int(lost[2]) <= 10, pinging.output


@pytest.mark.parametrize("name", ["cafe", "home", "new-home", "airport"])
def test_the_security_is_what_was_negotiated(laptop: EmulatedLaptop, air: Air, name: str) -> None:
    laptop.start()
    air.join(name)
    wait_until(lambda: uplink(laptop)["outcome"], "a decision")

    assert uplink(laptop)["ssid"] == NETWORKS[name].ssid
    assert uplink(laptop)["security"] == NETWORKS[name].security
    assert uplink(laptop)["profile"] == ("home" if name == "home" else "default")


def test_an_open_twin_of_a_trusted_network_is_not_trusted(laptop: EmulatedLaptop, air: Air) -> None:
    laptop.start()
    air.join("home")
    wait_until(lambda: uplink(laptop)["outcome"] == "disconnect", "the network to be trusted")

    air.join("home-twin")
    laptop.wait_for("default", "up")

    seen = uplink(laptop)
    assert (seen["ssid"], seen["security"], seen["outcome"]) == ("Home", "open", "connect")
    refused = next(profile for profile in seen["profiles"] if profile["name"] == "home")
    assert refused["matches"] == "no"
    assert "shared-key" in refused["reason"]


def test_a_network_with_another_key_cannot_be_joined_and_nothing_happens(laptop: EmulatedLaptop, air: Air) -> None:
    laptop.start()

    air.select("other-key")
    wait_until(lambda: air.heard("WRONG_KEY"), "the supplicant to give up")

    assert uplink(laptop)["outcome"] is None
    assert laptop.status()["activations"] == []
    assert history(laptop) == []


def test_who_is_kicked_and_comes_back_within_linger_has_lost_nothing(laptop: EmulatedLaptop, air: Air) -> None:
    laptop.configure(CONFIGURATION.format(linger="60s"))
    laptop.start()
    air.join("campus")
    laptop.wait_for("campus", "up")
    up = laptop.namespace.snapshot()
    before = air.heard("CTRL-EVENT-DISCONNECTED")

    air.kick()
    wait_until(lambda: air.heard("CTRL-EVENT-DISCONNECTED") > before, "the supplicant to notice")
    air.wait_for("COMPLETED")

    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer again")
    assert laptop.namespace.snapshot() == up
    assert [moment for moment in moments(laptop) if moment != "roam"] == ["preup", "postup"]


@pytest.mark.parametrize("loss", [Air.out_of_range, Air.switched_off, Air.silenced])
def test_a_network_that_is_lost_for_good_is_lingered_for_and_then_all_is_undone(
    laptop: EmulatedLaptop, air: Air, loss: Callable[[Air], AbstractContextManager[None]]
) -> None:
    laptop.configure(CONFIGURATION.format(linger="3s"))
    laptop.start()
    air.join("campus")
    laptop.wait_for("campus", "up")

    with loss(air):
        wait_until(lambda: (laptop.activation("campus") or {})["lingering"], "the activation to linger")
        assert moments(laptop) == ["preup", "postup"]
        laptop.wait_for("campus", None)

    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]
    assert "reason=uplink-lost" in laptop.hook_log()[2]
    assert "192.0.2.1" in laptop.resolv_conf
