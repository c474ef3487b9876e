"""The wireguard driver, on a kernel device and on wireguard-go's socket."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address

import pytest

from autovpn.core.actions import (
    Action,
    ConfigureWireguard,
    CreateDevice,
    Failed,
    LookAgainAt,
    Open,
    QueryWireguard,
    Ready,
    Send,
    SetUp,
    Spawn,
)
from autovpn.core.driving import (
    Closed,
    DeviceCreated,
    DeviceRefused,
    Exited,
    Line,
    LinkAppeared,
    LinkVanished,
    Opened,
    Received,
    Recovered,
    Tick,
    UplinkChanged,
    WireguardStatus,
)
from autovpn.core.secret import Secret
from autovpn.core.settings import Endpoint, WireguardPeer
from autovpn.core.tunnel import Facts, FailureClass, PinnedEndpoint
from tests.tunnels.playing import (
    DEVICES,
    PRIVATE_KEY,
    PUBLIC_KEY,
    SHARED_KEY,
    START,
    TIMEOUT,
    UPLINK,
    Play,
    launch,
    only,
    recovered,
)

DEVICE = DEVICES["wireguard"]
FACTS = Facts(DEVICE, (IPv4Interface("10.97.0.2/24"),), prefixes=(IPv4Network("10.20.0.0/24"),), dns=("10.20.0.53",))
NEVER = WireguardStatus(None, 0, 148)
ACCEPTED = Received("uapi", b"errno=0\n\n")
UNSUPPORTED = DeviceRefused(DEVICE, unsupported=True, words="Operation not supported")
APPEARED = LinkAppeared(DEVICE, 9)
EPOCH = 1_795_000_000.0


def listing(handshake: float) -> Received:
    """Return what wireguard-go answers to `get=1`, in its own order."""
    text = (
        f"private_key={b64decode(PRIVATE_KEY).hex()}\nlisten_port=38394\npublic_key={b64decode(PUBLIC_KEY).hex()}\n"
        f"preshared_key={b64decode(SHARED_KEY).hex()}\nprotocol_version=1\nendpoint=192.0.2.1:51820\n"
        f"last_handshake_time_sec={int(handshake)}\nlast_handshake_time_nsec=952782225\ntx_bytes=180\nrx_bytes=92\n"
        "persistent_keepalive_interval=25\nallowed_ip=10.20.0.0/24\nerrno=0\n\n"
    )
    return Received("uapi", text.encode())


def peer(**changes: object) -> WireguardPeer:
    return replace(WireguardPeer(PUBLIC_KEY, (), Endpoint("192.0.2.1", 51820)), **changes)  # type: ignore[arg-type]


def keepalives(actions: tuple[Action, ...] | list[Action]) -> list[int | None]:
    """Return the keepalives that actions set, through either carrier."""
    found: list[int | None] = []
    for action in actions:
        if isinstance(action, ConfigureWireguard):
            found.append(action.peers[0].keepalive)
        elif isinstance(action, Send) and (match := re.search(rb"keepalive_interval=(\d+)", action.data.reveal())):
            found.append(int(match[1]))
    return found


def on_kernel(**changes: object) -> Play:
    play = Play(launch("wireguard", **changes)).start()
    play.feed(DeviceCreated(DEVICE))
    return play


def on_program(**changes: object) -> Play:
    play = Play(launch("wireguard", **changes)).start()
    play.feed(UNSUPPORTED, APPEARED, Opened("uapi"), ACCEPTED)
    return play


# -- a kernel device


def test_the_kernel_is_asked_first() -> None:
    play = Play(launch("wireguard")).start()
    assert play.actions == [CreateDevice("wireguard", DEVICE), LookAgainAt(START + TIMEOUT)]


def test_a_device_gets_its_keys_before_it_is_set_up_and_then_has_a_reason_to_shake_hands() -> None:
    configure, up, look = Play(launch("wireguard")).start().feed(DeviceCreated(DEVICE))
    assert isinstance(configure, ConfigureWireguard)
    assert configure.private_key is not None
    assert configure.private_key.reveal() == PRIVATE_KEY.encode()
    assert configure.preshared_keys[PUBLIC_KEY].reveal() == SHARED_KEY.encode()
    assert configure.endpoints == launch("wireguard").endpoints
    assert configure.peers[0].keepalive == 25
    assert up == SetUp(DEVICE)
    assert isinstance(look, LookAgainAt)
    assert look.when < START + 0.1


def test_a_handshake_makes_it_ready_and_the_user_s_keepalive_comes_back() -> None:
    play = on_kernel()
    actions = play.feed(Tick(), NEVER, Tick(), WireguardStatus(0.0, 92, 180))
    assert only(Ready, actions) == Ready(FACTS)
    assert keepalives(actions) == [0]


@pytest.mark.parametrize("keepalive", [5, 25])
def test_a_keepalive_of_the_user_s_is_never_changed(keepalive: int) -> None:
    play = on_kernel(peers=(peer(keepalive=keepalive),))
    play.feed(WireguardStatus(0.0, 92, 180))
    assert set(keepalives(play.actions)) == {keepalive}


def test_it_looks_less_and_less_often_and_at_last_when_the_time_is_over() -> None:
    play = on_kernel()
    pauses = []
    while not play.news:
        play.now = next(action.when for action in reversed(play.actions) if isinstance(action, LookAgainAt))
        asked = play.feed(Tick())
        if QueryWireguard(DEVICE) in asked:
            pauses.append(only(LookAgainAt, play.feed(NEVER)).when - play.now)
    assert play.now == START + TIMEOUT
    assert pauses[:-1] == sorted(pauses[:-1])
    assert len(pauses) < 60
    words = "no handshake from 192.0.2.1 port 51820 within 30 s; check the keys and the address"
    assert play.news == [Failed(FailureClass.UNREACHABLE, words)]


def test_a_peer_whose_name_has_no_address_may_call_us_and_the_others_are_called() -> None:
    lost, found = Endpoint("lost.example", 51820), Endpoint("found.example", 51820)
    end = PinnedEndpoint(IPv4Address("192.0.2.7"), 51820, "udp", "found.example")
    peers = (peer(endpoint=lost), peer(endpoint=None), peer(endpoint=found, keepalive=None))
    configure = only(ConfigureWireguard, on_kernel(peers=peers, endpoints=(end,)).actions)
    assert [peer.endpoint for peer in configure.peers] == [None, None, found]
    assert configure.endpoints == (end,)
    assert len(configure.peers) == len(peers)


def test_a_tunnel_that_calls_nobody_is_ready_when_it_can_be_called() -> None:
    play = on_kernel(peers=(peer(endpoint=None),), endpoints=())
    assert play.news == [Ready(replace(FACTS, prefixes=()))]
    assert set(keepalives(play.actions)) == {0}


def test_a_refused_device_is_a_local_failure_with_the_kernel_s_words() -> None:
    play = Play(launch("wireguard")).start()
    play.feed(DeviceRefused(DEVICE, unsupported=False, words="File exists"))
    assert play.news == [Failed(FailureClass.LOCAL, "File exists")]


def test_a_vanished_kernel_device_is_lost_at_once() -> None:
    play = on_kernel()
    play.feed(WireguardStatus(0.0, 92, 180), LinkVanished(DEVICE))
    assert play.news[1:] == [Failed(FailureClass.LOST, f"the device {DEVICE} is gone")]


# -- wireguard-go


def test_a_kernel_without_wireguard_has_wireguard_go_do_it() -> None:
    play = Play(launch("wireguard")).start()
    (spawn,) = play.feed(UNSUPPORTED)
    assert isinstance(spawn, Spawn)
    assert spawn.argv == ("wireguard-go", "-f", DEVICE)


def test_the_socket_of_wireguard_go_is_opened_only_when_the_tunnel_s_own_device_has_appeared() -> None:
    """One that lies there earlier is another program's: it would get the private key of this tunnel."""
    play = Play(launch("wireguard")).start()
    play.feed(UNSUPPORTED, LinkAppeared("another", 8), Tick())
    assert not [action for action in play.actions if isinstance(action, Open)]
    assert play.feed(APPEARED) == (Open("uapi", f"/var/run/wireguard/{DEVICE}.sock"),)


