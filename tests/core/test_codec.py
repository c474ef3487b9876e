"""What is written down reads back as the same value, and nothing else is ever read or written."""

from __future__ import annotations

import json
from dataclasses import fields
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from types import NoneType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autovpn.core.codec import _DATACLASSES, _ENUMS, CODEC, CodecError, decode, encode
from autovpn.core.profile import Event
from autovpn.core.routing import RouteKind
from autovpn.core.secret import Secret
from autovpn.core.snapshot import LinkId
from autovpn.core.steps import GuardValue, HookMoment, Step, StepKind

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
ATOMS: dict[object, st.SearchStrategy[Any]] = {
    str: st.text(),
    IPv4Address: st.ip_addresses(v=4),
    IPv6Address: st.ip_addresses(v=6),
    IPv4Interface: st.builds(lambda ip, n: IPv4Interface((ip, n)), st.ip_addresses(v=4), st.integers(0, 32)),
    IPv6Interface: st.builds(lambda ip, n: IPv6Interface((ip, n)), st.ip_addresses(v=6), st.integers(0, 128)),
    IPv4Network: st.builds(lambda ip, n: IPv4Network((ip, n), strict=False), st.ip_addresses(v=4), st.integers(0, 32)),
    IPv6Network: st.builds(lambda ip, n: IPv6Network((ip, n), strict=False), st.ip_addresses(v=6), st.integers(0, 128)),
    float: st.floats(allow_nan=False, allow_infinity=False),
    object: st.one_of(st.none(), st.text(), st.binary(), st.integers(), st.tuples(st.text(), st.binary())),
    NoneType: st.none(),
}
for atom, strategy in ATOMS.items():
    if isinstance(atom, type) and atom is not object:
        st.register_type_strategy(atom, strategy)


def whole(value: object) -> object:
    """Return a value with all that takes no part in comparisons."""
    if hasattr(value, "__dataclass_fields__"):
        return type(value), tuple(whole(getattr(value, field.name)) for field in fields(value))  # type: ignore[arg-type]
    if isinstance(value, tuple):
        return tuple(map(whole, value))
    if isinstance(value, dict):
        return {whole(key): whole(item) for key, item in value.items()}
    return type(value), value


@pytest.mark.parametrize("cls", _DATACLASSES, ids=lambda cls: cls.__name__)
@settings(max_examples=6)
@given(data=st.data())
def test_a_value_of_every_class_reads_back_the_same_through_text(cls: type, data: st.DataObject) -> None:
    value = data.draw(_values(cls))

    text = json.dumps(encode(value), allow_nan=False)

    assert whole(decode(json.loads(text))) == whole(value)


def _values(cls: type) -> st.SearchStrategy[Any]:
    untyped = {field.name: ATOMS[object] for field in fields(cls) if field.type == "object"}
    return st.builds(cls, **untyped)


@pytest.mark.parametrize("member", [member for enum in _ENUMS for member in enum], ids=str)
def test_every_member_of_an_enum_reads_back_as_itself(member: Enum) -> None:
    assert decode(json.loads(json.dumps(encode(member)))) is member


def test_a_step_keeps_its_context_although_two_steps_compare_without_it(hook_moment: HookMoment) -> None:
    step = Step(StepKind.GUARD, "campus", "", GuardValue("wlan0"), hook_moment)

    read = decode(encode(step))

    assert isinstance(read, Step)
    assert read.context == hook_moment


@pytest.fixture
def hook_moment() -> HookMoment:
    from autovpn.core.hookenv import HookContext  # noqa: PLC0415

    return HookMoment((), (), HookContext(Event.PREUP.value, "campus", "wlan0", ssid=bytes(range(32))))


@pytest.mark.parametrize("value", [Secret(b"x"), (Secret(b"x"),), {"a": Secret(b"x")}, frozenset({Secret(b"x")})])
def test_a_secret_is_never_written_however_deep_it_hides(value: object) -> None:
    with pytest.raises(CodecError, match="Secret"):
        encode(value)


@pytest.mark.parametrize("value", [[1], {1}, float("inf"), float("nan"), bytearray(b"x"), object(), 1j, ValueError()])
def test_what_is_not_registered_is_not_written(value: object) -> None:
    with pytest.raises(CodecError):
        encode(value)


@pytest.mark.parametrize(
    "text",
    [
        '{"$":"Popen","args":"reboot"}',
        '{"$":"Secret","value":"x"}',
        '{"$":"GuardValue"}',
        '{"$":"GuardValue","uplink":"wlan0","extra":1}',
        '{"$":"GuardValue","value":"wlan0"}',
        '{"$":"StepKind","value":"sideways"}',
        '{"$":"StepKind","value":["preup"]}',
        '{"$":"StepKind"}',
        '{"$":"IPv4Address","value":"10.0.0.256"}',
        '{"$":"bytes","value":"zz"}',
        '{"$":"bytes","value":7}',
        '{"$":"frozenset","value":"abc"}',
        '{"$":"frozenset","value":[{"$":"map","value":[]}]}',
        '{"$":"map","value":[["key"]]}',
        '{"$":"map","value":[[{"$":"map","value":[]},1]]}',
        '{"$":["list"],"value":1}',
        '{"$":1,"value":1}',
        '{"value":1}',
        "{}",
    ],
)
def test_what_no_version_of_ours_wrote_is_refused_in_one_way(text: str) -> None:
    with pytest.raises(CodecError):
        decode(json.loads(text))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner),
        st.dictionaries(st.sampled_from(["$", "value", "uplink", "kind", "key", "step"]), inner),
        st.fixed_dictionaries(
            {"$": st.sampled_from([*CODEC._classes, *CODEC._readers, "map", "frozenset"]), "value": inner}
        ),
    ),
    max_leaves=12,
)


@given(JSON)
def test_reading_any_json_gives_a_value_or_the_one_error(text: Any) -> None:  # noqa: ANN401 (any JSON)
    try:
        value = decode(text)
    except CodecError:
        return
    encode(value)


def test_a_number_that_is_an_enum_is_written_as_that_enum() -> None:
    assert encode(RouteKind.UNREACHABLE) == {"$": "RouteKind", "value": 7}


def test_what_an_older_version_did_not_write_has_its_default() -> None:
    """A field that a later version adds must not make what an older daemon left impossible to undo."""
    older = encode(LinkId(7, 3))
    assert isinstance(older, dict)
    del older["generation"]

    assert decode(older) == LinkId(7)


def test_a_field_without_a_default_must_be_there() -> None:
    broken = encode(LinkId(7, 3))
    assert isinstance(broken, dict)
    del broken["index"]

    with pytest.raises(CodecError, match="index"):
        decode(broken)
