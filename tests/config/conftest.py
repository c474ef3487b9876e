"""A private /etc/autovpn, and a machine on which every program is installed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from autovpn.config.context import Environment
from autovpn.config.load import Loaded, load
from autovpn.core.profile import Policy

WG_QUICK = """\
[Interface]
PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=
Address = 10.97.0.2/24
[Peer]
PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
AllowedIPs = 10.20.0.0/24
Endpoint = vpn.example:51820
"""

WG_QUICK_FULL = WG_QUICK.replace("10.20.0.0/24", "0.0.0.0/0, ::/0").replace("[Peer]", "DNS = 10.97.0.1\n[Peer]")
"""One that takes all traffic, and the names with it."""


def machine() -> Environment:
    """Return a machine that has everything."""
    return Environment(
        owner=os.geteuid(),
        which=lambda name: "/bin/true",
        has_user=lambda name: True,
        kernel_has_wireguard=lambda: True,
        forwards=lambda version: True,
        distribution=lambda: ("debian",),
        printed_version=lambda program, path: "",
    )


@dataclass
class Etc:
    """A configuration that a test writes file by file."""

    root: Path
    environment: Environment = field(default_factory=machine)

    def write(self, name: str, content: str | bytes, mode: int = 0o600) -> Path:
        """Write a file below the root."""
        path = self.root / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return path

    def profile(self, text: str, name: str = "10-test.toml") -> Path:
        """Write a profile."""
        return self.write(f"profiles/{name}", text, 0o644)

    def without(self, **changes: object) -> None:
        """Take something from the machine."""
        self.environment = replace(self.environment, **changes)  # type: ignore[arg-type]

    def load(self) -> Loaded:
        """Load it all."""
        return load(self.root, environment=self.environment)

    def policy(self) -> Policy:
        """Load it all, and expect it to be right."""
        loaded = self.load()
        assert loaded.problems == ()
        assert loaded.policy is not None
        return loaded.policy

    def problems(self) -> list[str]:
        """Return the problems with the root's path left out."""
        return [line.replace(f"{self.root}/", "") for line in self.load().problems]

    def notes(self) -> list[str]:
        """Return the notes with the root's path left out."""
        return [line.replace(f"{self.root}/", "") for line in self.load().notes]


def begin(lines: list[str], *beginnings: str) -> bool:
    """Report whether there is one line for each beginning, in this order, and print them if not."""
    found = [line[: len(beginning)] for line, beginning in zip(lines, beginnings, strict=False)]
    if len(lines) == len(beginnings) and found == list(beginnings):
        return True
    print(*lines, sep="\n")  # noqa: T201  # pytest shows it with the failure
    return False


@pytest.fixture
def etc(tmp_path: Path) -> Etc:
    """Return an empty configuration."""
    root = tmp_path / "autovpn"
    root.mkdir(mode=0o755)
    return Etc(root)
