"""`scripts/packages` where there are no Debian packages: it names the programs that are missing and who has them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "packages"
SBIN = ":/usr/sbin:/sbin:/usr/local/sbin"  # where it looks besides, which a test must not depend on
LINE = re.compile(r"missing: (\S+) \(Fedora: \S+; Arch: \S+; Gentoo: \S+/\S+\)")


def wanted() -> list[str]:
    """Return every package that the Makefile asks for."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    named = re.findall(r"^\w+_PACKAGES := (.*)$", makefile, re.MULTILINE)
    named += re.findall(r"^\t.*scripts/packages ([a-z].*)$", makefile, re.MULTILINE)
    return sorted({word for line in named for word in line.split() if not word.startswith("$")})


def table() -> dict[str, list[str]]:
    """Return what the script knows: of a Debian package its program, and its name in Fedora, Arch and Gentoo."""
    rows = re.search(r"^programs='\n(.*?)^'", SCRIPT.read_text(), re.MULTILINE | re.DOTALL)
    assert rows
    return {debian: others for debian, *others in map(str.split, rows[1].splitlines())}


def elsewhere(folder: Path, *packages: str, programs: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run it on a machine that has nothing but these programs, and neither dpkg-query nor apt-get."""
    text = SCRIPT.read_text()
    assert SBIN in text
    script = folder / "packages"
    script.write_text(text.replace(SBIN, ""))
    for program in programs:
        (folder / program).symlink_to("/bin/sh")
    return subprocess.run(
        ["/bin/sh", script, *packages],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": str(folder)},
        timeout=20,
    )


@pytest.mark.parametrize("package", wanted())
def test_every_package_of_the_makefile_is_known_elsewhere_too(package: str) -> None:
    names = table().get(package, [])
    assert len(names) == 4, f"scripts/packages doesn't say where {package} is found elsewhere"
    assert "/" in names[3], "Gentoo's names have a category"


def test_missing_programs_are_named_once_with_how_to_get_them_and_fail_nothing(tmp_path: Path) -> None:
    done = elsewhere(tmp_path, *wanted())

    assert (done.returncode, done.stdout) == (0, "")
    lines = done.stderr.splitlines()
    assert all(LINE.fullmatch(line) for line in lines), done.stderr
    assert [LINE.sub(r"\1", line) for line in lines] == list(dict.fromkeys(program for program, *_ in table().values()))


def test_each_distribution_is_told_its_own_name_of_a_program(tmp_path: Path) -> None:
    done = elsewhere(tmp_path, "openssh-client")
    assert done.stderr == "missing: ssh (Fedora: openssh-clients; Arch: openssh; Gentoo: net-misc/openssh)\n"


def test_a_program_that_is_there_is_not_missing(tmp_path: Path) -> None:
    done = elsewhere(tmp_path, "openssh-client", "strace", programs=("ssh", "strace"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_nobody_asked_for_is_not_mentioned(tmp_path: Path) -> None:
    done = elsewhere(tmp_path, "no-such-package")
    assert (done.returncode, done.stderr) == (0, "")
