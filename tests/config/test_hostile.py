"""Whatever bytes lie in the configuration, loading answers with problems and never with a traceback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from autovpn.config.load import Loaded, load
from tests.config.conftest import machine

_KEYS = """
    action default tunnels match trust dns hooks tunnel require not ssid ssid_hex ssid_glob interface interface_type
    bssid gateway address file servers search run on timeout user type config password routes mode include device host
    socks forwards listen target peer port mtu home
"""
_words = st.sampled_from(
    [
        *_KEYS.split(),
        *("connect", "disconnect", "shared-key", "hint", "wireguard", "openssh", "vpnc", "postup", "5s", "10.0.0.0/8"),
        *("192.0.2.1", "/etc/passwd", "/", "\0", "\x1b[0m", "", "~", "ü", "full", "none", "1080", "a" * 300),
    ]
)
_values = st.recursive(
    st.one_of(_words, st.integers(), st.booleans(), st.floats(), st.datetimes()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=5),
    max_leaves=12,
)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(char if char.isalnum() else f"\\u{ord(char):04x}" for char in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    return str(value).replace(" ", "T")


@contextmanager
def _loaded(profile: bytes, main: bytes = b"") -> Iterator[tuple[Loaded, Path]]:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "profiles").mkdir(mode=0o755)
        for path, content in ((root / "profiles/10-x.toml", profile), (root / "autovpn.toml", main)):
            path.write_bytes(content)
            path.chmod(0o644)
        yield load(root, environment=machine()), root


def _is_told(loaded: Loaded) -> bool:
    return (loaded.policy is not None or bool(loaded.problems)) and all(
        line.isprintable() and ": " in line for line in loaded.problems + loaded.notes
    )


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_any_bytes_are_answered(profile: bytes, main: bytes) -> None:
    with _loaded(profile, main) as (loaded, _):
        assert _is_told(loaded)


@given(st.dictionaries(_words, _values, max_size=6))
def test_any_toml_is_answered(data: dict[str, object]) -> None:
    text = "".join(f"{_toml(key)} = {_toml(value)}\n" for key, value in data.items())
    with _loaded(text.encode()) as (loaded, _):
        assert _is_told(loaded)


@given(st.sampled_from(["wireguard", "openssh", "vpnc"]), st.dictionaries(_words, _values, max_size=5))
def test_any_tunnel_is_answered(kind: str, data: dict[str, object]) -> None:
    table = {**data, "type": kind}
    text = f'tunnels = ["t"]\n[match]\nssid = ["x"]\n[tunnel]\nt = {_toml(table)}\n'
    with _loaded(text.encode()) as (loaded, _):
        assert _is_told(loaded)


@given(st.binary(min_size=1, max_size=32))
def test_an_ssid_of_any_bytes_arrives_as_it_is(ssid: bytes) -> None:
    text = f'action = "disconnect"\n[match]\nssid_hex = ["{ssid.hex()}"]\n[trust]\nrequire = "shared-key"\n'
    with _loaded(text.encode()) as (loaded, _):
        assert loaded.problems == ()
        assert loaded.policy is not None
        assert loaded.policy.profiles[0].conditions[0].wanted == (ssid,)


@given(st.binary(min_size=1, max_size=20).filter(lambda name: not {0, 0x2F} & set(name)))
def test_any_file_name_is_answered(name: bytes) -> None:
    with _loaded(b"") as (_, root):
        path = os.fsencode(root / "profiles") + b"/" + name + b".toml"
        Path(os.fsdecode(path)).write_bytes(b"default = true\n")
        assert _is_told(load(root, environment=machine()))
