"""Secrets come only from where root alone could put them, whole, and are shown to nobody."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autovpn.core.settings import SecretRef
from autovpn.errors import AutovpnError, Refused, SystemFault
from autovpn.system.secrets import CREDENTIALS, LARGEST, _without_newline, read_files, read_secret


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


async def secret_in(path: Path) -> bytes:
    return (await read_secret(SecretRef(file=str(path)), "nonce", below=path.parent)).reveal()


async def printed_by(*command: str, deadline: float = 10) -> bytes:
    return (await read_secret(SecretRef(command=command), uuid.uuid4().hex, deadline=deadline)).reveal()


@given(st.binary(max_size=50))
def test_one_final_newline_is_no_part_of_a_secret(content: bytes) -> None:
    for end in (b"\n", b"\r\n") if not content.endswith((b"\n", b"\r")) else (b"\n",):
        assert _without_newline(content.rstrip(b"\r") + end).reveal() == content.rstrip(b"\r")
    assert _without_newline(b"a\n\n").reveal() == b"a\n"


async def test_a_file_of_ours_is_read_whole(tmp_path: Path) -> None:
    assert await secret_in(write(tmp_path / "pw", b"w\xf6nder \0 land \n")) == b"w\xf6nder \0 land "


@pytest.mark.parametrize(
    ("mode", "why"),
    [(0o640, "may be read by others"), (0o604, "may be read by others"), (0o620, "written by others")],
)
async def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int, why: str) -> None:
    with pytest.raises(Refused, match=why):
        await secret_in(write(tmp_path / "pw", b"x", mode))


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
async def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "pw", b"x")
    os.chown(path, 65534, -1)
    with pytest.raises(Refused, match="belongs to user 65534"):
        await secret_in(path)


async def test_a_symlink_to_a_users_file_is_refused(tmp_path: Path) -> None:
    users = tmp_path / "home"
    users.mkdir()
    write(users / "pw", b"x")
    users.chmod(0o777)
    (tmp_path / "pw").symlink_to(users / "pw")
    with pytest.raises(Refused, match="may be written by others"):
        await secret_in(tmp_path / "pw")


async def test_a_missing_file_a_fifo_and_a_folder_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "folder").mkdir()
    for name in ("none", "fifo", "folder"):
        with pytest.raises(Refused, match=name):
            await secret_in(tmp_path / name)


async def test_a_file_that_is_too_large_for_a_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="longer than 1 MiB"):
        await secret_in(write(tmp_path / "pw", b"x" * (LARGEST + 1)))


async def test_the_files_of_a_tunnel_are_read_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "vpnc.conf", b"IPSec secret x\n\n")
    files = await read_files([str(path)], below=tmp_path)
    assert {name: secret.reveal() for name, secret in files.items()} == {str(path): b"IPSec secret x\n\n"}
    with pytest.raises(Refused):
        await read_files([str(path), str(write(tmp_path / "open", b"", 0o644))], below=tmp_path)


async def test_a_command_prints_the_secret_and_what_it_complains_is_no_part_of_it() -> None:
    assert await printed_by("sh", "-c", "echo complaint >&2; echo wonder land") == b"wonder land"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("sh", "-c", "echo half a secret; exit 3"), "sh: failed with status 3"),
        (("sh", "-c", "exit 0"), "sh: printed nothing"),
        (("no-such-program",), "no-such-program: is not installed"),
        (("./relative",), "is relative to no folder"),
    ],
)
async def test_a_command_that_fails_is_named_and_what_it_printed_is_not_told(
    command: tuple[str, ...], why: str
) -> None:
    with pytest.raises(AutovpnError, match=why) as failed:
        await printed_by(*command)
    assert "half" not in str(failed.value)


async def test_a_command_that_asks_somebody_is_ended() -> None:
    with pytest.raises(SystemFault, match=r"sh: printed no secret within 0 s; it must not ask anybody"):
        await printed_by("sh", "-c", "echo secret; exec sleep 1000", deadline=0.1)


async def test_a_credential_is_read_from_the_folder_that_systemd_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "campus", b"wonder land\n", 0o400)
    monkeypatch.setenv(CREDENTIALS, str(tmp_path))
    assert (await read_secret(SecretRef(credential="campus"), "nonce")).reveal() == b"wonder land"


@pytest.mark.parametrize("name", ["none", "../campus", "", ".", "..", "link"])
async def test_a_credential_never_leads_out_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write(tmp_path / "campus", b"x")
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "campus")
    monkeypatch.setenv(CREDENTIALS, str(folder))
    with pytest.raises(Refused):
        await read_secret(SecretRef(credential=name), "nonce")


async def test_without_systemd_a_credential_is_refused_with_what_would_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CREDENTIALS, raising=False)
    with pytest.raises(Refused, match="add 'LoadCredential=campus:FILE' to the unit"):
        await read_secret(SecretRef(credential="campus"), "nonce")


async def test_a_reference_to_nothing_is_refused() -> None:
    with pytest.raises(Refused, match="names neither"):
        await read_secret(SecretRef(), "nonce")
