"""What strangers say: network names of any bytes, and pushes of any length, through the whole daemon and out again.

There is no Wi-Fi here, so the kernel is a fake one; the configuration, the hooks, the journal and resolv.conf are real.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from autovpn.cli.paint import plain
from autovpn.cli.render import render_explain
from autovpn.cli.render_status import render_status
from autovpn.config.load import load
from autovpn.core.actions import Action, Ready
from autovpn.core.driving import DeviceCreated, DriverEvent
from autovpn.core.escape import show_ssid
from autovpn.core.network import Security, Wireless
from autovpn.core.profile import Policy
from autovpn.core.records import Origin
from autovpn.core.snapshot import Link
from autovpn.core.steps import HookMoment, RoutesValue, StepKind
from autovpn.core.tunnel import TunnelPhase
from autovpn.daemon.ports import Hooks, Resolver
from autovpn.daemon.programs import HookPrograms
from autovpn.daemon.resolver import MachineResolver
from autovpn.dns.file import FileBackend
from autovpn.system.journal import Journal
from autovpn.system.logfile import LogFile
from autovpn.tunnels.vpnc import facts_of
from tests.core.builders import wifi
from tests.daemon.fake_kernel import Daemon, FakeDriver
from tests.tunnels.playing import launch

NASTY = [
    b"$(reboot)",
    b"`touch canary`; $(touch canary)",
    b"'; touch canary #",
    b'"\n[match]\nssid = "*',
    b"line\nbreak\r\n",
    b"nul\0inside",
    b"\0",
    b"\x1b[2J\x1b]0;title\x07",
    b"\xff\xfe\x80",
    b"caf\xc3\xa9",
    b"caf\xc3",
    b"\xe2\x80\xaeright-to-left",
    b"--help",
    b"*",
    b"?[!a]",
    b" ",
    b"{0} %s %(x)s",
    b"Campus",
    b"Campu",
    b"Campus ",
]
EVERY_BYTE = [bytes(range(start, start + 32)) for start in range(0, 256, 32)]
LENGTHS = {"ssid_hex": range(1, 33)}  # in the other ways the shortest and the longest; an empty name is no wish

RECORD = """#!/bin/sh
env -0 > "{folder}/$AUTOVPN_PROFILE.$AUTOVPN_EVENT"
"""
ORIGIN = Origin("boot", 1)


class RealDaemon(Daemon):
    """A daemon on a fake kernel, with real hooks, a real journal and a real resolv.conf in a folder of the test's."""

    async def journal(self) -> Journal:
        journal = Journal(
            LogFile(self.folder / "run" / "journal", durable=False),
            LogFile(self.folder / "state" / "journal", durable=True),
            ORIGIN,
        )
        await journal.open()
        return journal

    def programs(self) -> Hooks:
        return HookPrograms()

    def resolver(self) -> Resolver:
        backend = FileBackend(self.folder / "resolv.conf", self.folder / "state", self.folder / "run")
        return MachineResolver({"file": backend}, backend.facts, lambda: "file")


def named(ssid: bytes) -> Link:
    return wifi(wireless=Wireless(ssid, "02:00:00:00:00:01", security=Security.OPEN, authorized=True))


def toml(text: str) -> str:
    """Return a TOML string of any characters."""
    return json.dumps(text).replace("\x7f", "\\u007f")


def glob(ssid: bytes) -> str | None:
    """Return a glob that only these bytes match, where a text without control characters can say them."""
    try:
        text = ssid.decode()
    except UnicodeDecodeError:
        return None
    if any(ord(character) < 0x20 or 0x7F <= ord(character) <= 0x9F for character in text):
        return None
    return "".join(f"[{character}]" if character in "*?[" else character for character in text)


def wish(kind: str, ssid: bytes) -> str | None:
    """Return the line of a profile that asks for an SSID in one of the three ways, None where it can't be said so."""
    if kind == "ssid_hex":
        return f'ssid_hex = ["{ssid.hex()}"]'
    if kind == "ssid_glob":
        pattern = glob(ssid)
        return pattern and f"ssid_glob = [{toml(pattern)}]"
    try:
        return f"ssid = [{toml(ssid.decode())}]"
    except UnicodeDecodeError:
        return None