def test_a_kernel_device_that_appears_needs_no_socket() -> None:
    assert on_kernel().feed(APPEARED) == ()


def test_a_control_socket_that_closes_is_a_lost_tunnel_though_the_program_s_own_words_come_first() -> None:
    silent, telling = on_program(), on_program()
    for play in (silent, telling):
        play.feed(listing(EPOCH), Closed("uapi"))
        assert len(play.news) == 1
    telling.feed(Exited(2))
    assert telling.news[1:] == [Failed(FailureClass.LOST, "wireguard-go ended with status 2")]
    silent.now += 1.0
    silent.feed(Tick())
    assert silent.news[1:] == [Failed(FailureClass.LOST, "wireguard-go closed its control socket")]


def test_wireguard_go_gets_its_settings_through_its_socket() -> None:
    play = Play(launch("wireguard")).start()
    play.feed(UNSUPPORTED, APPEARED)
    send, up, _look = play.feed(Opened("uapi"))
    assert isinstance(send, Send)
    lines = send.data.reveal().decode().split("\n")
    assert lines[0] == "set=1"
    assert lines[-2:] == ["", ""]
    assert f"private_key={b64decode(PRIVATE_KEY).hex()}" in lines
    assert f"preshared_key={b64decode(SHARED_KEY).hex()}" in lines
    assert "endpoint=192.0.2.1:51820" in lines
    assert "allowed_ip=10.20.0.0/24" in lines
    assert up == SetUp(DEVICE)


