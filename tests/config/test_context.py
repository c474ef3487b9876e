"""The machine as the configuration sees it, asked for real."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from autovpn.config import context
from autovpn.config.context import has_user, kernel_has_wireguard
from autovpn.config.programs import find_program


def test_users_are_looked_up_by_name() -> None:
    assert has_user("root")
    assert not has_user("no-such-user")


def test_programs_are_found_without_the_callers_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable))  # noqa: PTH120
    assert find_program("sh") is not None
    assert find_program("no-such-program") is None


@pytest.mark.parametrize(
    ("files", "answer"),
    [
        ({}, False),
        ({"sys/module/wireguard/version": "1"}, True),
        ({"lib/modules/6/modules.builtin": "kernel/drivers/net/wireguard/wireguard.ko\n"}, True),
        ({"lib/modules/6/modules.dep": "kernel/drivers/net/wireguard/wireguard.ko.xz: x\n"}, True),
        ({"lib/modules/6/modules.dep": "kernel/net/tun.ko:\n"}, False),
    ],
)
def test_wireguard_may_be_loaded_built_in_or_loadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], answer: bool
) -> None:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(content)
    monkeypatch.setattr(context, "Path", lambda *parts: tmp_path.joinpath(*(part.lstrip("/") for part in parts)))
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", "6", "", "")))
    assert kernel_has_wireguard() is answer
