"""The manual pages and the service files name what there is, all of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from autovpn.cli import asking, local
from autovpn.cli.commands import cli
from autovpn.cli.hook import EVENTS
from autovpn.cli.main import FAILED, INTERRUPTED, NOT_RUNNING, PIPE_CLOSED
from autovpn.config.model import ConditionsTable, DaemonTable, HookTable, MachineDnsTable, ProfileDnsTable, ProfileFile

PACKAGING = Path(__file__).parent.parent.parent / "packaging"


def manual(name: str) -> str:
    return (PACKAGING / "man" / name).read_text()


@pytest.mark.parametrize("command", [command.name for command in (*asking.COMMANDS, *local.COMMANDS)])
def test_the_manual_has_every_command(command: str) -> None:
    assert f".It Cm {command}" in manual("autovpn.8")


@pytest.mark.parametrize("event", EVENTS)
def test_the_manuals_have_every_event(event: str) -> None:
    assert event in manual("autovpn.8")
    assert event in manual("autovpn-profile.5")


EXIT_STATUSES = [0, FAILED, click.UsageError.exit_code, NOT_RUNNING, INTERRUPTED, PIPE_CLOSED]


def test_the_manual_has_every_exit_status_and_no_other() -> None:
    section = manual("autovpn.8").partition(".Sh EXIT STATUS\n")[2].partition(".Sh ")[0]
    assert [int(code) for code in re.findall(r"^\.It (\d+)$", section, re.MULTILINE)] == EXIT_STATUSES


def test_the_help_has_every_exit_status_and_no_other() -> None:
    told = (cli.help or "").partition("Exit status:")[2].partition("AUTOVPN_DEBUG")[0]
    assert [int(code) for code in re.findall(r"\b\d+\b", told)] == EXIT_STATUSES


@pytest.mark.parametrize("table", [DaemonTable, MachineDnsTable])
def test_the_manual_has_every_setting(table: type[BaseModel]) -> None:
    assert [name for name in table.model_fields if f"Ic {name}" not in manual("autovpn.toml.5")] == []


@pytest.mark.parametrize("table", [ConditionsTable, HookTable, ProfileDnsTable, ProfileFile])
def test_the_manual_has_every_key_of_a_profile(table: type[BaseModel]) -> None:
    assert [name for name in table.model_fields if name not in manual("autovpn-profile.5")] == []


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    units = []
    for unit in (PACKAGING / "systemd").glob("*.service"):
        units.append(tmp_path / unit.name)
        units[-1].write_text(unit.read_text().replace("/usr/bin/autovpn", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_openrc_script_is_a_shell_script() -> None:
    subprocess.run(["sh", "-n", PACKAGING / "openrc" / "autovpn"], check=True)