def configured(folder: Path, kind: str) -> tuple[Policy, dict[bytes, str]]:
    """Write a profile for each SSID that can be said in this way; return the policy, and the profiles' names."""
    (folder / "profiles").mkdir(parents=True)
    hook = folder / "record"
    hook.write_text(RECORD.format(folder=folder))
    hook.chmod(0o755)
    names = {}
    lengths = [b"x" * length for length in LENGTHS.get(kind, (1, 32))]
    for number, ssid in enumerate(dict.fromkeys([*NASTY, *EVERY_BYTE, *lengths])):
        line = wish(kind, ssid)
        if line is None:
            continue
        names[ssid] = f"s{number:02d}"
        (folder / "profiles" / f"s{number:02d}.toml").write_text(
            f'action = "disconnect"\n[trust]\nrequire = "hint"\n[match]\n{line}\n'
            f'[[hooks]]\non = "preup"\nrun = ["{hook}"]\n[[hooks]]\non = "postdown"\nrun = ["{hook}"]\n'
        )
    loaded = load(folder)
    assert loaded.policy is not None, loaded.problems
    return loaded.policy, names


def harmless(text: str) -> bool:
    """Report whether a terminal only shows this."""
    return all(character == "\n" or character.isprintable() for character in text)


@pytest.mark.parametrize("kind", ["ssid", "ssid_hex", "ssid_glob"])
def test_a_network_name_of_any_bytes_is_matched_exactly_and_does_nothing_else(trusted_path: Path, kind: str) -> None:
    """Through configuration, decision, explain, status, the environment of a hook, and the journal."""
    rules, names = configured(trusted_path, kind)
    asyncio.run(_meet_them_all(trusted_path, rules, names))

    assert not list(trusted_path.rglob("canary"))
    assert not Path("canary").exists()


async def _meet_them_all(folder: Path, rules: Policy, names: dict[bytes, str]) -> None:
    daemon = RealDaemon(folder, rules)
    await daemon.begin()
    try:
        for ssid, name in names.items():
            await daemon.see(named(ssid))
            assert daemon.loop.decision.judgements[0].profile == name, ssid
            await daemon.settle()
            await _assert_shown_escaped(daemon, ssid)
            await _assert_journalled(daemon, name, ssid)
            await daemon.see()
            await daemon.ask("down")
            daemon.loop.memory = type(daemon.loop.memory)(next_epoch=daemon.loop.memory.next_epoch)
            for event in ("preup", "postdown"):
                content = await asyncio.to_thread((folder / f"{name}.{event}").read_bytes)
                _assert_told(content, ssid)
        for ssid in (b"Campu\xff", b"campus", b"", b"no such"):
            await daemon.see(named(ssid))
            assert daemon.loop.decision.judgements[0].profile is None, ssid
    finally:
        await daemon.kill()


async def _assert_shown_escaped(daemon: Daemon, ssid: bytes) -> None:
    for command, render in (("status", render_status), ("explain", render_explain)):
        reply = json.loads(json.dumps(await daemon.ask(command)))
        shown = plain(render(reply))
        assert harmless(shown), shown
        assert show_ssid(ssid) in shown


async def _assert_journalled(daemon: RealDaemon, name: str, ssid: bytes) -> None:
    """Read the journal as the next daemon would."""
    (entry,) = [entry for entry in (await daemon.journal()).entries if entry.step.kind is StepKind.PREUP]
    assert entry.step.activation == name
    assert isinstance(entry.step.context, HookMoment)
    assert entry.step.context.context.ssid == ssid


def _assert_told(environment: bytes, ssid: bytes) -> None:
    variables = dict(line.split(b"=", 1) for line in environment.split(b"\0") if line)
    try:
        text = ssid.decode()
        can_be_told = not any(ord(character) < 0x20 or 0x7F <= ord(character) <= 0x9F for character in text)
    except UnicodeDecodeError:
        can_be_told = False
    assert variables[b"SSID_HEX"] == ssid.hex().encode()
    assert variables.get(b"SSID") == (ssid if can_be_told else None)
    network = variables[b"AUTOVPN_NETWORK"].decode()
    assert harmless(network)
    assert show_ssid(ssid) in network


# -- what a server pushes


@dataclass
class HostileServer(FakeDriver):
    """A driver whose far end pushes what it likes, read by vpnc's own reader."""

    pushes: dict[str, str] = field(default_factory=dict)

    def feed(self, state: str, event: DriverEvent, now: float) -> tuple[str, tuple[Action, ...]]:
        if not isinstance(event, DeviceCreated):
            return state, ()
        facts = facts_of(self.pushes, launch("vpnc"))
        assert facts is not None
        return state, (Ready(replace(facts, device=state)),)


