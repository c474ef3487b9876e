"""Radios, the access points of the scenarios, and the laptop's supplicant.

    air = Air(world)
    air.join("campus")       # associate, and set the address as a DHCP client would
    air.roam("wlan2")        # to the other access point of the same network
    air.leave()

The laptop loses its cable. The access points are in the gateway, which is reached through each of them.
"""

from __future__ import annotations

import struct
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.netns.world import GATEWAY, LAPTOP, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.netns.namespace import Program
    from tests.netns.world import World

KEY = "correct horse"
STATION = "wlan0"
CHANNELS = {"wlan1": 1, "wlan2": 6}
HANDSHAKES = 3
"""How often a network is chosen before the radio counts as broken."""
PATIENCE = 3.0
FREQUENCIES = "2412 2437"  # a scan of all channels takes 8 s

# What hostapd and wpa_supplicant are told for each kind of security.
ACCESS_POINT = {
    "open": "",
    "psk": f"wpa=2\nwpa_key_mgmt=WPA-PSK\nrsn_pairwise=CCMP\nwpa_passphrase={KEY}\n",
    "sae": f"wpa=2\nwpa_key_mgmt=SAE\nrsn_pairwise=CCMP\nieee80211w=2\nsae_password={KEY}\n",
    "owe": "wpa=2\nwpa_key_mgmt=OWE\nrsn_pairwise=CCMP\nieee80211w=2\n",
}
SUPPLICANT = {
    "open": "key_mgmt=NONE",
    "psk": f'key_mgmt=WPA-PSK\npsk="{KEY}"',
    "sae": f'key_mgmt=SAE\nsae_password="{KEY}"\nieee80211w=2',
    "owe": "key_mgmt=OWE\nieee80211w=2",
}


@dataclass(frozen=True)
class Subnet:
    """Where the access points of a network lead to."""

    bridge: str
    gateway: str
    laptop: str


CAMPUS = Subnet("campus", GATEWAY, LAPTOP)
ELSEWHERE = Subnet("elsewhere", "198.51.100.1", "198.51.100.10")


@dataclass(frozen=True)
class Network:
    """A network that the laptop can join: its name on the air, and the radios that send it."""

    ssid: str
    security: str
    radios: tuple[str, ...]
    subnet: Subnet = ELSEWHERE
    supplicant: str = ""  # what the supplicant is told where that isn't what the security says
    frequencies: str = FREQUENCIES  # where the supplicant looks for it


NETWORKS = {
    "campus": Network("Campus", "psk", ("wlan1", "wlan2"), CAMPUS),
    "cafe": Network("Free Cafe", "open", ("wlan1",)),
    "cafe-by-scan": Network("Free Cafe", "open", (), frequencies=""),
    "home": Network("Home", "psk", ("wlan1",)),
    "home-twin": Network("Home", "open", ("wlan2",)),
    "new-home": Network("New Home", "sae", ("wlan2",)),
    "airport": Network("Airport", "owe", ("wlan2",)),
    "other-key": Network("Neighbour", "psk", ("wlan1",), supplicant='key_mgmt=WPA-PSK\npsk="not this one"'),
}


