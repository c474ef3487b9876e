"""The daemon on a machine that isn't bare: it has the group, a resolver of its own, and somebody who empties /run."""

from __future__ import annotations

import asyncio
import json
import shutil

import pytest

from autovpn.system.resolve import Unresolved, resolve
from tests.netns.laptop import Laptop
from tests.netns.servers import Sshd, Wireguard
from tests.netns.world import GATEWAY, World, wait_until

pytestmark = pytest.mark.netns

MATCH = '[match]\ninterface = ["eth0"]\n'
DNS = '[dns]\nservers = ["10.20.0.53"]\n'
GROUP = 4711

# A resolver on this machine that knows an IPv4 address for every name, as systemd-resolved and dnsmasq do.
STUB = """
import socket, struct, sys
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
link.bind((sys.argv[1], 53))
print("ready", flush=True)
while True:
    query, caller = link.recvfrom(4096)
    end = query.index(0, 12) + 5
    is_a = query[end - 4 : end - 2] == bytes([0, 1])
    answer = struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + bytes([192, 0, 2, 1]) if is_a else b""
    link.sendto(query[:2] + struct.pack("!HHHHH", 0x8180, 1, is_a, 0, 0) + query[12:end] + answer, caller)
"""


def office_profile(laptop: Laptop, dns: str = DNS) -> None:
    server = Sshd(laptop.world)
    hooks = laptop.hooks("preup", "postup", "predown", "postdown")
    laptop.profile("10-office", f'tunnels = ["office"]\n{MATCH}{dns}{server.tunnel_toml("office")}{hooks}')


def test_the_group_autovpn_may_read_and_the_daemon_does_its_job(laptop: Laptop) -> None:
    laptop.write("/etc/group", f"root:x:0:\nautovpn:x:{GROUP}:\n")
    office_profile(laptop)
    before = laptop.picture()

    laptop.start()
    laptop.wait_for("office", "up")

    member = ("setpriv", "--reuid=65534", f"--regid={GROUP}", "--clear-groups")
    looking = laptop.namespace.run_private(*member, "cat", "/run/autovpn/journal", check=False)
    assert "Permission denied" in looking.stderr
    assert laptop.namespace.file("/run/autovpn").stat().st_mode & 0o777 == 0o710
    assert laptop.stop() == 0
    assert laptop.picture() == before


def test_an_emptied_run_is_filled_again_and_lets_no_second_daemon_in(laptop: Laptop) -> None:
    office_profile(laptop)
    before = laptop.picture()
    laptop.start()
    laptop.wait_for("office", "up")

    shutil.rmtree(laptop.namespace.file("/run/autovpn"))
    wait_until(laptop.namespace.file("/run/autovpn/control.sock").exists, "the control socket to be back")

    assert laptop.daemon
    code, said = laptop.ask("run")
    assert (code, f"process {laptop.daemon.pid}" in said) == (1, True), said
    code, said = laptop.ask("down")
    assert code == 0, said
    assert laptop.hook_log()[-1].startswith("postdown")
    code, said = laptop.ask("up", "office")
    assert code == 0, said
    assert laptop.state("office") == "up"
    assert laptop.stop() == 0
    assert laptop.picture() == before


@pytest.mark.parametrize("local", ["127.0.0.53", "127.0.0.1"])
def test_a_named_endpoint_is_found_behind_a_resolver_on_this_machine(laptop: Laptop, local: str) -> None:
    laptop.write("/etc/resolv.conf", f"nameserver {local}\noptions edns0 trust-ad\n")
    serve_stub(laptop, local)
    office_by_name(laptop)

    laptop.start()
    laptop.wait_for("office", "up")

    assert laptop.stop() == 0


def test_a_named_endpoint_is_asked_of_the_servers_behind_a_resolver_that_is_mute(laptop: Laptop) -> None:
    laptop.write("/etc/resolv.conf", "nameserver 127.0.0.53\n")
    laptop.write("/run/systemd/resolve/resolv.conf", f"nameserver {GATEWAY}\n")
    laptop.write("/run/stub.py", STUB)
    upstream = laptop.world.gateway.spawn("python3", str(laptop.namespace.file("/run/stub.py")), GATEWAY)
    wait_until(lambda: "ready" in upstream.output, "the upstream server")
    office_by_name(laptop)

    laptop.start()
    laptop.wait_for("office", "up")

    assert laptop.stop() == 0


def test_a_resolver_on_this_machine_that_cannot_help_is_named_with_what_to_do(world: World) -> None:
    with pytest.raises(Unresolved, match=r"127\.0\.0\.53 is a resolver on this machine.*by its address"):
        world.laptop.call(lambda: asyncio.run(resolve("vpn.example", "eth0", ("127.0.0.53",), 0.5)))


def serve_stub(laptop: Laptop, address: str) -> None:
    laptop.write("/run/stub.py", STUB)
    stub = laptop.namespace.spawn_private("python3", "/run/stub.py", address)
    wait_until(lambda: "ready" in stub.output, "the resolver on this machine")


