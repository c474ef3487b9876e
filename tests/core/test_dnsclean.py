"""Lists of servers and names that somebody else wrote."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.dnsclean import (
    MAX_DOMAINS,
    MAX_SEARCH,
    MAX_SEARCH_CHARACTERS,
    MAX_SERVERS,
    clean_domains,
    clean_search,
    clean_servers,
    whole_file_fault,
)

hostile = st.lists(st.one_of(st.text(), st.ip_addresses().map(str), st.from_regex(r"[a-z.\n -]{0,20}")), max_size=30)


@given(hostile)
def test_whatever_is_pushed_what_remains_is_a_short_list_of_plain_addresses(pushed: list[str]) -> None:
    kept, reasons = clean_servers(pushed)

    assert len(kept) <= MAX_SERVERS
    assert len(reasons) <= MAX_SERVERS
    assert all(str(ipaddress.ip_address(server)) == server for server in kept)


@given(hostile)
def test_no_reason_carries_a_control_character_into_the_log(pushed: list[str]) -> None:
    for clean in (clean_servers, clean_search, clean_domains):
        assert all(reason.isascii() and reason.isprintable() for reason in clean(pushed)[1])


@given(hostile)
def test_whatever_is_pushed_a_search_list_stays_one_line_that_every_libc_reads(pushed: list[str]) -> None:
    kept, _ = clean_search(pushed)

    assert len(kept) <= MAX_SEARCH
    assert len(" ".join(kept)) <= MAX_SEARCH_CHARACTERS
    assert not any(character.isspace() for name in kept for character in name)


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ("", "not an IP address"),
        ("dns.example", "not an IP address"),
        ("192.0.2.1\noptions use-vc", "not an IP address"),
        ("192.0.2.1 192.0.2.2", "not an IP address"),
        ("0.0.0.0", "not the address of a machine"),
        ("::", "not the address of a machine"),
        ("::ffff:0.0.0.0", "not the address of a machine"),
        ("224.0.0.251", "not the address of a machine"),
        ("ff02::fb", "not the address of a machine"),
        ("255.255.255.255", "not the address of a machine"),
        ("127.0.0.1", "this machine itself"),
        ("127.0.0.53", "this machine itself"),
        ("::1", "this machine itself"),
        ("::ffff:127.0.0.1", "this machine itself"),
        ("fe80::1%tun0\nx", "no valid zone"),
        ("fe80::1%tun0 x", "no valid zone"),
        ("10.0.0.2", "an address of this machine"),
    ],
)
def test_a_bad_server_is_left_out_and_the_reason_is_said(server: str, why: str) -> None:
    kept, reasons = clean_servers([server, "10.0.0.1"], own=frozenset({"10.0.0.2"}))

    assert kept == ("10.0.0.1",)
    assert [reason for reason in reasons if why in reason], reasons


def test_a_profile_may_name_this_machine_as_its_resolver() -> None:
    assert clean_servers(["127.0.0.1"], pushed=False) == (("127.0.0.1",), ())


def test_servers_are_spelled_canonically_and_named_once_in_their_order() -> None:
    servers = ["2001:DB8:0::1", "10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1", "fe80::1%tun0"]

    assert clean_servers(servers) == (("2001:db8::1", "10.0.0.1", "fe80::1%tun0"), ())


def test_a_hundred_servers_are_capped_and_that_is_said() -> None:
    kept, reasons = clean_servers(f"10.0.0.{n}" for n in range(1, 101))

    assert len(kept) == MAX_SERVERS
    assert reasons == ("100 DNS servers are too many; the first 8 are used",)


def test_a_hundred_bad_servers_do_not_fill_the_log() -> None:
    _, reasons = clean_servers(f"bad{n}" for n in range(100))

    assert len(reasons) == MAX_SERVERS
    assert reasons[-1] == "and 93 more of the kind"


def test_no_server_is_no_fault() -> None:
    assert clean_servers([]) == ((), ())


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a..b",
        "-a.example",
        "a-.example",
        "a b",
        "a\nnameserver 6.6.6.6",
        "ü.example",
        "a" * 64,
        "a." * 130 + "a",
    ],
)
def test_what_is_no_domain_name_is_left_out(name: str) -> None:
    kept, reasons = clean_search([name, "corp.example"])

    assert kept == ("corp.example",)
    assert len(reasons) == 1


def test_names_are_lower_case_without_the_dot_at_the_end_and_named_once() -> None:
    assert clean_domains(["Corp.Example.", "corp.example", "_tcp.corp.example"]) == (
        ("corp.example", "_tcp.corp.example"),
        (),
    )


def test_search_domains_beyond_what_libc_reads_are_said() -> None:
    long = [f"{letter * 60}.{letter * 60}.example" for letter in "abc"]

    kept, reasons = clean_search(long)

    assert kept == (long[0],)
    assert len(reasons) == 2
    assert "256 characters" in reasons[0]
    assert clean_search(f"s{n}.example" for n in range(9))[1] == (
        "9 search domains are too many; the first 6 are used",
    )


def test_domains_are_capped() -> None:
    assert len(clean_domains(f"d{n}.example" for n in range(100))[0]) == MAX_DOMAINS


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("nameserver 192.0.2.1\n", ""),
        ("# über\r\nsearch a\tb\r\nnameserver 192.0.2.1\r\n", ""),
        ("", "names no nameserver"),
        ("search example\n", "names no nameserver"),
        ("nameserver 192.0.2.1\n\0", "control characters"),
        ("nameserver 192.0.2.1\n#\x1b[2J", "control characters"),
        ("nameserver 192.0.2.1\n" + "#" * 11_000, "larger than"),
    ],
)
def test_a_whole_file_must_be_a_resolv_conf(text: str, fault: str) -> None:
    assert fault in whole_file_fault(text)
    assert bool(fault) == bool(whole_file_fault(text))
