"""What a reviewer would otherwise have to say again and again."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path

import pytest
from blockbuster import BlockingError

from autovpn.system.files import write_durably

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "autovpn").rglob("*.py"))
LONGEST = 350
NO_NAME = re.compile(r"(?<!Network)Manager|Helper|Util|Base|Impl|Misc")
NO_VERB = re.compile(r"^_*(handle_|process_data|do_stuff|helper|util)")
SHELLS = {"create_subprocess_shell", "system", "popen", "getoutput", "getstatusoutput"}
CHANGELOG_SECTIONS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}

each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))


@each_module
def test_a_module_is_short_enough_to_be_read_in_one_sitting(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST, f"{path.relative_to(ROOT)} has {lines} lines: cut it where it does two things"


@each_module
def test_a_name_says_what_the_thing_is(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            banned = (NO_NAME if isinstance(node, ast.ClassDef) else NO_VERB).search(node.name)
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            assert not banned, f"{where}: {node.name!r} says nothing; name what it does or holds"
    assert not re.search(r"manager$|helper|util|misc|common", path.stem.replace("networkmanager", "")), path


@each_module
def test_nothing_runs_through_a_shell(path: Path) -> None:
    for call in (node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Call)):
        shell = next((word.value for word in call.keywords if word.arg == "shell"), None)
        where = f"{path.relative_to(ROOT)}:{call.lineno}"
        assert shell is None or ast.unparse(shell) == "False", f"{where} runs a shell; pass an argument list"
        named = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        assert named not in SHELLS, f"{where}: {named} runs a shell; pass an argument list"


async def test_what_blocks_the_event_loop_is_caught_in_every_test(tmp_path: Path) -> None:
    with pytest.raises(BlockingError):
        write_durably(tmp_path / "file", b"content")
    await asyncio.to_thread(write_durably, tmp_path / "file", b"content")


def test_the_changelog_keeps_its_format() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert versions[0] == "[Unreleased]", "what isn't released yet comes first"
    for version in versions[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", version), f"'## {version}' is no version and date"
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= CHANGELOG_SECTIONS
    for entry in re.findall(r"^[-*] .*$", text, re.MULTILINE):
        assert re.match(r"- [A-Z`]", entry), f"{entry!r}: an entry is a sentence after a dash"
