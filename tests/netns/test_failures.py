"""How tunnels and hooks fail, by real programs: what is tried again and what is not, and what the user is told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.netns.every_server import SERVERS
from tests.netns.laptop import Laptop
from tests.netns.server_command import Command
from tests.netns.server_ipsec import Ipsec, PowerlessIpsec
from tests.netns.server_openconnect import Ocserv
from tests.netns.server_openvpn import Openvpn
from tests.netns.server_pptp import Pptp
from tests.netns.server_tinc import Tinc
from tests.netns.servers import OFFICE_NETWORK, Charon, Server, Sshd, Wireguard
from tests.netns.test_resolve import NameServer
from tests.netns.world import GATEWAY, OFFICE, wait_until

EVENTS = ("preup", "postup", "predown", "postdown", "failup", "faildown")
PROGRAMS = {
    Sshd: "ssh",
    Command: "ssh",
    Wireguard: "wireguard-go",
    Charon: "vpnc",
    Tinc: "tincd",
    Pptp: "pppd",
    Openvpn: "openvpn",
    Ocserv: "openconnect",
    Ipsec: "charon-systemd",
}
IMPATIENT = 'connect_timeout = "1s"\n'


def profile(laptop: Laptop, *tunnels: str, hooks: str | None = None) -> None:
    """Write a profile with these tunnels, called first and second."""
    names = ", ".join(f'"{name}"' for name in ("first", "second")[: len(tunnels)])
    hooks = laptop.hooks(*EVENTS) if hooks is None else hooks
    laptop.profile(
        "10-office",
        f'tunnels = [{names}]\n[match]\ninterface = ["eth0"]\n[dns]\nservers = []\n{"".join(tunnels)}{hooks}',
    )


def first(server: Server, options: str = "") -> str:
    return server.tunnel_toml("first").replace("[tunnel.first]\n", f"[tunnel.first]\n{options}", 1)


def moments(laptop: Laptop) -> list[str]:
    return [line.split()[0] for line in laptop.hook_log()]


def tunnel(laptop: Laptop, number: int = 0) -> dict[str, object]:
    activation = laptop.activation("office")
    assert activation
    found: dict[str, object] = activation["tunnels"][number]
    return found


def started(laptop: Laptop, name: str) -> int:
    """Return how often a tunnel began to connect."""
    assert laptop.daemon
    return laptop.daemon.output.count(f"tunnel.connecting activation=office tunnel={name}")


def rests(laptop: Laptop) -> None:
    """Check that the daemon comes to sleep while nothing happens, by how often it is woken during some pings."""
    assert laptop.daemon
    status = Path(f"/proc/{laptop.daemon.pid}/status")

    def switches() -> int:
        return int(status.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    def sleeps() -> bool:
        before = switches()
        laptop.namespace.ping(GATEWAY, count=6)
        return switches() - before < 15

    laptop.namespace.ping(GATEWAY)  # what the neighbour cache has to say is said
    wait_until(sleeps, "sleep, also after the end of what the last hook belonged to", 60.0)


def leaves_nothing(laptop: Laptop, before: str) -> None:
    assert laptop.stop() == 0
    assert laptop.picture() == before


# -- refused


def wrong_key(server: Server) -> str:
    return first(server).replace(f"{server.folder}/laptop", f"{server.folder}/stranger")


def wrong_host_key(server: Server) -> str:
    return first(server).replace("/known_hosts", "/known_hosts.wrong")


def wrong_password(server: Server) -> str:
    (server.folder / "vpnc.pw").write_text("looking glass\n")
    return first(server)


def wrong_ppp_password(server: Server) -> str:
    (server.folder / "pptp.pw").write_text("looking glass\n")
    return first(server)


def wrong_vpn_password(server: Server) -> str:
    (server.folder / "openconnect.pw").write_text("looking glass\n")
    return first(server)


def wrong_authority(server: Server) -> str:
    return first(server).replace("/ca.crt", "/stranger.crt")


def wrong_openvpn_password(server: Server) -> str:
    (server.folder / "openvpn.pw").write_text("looking glass\n")
    return first(server)


def wrong_server_name(server: Server) -> str:
    config = server.folder / "office.ovpn"
    config.write_text(config.read_text().replace("verify-x509-name vpn.", "verify-x509-name other."))
    return first(server)


REFUSALS = [
    (Command, wrong_key, "auth", "Permission denied", "credentials"),
    (Command, wrong_host_key, "trust", "Host key verification failed", "prove who it is"),
    (Openvpn, wrong_openvpn_password, "auth", "AUTH_FAILED", "password"),
    (Openvpn, wrong_server_name, "trust", "VERIFY X509NAME ERROR", "certificate"),
    (Sshd, wrong_key, "auth", "Permission denied", "authorized_keys"),
    (Sshd, wrong_host_key, "trust", "Host key verification failed", "fingerprints"),
    (Pptp, wrong_ppp_password, "auth", "MS-CHAP authentication failed", "MS-CHAPv2"),
    (Charon, wrong_password, "auth", "authentication unsuccessful", "password"),
    (Ocserv, wrong_vpn_password, "auth", "Login failed", "password"),
    (Ocserv, wrong_authority, "trust", "failed verification", "fingerprint"),
]
Breakage = Callable[[Server], str]


@pytest.mark.parametrize(("kind", "breakage", "failure", "words", "advice"), REFUSALS)
def test_a_refused_tunnel_is_tried_once_and_then_the_next_one(
    laptop: Laptop, kind: type[Server], breakage: Breakage, failure: str, words: str, advice: str
) -> None:
    before = laptop.picture()
    other = Wireguard(laptop.world)
    profile(laptop, breakage(kind(laptop.world)), other.tunnel_toml("second"))
    laptop.start()
    laptop.wait_for("office", "up")

    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer through the second tunnel")
    refused = tunnel(laptop)
    assert refused["phase"] == "failed"
    assert refused["last_failure"]
    assert refused["last_failure"]["class"] == failure  # type: ignore[index]
    said = laptop.ask("status")[1]
    assert words in said
    assert advice in said
    assert started(laptop, "first") == 1
    assert moments(laptop) == ["preup", "postup"]
    rests(laptop)
    leaves_nothing(laptop, before)


def test_when_the_last_tunnel_gave_up_failup_runs_and_nothing_more_is_tried(laptop: Laptop) -> None:
    before = laptop.picture()
    server, other = Sshd(laptop.world), Charon(laptop.world)
    (other.folder / "vpnc.pw").write_text("looking glass\n")
    profile(laptop, wrong_key(server), other.tunnel_toml("second"))
    laptop.start()
    laptop.wait_for("office", "failed")

    wait_until(lambda: "failup" in moments(laptop), "failup")
    rests(laptop)
    assert [started(laptop, name) for name in ("first", "second")] == [1, 1]
    assert moments(laptop) == ["preup", "failup"]
    assert laptop.processes(*PROGRAMS.values()) == []
    leaves_nothing(laptop, before)
    assert moments(laptop) == ["preup", "failup", "postdown"]


def test_a_tunnel_that_gave_up_is_tried_again_by_hand(laptop: Laptop) -> None:
    server = Charon(laptop.world)
    profile(laptop, wrong_password(server))
    laptop.start()
    laptop.wait_for("office", "failed")

    (server.folder / "vpnc.pw").write_text("wonder land\n")
    code, said = laptop.ask("up", "office")

    assert code == 0, said
    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer")


def test_a_mended_secret_is_tried_at_the_reload(laptop: Laptop) -> None:
    server = Charon(laptop.world)
    profile(laptop, wrong_password(server))
    laptop.start()
    laptop.wait_for("office", "failed")

    (server.folder / "vpnc.pw").write_text("wonder land\n")
    assert laptop.ask("reload")[0] == 0

    laptop.wait_for("office", "up")
    assert started(laptop, "first") == 2


# -- out of reach


@pytest.mark.parametrize("kind", SERVERS)
def test_a_silent_server_is_tried_three_times_and_then_left_for_five_minutes(
    laptop: Laptop, kind: type[Server]
) -> None:
    before = laptop.picture()
    server = kind(laptop.world)
    server.silence()
    profile(laptop, first(server, IMPATIENT))
    laptop.start()
    laptop.wait_for("office", "failed", 60.0)

    wait_until(lambda: "failup" in moments(laptop), "failup")
    rests(laptop)
    failed = tunnel(laptop)
    assert (failed["attempt"], started(laptop, "first")) == (3, 3)
    assert failed["last_failure"]["class"] == "unreachable"  # type: ignore[index]
    assert 200 < float(str(failed["retry_in"])) <= 300
    assert moments(laptop) == ["preup", "failup"]
    leaves_nothing(laptop, before)
    assert moments(laptop) == ["preup", "failup", "postdown"]


@pytest.mark.parametrize(
    ("kind", "said"), [(Sshd, "Connection refused"), (Charon, "receiving packet: Connection refused")]
)
def test_a_closed_port_is_said_in_the_words_of_the_program(laptop: Laptop, kind: type[Server], said: str) -> None:
    server = kind(laptop.world)
    server.stop()
    profile(laptop, first(server))
    laptop.start()

    failure, words = laptop.first_failure("office")
    assert failure == "unreachable"
    assert said in words
    server.start()
    laptop.ask("up", "office")  # refused at once, the three attempts are over in seconds
    wait_until(lambda: moments(laptop)[-2:] == ["preup", "postup"], "the tunnel and its hooks")


@pytest.mark.parametrize("kind", SERVERS)
def test_a_name_that_does_not_exist_is_said(laptop: Laptop, kind: type[Server]) -> None:
    server = kind(laptop.world)
    for path in (
        server.folder / "client.conf",
        server.folder / "vpnc.conf",
        server.folder / "client/hosts/gateway",
        server.folder / "office.ovpn",
    ):
        if path.exists():
            path.write_text(path.read_text().replace(GATEWAY, "none.example"))
    with NameServer(laptop.world, GATEWAY):
        profile(laptop, first(server).replace(f'"{GATEWAY}', '"none.example'))
        laptop.start()
        laptop.wait_for("office", "failed")

    failure = laptop.failure("office") or {}
    assert failure["class"] == "name"
    assert "none.example: there is no such name" in failure["words"]
    assert "captive portal" in failure["advice"]
    assert started(laptop, "first") == 0


# -- broken here


@pytest.mark.parametrize("kind", SERVERS)
def test_a_missing_program_is_said(laptop: Laptop, kind: type[Server]) -> None:
    before = laptop.picture()
    server = kind(laptop.world)
    program = shutil.which(PROGRAMS[kind])
    assert program
    laptop.namespace.run_private("mount", "--bind", "/dev/null", program)
    profile(laptop, first(server))
    laptop.start()
    laptop.wait_for("office", "failed")

    failure = laptop.failure("office") or {}
    assert failure["class"] == "local"
    assert PROGRAMS[kind] in failure["words"]
    assert "missing program" in failure["advice"]
    rests(laptop)
    leaves_nothing(laptop, before)


def failing_hook(laptop: Laptop, options: str = "") -> str:
    """Return a preup hook that fails, before the hooks that only log."""
    script = '#!/bin/sh\necho "$AUTOVPN_EVENT" >> /run/hooks.log\necho "no coffee left"\nexit 3\n'
    laptop.write("/etc/autovpn/failing", script, 0o755)
    return f'[[hooks]]\non = "preup"\nrun = ["/etc/autovpn/failing"]\n{options}' + laptop.hooks(*EVENTS[1:])


def test_a_preup_hook_that_fails_keeps_the_tunnel_from_starting(laptop: Laptop) -> None:
    before = laptop.picture()
    profile(laptop, first(Sshd(laptop.world)), hooks=failing_hook(laptop))
    laptop.start()
    laptop.wait_for("office", "failed")

    wait_until(lambda: "failup" in moments(laptop), "failup")
    rests(laptop)
    assert laptop.processes("ssh") == []
    failure = laptop.failure("office") or {}
    assert failure["class"] == "local"
    assert "no coffee left" in failure["words"]
    assert moments(laptop) == [*["preup", "postdown"] * 3, "failup"]
    leaves_nothing(laptop, before)


def test_a_preup_hook_whose_failure_is_ignored_is_only_mentioned(laptop: Laptop) -> None:
    profile(laptop, first(Sshd(laptop.world)), hooks=failing_hook(laptop, 'on_fail = "ignore"\n'))
    laptop.start()
    laptop.wait_for("office", "up")

    assert moments(laptop) == ["preup", "postup"]
    assert "no coffee left" in laptop.ask("status")[1]
    rests(laptop)
    laptop.stop()
    assert moments(laptop) == ["preup", "postup", "predown", "postdown"]


# -- lost


@pytest.mark.parametrize("kind", [Sshd, Command, Charon, Tinc, Openvpn, Ocserv, Pptp, PowerlessIpsec])
def test_a_server_that_dies_is_lost_and_found_again(laptop: Laptop, kind: type[Server]) -> None:
    before = laptop.picture()
    server = kind(laptop.world)
    profile(laptop, first(server))
    laptop.start()
    laptop.wait_for("office", "up")

    server.stop()
    failure, words = laptop.first_failure("office", 60.0)
    assert failure == "lost"
    assert kind is not PowerlessIpsec or words == "the server answers no more (dead peer detection)"
    wait_until(lambda: "predown" in moments(laptop), "predown")
    assert "alive=0" in laptop.hook_log()[2]
    wait_until(lambda: str(OFFICE_NETWORK) not in laptop.namespace.run("ip", "rule").stdout, "the routes to be undone")
    server.start()

    def is_up() -> bool:
        state = laptop.state("office")
        if state == "failed":  # the server was slower to come back than three attempts, which end within seconds
            laptop.ask("up", "office")  # it answers with the first attempt that fails, which is no matter here
        return state == "up"

    wait_until(is_up, "the tunnel to be up again", 60.0)
    wait_until(lambda: laptop.namespace.ping(OFFICE), "the office to answer again")
    came = moments(laptop)
    assert (came[:3], came[-1]) == (["preup", "postup", "predown"], "postup")
    assert len(came) == 4 or "failup" in came
    rests(laptop)
    leaves_nothing(laptop, before)