class Air:
    """Three radios: the laptop's and two of access points."""

    def __init__(self, world: World) -> None:
        """Load the radios, give each its place, and start what drives them."""
        self.laptop, self.gateway = world.laptop, world.gateway
        self._folder = world.scratch / "wifi"
        self._folder.mkdir()
        subprocess.run(("modprobe", "mac80211_hwsim", "radios=3"), check=True)
        for phy, namespace in (("phy0", self.laptop), ("phy1", self.gateway), ("phy2", self.gateway)):
            subprocess.run(("iw", "phy", phy, "set", "netns", "name", namespace.name), check=True)
        self._replace_the_cable()
        self.access_points = self._start_access_points()
        self.supplicant = self._start_supplicant()
        # From the first association on there is a link-local address, which stays.
        self.join("cafe")
        self.leave()

    # -- what a user does

    def join(self, name: str) -> None:
        """Associate with a network, and have an address of it.

        An emulated machine may be too slow for one handshake, and the supplicant shuns an access point for a while
        after that: a user would choose the network again.
        """
        wanted = {"wpa_state": "COMPLETED", "id": self.number(name)}
        for _ in range(HANDSHAKES):
            self.select(name)
            with suppress(AssertionError):
                wait_until(lambda: wanted.items() <= self.status().items(), "the handshake", PATIENCE)
                break
        self.wait_for("COMPLETED", id=self.number(name))
        self.address(NETWORKS[name].subnet)

    def select(self, name: str) -> None:
        """Tell the supplicant to associate, and don't wait."""
        self.ask("select_network", self.number(name))

    def address(self, subnet: Subnet) -> None:
        """Have the address and the routes that the network's DHCP server would give."""
        self.laptop.run("ip", "-4", "address", "flush", "dev", STATION)
        self.laptop.batch(f"addr add {subnet.laptop}/24 dev {STATION}", f"route add default via {subnet.gateway}")

    def leave(self) -> None:
        """Disassociate, and lose the address."""
        self.ask("disconnect")
        self.wait_for("DISCONNECTED")
        self.laptop.run("ip", "-4", "address", "flush", "dev", STATION)

    def roam(self, radio: str) -> None:
        """Go over to the access point of the same network on another radio."""
        bssid = self.bssid(radio)
        self.ask("roam", bssid)
        self.wait_for("COMPLETED", bssid=bssid)

    # -- what happens to a user

    def kick(self) -> None:
        """Have the access points throw the laptop out."""
        station = self.status()["address"]
        for radio in CHANNELS:
            self._tell_access_point(radio, "deauthenticate", station)

    @contextmanager
    def out_of_range(self) -> Iterator[None]:
        """Carry the laptop's radio away, where it hears no other."""
        group = Path(
            "/sys/kernel/debug/ieee80211/phy0/hwsim/group"
        )  # radios without a common bit are deaf to each other
        group.write_text("2")
        yield
        group.write_text("1")

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """Switch the access points off."""
        for radio in CHANNELS:
            self._tell_access_point(radio, "disable")
        yield
        for radio in CHANNELS:
            self._tell_access_point(radio, "enable")

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """Press the key of the laptop that ends all radio."""
        self._block(soft=True)
        yield
        self._block(soft=False)
        self.laptop.run("ip", "link", "set", STATION, "up")

    # -- what there is to see

    def bssid(self, radio: str) -> str:
        """Return the address of a radio's first network."""
        return self.gateway.run("iw", "dev", radio, "info").stdout.split("addr ")[1].split()[0]

    def number(self, name: str) -> str:
        """Return the supplicant's number of a network."""
        return str(list(NETWORKS).index(name))

    def ask(self, *words: str) -> str:
        """Ask the supplicant."""
        answer = self.laptop.run("wpa_cli", "-p", str(self._folder / "supplicant"), "-i", STATION, *words).stdout
        assert not answer.startswith("FAIL"), (words, answer)
        return answer

    def status(self) -> dict[str, str]:
        """Return what the supplicant says of the present association."""
        return dict(line.split("=", 1) for line in self.ask("status").splitlines() if "=" in line)

    def heard(self, event: str) -> int:
        """Return how often the supplicant has told of an event."""
        return self.supplicant.output.count(event)

    def wait_for(self, state: str, **facts: str) -> None:
        """Wait until the supplicant is in a state, with these facts."""
        wanted = {"wpa_state": state, **facts}
        wait_until(lambda: wanted.items() <= self.status().items(), f"the supplicant to say {wanted}")

    # -- how it is made

    @staticmethod
    def _block(*, soft: bool) -> None:
        """Block the first radio or let it send again: struct rfkill_event of <linux/rfkill.h>, RFKILL_OP_CHANGE."""
        Path("/dev/rfkill").write_bytes(struct.pack("<IBBBB", 0, 0, 2, soft, 0))

    def _tell_access_point(self, radio: str, *words: str) -> None:
        self.gateway.run("hostapd_cli", "-p", str(self._folder / "hostapd"), "-i", radio, *words)

    def _replace_the_cable(self) -> None:
        self.gateway.run("ip", "link", "delete", "eth0")
        for subnet in (CAMPUS, ELSEWHERE):
            self.gateway.batch(
                f"link add {subnet.bridge} type bridge",
                f"link set {subnet.bridge} up",
                f"addr add {subnet.gateway}/24 dev {subnet.bridge}",
                f"rule add from {subnet.gateway}/24 to 10.20.0.0/24 iif {subnet.bridge} prohibit prio 100",
            )

    def _start_access_points(self) -> Program:
        files = []
        for radio, channel in CHANNELS.items():
            sent = [network for network in NETWORKS.values() if radio in network.radios]
            first, *others = map(self._access_point, sent)
            text = f"interface={radio}\ndriver=nl80211\nhw_mode=g\nchannel={channel}\n{first}"
            text += "".join(f"bss={radio}_{number}\n{other}" for number, other in enumerate(others, 1))
            file = self._folder / f"{radio}.conf"
            file.write_text(text)
            files.append(str(file))
        program = self.gateway.spawn("hostapd", "-t", *files)
        wait_until(lambda: program.output.count("AP-ENABLED") >= len(CHANNELS), "the access points")
        return program

    def _access_point(self, network: Network) -> str:
        return (
            f"ctrl_interface={self._folder}/hostapd\nbridge={network.subnet.bridge}\nssid={network.ssid}\n"
            f"{ACCESS_POINT[network.security]}"
        )

    def _start_supplicant(self) -> Program:
        blocks = "".join(
            f'network={{\nssid="{network.ssid}"\n{network.supplicant or SUPPLICANT[network.security]}\n'
            f"scan_freq={network.frequencies}\ndisabled=1\n}}\n"
            for network in NETWORKS.values()
        )
        file = self._folder / "supplicant.conf"
        file.write_text(f"ctrl_interface={self._folder}/supplicant\n{blocks}")
        program = self.laptop.spawn("wpa_supplicant", "-t", "-i", STATION, "-c", str(file))
        wait_until((self._folder / "supplicant" / STATION).exists, "the supplicant")
        return program
