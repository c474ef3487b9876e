"""The main job, end to end: a network comes up, its profile is found and carried out, and all of it is undone."""

from __future__ import annotations

import pytest

from tests.netns.laptop import Laptop
from tests.netns.servers import Sshd, Wireguard
from tests.netns.world import OFFICE

MATCH = '[match]\ninterface = ["eth0"]\n'
EVENTS = ("preup", "postup", "predown", "postdown", "failup", "faildown", "roam")


@pytest.mark.parametrize("server", [Sshd, Wireguard])
def test_a_network_brings_its_tunnel_up_and_takes_it_down(laptop: Laptop, server: type[Sshd | Wireguard]) -> None:
    office = server(laptop.world)
    dns = '[dns]\nservers = ["10.20.0.53"]\nsearch = ["office.example"]\n'
    laptop.profile(
        "10-office",
        f'tunnels = ["office"]\n{MATCH}{dns}{office.tunnel_toml("office")}{laptop.hooks(*EVENTS)}',
    )
    before = laptop.picture()
    assert not laptop.namespace.ping(OFFICE)

    laptop.start()
    laptop.wait_for("office", "up")

    assert laptop.namespace.ping(OFFICE)
    assert "nameserver 10.20.0.53" in laptop.resolv_conf
    assert [line.split()[0] for line in laptop.hook_log()] == ["preup", "postup"]

    assert laptop.stop() == 0
    assert laptop.picture() == before
    assert [line.split()[0] for line in laptop.hook_log()] == ["preup", "postup", "predown", "postdown"]
    assert "reason=stop alive=1" in laptop.hook_log()[2]