def test_an_endpoint_of_ipv6_is_in_brackets() -> None:
    end = PinnedEndpoint(IPv6Address("2001:db8::1"), 51820, "udp", "192.0.2.1")
    play = Play(launch("wireguard", endpoints=(end,))).start()
    play.feed(UNSUPPORTED, APPEARED)
    assert b"endpoint=[2001:db8::1]:51820\n" in only(Send, play.feed(Opened("uapi"))).data.reveal()


@pytest.mark.parametrize("cut", [1, 7, 64, 10_000])
def test_a_handshake_in_the_answer_makes_it_ready_however_the_answer_is_cut(cut: int) -> None:
    play = on_program()
    play.feed(Tick(), listing(0))
    assert play.news == []
    whole = listing(EPOCH).data
    play.feed(*(Received("uapi", whole[start : start + cut]) for start in range(0, len(whole), cut)))
    assert play.news == [Ready(FACTS)]
    assert keepalives(play.actions)[-1] == 0


def test_refused_settings_are_a_local_failure() -> None:
    play = Play(launch("wireguard")).start()
    play.feed(UNSUPPORTED, APPEARED, Opened("uapi"), Received("uapi", b"errno=-22\n\n"))
    assert play.news == [Failed(FailureClass.LOCAL, "wireguard-go refused its settings (errno -22)")]


@pytest.mark.parametrize(
    ("lines", "status", "words"),
    [
        (["│ Running wireguard-go is not required │", "ERROR: Failed to create TUN device: busy"], 1, "busy"),
        ([], 127, "wireguard-go can't be started; is it installed?"),
        ([], 0, "wireguard-go ended with status 0"),
    ],
)
def test_a_wireguard_go_that_does_not_start_is_a_local_failure(lines: list[str], status: int, words: str) -> None:
    play = Play(launch("wireguard")).start()
    play.feed(UNSUPPORTED, *map(Line, lines), Exited(status))
    (failed,) = play.news
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOCAL
    assert words in failed.words
    assert "not required" not in failed.words


def test_a_wireguard_go_that_never_answers_is_unreachable_itself() -> None:
    play = Play(launch("wireguard")).start()
    play.now = START + TIMEOUT
    play.feed(UNSUPPORTED, Tick())
    assert play.news == [Failed(FailureClass.UNREACHABLE, "no answer from wireguard-go within 30 s")]


def test_a_wireguard_go_that_ends_is_lost() -> None:
    play = on_program()
    play.feed(listing(EPOCH), LinkVanished(DEVICE), Exited(0))
    assert play.news[1:] == [Failed(FailureClass.LOST, "wireguard-go ended with status 0")]


# -- the uplink


def test_an_uplink_that_changes_sends_a_packet_at_once_and_points_at_the_new_address() -> None:
    play = on_program()
    play.feed(listing(EPOCH), ACCEPTED)
    moved = (PinnedEndpoint(IPv4Address("192.0.2.7"), 51820, "udp", "192.0.2.1"),)
    actions = play.feed(UplinkChanged(UPLINK, moved), ACCEPTED, ACCEPTED)
    assert keepalives(actions) == [0, 25, 0]
    assert all(b"endpoint=192.0.2.7:51820\n" in action.data.reveal() for action in actions if isinstance(action, Send))
    assert play.news == [Ready(FACTS)]


def test_wireguard_go_is_asked_for_one_thing_at_a_time() -> None:
    """While it takes settings it loses a request that has arrived behind them."""
    play = Play(launch("wireguard")).start()
    (settings, *_) = play.feed(UNSUPPORTED, APPEARED, Opened("uapi"))[-3:]
    assert isinstance(settings, Send)

    early = play.feed(Tick(), UplinkChanged(UPLINK, ()), Tick())
    assert not [action for action in early if isinstance(action, Send)]

    expected = [rb"get=1\n", rb"keepalive_interval=0\n", rb"keepalive_interval=25\n", rb"get=1\n"]
    for answer, request in zip([ACCEPTED, listing(0), ACCEPTED, ACCEPTED], expected, strict=True):
        assert re.search(request, only(Send, play.feed(answer)).data.reveal())


def test_an_address_that_does_not_resolve_any_more_keeps_the_last_good_one() -> None:
    play = on_program()
    actions = play.feed(UplinkChanged(UPLINK, ()))
    assert b"endpoint=192.0.2.1:51820\n" in next(a for a in actions if isinstance(a, Send)).data.reveal()


