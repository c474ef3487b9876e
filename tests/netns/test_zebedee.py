"""Zebedee end to end: its server, or a stand-in of the same behaviour, and the whole daemon."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

import pytest

from tests.netns.laptop import Laptop
from tests.netns.server_zebedee import LOCAL_PORT, Zebedee
from tests.netns.test_resolve import NameServer
from tests.netns.world import GATEWAY, LAPTOP, wait_until

pytestmark = pytest.mark.netns

EVENTS = ("preup", "postup", "predown", "postdown", "failup")


@pytest.fixture
def server(laptop: Laptop) -> Zebedee:
    """Give a server whose client the laptop is."""
    return Zebedee(laptop.world)


def profile(laptop: Laptop, tunnel: str, options: str = "", uplinks: str = '"eth0"') -> None:
    tunnel = tunnel.replace("[tunnel.office]\n", f"[tunnel.office]\n{options}")
    match = f"[match]\ninterface = [{uplinks}]\n"
    laptop.profile("10-office", f'tunnels = ["office"]\n{match}{tunnel}{laptop.hooks(*EVENTS)}')


def moments(laptop: Laptop) -> list[str]:
    return [line.split()[0] for line in laptop.hook_log()]


def connect(laptop: Laptop) -> socket.socket:
    return laptop.namespace.call(socket.create_connection, ("127.0.0.1", LOCAL_PORT), 5.0)


def shout(connection: socket.socket, words: bytes) -> bytes:
    connection.settimeout(5.0)
    connection.sendall(words)
    return connection.recv(100)


def carries(laptop: Laptop) -> bool:
    try:
        with connect(laptop) as connection:
            return shout(connection, b"hello") == b"HELLO"
    except OSError:
        return False


def test_a_network_brings_the_ports_up_and_takes_them_down(laptop: Laptop, server: Zebedee) -> None:
    profile(laptop, server.tunnel_toml("office"))
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "up")

    assert carries(laptop)
    assert moments(laptop) == ["preup", "postup"]
    assert laptop.stop() == 0
    assert laptop.picture() == before
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]


def test_the_private_key_is_in_nobody_s_sight(laptop: Laptop, server: Zebedee) -> None:
    profile(laptop, server.tunnel_toml("office"))
    laptop.start()
    laptop.wait_for("office", "up")
    key = (server.folder / "client.key").read_text().split('"')[1]
    (pid,) = laptop.processes("zebedee")
    shown = b"".join(laptop.namespace.file(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    folder = laptop.namespace.file("/run/autovpn")
    kept = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert laptop.daemon
    assert key not in shown.decode() + kept.decode() + laptop.daemon.output


def test_a_daemon_that_was_killed_is_followed_without_a_lost_connection(laptop: Laptop, server: Zebedee) -> None:
    profile(laptop, server.tunnel_toml("office"))
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "up")
    with connect(laptop) as connection:
        assert shout(connection, b"one") == b"ONE"
        clients = laptop.processes("zebedee")

        laptop.kill()
        assert shout(connection, b"two") == b"TWO"
        laptop.start()
        laptop.wait_for("office", "up")

        assert shout(connection, b"three") == b"THREE"
    assert laptop.processes("zebedee") == clients
    assert moments(laptop) == ["preup", "postup"]
    laptop.stop()
    assert laptop.picture() == before


def test_recover_undoes_what_a_killed_daemon_left(laptop: Laptop, server: Zebedee) -> None:
    profile(laptop, server.tunnel_toml("office"))
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "up")
    laptop.kill()
    code, said = laptop.ask("recover")
    assert code == 0, said
    assert laptop.picture() == before


def test_a_client_that_is_killed_is_lost_and_comes_again(laptop: Laptop, server: Zebedee) -> None:
    profile(laptop, server.tunnel_toml("office"))
    laptop.start()
    laptop.wait_for("office", "up")
    (pid,) = laptop.processes("zebedee")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: laptop.processes("zebedee") not in ([], [pid]), "another client")
    laptop.wait_for("office", "up")
    assert carries(laptop)
    assert moments(laptop) == ["preup", "postup", "predown", "postup"]


def test_a_server_that_dies_is_noticed_by_whoever_connects_and_found_again(laptop: Laptop, server: Zebedee) -> None:
    profile(laptop, server.tunnel_toml("office"))
    laptop.start()
    laptop.wait_for("office", "up")

    server.stop()
    assert not carries(laptop)
    assert "can't connect to" in laptop.first_failure("office")[1]
    server.start()
    laptop.wait_for("office", "up")
    assert carries(laptop)


def test_a_service_that_dies_takes_no_tunnel_with_it(laptop: Laptop, server: Zebedee) -> None:
    profile(laptop, server.tunnel_toml("office"))
    laptop.start()
    laptop.wait_for("office", "up")
    clients = laptop.processes("zebedee")
    server.service.stop()
    assert not carries(laptop)
    assert not carries(laptop)
    assert laptop.state("office") == "up"
    assert laptop.processes("zebedee") == clients


def wrong_key(server: Zebedee) -> str:
    return server.tunnel_toml("office").replace("client.key", "stranger.key")


def wrong_identity(server: Zebedee) -> str:
    return server.tunnel_toml("office").replace(server.fingerprint("server"), server.fingerprint("stranger"))


@pytest.mark.parametrize(
    ("breakage", "failure", "words"),
    [
        (wrong_key, "auth", "failed to read challenge from server"),
        (wrong_identity, "trust", "server's identity not found"),
    ],
)
def test_a_wrong_key_is_tried_once(
    laptop: Laptop, server: Zebedee, breakage: Callable[[Zebedee], str], failure: str, words: str
) -> None:
    profile(laptop, breakage(server))
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "failed")

    found = laptop.failure("office") or {}
    assert (found["class"], words in found["words"]) == (failure, True), found
    assert laptop.daemon
    assert laptop.daemon.output.count("tunnel.connecting") == 1
    assert laptop.stop() == 0
    assert laptop.picture() == before


@pytest.mark.parametrize("silent", [True, False])
def test_a_server_that_does_not_answer_is_unreachable_and_comes_back(
    laptop: Laptop, server: Zebedee, silent: bool
) -> None:
    (server.silence if silent else server.stop)()
    profile(laptop, server.tunnel_toml("office"), 'connect_timeout = "3s"\n')
    laptop.start()
    kind, words = laptop.first_failure("office")
    assert kind == "unreachable"
    assert ("no connection through" if silent else "Connection refused") in words
    (server.unsilence if silent else server.start)()
    laptop.wait_for("office", "up")
    assert carries(laptop)


def test_a_name_that_does_not_exist_is_said(laptop: Laptop, server: Zebedee) -> None:
    profile(laptop, server.tunnel_toml("office").replace(f'"{GATEWAY}"', '"none.example"'))
    with NameServer(laptop.world, GATEWAY):
        laptop.start()
        laptop.wait_for("office", "failed")
    failure = laptop.failure("office") or {}
    assert failure["class"] == "name"


def test_a_port_that_somebody_has_is_a_local_failure(laptop: Laptop, server: Zebedee) -> None:
    with laptop.namespace.call(socket.create_server, ("127.0.0.1", LOCAL_PORT)):
        profile(laptop, server.tunnel_toml("office"))
        laptop.start()
        laptop.wait_for("office", "failed")
    failure = laptop.failure("office") or {}
    assert failure["class"] == "local"
    assert "can't create listener socket: (Address already in use)" in failure["words"]


def test_stopping_while_connecting_leaves_nothing(laptop: Laptop, server: Zebedee) -> None:
    server.silence()
    profile(laptop, server.tunnel_toml("office"))
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "connecting")
    assert laptop.stop() == 0
    assert laptop.picture() == before


def test_the_uplink_goes_and_comes_back_within_linger(laptop: Laptop, server: Zebedee) -> None:
    laptop.configure('[daemon]\nlinger = "60s"\n')
    profile(laptop, server.tunnel_toml("office"))
    laptop.start()
    laptop.wait_for("office", "up")
    clients = laptop.processes("zebedee")
    laptop.uplink_down()
    wait_until(lambda: (laptop.activation("office") or {})["lingering"], "the activation to linger")
    laptop.uplink_up()
    wait_until(lambda: not (laptop.activation("office") or {})["lingering"], "the activation to carry on")
    wait_until(lambda: carries(laptop), "the ports to lead somewhere again")
    assert laptop.processes("zebedee") == clients
    assert moments(laptop) == ["preup", "postup"]


def test_connections_that_begin_on_another_uplink_need_no_other_client(laptop: Laptop, server: Zebedee) -> None:
    """Each is a connection of its own to the server; those that were there end with the address that they had."""
    laptop.configure('[daemon]\nlinger = "60s"\n')
    world = laptop.world
    profile(laptop, server.tunnel_toml("office"), uplinks='"eth0", "eth9"')
    laptop.start()
    laptop.wait_for("office", "up")
    clients = laptop.processes("zebedee")

    world.connect(world.laptop, "eth9", world.gateway, "eth9")
    world.gateway.batch("addr add 198.51.100.1/24 dev eth9")
    world.laptop.batch("addr add 198.51.100.2/24 dev eth9", "route add default via 198.51.100.1 metric 900")
    wait_until(lambda: len(laptop.status()["uplinks"]) == 2, "the second uplink")
    laptop.uplink_down()
    world.laptop.batch(f"addr del {LAPTOP}/24 dev eth0")
    world.gateway.batch(f"addr add {GATEWAY}/32 dev lo")  # still there when its cable is not
    wait_until(lambda: (laptop.activation("office") or {})["uplink"] == "eth9", "the activation to move")

    wait_until(lambda: carries(laptop), "the ports to lead somewhere again")
    assert laptop.processes("zebedee") == clients
    assert moments(laptop) == ["preup", "postup"]