def office_by_name(laptop: Laptop) -> None:
    server = Wireguard(laptop.world)
    server.config.write_text(server.config.read_text().replace(f"{GATEWAY}:", "vpn.example:"))
    laptop.profile("10-office", f'tunnels = ["office"]\n{MATCH}{server.tunnel_toml("office")}')


@pytest.mark.parametrize("command", ["plan", "explain"])
def test_looking_without_a_daemon_leaves_no_trace(laptop: Laptop, command: str) -> None:
    office_profile(laptop)
    before = files(laptop)

    code, said = laptop.ask(command)

    assert (code, "office" in said) == (0, True), said
    assert files(laptop) == before


def test_a_plan_beside_a_dead_daemon_tells_what_that_has_left(laptop: Laptop) -> None:
    office_profile(laptop)
    laptop.start()
    laptop.wait_for("office", "up")
    laptop.kill()
    laptop.profile("10-office", f'action = "disconnect"\n{MATCH}')
    before = files(laptop)

    code, said = laptop.ask("plan", "--json")
    left = json.loads(said[said.index("{") : said.rindex("}") + 1])["left_behind"]
    assert code == 0
    assert any("tunnel" in step for step in left), left
    code, said = laptop.ask("plan")
    assert f"{len(left)} steps of a daemon that is gone" in said
    assert "autovpn recover" in said
    assert files(laptop) == before

    assert laptop.ask("recover")[0] == 0
    assert "gone" not in laptop.ask("plan")[1]


def files(laptop: Laptop) -> list[str]:
    """Return all that could hold a trace, and when it was last changed; but a tunnel that goes on writes its output."""
    find = ("find", "/run", "/var/lib", "/etc", "-not", "-name", "output", "-printf", "%p %C@\n")
    listing = laptop.namespace.run_private(*find).stdout
    return sorted(listing.splitlines())


def test_dns_that_was_refused_is_tried_again_when_the_network_changes(laptop: Laptop) -> None:
    office_profile(laptop)
    before = laptop.resolv_conf
    laptop.namespace.run_private("mount", "-o", "remount,ro", "/etc")
    try:
        laptop.start()
        laptop.wait_for("office", "up")
        assert laptop.resolv_conf == before
        wait_until(lambda: "read-only" in str(laptop.status()["dns"]), "the refusal to be shown")
    finally:
        laptop.namespace.run_private("mount", "-o", "remount,rw", "/etc")

    laptop.namespace.batch("addr add 192.0.2.77/24 dev eth0")

    wait_until(lambda: "10.20.0.53" in laptop.resolv_conf, "the tunnel's DNS")
    assert laptop.stop() == 0
    assert laptop.resolv_conf == before


def state_folder(laptop: Laptop, access: str) -> None:
    """Mount the folder for what outlives a boot read-only, "ro", or let it be written again, "rw"."""
    folder = "/var/lib/autovpn"
    laptop.namespace.run_private("mkdir", "-p", folder)
    again = laptop.namespace.run_private("mountpoint", "-q", folder, check=False).returncode == 0
    options = f"remount,{access}" if again else f"{access},mode=700"
    laptop.namespace.run_private("mount", "-t", "tmpfs", "-o", options, "tmpfs", folder)


def test_hooks_that_cannot_be_journalled_are_not_run_and_no_tunnel_without_them(laptop: Laptop) -> None:
    """A hook is owed its counterpart even after a reboot, so it waits until that can be written down."""
    office_profile(laptop)
    before = laptop.picture()
    state_folder(laptop, "ro")

    laptop.start()
    laptop.wait_for("office", "failed")

    said = laptop.ask("status")[1]
    assert "preup of office: /var/lib/autovpn/journal: Read-only file system" in said
    assert "nothing is changed that cannot be recorded" in said
    assert "write access there" in said
    assert laptop.hook_log() == []
    wait_until(lambda: laptop.picture() == before, "the rest to be undone")

    state_folder(laptop, "rw")
    code, said = laptop.ask("up", "office")
    assert code == 0, said
    assert laptop.state("office") == "up"
    assert laptop.stop() == 0
    assert [line.split()[0] for line in laptop.hook_log()] == ["preup", "postup", "predown", "postdown"]
    assert laptop.picture() == before


def test_dns_that_cannot_be_journalled_is_left_alone_beside_a_tunnel_that_can(laptop: Laptop) -> None:
    server = Sshd(laptop.world)
    laptop.profile("10-office", f'tunnels = ["office"]\n{MATCH}{DNS}{server.tunnel_toml("office")}')
    before = laptop.picture()
    resolv_conf = laptop.resolv_conf
    state_folder(laptop, "ro")

    laptop.start()
    laptop.wait_for("office", "up")
    refusal = "dns of office: /var/lib/autovpn/journal: Read-only file system"
    wait_until(lambda: refusal in laptop.ask("status")[1], "the refusal to be shown")

    assert laptop.resolv_conf == resolv_conf
    assert laptop.stop() == 0
    assert laptop.picture() == before