def test_an_uplink_that_changes_before_the_device_is_there_needs_nothing() -> None:
    play = Play(launch("wireguard")).start()
    assert play.feed(UplinkChanged(UPLINK, launch("wireguard").endpoints)) == ()


@pytest.mark.parametrize("begin", [on_kernel, on_program])
def test_the_keys_are_handed_over_once(begin: Callable[[], Play]) -> None:
    play = begin()
    before = len(play.actions)
    play.feed(WireguardStatus(0.0, 92, 180), UplinkChanged(UPLINK, play.launch.endpoints))
    for action in play.actions[before:]:
        assert not isinstance(action, ConfigureWireguard) or (action.private_key, action.preshared_keys) == (None, {})
        assert not isinstance(action, Send) or not re.search(rb"private|preshared|allowed", action.data.reveal())
    assert "Keys" not in repr(play.state)


# -- adoption


@pytest.mark.parametrize("pid", [None, 4711])
def test_a_running_tunnel_with_a_young_handshake_is_ready_with_the_facts_that_it_had(pid: int | None) -> None:
    found = recovered("wireguard", pid=pid, epoch=EPOCH)
    play = Play(launch("wireguard")).adopt(found)
    if pid:
        play.feed(Opened("uapi"), listing(EPOCH + START - 100))
    else:
        assert QueryWireguard(DEVICE) in play.actions
        play.feed(WireguardStatus(100.0, 1, 1))
    assert play.news == [Ready(found.facts or Facts())]
    assert not [action for action in play.actions if isinstance(action, SetUp | CreateDevice | Spawn)]


@pytest.mark.parametrize("pid", [None, 4711])
def test_a_running_tunnel_with_an_old_handshake_shakes_hands_again_first(pid: int | None) -> None:
    found = recovered("wireguard", pid=pid, epoch=EPOCH)
    play = Play(launch("wireguard")).adopt(found)
    old, young = (
        (listing(EPOCH + START - 200), listing(EPOCH + START - 1))
        if pid
        else (WireguardStatus(200.0, 1, 1), WireguardStatus(0.1, 1, 1))
    )
    provoked = play.feed(Opened("uapi"), old, ACCEPTED, ACCEPTED) if pid else play.feed(old)
    assert keepalives(provoked) == [0, 25]
    assert play.news == []
    assert keepalives(play.feed(old)) == []
    play.feed(young)
    assert play.news == [Ready(found.facts or Facts())]


def test_without_a_wall_clock_a_handshake_counts_when_it_is_a_new_one() -> None:
    play = Play(launch("wireguard")).adopt(recovered("wireguard", epoch=0.0))
    play.feed(Opened("uapi"), listing(EPOCH), listing(EPOCH))
    assert play.news == []
    play.feed(listing(EPOCH + 1))
    assert len(play.news) == 1


def test_a_running_tunnel_whose_server_is_dead_is_not_adopted() -> None:
    play = Play(launch("wireguard")).adopt(recovered("wireguard", epoch=EPOCH))
    play.feed(Opened("uapi"), listing(EPOCH + START - 200))
    play.now = START + TIMEOUT
    play.feed(Tick())
    assert [news.kind for news in play.news if isinstance(news, Failed)] == [FailureClass.UNREACHABLE]


def test_a_tunnel_that_was_never_ready_is_not_adopted() -> None:
    (failed,) = Play(launch("wireguard")).adopt(Recovered(None, DEVICE, None)).actions
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOST


# -- the file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[Peer]\nPublicKey = x\n", "/etc/wireguard/office.conf: [Interface] has no PrivateKey"),
        ("[Interface]\nPrivateKey = hunter2\n", "/etc/wireguard/office.conf: the PrivateKey is not a WireGuard key"),
        (f"[Interface]\nPrivateKey={PRIVATE_KEY}\n[Peer]\nPresharedKey=hunter2\n", ":3: PresharedKey is not"),
    ],
)
def test_a_file_without_usable_keys_says_so_and_shows_none(text: str, words: str) -> None:
    play = Play(launch("wireguard", files={"/etc/wireguard/office.conf": Secret(text.encode())})).start()
    (failed,) = play.actions
    assert isinstance(failed, Failed)
    assert failed.kind is FailureClass.LOCAL
    assert words in failed.words
    assert "hunter2" not in failed.words


@pytest.mark.parametrize(
    ("changes", "kind"), [({"files": {}}, FailureClass.LOCAL), ({"endpoints": ()}, FailureClass.NAME)]
)
def test_what_is_missing_is_said_before_anything_starts(changes: dict[str, object], kind: FailureClass) -> None:
    (failed,) = Play(launch("wireguard", **changes)).start().actions
    assert isinstance(failed, Failed)
    assert failed.kind is kind
