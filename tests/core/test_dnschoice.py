"""Whose DNS the machine uses, by which back end, and why."""

from __future__ import annotations

import pytest

from autovpn.core.dnschoice import (
    Candidate,
    DnsFacts,
    DnsWish,
    FileFacts,
    MachineDns,
    Verdict,
    choose,
    merge,
    refuse_file,
    refuse_split,
)
from autovpn.core.dnsstanding import Kind

PATH = "/etc/resolv.conf"
WORK = DnsWish("work", "tun0", ("10.0.0.1",))
LAB = DnsWish("lab", "wg0", ("10.1.0.1",), domains=("lab.example",))


def test_no_wish_is_no_wish() -> None:
    assert merge([]) == MachineDns()
    assert not merge([]).is_wanted


def test_one_wish_for_all_names_and_any_number_for_some_stand_side_by_side() -> None:
    other = DnsWish("home", "wg1", ("10.2.0.1",), domains=("home.example",))

    assert merge([LAB, WORK, other]) == MachineDns(WORK, (LAB, other))


def test_the_second_that_wants_all_names_is_told_who_has_them() -> None:
    merged = merge([WORK, DnsWish("campus", "tun1", ("10.8.0.1",))])

    assert merged.exclusive == WORK
    assert merged.refused == ("campus: wants all names, which work already has; its DNS is not used",)


@pytest.mark.parametrize("servers", [(), ("rubbish",), ("0.0.0.0",), ("10.0.0.1\nsearch evil.example",)])
def test_a_wish_without_a_usable_server_changes_nothing(servers: tuple[str, ...]) -> None:
    merged = merge([DnsWish("work", "tun0", servers), LAB])

    assert merged.exclusive is None
    assert merged.split == (LAB,)
    assert merged.refused[-1] == "work: no usable DNS server; the machine's DNS stays as it is"


def test_a_split_wish_whose_domains_are_all_rubbish_is_not_widened_to_all_names() -> None:
    merged = merge([DnsWish("lab", "wg0", ("10.1.0.1",), domains=("a b", ""))])

    assert not merged.is_wanted
    assert "no usable domain" in merged.refused[-1]


def test_what_was_left_out_of_a_wish_is_said_with_its_owner() -> None:
    merged = merge([DnsWish("work", "tun0", ("10.0.0.1", "::"), search=("x y",))])

    assert merged.exclusive == WORK
    assert len(merged.refused) == 2
    assert all(reason.startswith("work: ") for reason in merged.refused)


def test_a_whole_file_is_taken_as_it_is() -> None:
    whole = DnsWish("campus", None, (), whole_file="nameserver 10.8.0.1\n")

    assert merge([whole]).exclusive == whole


def test_a_whole_file_without_a_server_is_not_swapped_in() -> None:
    merged = merge([DnsWish("campus", None, (), whole_file="")])

    assert merged == MachineDns(
        refused=("campus: the file to be swapped in is not used: it names no nameserver",),
    )


MACHINES = [
    (
        "Debian server with dhclient",
        FileFacts(PATH, Kind.FILE),
        "file: /etc/resolv.conf may be swapped",
    ),
    (
        "Alpine before its first lease",
        FileFacts(PATH),
        "file: /etc/resolv.conf may be swapped",
    ),
    (
        "Ubuntu desktop",
        FileFacts(PATH, Kind.SYMLINK, "../run/systemd/resolve/stub-resolv.conf"),
        (
            "file: /etc/resolv.conf is a symlink to ../run/systemd/resolve/stub-resolv.conf; "
            "a file takes its place for a while"
        ),
    ),
    (
        "Docker",
        FileFacts(PATH, Kind.FILE, mounted=True),
        "file: /etc/resolv.conf is a mount point and is rewritten in place",
    ),
]


@pytest.mark.parametrize(("facts", "why"), [row[1:] for row in MACHINES], ids=[row[0] for row in MACHINES])
@pytest.mark.parametrize("forced", [None, "auto", "file"])
def test_each_machine_gets_its_back_end_and_the_reason(facts: FileFacts, why: str, forced: str | None) -> None:
    choice = choose(DnsFacts(facts), MachineDns(WORK), forced)

    assert choice.backend == "file"
    assert choice.why == (("dns.backend = file", why) if forced == "file" else (why,))
    assert not choice.refused


REFUSALS = [
    ("a directory", FileFacts(PATH, Kind.OTHER), "neither a plain file", "move it away"),
    ("chattr +i", FileFacts(PATH, Kind.FILE, immutable=True), "immutable", "chattr -i -a /etc/resolv.conf"),
    ("read-only /etc", FileFacts(PATH, Kind.FILE, writable=False), "read-only file system", "postup hook"),
    (
        "NixOS",
        FileFacts(PATH, Kind.SYMLINK, "/run/resolv.conf", writable=False),
        "a symlink to /run/resolv.conf",
        "let the program that manages it",
    ),
]


@pytest.mark.parametrize(("facts", "why", "hint"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_a_file_that_may_not_be_touched_is_refused_with_a_way_out(facts: FileFacts, why: str, hint: str) -> None:
    refusal = refuse_file(facts)
    choice = choose(DnsFacts(facts), MachineDns(WORK), None)

    assert refusal is not None
    assert why in refusal.why
    assert hint in refusal.hint
    assert choice.refused
    assert choice.backend is None
    assert why in choice.why[0]
    assert hint in choice.why[0]


def test_nothing_wished_is_neither_a_back_end_nor_a_refusal() -> None:
    choice = choose(DnsFacts(FileFacts(PATH)), MachineDns(), "file")

    assert (choice.backend, choice.refused) == (None, False)
    assert choice.why == ("no tunnel asks for DNS",)


def test_what_the_file_cannot_do_is_refused_and_never_widened() -> None:
    choice = choose(DnsFacts(FileFacts(PATH, Kind.FILE)), MachineDns(split=(LAB,)), None)

    assert choice.refused
    assert choice.why == (f"file: {refuse_split(LAB)}",)
    assert "lab.example alone is not possible" in choice.why[0]


NEVER = Candidate("never", lambda _facts, _wish: Verdict(usable=False, why="is not running"))
ALWAYS = Candidate("always", lambda _facts, _wish: Verdict(usable=True, why="is in charge"))


def test_the_first_usable_candidate_wins_and_the_trail_names_those_before() -> None:
    choice = choose(DnsFacts(FileFacts(PATH)), MachineDns(WORK), "auto", (NEVER, ALWAYS))

    assert choice.backend == "always"
    assert choice.why == ("never: is not running", "always: is in charge")


def test_a_forced_back_end_that_cannot_work_is_refused_without_a_fall_back() -> None:
    choice = choose(DnsFacts(FileFacts(PATH)), MachineDns(WORK), "never", (NEVER, ALWAYS))

    assert (choice.backend, choice.refused) == (None, True)
    assert choice.why == ("dns.backend = never", "never: is not running")


def test_a_forced_back_end_that_does_not_exist_is_refused() -> None:
    choice = choose(DnsFacts(FileFacts(PATH)), MachineDns(WORK), "resolved")

    assert choice.refused
    assert choice.why == ("dns.backend = resolved", "this version has no back end named resolved")
