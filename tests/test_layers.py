"""The import rule: cli -> wiring -> {daemon, system, dns, tunnels, config} -> core, and siblings keep apart."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent

# Who may import whom. Everything may import `autovpn` (its version) and `autovpn.errors`.
ALLOWED = {
    "__main__": ("cli",),
    "cli": ("cli", "demo", "wiring", "daemon", "system", "dns", "tunnels", "config", "core"),
    "demo": ("demo", "cli.client", "wiring", "core"),
    "wiring": ("daemon", "system", "dns", "tunnels", "config", "core"),
    "daemon": ("daemon", "system", "dns", "tunnels", "config", "core"),
    "system": ("system", "notify", "core"),
    "dns": ("dns", "system.files", "system.bus", "core"),
    "tunnels": ("tunnels", "core"),
    "config": ("config", "core"),
    "core": ("core",),
    "errors": (),
    "notify": (),
    "__init__": (),
}

# What the pure layers may import: modules that compute. None reads a clock, a file, a socket or a random number.
PURE = set(
    """
    __future__ abc base64 binascii bisect collections configparser contextlib copy dataclasses difflib enum fnmatch
    functools graphlib hashlib heapq hmac ipaddress itertools json math operator re shlex string struct textwrap types
    typing unicodedata
    """.split()  # noqa: SIM905 (a list of thirty quoted names is no easier to read)
)


def imports(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of everything that a module imports, wherever in it that happens."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*parents, *filter(None, [node.module])])
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)


def within(name: str, module: str) -> bool:
    """Report whether a full name is the module or lies in it."""
    return name == module or name.startswith(f"{module}.")


def why_forbidden(layer: str, name: str) -> str | None:
    """Return why this layer may not import that name, or None when it may."""
    if not within(name, "autovpn"):
        impure = layer in {"core", "tunnels"} and name.partition(".")[0] not in PURE
        return "a pure layer takes values and returns values; hand the result in as an argument" if impure else None
    if layer not in ALLOWED:
        return f"nobody has said what {layer} may import; say it in ALLOWED"
    free = ("errors", "__version__", *ALLOWED[layer])
    if any(within(name, f"autovpn.{module}") for module in free):
        return None
    return f"{layer} may import only {', '.join(ALLOWED[layer]) or 'nothing of autovpn'} and errors"


@pytest.mark.parametrize("path", sorted((ROOT / "autovpn").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_its_layer_may(path: Path) -> None:
    parts = path.relative_to(ROOT / "autovpn").with_suffix("").parts
    package = ".".join(path.relative_to(ROOT).parent.parts)
    for line, name in imports(path, package):
        reason = why_forbidden(parts[0], name)
        assert reason is None, f"{path.relative_to(ROOT)}:{line} imports {name}: {reason}"


@pytest.mark.parametrize(
    ("layer", "name", "allowed"),
    [
        ("core", "time", False),
        ("core", "autovpn.system.rtnl", False),
        ("core", "collections.abc.Iterator", True),
        ("tunnels", "asyncio", False),
        ("tunnels", "autovpn.core.profile.Profile", True),
        ("dns", "autovpn.system.files.write", True),
        ("dns", "autovpn.system.filesystem", False),
        ("system", "autovpn.dns.file", False),
        ("config", "autovpn.errors.ConfigError", True),
        ("wiring", "autovpn.cli.main", False),
        ("cli", "autovpn.__version__", True),
        ("newcomer", "autovpn.core.profile.Profile", False),
    ],
)
def test_the_rule_tells_a_forbidden_import_from_an_allowed_one(layer: str, name: str, allowed: bool) -> None:
    assert (why_forbidden(layer, name) is None) == allowed