PUSHES = {
    "INTERNAL_IP4_ADDRESS": "10.99.0.7",
    "INTERNAL_IP4_DNS": " ".join([*(f"10.20.0.{number}" for number in range(1, 101)), "127.0.0.1", "0.0.0.0", "x;y"]),
    "CISCO_DEF_DOMAIN": "office.example bad\noptions\x1b[2J ../../etc $(reboot) -x.example",
    "CISCO_SPLIT_INC": "5",
    "CISCO_SPLIT_INC_0_ADDR": "0.0.0.0",
    "CISCO_SPLIT_INC_0_MASKLEN": "0",
    "CISCO_SPLIT_INC_1_ADDR": "0.0.0.0",
    "CISCO_SPLIT_INC_1_MASKLEN": "1",
    "CISCO_SPLIT_INC_2_ADDR": "203.0.113.0",
    "CISCO_SPLIT_INC_2_MASKLEN": "24",
    "CISCO_SPLIT_INC_3_ADDR": "127.0.0.0",
    "CISCO_SPLIT_INC_3_MASKLEN": "8",
    "CISCO_SPLIT_INC_4_ADDR": "10.20.0.0",
    "CISCO_SPLIT_INC_4_MASKLEN": "16",
    "CISCO_BANNER": "Welcome\x1b[2J\nroot:x:0:0",
    "TUNDEV": "../../lo",
}
REFUSED = (
    "route 0.0.0.0/0 is left out: it is for the profile to say",
    "route 0.0.0.0/1 is left out: it is for the profile to say",
    "route 127.0.0.0/8 is left out: it is not for machines",
    "100 DNS servers are too many; the first 8 are used",
    "DNS server '127.0.0.1' is left out: it is this machine itself",
    "search domain '../../etc' is left out: it is not a domain name",
)
PROFILE = """
tunnels = ["office"]
[match]
ssid = ["Campus"]
[tunnel.office]
type = "openssh"
host = "203.0.113.1"
address = "10.98.0.2/30"
peer = "10.98.0.1"
[tunnel.office.routes]
mode = "split"
"""


def test_what_a_server_pushes_is_bounded_and_leads_nothing_but_its_office_through_it(trusted_path: Path) -> None:
    (trusted_path / "profiles").mkdir()
    (trusted_path / "profiles" / "10-campus.toml").write_text(PROFILE)
    original = "nameserver 192.0.2.1\n"
    (trusted_path / "resolv.conf").write_text(original)
    loaded = load(trusted_path)
    assert loaded.policy is not None, loaded.problems

    asyncio.run(_be_pushed(RealDaemon(trusted_path, loaded.policy)))

    assert (trusted_path / "resolv.conf").read_text() == original


async def _be_pushed(daemon: Daemon) -> None:
    daemon.driver = HostileServer(pushes=PUSHES)
    await daemon.begin(named(b"Campus"))
    try:
        await daemon.until_phase(TunnelPhase.UP)
        routes = next(step.value for step in daemon.loop.plans.applied() if step.kind is StepKind.ROUTES)
        assert isinstance(routes, RoutesValue)
        assert set(routes.prefixes) == {ip_network("203.0.113.0/24"), ip_network("10.20.0.0/16")}
        assert routes.device != "lo"
        _assert_the_pin_comes_first(daemon)

        text = await asyncio.to_thread((daemon.folder / "resolv.conf").read_text)
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert lines == [
            "nameserver 10.20.0.1",
            "nameserver 10.20.0.2",
            "nameserver 10.20.0.3",
            "search office.example bad",
        ]

        shown = plain(render_status(json.loads(json.dumps(await daemon.ask("status")))))
        assert harmless(shown), shown
        flat = " ".join(shown.split())
        for sentence in REFUSED:
            assert sentence in flat
        await daemon.ask("down")
    finally:
        await daemon.kill()


def _assert_the_pin_comes_first(daemon: Daemon) -> None:
    """The tunnel's own packets are looked up before a pushed route that covers their far end."""
    ours = daemon.machine.rules - set(daemon.machine.foreign.rules)
    pins = [rule.priority for rule in ours if rule.dst and rule.dst == ip_network("203.0.113.1/32") and rule.dport]
    covering = [rule.priority for rule in ours if rule.dst and rule.dst == ip_network("203.0.113.0/24")]
    assert pins
    assert covering
    assert max(pins) < min(covering)
    assert all(rule.dst is not None and ip_address("8.8.8.8") not in rule.dst for rule in ours)
