"""Each kind of value: what it becomes, and what is said when it is wrong."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.config import fields
from autovpn.config.sockets import listening, target, word


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("5s", 5.0), ("500ms", 0.5), ("2min", 120.0), ("1h", 3600.0), ("1.5s", 1.5), ("0s", 0.0), ("10 s", 10.0)],
)
def test_a_time_is_a_number_with_a_unit(written: str, seconds: float) -> None:
    assert fields.duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written", ["5", "", "s", "-5s", "5m", "1e3s", "5s ", "999999999h", 5, 5.0, None, ["5s"], "\u0665s"]
)
def test_what_is_no_time_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(ValueError, match=r"5s|longer than a year|no time"):
        fields.duration(written)


def test_a_timeout_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="is zero"):
        fields.timeout("0s")


@given(st.binary(min_size=1, max_size=32))
def test_every_ssid_can_be_written_in_hexadecimal(content: bytes) -> None:
    assert fields.ssid_hex(content.hex()) == content


@given(st.text(min_size=1, max_size=8))
def test_nothing_in_an_ssid_has_a_special_meaning(written: str) -> None:
    assert fields.ssid(written) == written.encode()


@pytest.mark.parametrize("written", [r"\x41", r"C:\net", "*", "?", "!not", "~regex", "$(reboot)", " space "])
def test_an_ssid_is_not_unescaped_a_second_time(written: str) -> None:
    assert fields.ssid(written) == written.encode()


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        (fields.ssid, "ü" * 17),
        (fields.ssid_hex, "41" * 33),
        (fields.ssid_glob, "x" * 33),
        (fields.ssid_glob, "[ab]" * 33),
    ],
)
def test_an_ssid_has_at_most_32_bytes(parse: Callable[[object], bytes], value: str) -> None:
    with pytest.raises(ValueError, match="at most 32"):
        parse(value)


@pytest.mark.parametrize("parse", [fields.ssid, fields.ssid_hex, fields.ssid_glob])
def test_an_empty_ssid_is_refused_since_no_network_is_joined_by_it(parse: Callable[[object], bytes]) -> None:
    with pytest.raises(ValueError, match="is empty"):
        parse("")


@pytest.mark.parametrize("parse", [fields.ssid, fields.ssid_hex])
def test_whoever_means_a_hidden_network_is_told_what_to_write(parse: Callable[[object], bytes]) -> None:
    with pytest.raises(ValueError, match=r"a hidden network .* is joined by it"):
        parse("")


def test_a_pattern_may_be_longer_than_what_it_matches() -> None:
    assert fields.ssid_glob("[ab]" * 32 + "*****") == b"[ab]" * 32 + b"*****"


@pytest.mark.parametrize("written", ["02:00:5E:10:00:01", "02-00-5e-10-00-01"])
def test_a_hardware_address_is_kept_in_lower_case_with_colons(written: str) -> None:
    assert fields.mac(written) == "02:00:5e:10:00:01"


def test_an_address_is_a_prefix_of_one() -> None:
    assert fields.prefix("192.0.2.1") == ip_network("192.0.2.1/32")
    assert fields.prefix("2001:db8::/32") == ip_network("2001:db8::/32")


def test_a_prefix_with_host_bits_is_refused_with_what_was_meant() -> None:
    with pytest.raises(ValueError, match=r"did you mean '10\.0\.0\.0/8'"):
        fields.prefix("10.1.2.3/8")


def test_a_domain_is_kept_in_lower_case_without_dots_around_it() -> None:
    assert fields.domain(".Campus.Example.") == "campus.example"
    assert fields.domain("münchen.example") == "xn--mnchen-3ya.example"


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        (fields.text, 5),
        (fields.text, ""),
        (fields.text, "a\nb"),
        (fields.text, "a\x00b"),
        (fields.argument, "a\x00b"),
        (fields.argument, 5),
        (fields.ssid, 5),
        (fields.ssid_hex, "4"),
        (fields.ssid_hex, "zz"),
        (fields.ssid_hex, 41),
        (fields.mac, "02:00:5e:10:00"),
        (fields.mac, "02:00-5e:10:00:01"),
        (fields.mac, 5),
        (fields.address, "192.0.2.300"),
        (fields.address, 5),
        (fields.interface_address, "x/24"),
        (fields.prefix, "x/24"),
        (fields.prefix, "10.0.0.0/33"),
        (fields.domain, "a..b"),
        (fields.domain, "-"),
        (fields.domain, "ü" * 200),
        (fields.device, "sixteen-letters-"),
        (fields.device, "a/b"),
        (fields.device, ".."),
        (fields.device, "tun%d"),
        (fields.device, "a b"),
        (fields.name, "../x"),
        (fields.name, ""),
        (fields.name, 5),
        (fields.path, "~/key"),
        (fields.credential, "../x"),
        (word, "-oProxyCommand=reboot"),
        (word, "a b"),
        (listening, "0"),
        (listening, "65536"),
        (listening, "host:"),
        (target, "443"),
    ],
)
def test_what_is_wrong_is_refused(parse: Callable[[object], object], value: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(value)


def test_a_bare_port_listens_on_this_machine_alone() -> None:
    assert listening("1080") == "127.0.0.1:1080"
    assert listening("[::1]:1080") == "[::1]:1080"
    assert target("wiki.example:443") == "wiki.example:443"
