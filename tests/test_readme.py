"""What the README promises a stranger: its profiles load, its commands exist, its links lead somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autovpn.config.model import ConditionsTable
from autovpn.tunnels.drivers import DRIVERS
from tests.config.conftest import WG_QUICK_FULL, Etc

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
PROFILES = [text for language, text in BLOCKS if language == "toml"]
SHELL = "\n".join(text for language, text in BLOCKS if language == "sh")
LINKS = sorted({target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target})

# What a profile names lies outside of it.
NAMED = {
    "vpnc.conf-wlan": "IPSec gateway vpn.campus.example\nIPSec ID students\nIPSec secret x\nXauth username me\n",
    "resolv.conf-wlan": "nameserver 10.8.0.1\n",
    "wireguard/wg0.conf": WG_QUICK_FULL,
}


def test_its_profiles_load_without_a_problem(tmp_path: Path) -> None:
    etc = Etc(tmp_path)
    for name, content in NAMED.items():
        etc.write(name, content)
    for text in PROFILES:
        place = re.match(r"# /etc/autovpn/profiles/(.+\.toml)\n", text)
        assert place, f"a profile whose first line does not say where it belongs:\n{text}"
        etc.profile(text.replace('"/etc/', f'"{etc.root}/'), place.group(1))

    assert [profile.name for profile in etc.policy().profiles] == ["home", "campus", "default"]


def test_both_sides_of_the_comparison_speak_of_the_same_things() -> None:
    shell = next(text for language, text in BLOCKS if language == "sh" and text.startswith("postup() {\n"))
    profile = next(text for text in PROFILES if "30-campus" in text)
    for thing in ("YourEssid", "wlan0", "/etc/vpnc.conf-wlan", "/etc/resolv.conf-wlan", "/net/campus"):
        assert thing in shell
        assert thing in profile


def test_every_command_that_it_names_exists() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "autovpn", "--help"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    commands = set(re.findall(r"^  ([a-z]+) ", shown.partition("Commands:")[2], re.MULTILINE))
    named = {*re.findall(r"(?:^|{ )autovpn ([a-z]+)", SHELL, re.MULTILINE), *re.findall(r"`autovpn ([a-z]+)", README)}

    assert {"check", "explain", "status", "hook", "recover"} <= named
    assert named <= commands


def test_every_link_leads_to_a_file() -> None:
    assert "docs/configuration.md" in LINKS
    assert [link for link in LINKS if not (ROOT / link).exists()] == []


def test_every_path_of_the_repository_that_a_command_names_exists() -> None:
    named = set(re.findall(r"(?:packaging|hooks|profiles)/[\w./*-]+", SHELL))
    assert len(named) >= 2
    assert [pattern for pattern in named if not list(ROOT.glob(pattern))] == []


def test_every_target_of_make_that_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", SHELL, re.MULTILINE)) == {"demo", "test"}
    assert {"demo", "test"} <= targets


def test_the_tables_name_what_there_is_and_nothing_else() -> None:
    tunnels = README.partition("## Tunnels")[2].partition("##")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", tunnels, re.MULTILINE)) == {"type", *DRIVERS}

    conditions = README.partition("## Conditions")[2].partition("##")[0]
    keys = {
        key for row in re.findall(r"^\| (`.+?`) \|", conditions, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)
    }
    assert keys == set(ConditionsTable.model_fields)


@pytest.mark.parametrize("hook", ["mount-share", "notify-desktop"])
def test_a_ready_made_hook_refuses_what_it_is_not_for(hook: str) -> None:
    path = ROOT / "hooks" / hook
    assert os.access(path, os.X_OK)
    done = subprocess.run(
        [path, "/nowhere"],
        env={"PATH": os.environ["PATH"], "AUTOVPN_EVENT": "roam"},
        check=False,
        capture_output=True,
        text=True,
    )
    refuses = hook != "notify-desktop" or shutil.which("notify-send") is not None  # without it there is nothing to do
    assert done.returncode == (2 if refuses else 0), done.stderr
